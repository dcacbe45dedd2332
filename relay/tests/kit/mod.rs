//! What the tests of the relay share.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests, and each uses its part"
)]

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use conclave_proto::{
    Cursor, GroupId, Record, Seq, Timestamp, Topic,
    relay::{PageLimit, PublishOutcome},
};
use conclave_relay::{Append, Founding, Logs, RelayLimits};

pub(crate) const NOW: Timestamp = Timestamp(1_000);

pub(crate) fn founding() -> Founding {
    Founding::from_random(&[5; 48])
}

pub(crate) fn in_memory() -> Logs {
    Logs::in_memory(&founding(), RelayLimits::default()).unwrap()
}

pub(crate) fn group(number: u8) -> Topic {
    Topic::Group(GroupId([number; 16]))
}

pub(crate) fn append(topic: &Topic, payload: &[u8]) -> Append {
    Append::new(topic.clone(), payload.to_vec())
}

/// Appends one payload.
pub(crate) fn append_one(logs: &Logs, item: Append) -> PublishOutcome {
    logs.append(vec![item])[0]
}

/// Appends one payload that has to be accepted; gives its place.
pub(crate) fn stored(logs: &Logs, item: Append) -> Seq {
    seq_of(append_one(logs, item))
}

/// Everything in a log, read page by page, with the chain checked.
pub(crate) fn everything(logs: &Logs, topic: &Topic) -> Vec<Record> {
    follow(logs, topic, Cursor::START, PageLimit { records: 100, bytes: 100_000 })
}

/// Everything behind a cursor, with the chain checked.
pub(crate) fn follow(
    logs: &Logs,
    topic: &Topic,
    mut cursor: Cursor,
    limit: PageLimit,
) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let pages = logs.read(NOW, &[(topic.clone(), cursor)], limit).unwrap();
        let Some(page) = pages.into_iter().next() else {
            return all;
        };
        assert!(!page.more || !page.records.is_empty(), "a page that says more has something");
        for record in page.records {
            assert!(record.follows(topic, cursor.seq, &cursor.hash), "the chain holds");
            cursor = record.cursor();
            all.push(record);
        }
        if !page.more {
            assert_eq!(page.head, cursor);
            return all;
        }
    }
}

pub(crate) fn seq_of(outcome: PublishOutcome) -> Seq {
    let PublishOutcome::Accepted { seq, .. } = outcome else {
        panic!("not accepted: {outcome:?}");
    };
    seq
}

/// Waits for a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        thread::park();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
