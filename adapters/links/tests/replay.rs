//! The command that a failing seed prints, seen from a crate that only uses the test kit.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use conclave_testkit::dice::{for_each_seed, replay_command};

/// E3: the command names this package, this test program and this test, and the part behind the
/// program's name selects exactly one test.
#[test]
fn a_failing_seed_names_the_test_that_failed_in_any_crate() {
    let name = "a_failing_seed_names_the_test_that_failed_in_any_crate";
    let command = replay_command(name, 42);
    let words: Vec<&str> = command.split(' ').collect();
    let (package, program) = (env!("CARGO_PKG_NAME"), env!("CARGO_CRATE_NAME"));
    let cargo = ["CONCLAVE_SEED=42", "cargo", "test", "-p", package, "--test", program];
    assert!(words.starts_with(&cargo), "{command}");
    let mut tests = Command::new(std::env::current_exe().unwrap());
    let filter = words.get(cargo.len()..).unwrap().iter().filter(|word| **word != "--");
    let listed = tests.args(filter).arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let found: Vec<&str> = listed.lines().filter(|line| line.ends_with(": test")).collect();
    let name =
        module_path!().split_once("::").map_or(name.into(), |(_, it)| format!("{it}::{name}"));
    assert_eq!(found, [format!("{name}: test")], "{command}");
}

/// What a failing run prints is that command: the run is this program again, with one seed.
#[test]
fn what_is_printed_when_a_seed_fails_is_that_command() {
    let name = "what_is_printed_when_a_seed_fails_is_that_command";
    if std::env::var("CONCLAVE_SEED").is_ok() {
        for_each_seed(name, 1, |seed| assert_ne!(seed, 7));
        return;
    }
    let command = replay_command(name, 7);
    let filter = command.rsplit_once(" -- ").map_or(name, |(_, filter)| filter);
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(filter.split(' ')).arg("--nocapture").env("CONCLAVE_SEED", "7");
    let output = tests.output().unwrap();
    assert!(!output.status.success(), "the seed fails");
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains(&format!("\n    {command}\n")), "{printed}");
}
