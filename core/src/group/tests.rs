//! What needs the MLS library: that a group asks its parts, and puts the library back where a rule
//! says so. Everything with more than two people runs in the simulations.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

use conclave_proto::{
    Cursor, Envelope, EnvelopeKind, Epoch, Mark, Record, Seq, Timestamp, Topic,
    codec::Wire,
    group::Policy,
    message::Payload,
    record::{chain_hash, transmit_id},
};

use super::{
    Candidate, Group, GroupConfig, GroupRecords, Standing,
    fixture::{NOW, inbox, installation, payload, person},
};
use crate::{
    config::Limits,
    delivery::{PublishOutcome, Transmit},
    entropy::{Entropy, EntropyError, EntropySource},
    event::{Event, Parked, Rejection},
    installation::Installation,
    keyring::{Gathered, KeyRing, VerifiedPackage, WelcomeOutcome},
    mls::Mls,
    padding,
    step::{Committer, Released, Step},
    store::{Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write},
};

/// S5: an installation that joined by a Welcome renews its keys within a day, once. A founder shares
/// its leaf key with no other group.
#[test]
fn only_a_joiner_renews_its_keys_by_time_and_only_once() {
    let mut log = Log::default();
    let founder = Device::founder();
    assert_eq!(founder.group.next_timeout(), None);
    let (alice, mut bob) = pair(&mut log, founder);
    assert!(alice.group.last_path_update().is_some());
    let due = bob.group.next_timeout().unwrap();
    assert!(due > NOW && due <= NOW.plus_ms(Limits::default().join_update_ms));
    let early = bob.timeout(Timestamp(due.0 - 1));
    assert_eq!(early.effects.transmits, []);
    let renewed = bob.timeout(due);
    assert_eq!(renewed.effects.transmits.len(), 1);
    assert_eq!(bob.group.pending_intents().count(), 1);
    // While that commit is on its way, nothing is due but publishing it again.
    assert_eq!(bob.group.next_timeout(), Some(due.plus_ms(Limits::default().republish_ms)));
    assert_eq!(bob.timeout(due).effects.transmits, []);
    log.publish(&renewed.effects.transmits);
    bob.read(&log);
    assert_eq!(bob.group.last_path_update(), Some(NOW));
    assert!(bob.group.next_timeout().is_none_or(|due| due > NOW.plus_ms(86_400_000)));
}

/// A Welcome is published when the relay has the body that it names, and `Unknown` settles neither.
#[test]
fn a_group_publishes_a_welcome_after_its_body() {
    let (mut log, mut alice) = (Log::default(), Device::founder());
    let ring = ring(2);
    let added = alice.add(&ring);
    log.publish(&added);
    let body = alice.read(&log).effects.transmits;
    assert!(matches!(&body[..], [Transmit { topic: Topic::Blob(_), .. }]));
    for outcome in [PublishOutcome::Unknown, PublishOutcome::Unknown] {
        assert_eq!(alice.answer(&body[0], &outcome), []);
        assert_eq!(alice.group.unsettled(), body);
    }
    let pointer = alice.answer(&body[0], &accepted(1));
    assert!(matches!(&pointer[..], [Transmit { topic: Topic::Welcome(_), .. }]));
    assert_eq!(alice.answer(&pointer[0], &PublishOutcome::Unknown), []);
    assert_eq!(alice.group.unsettled(), pointer);
    alice.answer(&pointer[0], &accepted(1));
    assert!(alice.group.is_settled());
}

/// G14: the content of a counter that was received is refused although it is encrypted anew, also
/// after a restart.
#[test]
fn a_counter_that_is_sent_twice_is_refused_after_a_restart() {
    let mut log = Log::default();
    let (mut alice, mut bob) = pair(&mut log, Device::founder());
    log.append(alice.rogue_message(&payload(1)));
    assert!(matches!(bob.read(&log).effects.events[..], [Event::Message { .. }]));
    bob.restart();
    let again = log.append(alice.rogue_message(&payload(1)));
    assert_eq!(bob.read(&log).effects.events, [rejected(&bob, &again, Rejection::Duplicate)]);
}

/// A message that is decrypted in search of evidence is received at its position all the same: the
/// search uses up no key.
#[test]
fn a_message_that_was_evidence_is_received_afterwards() {
    let mut log = Log::default();
    let (mut alice, mut bob) = pair(&mut log, Device::founder());
    let commit = log.append(b"a commit that bob cannot follow".to_vec());
    let step = bob.park(commit.seq);
    bob.drive(step);
    assert_eq!(bob.read(&log).reply.parked, Some(Parked::Undecidable));
    let read = commit.cursor();
    log.append(alice.rogue_message(&Payload { read, ..payload(1) }));
    let Released { effects, reply } = bob.read(&log);
    assert_eq!((reply.parked, reply.count), (None, 2));
    assert!(effects.events.contains(&Event::Resumed { group: bob.group.id() }));
    assert!(matches!(effects.events.last(), Some(Event::Message { own: false, .. })));
    assert_eq!(bob.group.standing(), Standing::Member);
}

/// G6: a commit whose path this installation alone cannot decrypt is never passed over, for the
/// others may follow it. Here the private keys of the path are lost.
#[test]
fn a_commit_that_only_this_installation_cannot_read_parks_it() {
    let mut log = Log::default();
    let (mut alice, mut bob) = pair(&mut log, Device::founder());
    let step = alice.group.update_keys(NOW).unwrap();
    log.publish(&alice.drive(step).effects.transmits);
    bob.disk.lose_path_keys();
    bob.restart();
    let (cursor, epoch) = (bob.group.cursor(), bob.group.epoch());
    let Released { effects, reply } = bob.read(&log);
    assert_eq!((reply.count, reply.parked), (0, Some(Parked::Undecidable)));
    let reason = Parked::Undecidable;
    assert_eq!(effects.events, [Event::Parked { group: bob.group.id(), reason }]);
    assert_eq!((bob.group.cursor(), bob.group.epoch()), (cursor, epoch));
    bob.restart();
    assert_eq!(bob.group.standing().parked(), Some(reason));
}

/// E2: where the library fails while a group's first records are made, none of them is stored.
#[test]
fn a_group_that_is_half_made_has_nothing_to_store() {
    let mut made = Device::founder();
    made.group.store_everything();
    assert!(made.group.take_first_writes().is_some_and(|writes| !writes.is_empty()));
    made.group.store_everything();
    made.group.draft.broken = true;
    assert!(made.group.take_first_writes().is_none());
}

/// S4: who was removed keeps no secrets of past epochs, in memory or in the store.
#[test]
fn the_secrets_of_past_epochs_go_with_the_membership() {
    let mut log = Log::default();
    let (mut alice, mut bob) = pair(&mut log, Device::founder());
    let old = alice.rogue_message(&payload(1));
    let step = alice.group.update_keys(NOW).unwrap();
    log.publish(&alice.drive(step).effects.transmits);
    alice.read(&log);
    bob.read(&log);
    assert_eq!(bob.group.epoch(), Epoch(2));
    let step = alice.group.remove(NOW, vec![inbox(2)]).unwrap();
    log.publish(&alice.drive(step).effects.transmits);
    alice.read(&log);
    assert_eq!(bob.read(&log).reply.parked, Some(Parked::Removal));
    assert!(bob.can_decrypt(&old));
    log.append(alice.rogue_message(&payload(2)));
    let events = bob.read(&log).effects.events;
    assert!(events.contains(&Event::Removed { group: bob.group.id() }));
    assert!(!bob.can_decrypt(&old));
    bob.restart();
    assert!(bob.group.standing().is_removed() && !bob.can_decrypt(&old));
}

/// E1: the parts of a group are tested without the MLS library because they know nothing of it.
#[test]
fn the_parts_of_a_group_do_not_name_the_mls_library() {
    let parts = [
        include_str!("commits.rs"),
        include_str!("draft.rs"),
        include_str!("envelope.rs"),
        include_str!("epochs.rs"),
        include_str!("intents.rs"),
        include_str!("outbox.rs"),
        include_str!("outbox/entry.rs"),
        include_str!("plan.rs"),
        include_str!("renewal.rs"),
        include_str!("roster.rs"),
        include_str!("standing.rs"),
        include_str!("timeline.rs"),
    ];
    for part in parts {
        assert!(!part.contains("mls::") && !part.contains("openmls"));
    }
}

struct Device {
    group: Group,
    disk: Disk,
    committer: Committer,
    seed: u8,
}

impl Device {
    /// Person 1, with a group of its own.
    fn founder() -> Self {
        let config = GroupConfig { policy: Policy::OPEN, post_quantum: true };
        let (identity, limits) = (person(1).1, Limits::default());
        let step = Group::create(NOW, config, identity, own(1), limits, entropy(1)).unwrap();
        let (disk, mut committer) = (Disk::default(), Committer::new(Claim([1; 16])));
        let group = committer.drive(&disk, step).unwrap().reply;
        Self { group, disk, committer, seed: 1 }
    }

    fn drive<T>(&mut self, step: Step<T>) -> Released<T> {
        self.committer.drive(&self.disk, step).unwrap()
    }

    fn restart(&mut self) {
        let id = self.group.id();
        let records = GroupRecords::read(&self.disk, id).unwrap().unwrap();
        let (limits, entropy) = (Limits::default(), entropy(self.seed));
        self.group = Group::load(&records, id, own(self.seed), limits, entropy, 9).unwrap();
    }

    fn read(&mut self, log: &Log) -> Released<super::Taken> {
        let cursor = self.group.cursor().seq;
        let batch: Vec<Record> =
            log.records.iter().filter(|record| record.seq > cursor).cloned().collect();
        let step = self.group.handle_records(NOW, &batch);
        self.drive(step)
    }

    fn timeout(&mut self, now: Timestamp) -> Released {
        let step = self.group.handle_timeout(now);
        self.drive(step)
    }

    fn answer(&mut self, transmit: &Transmit, outcome: &PublishOutcome) -> Vec<Transmit> {
        let step = self.group.handle_publish(NOW, transmit.id, outcome);
        self.drive(step).effects.transmits
    }

    /// Adds the owner of a key ring, person 2.
    fn add(&mut self, ring: &KeyRing) -> Vec<Transmit> {
        let package =
            VerifiedPackage::check(NOW, inbox(2), installation(102), &ring.upload().bytes);
        let packages = vec![package.unwrap()];
        let candidate = Candidate { inbox: inbox(2), log: vec![person(2).0], packages };
        let step = self.group.add(NOW, vec![candidate]).unwrap();
        self.drive(step).effects.transmits
    }

    /// An envelope with any payload, which the group itself knows nothing of.
    fn rogue_message(&mut self, payload: &Payload) -> Vec<u8> {
        self.group.begin().unwrap();
        let message = self.group.mls.encrypt(&padding::pad(&payload.encode())).unwrap();
        let kind = EnvelopeKind::Mls(message);
        Envelope { mark: Mark([0; 16]), beacon: None, kind }.encode()
    }

    fn park(&mut self, at: Seq) -> Step {
        self.group.begin().unwrap();
        self.group.park(NOW, at, Vec::new());
        self.group.end(())
    }

    fn can_decrypt(&mut self, envelope: &[u8]) -> bool {
        let (_, message) = Envelope::decode_group(envelope).unwrap();
        self.group.begin().unwrap();
        let decrypts = self.group.mls.process(Mls::parse(&message).unwrap()).is_ok();
        self.group.mls.rollback().unwrap();
        decrypts
    }
}

/// A founder, and person 2 that it has added; both have read the log.
fn pair(log: &mut Log, mut alice: Device) -> (Device, Device) {
    let mut ring = ring(2);
    let added = alice.add(&ring);
    log.publish(&added);
    let body = alice.read(log).effects.transmits.remove(0);
    let pointer = alice.answer(&body, &accepted(1)).remove(0);
    alice.answer(&pointer, &accepted(1));
    let gathered = Gathered {
        commit: log.records.last().cloned(),
        body: Some(body.payload),
        inviter_log: vec![person(1).0],
        held: None,
    };
    let record = record(&pointer.topic, Cursor::START, pointer.payload);
    let step = ring.handle_welcome(NOW, &record, Some(&gathered));
    let (disk, mut committer) = (Disk::default(), Committer::new(Claim([2; 16])));
    let WelcomeOutcome::Joined(group) = committer.drive(&disk, step).unwrap().reply else {
        panic!("not joined")
    };
    (alice, Device { group: *group, disk, committer, seed: 2 })
}

fn ring(seed: u8) -> KeyRing {
    let step = KeyRing::create(NOW, own(seed), Limits::default(), entropy(seed), 1).unwrap();
    let (disk, mut committer) = (Disk::default(), Committer::new(Claim([3; 16])));
    committer.drive(&disk, step).unwrap().reply
}

fn own(seed: u8) -> Arc<Installation> {
    Arc::new(Installation::new(inbox(seed), [seed + 100; 32], [seed; 32]))
}

const fn accepted(seq: u64) -> PublishOutcome {
    PublishOutcome::Accepted { seq: Seq(seq), prev: Seq(seq - 1) }
}

const fn rejected(device: &Device, record: &Record, reason: Rejection) -> Event {
    Event::Rejected { group: device.group.id(), seq: record.seq, reason }
}

#[derive(Default)]
struct Log {
    topic: Option<Topic>,
    records: Vec<Record>,
}

impl Log {
    fn publish(&mut self, transmits: &[Transmit]) {
        for transmit in transmits {
            self.topic.get_or_insert_with(|| transmit.topic.clone());
            self.append(transmit.payload.clone());
        }
    }

    fn append(&mut self, payload: Vec<u8>) -> Record {
        let head = self.records.last().map_or(Cursor::START, Record::cursor);
        let record = record(self.topic.as_ref().unwrap(), head, payload);
        self.records.push(record.clone());
        record
    }
}

fn record(topic: &Topic, prev: Cursor, payload: Vec<u8>) -> Record {
    let (seq, id) = (Seq(prev.seq.0 + 1), transmit_id(topic, &payload));
    let hash = chain_hash(&prev.hash, seq, &id, &payload);
    Record { seq, prev: prev.seq, id, hash, payload }
}

/// Counts; two sources never give the same bytes.
struct Counting(u8, u64);

fn entropy(seed: u8) -> Entropy {
    Entropy::new(Box::new(Counting(seed, 0)))
}

impl EntropySource for Counting {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError> {
        self.1 += 1;
        out[0] = self.0;
        out[1..9].copy_from_slice(&self.1.to_be_bytes());
        Ok(())
    }

    fn child(&self, _: &str, _: &[u8]) -> Box<dyn EntropySource> {
        Box::new(Self(self.0 + 100, 0))
    }
}

/// How the library's records of this kind are told from others: the number is stored, so it is
/// never used for anything else.
const EPOCH_KEY_PAIRS: u8 = 10;

#[derive(Default)]
struct Disk(Mutex<BTreeMap<(Table, Key), Vec<u8>>>);

impl Disk {
    /// Loses the private keys of the tree, which the library stores for each epoch.
    fn lose_path_keys(&self) {
        let mut all = self.0.lock().unwrap();
        let before = all.len();
        all.retain(|(table, key), _| {
            // The class of the library's records, head or piece, and the kind.
            let of_kind =
                |order: &[u8]| matches!(order, [crate::mls::RECORDS, _, EPOCH_KEY_PAIRS, ..]);
            *table != Table::Group || !of_kind(key.order())
        });
        assert!(all.len() < before);
    }
}

impl Store for Disk {
    fn claim(&self, _: Claim) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit(&self, _: Claim, writes: &[Write]) -> Result<(), StoreError> {
        let mut all = self.0.lock().unwrap();
        for write in writes.iter().cloned() {
            match write {
                Write::Put { table, key, value } => {
                    all.insert((table, key), value);
                }
                Write::Delete { table, key } => {
                    all.remove(&(table, key));
                }
                Write::DeleteScope { table, scope } => {
                    all.retain(|(other, key), _| *other != table || key.scope() != scope);
                }
            }
        }
        Ok(())
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.lock().unwrap().get(&(table, key.clone())).cloned())
    }

    /// Whole scopes forward: a group is loaded by nothing else.
    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        assert_eq!((range.from, range.to, direction), (None, None, Direction::Forward));
        let (all, scope) = (self.0.lock().unwrap(), range.scope.unwrap());
        let found = all.iter().filter(|((of, key), _)| *of == table && key.scope() == scope);
        for ((_, key), value) in found {
            if visit(key.as_bytes(), value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn limits(&self) -> StoreLimits {
        StoreLimits::UNLIMITED
    }
}
