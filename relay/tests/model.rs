//! Anything that can be done to the logs, against a model that is a vector per topic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::kit;

use std::collections::BTreeMap;

use conclave_proto::{
    Cursor, Record, Seq, Topic,
    relay::{PageLimit, PublishOutcome},
};
use conclave_relay::{Append, Call, Done, Job, Logs, ReadError, RelayLimits};
use kit::{NOW, append, founding, group};
use proptest::prelude::*;
use tempfile::tempdir;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// R4, R8: appends of several callers with and without expectations, retries, reads, trims and
    /// reopenings: the logs do what the model does.
    #[test]
    fn the_logs_do_what_the_model_does(ops in prop::collection::vec(op(), 1..40)) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("logs");
        let mut limits = RelayLimits::default();
        limits.trim_records = 2;
        let mut logs = Logs::create_or_open(&path, &founding(), limits.clone()).unwrap();
        let mut model = Model::default();
        for op in ops {
            match op {
                Op::Append(calls) => check_appends(&logs, &mut model, &calls),
                Op::Read(after, limit) => check_read(&logs, &model, after, limit),
                Op::Trim(topic, upto) => {
                    let first = model.trim(&group(topic), upto);
                    prop_assert_eq!(logs.trim(&group(topic), Seq(upto)), Ok(Seq(first)));
                }
                Op::Reopen => {
                    drop(logs);
                    logs = Logs::open(&path, limits.clone()).unwrap();
                }
                Op::Settle => logs.settle().unwrap(),
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Calls of one commit; of each item the topic, what is in it, and the expectation, counted
    /// from the head.
    Append(Vec<Vec<(u8, u8, Option<i8>)>>),
    /// Where readers of three topics stand, counted back from the head.
    Read([u64; 3], PageLimit),
    Trim(u8, u64),
    Reopen,
    Settle,
}

/// Few topics and payloads, so that retries, conflicts and full pages are common.
fn op() -> impl Strategy<Value = Op> {
    let item = (0..3_u8, 0..24_u8, prop::option::weighted(0.3, -1..2_i8));
    let call = prop::collection::vec(item, 0..6);
    let limit = (1..8_u32, 1..300_u32).prop_map(|(records, bytes)| PageLimit { records, bytes });
    prop_oneof![
        6 => prop::collection::vec(call, 1..4).prop_map(Op::Append),
        4 => (any::<[u8; 3]>(), limit)
            .prop_map(|(back, limit)| Op::Read(back.map(|back| u64::from(back % 8)), limit)),
        1 => (0..3_u8, 0..20_u64).prop_map(|(topic, upto)| Op::Trim(topic, upto)),
        1 => Just(Op::Reopen),
        1 => Just(Op::Settle),
    ]
}

/// What the logs are supposed to be.
#[derive(Default)]
struct Model {
    logs: BTreeMap<Topic, ModelLog>,
}

#[derive(Default)]
struct ModelLog {
    /// Everything ever appended, trimmed or not.
    records: Vec<Record>,
    trimmed: usize,
}

impl ModelLog {
    fn left(&self) -> &[Record] {
        &self.records[self.trimmed..]
    }

    fn head(&self) -> Cursor {
        self.records.last().map_or(Cursor::START, Record::cursor)
    }
}

impl Model {
    fn log(&mut self, topic: &Topic) -> &mut ModelLog {
        self.logs.entry(topic.clone()).or_default()
    }

    fn append(&mut self, item: &Append) -> PublishOutcome {
        let log = self.log(&item.topic);
        if let Some(found) = log.left().iter().find(|record| record.id == item.id) {
            return PublishOutcome::Accepted { seq: found.seq, prev: found.prev };
        }
        let Cursor { seq: prev, hash } = log.head();
        if item.expect.is_some_and(|expected| expected != prev) {
            return PublishOutcome::Conflict { head: prev };
        }
        let seq = Seq(prev.0 + 1);
        log.records.push(Record::chained(&item.topic, seq, prev, &hash, item.payload.clone()));
        PublishOutcome::Accepted { seq, prev }
    }

    fn call(&mut self, items: &[Append]) -> Vec<PublishOutcome> {
        let mut refused = Vec::new();
        let mut outcomes = Vec::new();
        for item in items {
            let outcome = if refused.contains(&&item.topic) {
                PublishOutcome::Behind
            } else {
                self.append(item)
            };
            if !outcome.is_accepted() {
                refused.push(&item.topic);
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    fn trim(&mut self, topic: &Topic, upto: u64) -> u64 {
        let log = self.log(topic);
        let wanted = usize::try_from(upto).unwrap().min(log.records.len());
        log.trimmed = log.trimmed.max(wanted);
        log.trimmed as u64 + 1
    }
}

fn check_appends(logs: &Logs, model: &mut Model, calls: &[Vec<(u8, u8, Option<i8>)>]) {
    let mut items = Vec::new();
    for call in calls {
        let of = |&(topic, content, expect): &(u8, u8, Option<i8>)| {
            let item = append(&group(topic), &vec![content; 1 + usize::from(content) * 5]);
            let head = model.logs.get(&item.topic).map_or(0, |log| log.head().seq.0);
            let expect = expect.map(|off| Seq(head.saturating_add_signed(i64::from(off))));
            Append { expect, ..item }
        };
        items.push(call.iter().map(of).collect::<Vec<_>>());
    }
    let jobs = items.iter().map(|call| Job::Append(Call::check(call.clone()))).collect();
    for (done, call) in logs.commit(jobs).into_iter().zip(&items) {
        assert_eq!(done, Done::Appended(model.call(call)));
    }
}

fn check_read(logs: &Logs, model: &Model, back: [u64; 3], limit: PageLimit) {
    let empty = ModelLog::default();
    let of = |(topic, back): (u8, u64)| {
        let topic = group(topic);
        let log = model.logs.get(&topic).unwrap_or(&empty);
        let seq = log.head().seq.0.saturating_sub(back);
        let read = usize::try_from(seq).unwrap();
        let cursor = read.checked_sub(1).map_or(Cursor::START, |last| log.records[last].cursor());
        (topic, cursor)
    };
    let after: Vec<_> = (0..3).zip(back).map(of).collect();
    let moved = logs.heads(&after.iter().map(|(t, c)| (t.clone(), c.seq)).collect::<Vec<_>>());
    let pages = logs.read(NOW, &after, limit);
    let behind = after.iter().find_map(|(topic, cursor)| {
        let first = model.logs.get(topic)?.trimmed as u64 + 1;
        (cursor.seq.0 + 1 < first).then(|| (topic.clone(), Seq(first)))
    });
    if let Some((topic, first)) = behind {
        assert_eq!(pages, Err(ReadError::Truncated { topic, first }));
        return;
    }
    let (mut pages, mut moved) = (pages.unwrap().into_iter(), moved.unwrap().into_iter());
    let (mut records, mut bytes, mut given) = (limit.records as usize, limit.bytes as usize, 0);
    for (topic, cursor) in after {
        let log = model.logs.get(&topic).unwrap_or(&empty);
        if log.head() == cursor {
            continue;
        }
        assert_eq!(moved.next().unwrap(), (topic.clone(), log.head()));
        let behind = &log.records[usize::try_from(cursor.seq.0).unwrap()..];
        let mut fits = 0;
        for record in behind {
            if records == 0 || (record.payload.len() > bytes && given > 0) {
                records = 0;
                break;
            }
            (records, bytes) = (records - 1, bytes.saturating_sub(record.payload.len()));
            (fits, given) = (fits + 1, given + 1);
        }
        let page = pages.next().unwrap();
        assert_eq!((&page.topic, page.head), (&topic, log.head()));
        assert_eq!(page.records, behind[..fits]);
        assert_eq!(page.more, fits < behind.len());
    }
    assert!(pages.next().is_none() && moved.next().is_none());
}
