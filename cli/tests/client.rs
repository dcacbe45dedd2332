//! A relay and people, each a process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::support;
use conclave::proto::identity::hex;

use std::{fs, time::Duration};

use conclave::core::identity::WalletKey;
use serde_json::Value;
use support::{Folder, Relay, Running, done, run, unread};

fn texts(data: &str, group: &str) -> Vec<String> {
    let read = done(&["read", group, "--json", "--data", data]);
    read.json().iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// Alice's group with Bob in it.
fn group_of_two(relay: &Relay, alice: &str, bob: &str) -> String {
    relay.init(alice, &[]);
    let inbox = relay.init(bob, &[]);
    let created = done(&["group", "create", "--json", "--data", alice]);
    let group = created.json()[0]["group"].as_str().unwrap().to_owned();
    done(&["group", "add", &group[..6], &inbox, "--data", alice]);
    group
}

/// R1, R4: each command is a process of its own; what one has sent the other reads, in the same
/// order, also over a restart of the relay on its folder.
#[test]
fn two_people_talk_and_the_relay_remembers() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let group = group_of_two(&relay, &alice, &bob);
    done(&["send", &group[..6], "good morning", "--data", &alice]);
    assert_eq!(texts(&bob, &group[..6]), ["good morning"]);
    done(&["send", &group, "to you as well", "--data", &bob]);
    done(&["keys", &group, "--data", &alice]);
    done(&["send", &group, "with new keys", "--data", &alice]);
    let all = ["good morning", "to you as well", "with new keys"];
    assert_eq!(texts(&alice, &group), all);
    assert_eq!(texts(&bob, &group), all);
    let (address, fingerprint) = (relay.address.clone(), relay.fingerprint.clone());
    drop(relay);
    let data = folder.join("relay");
    let again = Running::start(&["relay", "--listen", &address, "--data", &data, "--json"]);
    let said: Value = serde_json::from_str(&again.line()).unwrap();
    assert_eq!(said["fingerprint"], fingerprint.as_str());
    done(&["send", &group, "after a restart", "--data", &bob]);
    assert_eq!(texts(&alice, &group).last().unwrap(), "after a restart");
}

/// I4: the same account on another device is the same inbox, and is added by its name again.
#[test]
fn a_second_device_of_an_account_belongs_to_the_same_inbox() {
    let folder = Folder::new();
    let (alice, bob, phone) = (folder.join("alice"), folder.join("bob"), folder.join("phone"));
    let relay = Relay::start(&folder);
    let group = group_of_two(&relay, &alice, &bob);
    let key = folder.join("bob/account.key");
    let inbox = relay.init(&phone, &["--account-key", &key]);
    assert_eq!(done(&["whoami", "--json", "--data", &bob]).json()[0]["inbox"], inbox.as_str());
    done(&["group", "add", &group, &inbox, "--data", &alice]);
    done(&["send", &group, "to all of your devices", "--data", &alice]);
    assert_eq!(texts(&bob, &group), ["to all of your devices"]);
    assert_eq!(texts(&phone, &group), ["to all of your devices"]);
    let members = done(&["group", "members", &group, "--json", "--data", &alice]).json();
    let bobs = members.iter().find(|it| it["inbox"] == inbox.as_str()).unwrap();
    assert_eq!(bobs["installations"].as_array().unwrap().len(), 2);
}

/// G17: who was removed reads nothing more, and is told so.
#[test]
fn whoever_is_removed_reads_nothing_more() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let group = group_of_two(&relay, &alice, &bob);
    done(&["send", &group, "before", "--data", &alice]);
    let inbox = done(&["whoami", "--json", "--data", &bob]).json()[0]["inbox"].clone();
    done(&["group", "remove", &group, &inbox.as_str().unwrap()[..8], "--data", &alice]);
    done(&["send", &group, "after", "--data", &alice]);
    assert_eq!(texts(&bob, &group), ["before"]);
    let shown = done(&["group", "show", &group, "--json", "--data", &bob]).json();
    assert_eq!(shown[0]["standing"], "removed");
    let sent = run(&["send", &group, "me too", "--data", &bob]);
    assert_eq!(sent.code(), 5, "{sent:?}");
}

/// `chat` prints what others write while it runs, and sends each line.
#[test]
fn chat_sends_lines_and_prints_those_of_others() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let group = group_of_two(&relay, &alice, &bob);
    let mut chat = Running::start(&["chat", &group, "--json", "--data", &bob]);
    done(&["send", &group, "are you there?", "--data", &alice]);
    chat.line_that(|line| line.contains("are you there?"));
    chat.write("yes");
    chat.line_that(|line| line.contains("\"yes\""));
    assert!(chat.ended().success());
    assert_eq!(texts(&alice, &group), ["are you there?", "yes"]);
}

/// Whoever was invited a moment ago can answer with the first command.
#[test]
fn somebody_who_was_just_invited_can_send_at_once() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    relay.init(&alice, &[]);
    let inbox = relay.init(&bob, &[]);
    let made = done(&["group", "create", "--json", "--data", &alice]).json();
    let group = made[0]["group"].as_str().unwrap();
    done(&["group", "add", group, &inbox, "--data", &alice]);
    done(&["send", group, "thank you", "--data", &bob]);
    assert_eq!(texts(&alice, group), ["thank you"]);
    let founder = done(&["whoami", "--json", "--data", &alice]).json()[0]["inbox"].clone();
    let removed = run(&["group", "remove", group, founder.as_str().unwrap(), "--data", &bob]);
    assert_eq!(removed.code(), 5, "{removed:?}");
}

/// A relay is found by its name as well, and goes by it from then on.
#[test]
fn a_relay_can_be_named() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let relay = Relay::start(&folder);
    let (_, port) = relay.address.rsplit_once(':').unwrap();
    let named = Relay { address: format!("localhost:{port}"), ..relay };
    named.init(&alice, &[]);
    let shown = done(&["whoami", "--json", "--data", &alice]).json();
    assert_eq!(shown[0]["relay"], named.address.as_str());
    done(&["group", "list", "--data", &alice]);
    let wrong = ["init", "--relay", "localhost", "--fingerprint", &named.fingerprint];
    let wrong = run(&wrong);
    assert_eq!(wrong.code(), 2);
    assert!(wrong.err.contains("a host and a port are needed"), "{wrong:?}");
}

/// An inbox lives at one relay so far: another one is not taken in its place, and says why.
#[test]
fn another_relay_is_not_taken_for_the_one_that_has_the_inbox() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let group = group_of_two(&relay, &alice, &bob);
    let other = Relay::start(&elsewhere);
    let (address, fingerprint) = (&other.address, &other.fingerprint);
    let args = ["init", "--relay", address, "--fingerprint", fingerprint, "--data", &alice];
    let moved = run(&args);
    assert_eq!(moved.code(), 4, "{moved:?}");
    assert!(moved.err.contains("does not have your inbox"), "{moved:?}");
    done(&["send", &group, "still there", "--data", &alice]);
}

/// Whoever made a folder with a key from elsewhere is asked for it again; no other one is made.
#[test]
fn a_folder_made_with_a_key_from_elsewhere_gets_no_other_key() {
    let folder = Folder::new();
    let (alice, key) = (folder.join("alice"), folder.join("key"));
    std::fs::write(&key, "5d".repeat(32)).unwrap();
    let relay = Relay::start(&folder);
    let inbox = relay.init(&alice, &["--account-key", &key]);
    let (address, fingerprint) = (&relay.address, &relay.fingerprint);
    let args = ["init", "--relay", address, "--fingerprint", fingerprint, "--data", &alice];
    let again = run(&args);
    assert_eq!(again.code(), 2, "{again:?}");
    assert!(again.err.contains("--account-key"), "{again:?}");
    assert!(!folder.path().join("alice/account.key").exists());
    assert_eq!(relay.init(&alice, &["--account-key", &key]), inbox);
}

/// A data folder that something is missing from is named, and nothing new is put in its place.
#[test]
fn a_broken_data_folder_is_said_to_be_broken() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let relay = Relay::start(&folder);
    relay.init(&alice, &[]);
    let settings = folder.path().join("alice/settings.json");
    let good = std::fs::read(&settings).unwrap();
    std::fs::write(&settings, "{").unwrap();
    let shown = run(&["whoami", "--data", &alice]);
    assert_eq!(shown.code(), 3, "{shown:?}");
    assert!(shown.err.contains("settings.json is damaged"), "{shown:?}");
    std::fs::write(&settings, good).unwrap();
    let store = folder.path().join("alice/conclave.redb");
    std::fs::remove_file(&store).unwrap();
    let shown = run(&["whoami", "--data", &alice]);
    assert_eq!(shown.code(), 3, "{shown:?}");
    assert!(!store.exists());
}

/// Behind `head` and the like the program ends without a word.
#[test]
fn nobody_has_to_read_what_is_printed() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let relay = Relay::start(&folder);
    relay.init(&alice, &[]);
    for args in [&["whoami", "--data", &alice][..], &["group", "list", "--data", &alice]] {
        done(&["group", "create", "--data", &alice]);
        let ended = unread(args);
        assert_eq!((ended.code(), ended.err.as_str()), (0, ""), "{args:?}");
    }
}

/// E8: events wait for whoever listens next, and each is told once.
#[test]
fn listening_tells_what_has_happened_meanwhile_and_what_happens() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let group = group_of_two(&relay, &alice, &bob);
    let listening = Running::start(&["listen", "--json", "--data", &bob]);
    listening.line_that(|line| line.contains("\"joined\"") && line.contains(&group));
    done(&["send", &group, "news", "--data", &alice]);
    listening.line_that(|line| line.contains("\"news\""));
}

/// E9: a folder has one program at a time, and the error says which one that is.
#[test]
fn a_second_process_on_a_data_folder_is_told_who_has_it() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let relay = Relay::start(&folder);
    relay.init(&alice, &[]);
    done(&["group", "create", "--data", &alice]);
    let groups = done(&["group", "list", "--json", "--data", &alice]).json();
    let group = groups[0]["group"].as_str().unwrap().to_owned();
    let mut chat = Running::start(&["chat", &group, "--json", "--data", &alice]);
    // It prints its own line: the folder is its.
    chat.write("mine");
    chat.line_that(|line| line.contains("mine"));
    let second = run(&["whoami", "--data", &alice]);
    assert_eq!(second.code(), 3, "{second:?}");
    let holder = format!("process {}", chat.id());
    assert!(second.err.contains(&holder), "{second:?}");
    let second = run(&["whoami", "--json", "--data", &alice]);
    assert_eq!(second.json()[0]["exit"], 3);

    let second = run(&["relay", "--listen", "127.0.0.1:0", "--data", &folder.join("relay")]);
    assert_eq!(second.code(), 3, "{second:?}");
    let holder = format!("process {}", relay.running.id());
    assert!(second.err.contains(&holder), "{second:?}");
}

/// What has been received is there to be looked at, and to be answered, without the relay.
#[test]
fn without_a_relay_groups_are_shown_and_chat_stores_what_is_written() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let group = group_of_two(&relay, &alice, &bob);
    done(&["send", &group, "before", "--data", &alice]);
    done(&["read", &group, "--data", &bob]);
    drop(relay);
    for args in [vec!["list"], vec!["members", &group], vec!["show", &group]] {
        let args = [vec!["group"], args, vec!["--json", "--data", &bob]].concat();
        assert!(!done(&[&args[..], &["--offline"]].concat()).json().is_empty());
        let asked = run(&[&args[..], &["--timeout", "1"]].concat());
        assert_eq!(asked.code(), 4, "{asked:?}");
        assert!(asked.out.contains("--offline"), "{asked:?}");
    }
    let mut chat = Running::start(&["chat", &group, "--json", "--timeout", "1", "--data", &bob]);
    chat.line_that(|line| line.contains("before"));
    chat.write("later");
    assert_eq!(chat.ended().code(), Some(4), "it could not be sent");
    let show = done(&["group", "show", &group, "--offline", "--json", "--data", &bob]);
    assert_eq!(show.json()[0]["unsettled"], 1, "{show:?}");
}

/// People are told in words, scripts in JSON; the tests above have the latter.
#[test]
fn listening_tells_people_what_concerns_them() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let group = group_of_two(&relay, &alice, &bob);
    let listening = Running::start(&["listen", "--data", &bob]);
    let line = listening.line();
    assert!(line.contains("you are in the group, invited by "), "{line}");
    done(&["send", &group, "news", "--data", &alice]);
    assert!(listening.line().ends_with("  news"), "joining renews keys, which concerns nobody");
}

/// S14: a relay with another certificate is not talked to, and the error says what to compare.
#[test]
fn a_wrong_fingerprint_is_a_clear_error() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let relay = Relay::start(&folder);
    let wrong = "00".repeat(32);
    let address = &relay.address;
    let args = ["init", "--relay", address, "--fingerprint", &wrong, "--data", &alice];
    let output = run(&args);
    assert_eq!(output.code(), 4, "{output:?}");
    assert!(output.err.contains("certificate is not the one that is trusted"), "{output:?}");
    assert!(output.err.contains("--fingerprint"), "{output:?}");
    // What was made so far is not in the way.
    relay.init(&alice, &[]);
}

/// Nothing is where nothing was made, and the error says what to do.
#[test]
fn a_folder_without_an_installation_and_an_unknown_group_are_clear_errors() {
    let folder = Folder::new();
    let nobody = run(&["group", "list", "--data", &folder.join("nobody")]);
    assert_eq!(nobody.code(), 3, "{nobody:?}");
    assert!(nobody.err.contains("conclave init"), "{nobody:?}");
    assert!(!folder.path().join("nobody").exists());
    let relay = Relay::start(&folder);
    relay.init(&folder.join("alice"), &[]);
    let unknown = run(&["read", "abcdef", "--data", &folder.join("alice")]);
    assert_eq!(unknown.code(), 5, "{unknown:?}");
    assert!(unknown.err.contains("group list"), "{unknown:?}");
}

/// E2, G5: a message to a relay that is not there is stored, and goes out later.
#[test]
fn a_message_without_a_relay_is_stored_and_goes_out_later() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let group = group_of_two(&relay, &alice, &bob);
    let address = relay.address.clone();
    drop(relay);
    let sent = run(&["send", &group, "patience", "--timeout", "1", "--data", &alice]);
    assert_eq!(sent.code(), 4, "{sent:?}");
    assert!(sent.err.contains("stored"), "{sent:?}");
    let data = folder.join("relay");
    let again = Running::start(&["relay", "--listen", &address, "--data", &data, "--json"]);
    again.line();
    done(&["send", &group, "at last", "--timeout", "60", "--data", &alice]);
    assert_eq!(texts(&bob, &group), ["patience", "at last"]);
}

/// I3: a command signs in the place of a wallet; what it does not sign changes nothing.
#[cfg(unix)]
#[test]
fn a_command_that_refuses_to_sign_makes_no_installation() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let relay = Relay::start(&folder);
    let account = format!("0x{}", "12".repeat(20));
    let (address, fingerprint) = (&relay.address, &relay.fingerprint);
    let asked = folder.join("text");
    let command = format!("cat > {asked}; exit 1");
    let mut args = vec!["init", "--relay", address, "--fingerprint", fingerprint];
    args.extend(["--data", &alice, "--account", &account, "--sign-with", &command]);
    let output = run(&args);
    assert_eq!(output.code(), 5, "{output:?}");
    let text = fs::read_to_string(asked).unwrap();
    assert!(text.contains("Conclave identity update") && text.contains(&account), "{text}");
    // Nothing was registered, so another account can have the folder.
    assert_eq!(run(&["whoami", "--data", &alice]).code(), 3);
    relay.init(&alice, &[]);
}

/// I3: a command that signs, with whatever a person needs to think about it, founds the inbox of its
/// account; the relay's directory knows it.
#[cfg(unix)]
#[test]
fn a_command_signs_in_the_place_of_a_wallet() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let key = WalletKey::from_bytes(&[9; 32]).unwrap();
    let account = format!("0x{}", hex(&key.account().key));
    let (asked, signed) = (folder.join("text"), folder.join("signature"));
    let command = format!(
        "cat > {asked}.part; mv {asked}.part {asked}; \
         while ! test -f {signed}; do sleep 0.01; done; cat {signed}"
    );
    let wallet = {
        let (asked, signed) = (asked.clone(), signed.clone());
        std::thread::spawn(move || {
            while !fs::exists(&asked).unwrap() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let signature = key.sign(&fs::read_to_string(asked).unwrap());
            fs::write(format!("{signed}.part"), hex(&signature)).unwrap();
            fs::rename(format!("{signed}.part"), signed).unwrap();
        })
    };
    let inbox = relay.init(&alice, &["--account", &account, "--sign-with", &command]);
    wallet.join().unwrap();
    let said = fs::read_to_string(asked).unwrap();
    assert!(said.contains(&account), "{said}");
    relay.init(&bob, &[]);
    let created = done(&["group", "create", "--json", "--data", &bob]);
    let group = created.json()[0]["group"].as_str().unwrap().to_owned();
    done(&["group", "add", &group, &account, "--data", &bob]);
    let members = done(&["group", "members", &group, "--json", "--data", &alice]).json();
    assert!(members.iter().any(|it| it["inbox"] == inbox.as_str()), "{members:?}");
}

/// An attempt with another relay, or the wrong fingerprint, leaves an installation as it was.
#[test]
fn a_failed_init_leaves_an_installation_as_it_was() {
    let folder = Folder::new();
    let alice = folder.join("alice");
    let relay = Relay::start(&folder);
    relay.init(&alice, &[]);
    let wrong = "ab".repeat(32);
    let attempts = [[relay.address.as_str(), &wrong], ["127.0.0.1:9", &relay.fingerprint]];
    for [address, fingerprint] in attempts {
        let attempt = ["init", "--data", &alice, "--relay", address, "--fingerprint", fingerprint];
        let output = run(&[&attempt[..], &["--timeout", "1"]].concat());
        assert_eq!(output.code(), 4, "{output:?}");
    }
    done(&["group", "create", "--data", &alice]);
    done(&["group", "list", "--data", &alice]);
    let odd = ["init", "--data", &alice, "--relay", &relay.address, "--fingerprint", "abc"];
    assert_eq!(run(&odd).code(), 2);
}

/// A name that was left empty, as by a script, means no group.
#[test]
fn a_name_that_is_too_short_means_nothing() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let group = group_of_two(&relay, &alice, &bob);
    for name in ["", &group[..3]] {
        assert_eq!(run(&["send", name, "to nobody", "--data", &alice]).code(), 5);
        assert_eq!(run(&["group", "remove", &group, name, "--data", &alice]).code(), 5);
    }
    done(&["send", &group[..4], "to somebody", "--data", &alice]);
}

/// The key of a wallet in a file founds the wallet's inbox; others find it by its address.
#[test]
fn a_wallet_key_founds_an_inbox_that_is_found_by_its_address() {
    let folder = Folder::new();
    let (alice, bob) = (folder.join("alice"), folder.join("bob"));
    let relay = Relay::start(&folder);
    let key = folder.join("wallet.hex");
    fs::write(&key, format!("{}\n", "07".repeat(32))).unwrap();
    relay.init(&alice, &[]);
    let inbox = relay.init(&bob, &["--wallet-key", &key]);
    let account = done(&["whoami", "--json", "--data", &bob]).json()[0]["account"].clone();
    let created = done(&["group", "create", "--json", "--data", &alice]);
    let group = created.json()[0]["group"].as_str().unwrap().to_owned();
    done(&["group", "add", &group, account.as_str().unwrap(), "--data", &alice]);
    let members = done(&["group", "members", &group, "--json", "--data", &bob]).json();
    assert!(members.iter().any(|it| it["inbox"] == inbox.as_str()), "{members:?}");
}

/// S18: secrets are for the owner of the folder only.
#[cfg(unix)]
#[test]
fn the_account_key_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let relay = Relay::start(&folder);
    relay.init(&folder.join("alice"), &[]);
    let mode = |path: &str| fs::metadata(folder.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("alice/account.key"), 0o600);
    assert_eq!(mode("alice/conclave.redb"), 0o600);
    assert_eq!(mode("alice"), 0o700);
}

/// R6: SIGTERM ends a relay cleanly.
#[cfg(unix)]
#[test]
fn a_relay_ends_cleanly_when_it_is_asked_to() {
    let folder = Folder::new();
    let relay = Relay::start(&folder);
    relay.init(&folder.join("alice"), &[]);
    let id = relay.running.id().to_string();
    let killed = std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap();
    assert!(killed.success());
    assert_eq!(relay.running.ended().code(), Some(0));
}
