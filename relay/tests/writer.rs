//! Many callers at once, and the end of the writer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::kit;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

use conclave_proto::{
    Cursor, Record, Seq, Topic,
    relay::{PageLimit, PublishOutcome},
};
use conclave_relay::{LogStore, Logs, RelayLimits, RelayStore};
use kit::{NOW, append, block_on, everything, founding, group, in_memory, seq_of};
use tempfile::tempdir;

/// What a caller is told for whom there is no room, or no writer.
fn busy() -> PublishOutcome {
    PublishOutcome::NotStored { retry_ms: RelayLimits::default().retry_ms }
}

/// G6, R4, scenario 80: of 1,000 appends at once with the same expectation one is stored; the
/// others hear where the log stands.
#[test]
fn of_a_thousand_appends_with_one_expectation_one_wins() {
    let store = RelayStore::start(in_memory()).unwrap();
    let topic = group(1);
    let barrier = Barrier::new(50);
    let outcomes: Vec<_> = thread::scope(|threads| {
        let threads: Vec<_> = (0..50_u8)
            .map(|thread| {
                let (store, topic, barrier) = (&store, &topic, &barrier);
                threads.spawn(move || {
                    barrier.wait();
                    let all: Vec<_> = (0..20_u8)
                        .map(|number| append(topic, &[thread, number]).expecting(Seq(0)))
                        .map(|item| store.append(vec![item]))
                        .collect();
                    all.into_iter().map(|one| block_on(one)[0]).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.len(), 1_000);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_accepted()).count(), 1);
    let conflict = PublishOutcome::Conflict { head: Seq(1) };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == conflict).count(), 999);
    assert_eq!(everything(store.logs(), &topic).len(), 1);
}

/// R4, scenario 81: while eight writers append, readers that poll see every log grow at its end
/// only, and in the end have seen all of it.
#[test]
fn cursors_have_no_holes_that_fill_later() {
    const RECORDS: u32 = 300;
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs");
    let logs = Logs::create_or_open(path, &founding(), RelayLimits::default()).unwrap();
    let store = RelayStore::start(logs).unwrap();
    let topics = [group(1), group(2)];
    let done = AtomicBool::new(false);
    let seen = thread::scope(|threads| {
        let writers: Vec<_> = (0..8_u32)
            .map(|writer| {
                let (store, topics) = (&store, &topics);
                threads.spawn(move || {
                    for number in 0..RECORDS {
                        let payload = [writer.to_be_bytes(), number.to_be_bytes()].concat();
                        let topic = &topics[(number % 2) as usize];
                        seq_of(block_on(store.append(vec![append(topic, &payload)]))[0]);
                    }
                })
            })
            .collect();
        let readers: Vec<_> =
            (0..2).map(|_| threads.spawn(|| poll_until(&store, &topics, &done))).collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::SeqCst);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>()
    });
    for reader in seen {
        for (topic, seen) in topics.iter().zip(reader) {
            assert_eq!(seen.len(), (8 * RECORDS / 2) as usize);
            assert!(seen == everything(store.logs(), topic), "a record was passed over");
        }
    }
}

/// Reads from its cursors on, never back, until the writers are done and nothing is left.
fn poll_until(store: &RelayStore, topics: &[Topic; 2], done: &AtomicBool) -> Vec<Vec<Record>> {
    let mut seen = vec![Vec::new(); 2];
    let mut after: Vec<_> = topics.iter().map(|topic| (topic.clone(), Cursor::START)).collect();
    loop {
        let was_done = done.load(Ordering::SeqCst);
        let limit = PageLimit { records: 7, bytes: 10_000 };
        let pages = block_on(store.read(NOW, after.clone(), limit)).unwrap();
        if was_done && pages.is_empty() {
            return seen;
        }
        for page in pages {
            let index = topics.iter().position(|topic| *topic == page.topic).unwrap();
            for record in page.records {
                let (topic, cursor) = &mut after[index];
                assert!(record.follows(topic, cursor.seq, &cursor.hash), "no hole, one chain");
                *cursor = record.cursor();
                seen[index].push(record);
            }
        }
    }
}

/// R4: what is heard live is in the order of each log, and is durable: a read sees it already.
#[test]
fn the_listener_hears_the_logs_in_order_while_many_append() {
    let store = RelayStore::start(in_memory()).unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    store.listen(Box::new(move |records| ear.lock().unwrap().extend_from_slice(records)));
    let topic = group(1);
    thread::scope(|threads| {
        for writer in 0..4_u8 {
            let (store, topic) = (&store, &topic);
            threads.spawn(move || {
                for number in 0..100_u8 {
                    seq_of(block_on(store.append(vec![append(topic, &[writer, number])]))[0]);
                }
            });
        }
    });
    let heard: Vec<_> = heard.lock().unwrap().drain(..).map(|(_, record)| record).collect();
    assert_eq!(heard, everything(store.logs(), &topic));
}

/// R4: callers that wait together share a commit, each with its own answer.
#[test]
fn what_waits_together_is_committed_together() {
    let (store, gate) = gated(RelayLimits::default());
    let topic = group(2);
    let waiting: Vec<_> = (0..100_u8)
        .map(|number| store.append(vec![append(&topic, &[number])]))
        .map(Polled::new)
        .collect();
    gate.send(()).unwrap();
    for (answer, place) in waiting.into_iter().zip(1..) {
        assert_eq!(seq_of(answer.wait()[0]), Seq(place));
    }
    assert_eq!(store.logs().stats().unwrap().commits, 2);
}

/// R6: a full queue says so at once instead of growing, by calls and by bytes.
#[test]
fn a_full_queue_takes_nothing_more() {
    let mut limits = RelayLimits::default();
    (limits.queue_calls, limits.queue_bytes) = (3, 10_000);
    let (store, gate) = gated(limits);
    let topic = group(2);
    let put =
        |number: u8, bytes| Polled::new(store.append(vec![append(&topic, &vec![number; bytes])]));
    let first = put(0, 6_000);
    assert_eq!(put(1, 6_000).wait(), [busy()]);
    let more = [put(2, 10), put(3, 10)];
    assert_eq!(put(4, 10).wait(), [busy()]);
    gate.send(()).unwrap();
    assert!(first.wait()[0].is_accepted());
    assert!(more.into_iter().all(|answer| answer.wait()[0].is_accepted()));
    assert!(put(5, 9_000).wait()[0].is_accepted(), "there is room again");
    assert!(put(6, 20_000).wait()[0].is_accepted(), "a long call alone passes");
}

/// R6: closing finishes what was accepted, refuses what comes later, and loses nothing.
#[test]
fn closing_finishes_what_was_accepted() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs");
    let topic = group(1);
    let logs = Logs::create_or_open(&path, &founding(), RelayLimits::default()).unwrap();
    let store = RelayStore::start(logs).unwrap();
    let waiting: Vec<_> = (0..200_u8)
        .map(|number| Polled::new(store.append(vec![append(&topic, &[number])])))
        .collect();
    store.close();
    store.close();
    assert!(waiting.into_iter().all(|answer| answer.wait()[0].is_accepted()));
    let late = block_on(store.append(vec![append(&topic, b"late")]));
    assert_eq!(late, [busy()]);
    assert_eq!(everything(store.logs(), &topic).len(), 200, "reading goes on");
    drop(store);
    let logs = Logs::open(&path, RelayLimits::default()).unwrap();
    assert_eq!(everything(&logs, &topic).len(), 200);
}

/// R6: dropping the last clone is closing; the file is free then.
#[test]
fn dropping_the_last_clone_closes() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs");
    let logs = Logs::create_or_open(&path, &founding(), RelayLimits::default()).unwrap();
    let store = RelayStore::start(logs).unwrap();
    let answer = Polled::new(store.append(vec![append(&group(1), b"last")]));
    drop(answer);
    drop(store.clone());
    drop(store);
    let logs = Logs::open(&path, RelayLimits::default()).unwrap();
    assert_eq!(everything(&logs, &group(1)).len(), 1, "an abandoned call is done all the same");
}

/// R6: if the writer dies, nobody waits for ever, and nobody is told that nothing happened.
#[test]
fn nobody_waits_for_a_dead_writer() {
    let (store, gate) = gated(RelayLimits::default());
    let waiting = Polled::new(store.append(vec![append(&group(2), b"waits")]));
    drop(gate);
    assert_eq!(waiting.wait(), [PublishOutcome::Unknown]);
    store.close();
    let late = block_on(store.append(vec![append(&group(2), b"late")]));
    assert_eq!(late, [busy()]);
}

/// A store whose writer stands still behind its first commit until the gate opens, and dies if
/// the gate is dropped.
fn gated(limits: RelayLimits) -> (RelayStore, mpsc::Sender<()>) {
    let store = RelayStore::start(Logs::in_memory(&founding(), limits).unwrap()).unwrap();
    let (gate, opens) = mpsc::channel();
    let (reached, at_the_gate) = mpsc::channel();
    let (opens, calls) = (Mutex::new(opens), AtomicUsize::new(0));
    store.listen(Box::new(move |_| {
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            reached.send(()).unwrap();
            opens.lock().unwrap().recv().expect("the gate opens");
        }
    }));
    drop(Polled::new(store.append(vec![append(&group(1), b"first")])));
    at_the_gate.recv().unwrap();
    (store, gate)
}

/// A future that was polled once, so that what it asks for is under way.
struct Polled<'a, T> {
    future: conclave_core::bounds::BoxFuture<'a, T>,
    early: Option<T>,
}

impl<'a, T> Polled<'a, T> {
    fn new(mut future: conclave_core::bounds::BoxFuture<'a, T>) -> Self {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let early = match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        };
        Self { future, early }
    }

    fn wait(self) -> T {
        match self.early {
            Some(value) => value,
            None => block_on(self.future),
        }
    }
}
