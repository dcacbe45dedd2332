//! What the program shows of others, what it says of the relay's trouble, and whose its folders are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;

use crate::{
    full_relay::{FullRelay, PATIENT},
    support::{Folder, Output, Relay, Running, done, run},
};
use conclave::core::{
    identity::WalletKey,
    store::{Claim, Direction, Key, Range, Store as _, Table, Write},
};
use conclave_store_redb::RedbStore;
use data_encoding::HEXLOWER;
use serde_json::Value;

fn created(data: &str) -> String {
    let made = done(&["group", "create", "--json", "--data", data]).json();
    made[0]["group"].as_str().unwrap().to_owned()
}

/// Moves the cursor, colours, begins a command of its own, turns the rest of the line around, hides.
const HOSTILE: &str = "a\u{1b}[31mb\u{202e}c\u{9b}2Jd\u{200b}e\u{2066}f\u{7f}g\u{feff}h\rend";

fn obeyed(shown: &str) -> Vec<char> {
    shown.chars().filter(|char| HOSTILE.contains(*char) && !char.is_ascii_graphic()).collect()
}

/// S18 in spirit, scenario 153: what others write reaches the terminal as signs only, and scripts
/// as it was written.
#[test]
fn what_others_write_is_shown_and_not_obeyed() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let relay = Relay::start(&folder);
    relay.init(&alice, &[]);
    let group = created(&alice);
    done(&["send", &group, HOSTILE, "--data", &alice]);
    let read = done(&["read", &group, "--data", &alice]).out;
    assert_eq!(obeyed(&read), [], "{read:?}");
    assert!(read.contains("\\u{1b}[31mb\\u{202e}c\\u{9b}2Jd\\u{200b}e\\u{2066}f"), "{read}");
    let script = done(&["read", &group, "--json", "--data", &alice]);
    assert_eq!(obeyed(&script.out), [], "{:?}", script.out);
    assert_eq!(script.json()[0]["text"], HOSTILE);
    let listening = Running::start(&["listen", "--data", &alice]);
    let line = listening.line_that(|line| line.contains("end"));
    assert_eq!(obeyed(&line), [], "{line:?}");
}

/// S18 in spirit, scenario 153: nor is a name obeyed that an error or a figure mentions.
#[test]
fn names_are_shown_and_not_obeyed() {
    let folder = Folder::new();
    let data = folder.join("\u{202e}\u{1b}[2J\u{2028}nobody");
    let output = run(&["whoami", "--data", &data]);
    assert_eq!(output.code(), 3, "{output:?}");
    assert!(output.err.contains("\\u{202e}\\u{1b}[2J\\u{2028}nobody"), "{output:?}");
    assert!(!output.err.contains(['\u{202e}', '\u{1b}', '\u{2028}']), "{output:?}");
    let output = run(&["whoami", "--json", "--data", &data]);
    assert!(!output.out.contains(['\u{202e}', '\u{2028}']), "{output:?}");
    assert!(output.json()[0]["error"].as_str().unwrap().contains(&data), "{output:?}");
    let relay = Relay::start(&folder);
    relay.init(&data, &[]);
    let output = done(&["store", "info", "--data", &data]).out;
    assert!(!output.contains(['\u{202e}', '\u{1b}', '\u{2028}']), "{output:?}");
    let output = run(&["whoami\u{202e}"]);
    assert_eq!(output.code(), 2, "{output:?}");
    assert!(output.err.contains("whoami\\u{202e}"), "{output:?}");
}

/// Scenario 140: a group that is listed and not there, and one whose records are damaged, are named
/// and hide none of the others.
#[test]
fn a_group_that_cannot_be_read_does_not_hide_the_others() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let relay = Relay::start(&folder);
    relay.init(&alice, &[]);
    let groups: Vec<String> = (0..3).map(|_| created(&alice)).collect();
    damage(&alice, &groups[0], None);
    damage(&alice, &groups[1], Some(vec![0xff; 16]));
    let listed = |more: &[&str]| {
        let args = [&["group", "list", "--data", &alice][..], more].concat();
        done(&args)
    };
    for more in [&["--offline"][..], &[]] {
        let list = listed(&[more, &["--json"]].concat()).json();
        assert_eq!(list.len(), 3, "{list:?}");
        for group in &groups {
            let found = list.iter().find(|it| it["group"] == group.as_str()).unwrap();
            assert_eq!(found["error"].is_string(), *group != groups[2], "{found}");
            assert_eq!(found["members"].is_u64(), *group == groups[2], "{found}");
        }
        let shown = listed(more).out;
        assert_eq!(shown.matches("cannot be read").count(), 2, "{shown}");
        assert!(shown.contains("1 member, epoch 0"), "{shown}");
    }
    // The good one can be used, and named by its digits.
    done(&["send", &groups[2], "still here", "--data", &alice]);
    done(&["group", "show", &groups[2][..8], "--offline", "--data", &alice]);
    assert_eq!(run(&["group", "show", &groups[0], "--offline", "--data", &alice]).code(), 5);
}

/// Removes the records of a group, or puts others in their place.
fn damage(data: &str, group: &str, with: Option<Vec<u8>>) {
    let store = RedbStore::open(format!("{data}/conclave.redb")).unwrap();
    let claim = Claim([9; 16]);
    store.claim(claim).unwrap();
    let scope: [u8; 16] = HEXLOWER.decode(group.as_bytes()).unwrap().try_into().unwrap();
    let mut writes = Vec::new();
    let all = Range::scope(scope);
    let visit = &mut |key: &[u8], _: &[u8]| {
        let key = Key::from_parts(scope, &key[16..]);
        writes.push(match &with {
            Some(value) => Write::Put { table: Table::Group, key, value: value.clone() },
            None => Write::Delete { table: Table::Group, key },
        });
        std::ops::ControlFlow::Continue(())
    };
    store.scan(Table::Group, all, Direction::Forward, visit).unwrap();
    assert!(!writes.is_empty());
    store.commit(claim, &writes).unwrap();
}

fn says_that_it_is_full(output: &Output) {
    assert_eq!(output.code(), 4, "{output:?}");
    for words in ["is there, but stores nothing", "disk is full", "operator"] {
        assert!(output.err.contains(words), "{output:?}");
    }
    assert!(!output.err.contains("not answer"), "{output:?}");
    assert!(!output.err.contains("cannot be reached"), "{output:?}");
}

/// Scenarios 136, 143: who writes while the relay's disk is full is told that at once, and whose
/// trouble it is; what was written goes out when there is room again.
#[test]
fn a_relay_whose_disk_is_full_is_not_called_silent() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = FullRelay::start();
    assert_eq!(relay.init(&alice, &[]).code(), 0);
    let group = created(&alice);
    let at = |args: &[&str]| run(&[args, &PATIENT, &["--data", &alice]].concat());
    relay.fill();
    // What the relay has can be read.
    done(&["group", "list", "--data", &alice]);
    let sent = at(&["send", &group, "later"]);
    says_that_it_is_full(&sent);
    assert!(sent.err.contains("The message is stored"), "{sent:?}");
    says_that_it_is_full(&at(&["keys", &group]));
    assert_eq!(at(&["keys", &group, "--json"]).json()[0]["exit"], 4);
    says_that_it_is_full(&relay.init(&bob, &[]));
    relay.empty();
    assert_eq!(relay.init(&bob, &[]).code(), 0);
    assert_eq!(at(&["send", &group, "at last"]).code(), 0);
    let read = done(&["read", &group, "--json", "--data", &alice]).json();
    let texts: Vec<&Value> = read.iter().map(|line| &line["text"]).collect();
    assert_eq!(texts, ["later", "at last"]);
}

/// Scenarios 136, 143: somebody who chats sees it while it is so, and when it ends.
#[test]
fn who_chats_is_told_that_the_relay_is_full() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let relay = FullRelay::start();
    assert_eq!(relay.init(&alice, &[]).code(), 0);
    let group = created(&alice);
    relay.fill();
    let chat = [&["chat", &group, "--data", &alice][..], &PATIENT].concat();
    let mut chat = Running::errors_of(&chat);
    chat.write("to nowhere");
    let told = chat.line_that(|line| line.contains("relay"));
    assert!(told.contains("is there, but stores nothing"), "{told}");
    assert_eq!(chat.ended().code(), Some(4));
}

/// Scenario 143: so is somebody whose wallet has signed already.
#[cfg(unix)]
#[test]
fn a_wallet_that_signs_for_a_full_relay_is_told_so() {
    let folder = Folder::new();
    let relay = FullRelay::start();
    relay.fill();
    let key = WalletKey::from_bytes(&[9; 32]).unwrap();
    let account = format!("0x{}", HEXLOWER.encode(&key.account().key));
    let (asked, signed) = (folder.join("text"), folder.join("signature"));
    // Opening a pipe waits for who opens its other end.
    assert!(
        std::process::Command::new("mkfifo").args([&asked, &signed]).status().unwrap().success()
    );
    let command = format!("cat > {asked}; cat {signed}");
    let wallet = std::thread::spawn(move || {
        let signature = key.sign(&fs::read_to_string(asked).unwrap());
        fs::write(signed, HEXLOWER.encode(&signature)).unwrap();
    });
    let more = ["--account", &account, "--sign-with", &command];
    says_that_it_is_full(&relay.init(&folder.join("alice"), &more));
    wallet.join().unwrap();
}

/// S18: folders that the program makes are for their owner only, and secrets in them too; of others
/// it says so.
#[cfg(unix)]
#[test]
fn folders_are_for_their_owner_only() {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let folder = Folder::new();
    let relay = Relay::start(&folder);
    relay.init(&folder.join("deep/alice"), &[]);
    let stage = folder.join("stage");
    done(&["demo", "--dir", &stage, "--messages", "1", "--people", "2"]);
    let mode = |path: &str| fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
    for path in ["relay", "deep", "deep/alice", "stage"] {
        assert_eq!(mode(path), 0o700, "{path}");
    }
    let inside: Vec<_> = fs::read_dir(stage).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(inside.len() >= 3, "{inside:?}");
    for path in inside {
        assert_eq!(mode(path.to_str().unwrap()), 0o700, "{path:?}");
    }
    for path in ["relay/certificate.pem", "relay/relay.redb", "deep/alice/conclave.redb"] {
        assert_eq!(mode(path), 0o600, "{path}");
    }
    let open = folder.join("open");
    fs::DirBuilder::new().mode(0o755).create(&open).unwrap();
    let (address, fingerprint) = (&relay.address, &relay.fingerprint);
    let warned = ["init", "--relay", address, "--fingerprint", fingerprint, "--data", &open];
    let warned = done(&warned);
    assert!(warned.err.contains("chmod 700"), "{warned:?}");
    assert_eq!(mode("open"), 0o755, "what others made is left as it is");
    // An address that this machine does not have: it ends at once.
    let warned = run(&["relay", "--listen", "192.0.2.1:1", "--data", &open]);
    assert!(warned.err.contains("chmod 700"), "{warned:?}");
    let quiet = run(&["relay", "--listen", "192.0.2.1:1", "--data", &folder.join("mine")]);
    assert!(!quiet.err.contains("chmod"), "{quiet:?}");
}

/// The data folder can be named before the command as well, and by one name everywhere.
#[test]
fn the_data_folder_can_be_named_before_the_command() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let data = folder.join("relay");
    let relay = ["--data", &data, "relay", "--listen", "127.0.0.1:0", "--json"];
    let running = Running::start(&relay);
    let said: Value = serde_json::from_str(&running.line()).unwrap();
    assert!(fs::exists(folder.join("relay/relay.redb")).unwrap());
    let (address, fingerprint) = (said["address"].as_str(), said["fingerprint"].as_str());
    let (address, fingerprint) = (address.unwrap(), fingerprint.unwrap());
    let init = ["--data", &alice, "init", "--relay", address, "--fingerprint", fingerprint];
    done(&init);
    let inbox = done(&["whoami", "--json", "--data", &alice]).out;
    assert_eq!(done(&["--data", &alice, "whoami", "--json"]).out, inbox);
    done(&["group", "--data", &alice, "create"]);
    assert_eq!(done(&["--data", &alice, "group", "list", "--json"]).json().len(), 1);
    assert!(done(&["--data", &alice, "store", "info"]).out.contains(&alice));
    // It would have no meaning there.
    let refused = run(&["--data", &alice, "demo", "--messages", "1"]);
    assert_eq!(refused.code(), 2, "{refused:?}");
    assert!(refused.err.contains("--dir"), "{refused:?}");
}
