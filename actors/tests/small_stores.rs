//! Engines over stores that take only small values, keys and batches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use conclave::{
    AccountKey, Builder, Engine, EngineLimits, Error, GroupConfig, GroupHandle, InboxId, MessageId,
    OpenError, Seq,
    core::{
        config::STORE_NEEDS,
        store::{
            Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
        },
    },
    proto::message::Body,
};
use conclave_conformance::faulty_store::{Fault, Faulty};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use conclave_store_memory::MemoryStore;

/// A document store with values of 64 KiB.
const DOCUMENTS: StoreLimits = StoreLimits {
    key_bytes: 128,
    value_bytes: 64 * 1024,
    batch_writes: 100,
    batch_bytes: 1024 * 1024,
};

/// Scenario 128: a message of 100 KB over a store with values of 64 KiB.
#[test]
fn a_message_larger_than_the_values_of_a_store_is_sent_and_read_again() {
    let relay = relay();
    let store = MemoryStore::with_limits(DOCUMENTS);
    let engine = registered(builder(&relay).store(store.clone())).0;
    let group = engine.create_group(GroupConfig::default()).wait().unwrap();
    group.send(vec![7; 100_000]).wait().unwrap();
    group.settled().wait().unwrap();
    engine.shut_down();

    let engine = builder(&relay).store(store).open().unwrap();
    let group = engine.group(group.id()).unwrap();
    assert_eq!(contents(&group), [vec![7; 100_000]]);
}

/// E5: a group whose steps have more writes and bytes than the least store takes at once.
#[test]
fn a_group_larger_than_the_batches_of_a_store_is_created_joined_and_read_again() {
    let relay = relay();
    let stores: Vec<_> = (0..8).map(|_| MemoryStore::with_limits(StoreLimits::FLOOR)).collect();
    let people: Vec<(Engine, InboxId)> =
        stores.iter().map(|store| registered(builder(&relay).store(store.clone()))).collect();
    let group = people[0].0.create_group(GroupConfig::default()).wait().unwrap();
    let others: Vec<InboxId> = people[1..].iter().map(|(_, inbox)| *inbox).collect();
    group.add(&others).wait().unwrap();
    group.settled().wait().unwrap();
    group.send("welcome").wait().unwrap();
    group.settled().wait().unwrap();
    for (engine, _) in &people {
        engine.sync().wait().unwrap();
        assert_eq!(contents(&engine.group(group.id()).unwrap()), [b"welcome".to_vec()]);
        engine.shut_down();
    }
    for store in stores {
        let engine = builder(&relay).store(store).open().unwrap();
        let group = engine.group(group.id()).unwrap();
        assert_eq!(contents(&group), [b"welcome".to_vec()]);
    }
}

/// Scenario 119: a store that refuses one commit, at every commit of a send in turn, with the
/// chunked layer over it and without.
#[test]
fn a_store_that_refuses_one_commit_of_a_send_loses_no_message() {
    for limits in [StoreLimits::UNLIMITED, DOCUMENTS] {
        let relay = relay();
        let store = Faulty::new(MemoryStore::with_limits(limits));
        let engine = registered(builder(&relay).store(store.clone())).0;
        let group = engine.create_group(GroupConfig::default()).wait().unwrap();
        group.settled().wait().unwrap();
        let (mut sent, mut refusals) = (Vec::new(), 0);
        for call in 0..12 {
            store.restart();
            store.fail_at(call, Fault::Refuse(StoreError::Unavailable));
            let content = vec![u8::try_from(call).unwrap(); 100_000];
            refusals += send(&group, &content);
            group.settled().wait().unwrap();
            store.restart();
            sent.push(content);
        }
        assert!(refusals > 0, "some faults met the commit of a send");
        assert_eq!(contents(&group), sent);
        engine.shut_down();
    }
}

/// A store that is too small even for the chunked layer is refused, and nothing is written to it.
#[test]
fn a_store_that_cannot_hold_an_engine_is_refused() {
    let relay = relay();
    let too_small = [
        StoreLimits { key_bytes: StoreLimits::FLOOR.key_bytes - 1, ..StoreLimits::FLOOR },
        StoreLimits { value_bytes: StoreLimits::FLOOR.value_bytes - 1, ..StoreLimits::FLOOR },
        StoreLimits { batch_writes: StoreLimits::FLOOR.batch_writes - 1, ..StoreLimits::FLOOR },
        StoreLimits { batch_bytes: StoreLimits::FLOOR.batch_bytes - 1, ..StoreLimits::FLOOR },
    ];
    for limits in too_small {
        let store = MemoryStore::with_limits(limits);
        let refused = builder(&relay).store(store.clone()).open().unwrap_err();
        assert!(matches!(&refused, OpenError::StoreTooSmall(of) if *of == limits), "{refused:?}");
        let shown = refused.to_string();
        assert!(shown.contains(&limits.value_bytes.to_string()), "{shown}");
        assert_eq!(store.commit(Claim([0; 16]), &[]), Err(StoreError::Fenced), "nobody claimed it");
        assert!(store.digest_input().is_empty());
    }
    let least = MemoryStore::with_limits(StoreLimits::FLOOR);
    builder(&relay).store(least).open().unwrap().shut_down();
}

/// A backend may state other limits after an update. The engine goes on in the form in which the
/// store was written, and does not take it for an empty one.
#[test]
fn a_store_keeps_the_form_of_its_first_record() {
    let relay = relay();
    let small = Limited(MemoryStore::new(), DOCUMENTS);
    let (engine, inbox) = registered(builder(&relay).store(small.clone()));
    engine.shut_down();
    let larger = Limited(small.0, StoreLimits::UNLIMITED);
    let engine = builder(&relay).store(larger).open().unwrap();
    assert_eq!(engine.inbox(), Some(inbox));
    engine.shut_down();

    let large = Limited(MemoryStore::new(), STORE_NEEDS);
    registered(builder(&relay).store(large.clone())).0.shut_down();
    let smaller = Limited(large.0, DOCUMENTS);
    let refused = builder(&relay).store(smaller).open().unwrap_err();
    assert!(matches!(refused, OpenError::StoreTooSmall(DOCUMENTS)), "{refused:?}");
}

/// A store that takes what an engine needs holds its records as they are, so others who know the
/// keys can look at them.
#[test]
fn a_store_that_is_large_enough_is_used_as_it_is() {
    let relay = relay();
    let store = MemoryStore::with_limits(STORE_NEEDS);
    let engine = registered(builder(&relay).store(store.clone())).0;
    let group = engine.create_group(GroupConfig::default()).wait().unwrap();
    engine.shut_down();
    assert!(conclave::core::group::GroupRecords::read(&store, group.id()).unwrap().is_some());
}

type Relay = Arc<Host<RelayStore>>;

fn relay() -> Relay {
    let logs = Logs::in_memory(&Founding::from_random(&[7; 48]), RelayLimits::default()).unwrap();
    let service = Service::new(RelayStore::start(logs).unwrap(), RelayLimits::default());
    Arc::new(Host::new(service, HostLimits::default()))
}

fn builder(relay: &Relay) -> Builder {
    let mut limits = EngineLimits::default();
    limits.session.trouble_ms = 5;
    Engine::builder().delivery(relay.local()).limits(limits)
}

fn registered(builder: Builder) -> (Engine, InboxId) {
    let engine = builder.open().unwrap();
    let inbox = engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
    engine.sync().wait().unwrap();
    (engine, inbox)
}

/// Sends until it is stored, under one key; returns how many times it was refused.
fn send(group: &GroupHandle, content: &[u8]) -> usize {
    let sent = |_: &usize| -> Result<MessageId, Error> {
        group.send_once([content[0]; 16], content).wait()
    };
    (0..10).find(|attempt| sent(attempt).is_ok()).expect("one refusal ends no group")
}

fn contents(group: &GroupHandle) -> Vec<Vec<u8>> {
    let messages = group.messages(Seq(0), usize::MAX).unwrap();
    let bodies = messages.into_iter().map(|(_, message)| message.body);
    bodies.map(|Body::Content(content)| content).collect()
}

/// Memory that states any limits.
#[derive(Clone)]
struct Limited(MemoryStore, StoreLimits);

impl Store for Limited {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        self.0.claim(claim)
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        self.1.check(writes)?;
        self.0.commit(claim, writes)
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.0.scan(table, range, direction, visit)
    }

    fn limits(&self) -> StoreLimits {
        self.1
    }
}
