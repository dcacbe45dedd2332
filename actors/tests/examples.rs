//! The examples run, and do what they say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, unused_qualifications)]
#![cfg(all(feature = "quic", feature = "redb", feature = "memory"))]

#[path = "../examples/custom_store/main.rs"]
mod custom_store;
#[path = "../examples/custom_transport.rs"]
mod custom_transport;
#[path = "../examples/echo_bot.rs"]
mod echo_bot;
#[path = "../examples/own_delivery/main.rs"]
mod own_delivery;
#[path = "../examples/two_people.rs"]
mod two_people;

use std::sync::Arc;

use conclave::{AccountKey, Engine, Event, EventCursor, GroupConfig, InboxId, Told};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use conclave_store_memory::MemoryStore;

#[test]
fn two_people_talk() {
    two_people::main().unwrap();
}

#[test]
fn a_store_of_ones_own_keeps_a_group_over_a_restart() {
    custom_store::main().unwrap();
}

/// E6: a link that loses, over which the same protocol works.
#[test]
fn frames_are_carried_by_hand() {
    custom_transport::main().unwrap();
}

/// E6: without a relay, over a delivery service of a page or two.
#[test]
fn a_delivery_service_of_ones_own_carries_a_group() {
    own_delivery::main().unwrap();
}

#[test]
fn the_bot_answers_each_message_once_also_after_a_restart() {
    let logs = Logs::in_memory(&Founding::from_random(&[7; 48]), RelayLimits::default()).unwrap();
    let service = Service::new(RelayStore::start(logs).unwrap(), RelayLimits::default());
    let relay = Arc::new(Host::new(service, HostLimits::default()));
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("bot");

    // Its first life: it has nothing to answer, and is only there to be invited.
    echo_bot::run(relay.local(), &folder, 0).unwrap();
    let account = AccountKey::in_file(folder.join("account.key")).unwrap();
    let account = conclave::AccountSigner::account(&account);
    let inbox = InboxId::derive(&account.identifier(), 0);

    let alice = Engine::builder().store(MemoryStore::new()).delivery(relay.local()).open().unwrap();
    alice.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
    let group = alice.create_group(GroupConfig::default()).wait().unwrap();
    let mut answers = alice.events(EventCursor(0));
    // The bot may need a moment of life to publish its key package.
    let bot = {
        let (relay, folder) = (relay.local(), folder.clone());
        std::thread::spawn(move || echo_bot::run(relay, &folder, 2).map_err(|e| e.to_string()))
    };
    while group.add(&[inbox]).wait().is_err() {
        std::thread::yield_now();
    }
    for number in 0..2 {
        group.send(format!("{number}")).wait().unwrap();
    }
    bot.join().unwrap().unwrap();
    let again = {
        let (relay, folder) = (relay.local(), folder.clone());
        std::thread::spawn(move || echo_bot::run(relay, &folder, 1).map_err(|e| e.to_string()))
    };
    group.send("2").wait().unwrap();
    again.join().unwrap().unwrap();
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let told = answers.wait_event().unwrap().unwrap();
        if let Told::Event(_, Event::Message { seq, own: false, .. }) = told {
            let found = group.messages(conclave::Seq(seq.0 - 1), 1).unwrap();
            let conclave::proto::message::Body::Content(content) = &found[0].1.body;
            heard.push(String::from_utf8(content.clone()).unwrap());
        }
    }
    assert_eq!(heard, ["you said: 0", "you said: 1", "you said: 2"]);
}
