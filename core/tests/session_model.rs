//! A session between owners and a service that both do whatever they like.
#![allow(
    clippy::type_complexity,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use conclave_core::{
    delivery::{Delivery, PublishOutcome, TopicPage, Transmit, TransportError, Watch},
    session::{Action, CallId, Session, SessionLimits},
};
use conclave_proto::{
    Cursor, GroupId, Record, Seq, Timestamp, Topic, TransmitId, record::transmit_id,
    relay::PageLimit,
};
use proptest::prelude::*;

const TOPICS: u8 = 3;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// R4, R8, scenario 84: whatever is lost, doubled, reordered or refused on the way, owners get
    /// every record once and in order, and envelopes of a topic are stored once and in order.
    #[test]
    fn every_record_arrives_once_and_in_order(
        script in proptest::collection::vec((0_u8..16, any::<u8>(), any::<u8>()), 0..400),
        seed in any::<u8>(),
    ) {
        let mut model = Model::new(seed);
        for (op, one, two) in script {
            model.step(op, one, two);
            model.pump();
        }
        model.calm();
    }
}

struct Model {
    session: Session,
    now: Timestamp,
    logs: BTreeMap<Topic, Vec<Record>>,
    owners: BTreeMap<Topic, Owner>,
    /// What each topic was asked to publish, in order.
    sent: BTreeMap<Topic, Vec<TransmitId>>,
    unsettled: BTreeSet<TransmitId>,
    watched: BTreeMap<Topic, Seq>,
    on_the_way: Vec<Delivery>,
    subscribed: bool,
    fetches: Vec<(CallId, Vec<(Topic, Cursor)>, PageLimit)>,
    publishes: Vec<(CallId, Vec<Transmit>)>,
    payloads: u32,
}

#[derive(Default)]
struct Owner {
    cursor: Option<Cursor>,
    with: Option<Vec<Record>>,
}

impl Owner {
    fn cursor(&self) -> Cursor {
        self.cursor.unwrap_or(Cursor::START)
    }
}

fn topic(number: u8) -> Topic {
    Topic::Group(GroupId([number % TOPICS; 16]))
}

impl Model {
    fn new(seed: u8) -> Self {
        let mut limits = SessionLimits::default();
        limits.held_records = 4;
        limits.fetch_topics = 2;
        limits.batch_envelopes = 3;
        limits.calls = 2;
        let mut session = Session::new(limits, [seed; 32]);
        for number in 0..TOPICS {
            session.watch(topic(number), Cursor::START);
        }
        let all = || (0..TOPICS).map(topic);
        let mut model = Self {
            session,
            now: Timestamp(1_790_000_000_000),
            logs: all().map(|topic| (topic, Vec::new())).collect(),
            owners: all().map(|topic| (topic, Owner::default())).collect(),
            sent: all().map(|topic| (topic, Vec::new())).collect(),
            unsettled: BTreeSet::new(),
            watched: BTreeMap::new(),
            on_the_way: Vec::new(),
            subscribed: false,
            fetches: Vec::new(),
            publishes: Vec::new(),
            payloads: 0,
        };
        model.pump();
        model
    }

    fn step(&mut self, op: u8, one: u8, two: u8) {
        match op {
            0 | 1 => {
                self.payloads += 1;
                let payload = [b"other", &self.payloads.to_be_bytes()[..]].concat();
                self.append(&topic(one), payload);
            }
            2 => self.send(&topic(one), two % 4),
            3..=5 => self.arrive(one, false),
            6 => self.arrive(one, true),
            7 if !self.on_the_way.is_empty() => {
                let index = usize::from(one) % self.on_the_way.len();
                // Records and heads may be lost on the way, echoes of marks may not.
                if !matches!(self.on_the_way[index], Delivery::CaughtUp(_)) {
                    self.on_the_way.remove(index);
                }
            }
            8 | 9 => self.answer_fetch(one, two),
            10 | 11 => self.answer_publish(one, two),
            12 | 13 => self.handle(&topic(one), two),
            14 if one < 40 => self.break_off(),
            _ => self.now = self.now.plus_ms(u64::from(one) * 20),
        }
    }

    fn append(&mut self, topic: &Topic, payload: Vec<u8>) -> Seq {
        let log = self.logs.get_mut(topic).unwrap();
        if let Some(stored) = log.iter().find(|record| record.payload == payload) {
            return stored.seq;
        }
        let head = log.last().map_or(Cursor::START, Record::cursor);
        let seq = Seq(head.seq.0 + 1 + u64::from(log.len() % 3 == 2));
        let record = Record::chained(topic, seq, head.seq, &head.hash, payload);
        log.push(record.clone());
        if self.subscribed && self.watched.contains_key(topic) {
            self.on_the_way.push(Delivery::Record(topic.clone(), record));
        }
        seq
    }

    fn send(&mut self, topic: &Topic, count: u8) {
        let mut batch = Vec::new();
        for _ in 0..count {
            self.payloads += 1;
            let payload = [b"own", &self.payloads.to_be_bytes()[..]].concat();
            let id = transmit_id(topic, &payload);
            self.sent.get_mut(topic).unwrap().push(id);
            self.unsettled.insert(id);
            batch.push(Transmit { topic: topic.clone(), id, expect: None, payload });
        }
        // Asked for twice, queued once.
        self.session.publish(GroupId([0; 16]), batch.clone());
        self.session.publish(GroupId([0; 16]), batch);
    }

    fn arrive(&mut self, which: u8, twice: bool) {
        if self.on_the_way.is_empty() {
            return;
        }
        let index = usize::from(which) % self.on_the_way.len();
        let delivery = self.on_the_way[index].clone();
        if !twice {
            self.on_the_way.remove(index);
        }
        self.session.handle_delivery(delivery);
    }

    fn answer_fetch(&mut self, which: u8, how: u8) {
        if self.fetches.is_empty() {
            return;
        }
        let index = usize::from(which) % self.fetches.len();
        let (call, after, limit) = self.fetches.remove(index);
        if how.is_multiple_of(5) {
            self.session.handle_pages(self.now, call, Err(TransportError::NO_ANSWER));
            return;
        }
        let mut left = usize::from(how % 7 + 1).min(limit.records as usize);
        let mut pages = Vec::new();
        for (topic, from) in after {
            let log = &self.logs[&topic];
            let behind: Vec<_> = log.iter().filter(|record| record.seq > from.seq).collect();
            let records: Vec<Record> = behind.iter().take(left).copied().cloned().collect();
            left -= records.len();
            let more = records.len() < behind.len();
            let head = log.last().map_or(Cursor::START, Record::cursor);
            if head.seq > from.seq {
                pages.push(TopicPage { topic, records, head, more, signed: None });
            }
        }
        self.session.handle_pages(self.now, call, Ok(pages));
    }

    /// The service stores a batch, or a part of it up to some failure in each topic.
    fn answer_publish(&mut self, which: u8, how: u8) {
        if self.publishes.is_empty() {
            return;
        }
        let index = usize::from(which) % self.publishes.len();
        let (call, batch) = self.publishes.remove(index);
        let mut failed = BTreeSet::new();
        let mut outcomes = Vec::new();
        for (index, transmit) in batch.into_iter().enumerate() {
            if failed.contains(&transmit.topic) {
                outcomes.push(PublishOutcome::Behind);
                continue;
            }
            let fails = how.is_multiple_of(4) && index >= usize::from(how / 4 % 5);
            if fails && how.is_multiple_of(8) {
                failed.insert(transmit.topic);
                outcomes.push(PublishOutcome::not_stored(Duration::ZERO));
                continue;
            }
            let seq = self.append(&transmit.topic, transmit.payload);
            let prev = Seq(seq.0 - 1);
            outcomes.push(PublishOutcome::Accepted { seq, prev });
        }
        if how % 4 == 1 {
            // Stored, but nobody heard.
            outcomes.fill(PublishOutcome::Unknown);
        }
        self.session.handle_published(self.now, call, outcomes);
    }

    /// An owner goes on: with all it was given, with a part, or not at all.
    fn handle(&mut self, topic: &Topic, how: u8) {
        let owner = self.owners.get_mut(topic).unwrap();
        let Some(records) = owner.with.take() else { return };
        let count = match how % 6 {
            0 => 0,
            1 => records.len() / 2,
            _ => records.len(),
        };
        for record in &records[..count] {
            owner.cursor = Some(record.cursor());
        }
        let parked = how % 6 <= 1 && how >= 128;
        self.session.handled(self.now, topic, owner.cursor(), parked);
    }

    fn break_off(&mut self) {
        self.subscribed = false;
        self.on_the_way.clear();
        self.watched.clear();
        self.session.handle_unsubscribed(self.now, &TransportError::NO_ANSWER);
    }

    fn pump(&mut self) {
        for _ in 0..1_000 {
            let Some(action) = self.session.poll(self.now) else { return };
            match action {
                Action::Subscribe => self.subscribed = true,
                Action::Watch(change) => self.watch(change),
                Action::Fetch { call, after, limit } => self.fetches.push((call, after, limit)),
                Action::Publish { call, batch } => self.take_publish(call, batch),
                Action::Deliver { topic, records } => self.take_records(&topic, records),
                Action::Outcome { id, .. } => {
                    assert!(self.unsettled.remove(&id), "each envelope is settled once");
                }
                Action::CaughtUp | Action::Unreachable => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("the session does not come to rest");
    }

    fn watch(&mut self, change: Watch) {
        match change {
            Watch::Add(topics) => {
                for (topic, from) in topics {
                    let head = self.logs[&topic].last().map_or(Seq(0), |record| record.seq);
                    if head > from {
                        let head = Delivery::Head { topic: topic.clone(), seq: head };
                        self.on_the_way.push(head);
                    }
                    self.watched.insert(topic, from);
                }
            }
            Watch::Remove(_) => panic!("nothing is let go of"),
            Watch::Mark(mark) => self.on_the_way.push(Delivery::CaughtUp(mark)),
        }
    }

    fn take_publish(&mut self, call: CallId, batch: Vec<Transmit>) {
        for transmit in &batch {
            let others = self.publishes.iter().flat_map(|(_, batch)| batch);
            let topics: Vec<_> = others.map(|other| &other.topic).collect();
            assert!(!topics.contains(&&transmit.topic), "one call of a topic at a time");
        }
        self.publishes.push((call, batch));
    }

    fn take_records(&mut self, topic: &Topic, records: Vec<Record>) {
        let owner = self.owners.get_mut(topic).unwrap();
        assert!(owner.with.is_none(), "one batch at a time");
        let mut cursor = owner.cursor();
        for record in &records {
            assert!(record.follows(topic, cursor.seq, &cursor.hash), "no hole and nothing twice");
            cursor = record.cursor();
        }
        owner.with = Some(records);
    }

    fn is_read(&self) -> bool {
        let read = |(topic, log): (&Topic, &Vec<Record>)| {
            self.owners[topic].cursor() == log.last().map_or(Cursor::START, Record::cursor)
        };
        self.logs.iter().all(read)
    }

    /// From here on everything works; everybody gets everything.
    fn calm(&mut self) {
        // What was lost on the way is said by a head, as a service has to.
        for (topic, log) in &self.logs {
            if let Some(last) = log.last() {
                self.on_the_way.push(Delivery::Head { topic: topic.clone(), seq: last.seq });
            }
        }
        for _ in 0..2_000 {
            self.pump();
            while !self.on_the_way.is_empty() {
                self.arrive(0, false);
            }
            while !self.fetches.is_empty() {
                self.answer_fetch(0, 6);
            }
            while !self.publishes.is_empty() {
                self.answer_publish(0, 2);
            }
            for number in 0..TOPICS {
                self.handle(&topic(number), 5);
            }
            self.pump();
            // A parked owner is idle too, until it is its turn again.
            if self.session.is_idle() && self.on_the_way.is_empty() && self.is_read() {
                break;
            }
            self.now = self.session.next_timeout().unwrap_or(self.now).max(self.now);
        }
        assert!(self.session.is_idle(), "it comes to rest: {:?}", self.session);
        assert!(self.unsettled.is_empty(), "every envelope is settled");
        for (topic, log) in &self.logs {
            let head = log.last().map_or(Cursor::START, Record::cursor);
            assert_eq!(self.owners[topic].cursor(), head, "every owner has read everything");
            let own = log.iter().filter(|record| self.sent[topic].contains(&record.id));
            let stored: Vec<_> = own.map(|record| record.id).collect();
            assert_eq!(stored, self.sent[topic], "stored once, in the order given");
        }
    }
}
