//! A scripted service.

use std::time::Duration;

use conclave_core::{
    delivery::{Delivery, PublishOutcome, TopicPage, Transmit, TransportError},
    session::{Action, CallId, Session, SessionLimits},
};
use conclave_proto::{Cursor, GroupId, Record, Seq, Timestamp, Topic, record::transmit_id};

pub(crate) const START: Timestamp = Timestamp(1_790_000_000_000);
pub(crate) const HOUR_MS: u64 = 3_600_000;
pub(crate) const OWNER: GroupId = GroupId([7; 16]);

pub(crate) fn topic(number: u8) -> Topic {
    Topic::Group(GroupId([number; 16]))
}

/// A log of so many records.
pub(crate) fn records(number: u8, count: u64) -> Vec<Record> {
    let mut cursor = Cursor::START;
    let record = |seq: u64| {
        let payload = [&[number][..], &seq.to_be_bytes()].concat();
        let record = Record::chained(&topic(number), Seq(seq), cursor.seq, &cursor.hash, payload);
        cursor = record.cursor();
        record
    };
    (1..=count).map(record).collect()
}

pub(crate) fn record(record: &Record) -> Delivery {
    Delivery::Record(topic(1), record.clone())
}

pub(crate) fn head(seq: u64) -> Delivery {
    Delivery::Head { topic: topic(1), seq: Seq(seq) }
}

pub(crate) fn page(records: &[Record], last: &Record, more: bool) -> TopicPage {
    page_of(&topic(1), records, last, more)
}

pub(crate) fn page_of(topic: &Topic, records: &[Record], last: &Record, more: bool) -> TopicPage {
    let (topic, records, head) = (topic.clone(), records.to_vec(), last.cursor());
    TopicPage { topic, records, head, more, signed: None }
}

pub(crate) fn envelopes(number: u8, count: u8) -> Vec<Transmit> {
    let one = |n| {
        let (topic, payload) = (topic(number), vec![n]);
        Transmit { id: transmit_id(&topic, &payload), topic, expect: None, payload }
    };
    (0..count).map(one).collect()
}

pub(crate) fn at(seq: u64) -> PublishOutcome {
    PublishOutcome::Accepted { seq: Seq(seq), prev: Seq(seq - 1) }
}

pub(crate) fn unavailable(ms: u64) -> TransportError {
    TransportError::Unavailable { retry_after: Duration::from_millis(ms) }
}

/// A session that watches topic 1 and has caught up.
pub(crate) fn connected() -> Session {
    connected_with(SessionLimits::default())
}

pub(crate) fn connected_with(limits: SessionLimits) -> Session {
    let mut session = Session::new(limits, [1; 32]);
    session.watch(topic(1), Cursor::START);
    let actions = drain(&mut session, START);
    assert!(subscribes(&actions));
    session.handle_delivery(Delivery::CaughtUp(1));
    assert_eq!(drain(&mut session, START), [Action::CaughtUp]);
    session
}

pub(crate) fn drain(session: &mut Session, now: Timestamp) -> Vec<Action> {
    std::iter::from_fn(|| session.poll(now)).take(100_000).collect()
}

pub(crate) fn subscribes(actions: &[Action]) -> bool {
    actions.contains(&Action::Subscribe)
}

/// The places of the records that owners are given.
pub(crate) fn delivered(actions: &[Action]) -> Vec<u64> {
    let records = actions.iter().flat_map(|action| match action {
        Action::Deliver { records, .. } => records.clone(),
        _ => Vec::new(),
    });
    records.map(|record| record.seq.0).collect()
}

pub(crate) fn settled(actions: &[Action]) -> Vec<conclave_proto::TransmitId> {
    let ids = actions.iter().filter_map(|action| match action {
        Action::Outcome { id, .. } => Some(*id),
        _ => None,
    });
    ids.collect()
}

pub(crate) fn fetch_of(actions: &[Action]) -> Option<(CallId, Vec<(Topic, Cursor)>)> {
    actions.iter().find_map(|action| match action {
        Action::Fetch { call, after, .. } => Some((*call, after.clone())),
        _ => None,
    })
}

pub(crate) fn publish_of(actions: &[Action]) -> Option<(CallId, Vec<Transmit>)> {
    actions.iter().find_map(|action| match action {
        Action::Publish { call, batch } => Some((*call, batch.clone())),
        _ => None,
    })
}
