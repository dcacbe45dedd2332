//! The demonstration as a process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::support;

use serde_json::Value;
use support::{Folder, done, run};

/// Runs it; gives its report.
fn report(args: &[&str]) -> Value {
    let mut all = vec!["demo", "--json", "--timeout", "200"];
    all.extend(args);
    let output = run(&all);
    assert_eq!(output.code(), 0, "{output:?}");
    output.json().remove(0)
}

fn check(report: &Value) {
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["missing"], 0, "{report}");
    assert_eq!(report["duplicated"], 0, "{report}");
    assert_eq!(report["unexpected"], 0, "{report}");
    assert_eq!(report["kills"], 1, "{report}");
}

/// R4, G1, E5: over a real relay and real stores, with members coming and going and one process
/// killed, every member has every message that the rules give it, once, in the same order.
#[test]
fn everybody_has_every_message_although_a_process_is_killed() {
    let report = report(&["--messages", "60", "--seed", "7"]);
    check(&report);
    assert_eq!(report["people"], 3);
    assert_eq!(report["installations"], 4);
    let number = |key: &str| report[key].as_u64().expect(key);
    // What carol had not sent yet when she was removed is nobody's; alice and both of bob's
    // installations, who stay, have all the rest.
    assert_eq!(number("messages") + number("unsent"), 60, "{report}");
    assert!(number("messages") >= 40, "{report}");
    assert!(number("delivered") >= 3 * number("messages"), "{report}");
    // Two additions at the start, and one change in each of three rounds.
    assert!(number("commits") >= 5, "{report}");
    assert!(number("epochs") >= 5, "{report}");
    assert!(number("wire_bytes") > 10_000, "{report}");
    assert!(number("store_commits") > 60, "{report}");
}

/// I1, I3: people with wallets do the same.
#[test]
fn people_with_wallets_have_every_message() {
    check(&report(&["--messages", "40", "--seed", "8", "--accounts", "wallets"]));
}

/// More people than the default, of whom several are removed and added again.
#[test]
fn more_people_have_every_message() {
    let report =
        report(&["--messages", "80", "--seed", "9", "--people", "5", "--accounts", "keys"]);
    check(&report);
    assert_eq!(report["installations"], 6);
}

/// The stores are kept on request, and only in a folder that holds nothing else.
#[test]
fn stores_are_kept_in_a_new_folder_only() {
    let folder = Folder::new();
    let dir = folder.join("kept");
    let output = done(&["demo", "--messages", "10", "--seed", "1", "--dir", &dir]);
    assert!(output.out.contains("Everybody has every message"), "{output:?}");
    let info = done(&["store", "info", "--json", "--data", &folder.join("kept/alice")]);
    let messages = info.json().into_iter().find(|line| line["table"] == "message").unwrap();
    assert!(messages["records"].as_u64().unwrap() > 0);
    let again = run(&["demo", "--messages", "10", "--dir", &dir]);
    assert_eq!(again.code(), 3, "{again:?}");
    assert!(again.err.contains("not empty"), "{again:?}");
}
