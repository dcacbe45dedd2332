//! How many durable appends of 1 KiB a second, by how many are in flight; and what asking for the
//! heads of 10,000 logs takes.
//!
//! `cargo run --release -p conclave-relay --example append_rate [folder]`
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a tool to look at figures")]

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use conclave_proto::{GroupId, Seq, Topic};
use conclave_relay::{Append, Founding, LogStore, Logs, RelayLimits, RelayStore};

const TOPICS: u64 = 1_000;
const RUN: Duration = Duration::from_secs(4);

fn main() {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for in_flight in [1, 64, 256] {
        let path = folder.join(format!("append-rate-{}-{in_flight}", std::process::id()));
        measure(&path, in_flight);
        let _ = std::fs::remove_file(&path);
    }
    heads_of_ten_thousand(&folder.join(format!("heads-{}", std::process::id())));
}

fn measure(path: &Path, in_flight: u64) {
    let logs = Logs::create_or_open(path, &Founding::from_random(&[1; 48]), RelayLimits::default());
    let store = RelayStore::start(logs.unwrap()).unwrap();
    let (number, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let began = Instant::now();
    // Few threads with many waiting futures each, as a server would have.
    let workers: Vec<_> = (0..in_flight.min(4))
        .map(|worker| {
            let (store, number, done) = (store.clone(), Arc::clone(&number), Arc::clone(&done));
            let mine = in_flight / in_flight.min(4);
            thread::spawn(move || work(worker, mine, &store, &number, &done))
        })
        .collect();
    thread::sleep(RUN);
    done.store(true, Ordering::Relaxed);
    let mut waits: Vec<Duration> = workers.into_iter().flat_map(|w| w.join().unwrap()).collect();
    let seconds = began.elapsed().as_secs_f64();
    let stats = store.logs().stats().unwrap();
    drop(store);
    waits.sort_unstable();
    let appended = stats.appended as f64;
    println!(
        "{in_flight:>4} in flight: {:>8.0} appends/s, {:>6.1} appends/commit, p50 {:>5.2} ms, p99 {:>6.2} ms, {:>6.0} file bytes/append",
        appended / seconds,
        appended / stats.commits as f64,
        waits[waits.len() / 2].as_secs_f64() * 1e3,
        waits[waits.len() * 99 / 100].as_secs_f64() * 1e3,
        std::fs::metadata(path).unwrap().len() as f64 / appended,
    );
}

/// Keeps some appends in flight on one thread; gives how long each waited.
fn work(
    worker: u64,
    in_flight: u64,
    store: &RelayStore,
    number: &AtomicU64,
    done: &AtomicBool,
) -> Vec<Duration> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut waits = Vec::new();
    let start = || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        (Instant::now(), store.append(vec![append(number, worker)]))
    };
    let mut waiting: Vec<_> = (0..in_flight).map(|_| start()).collect();
    while !waiting.is_empty() {
        let mut left = Vec::with_capacity(waiting.len());
        let before = waits.len();
        for (since, mut answer) in waiting {
            match pin!(&mut answer).poll(&mut context) {
                Poll::Pending => left.push((since, answer)),
                Poll::Ready(outcomes) => {
                    assert!(outcomes[0].is_accepted(), "{outcomes:?}");
                    waits.push(since.elapsed());
                }
            }
        }
        let answered = waits.len() - before;
        if !done.load(Ordering::Relaxed) {
            left.extend((0..answered).map(|_| start()));
        }
        waiting = left;
        if answered == 0 {
            thread::park();
        }
    }
    waits
}

fn append(number: u64, worker: u64) -> Append {
    let mut payload = vec![0_u8; 1024];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload[8..16].copy_from_slice(&worker.to_be_bytes());
    Append::new(topic(number % TOPICS), payload)
}

fn topic(number: u64) -> Topic {
    // Ids are random in life; neighbours in time are not neighbours in the file.
    let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&scattered.to_be_bytes());
    Topic::Group(GroupId(id))
}

fn heads_of_ten_thousand(path: &Path) {
    let logs = Logs::create_or_open(path, &Founding::from_random(&[1; 48]), RelayLimits::default());
    let logs = logs.unwrap();
    let topics: Vec<Topic> = (0..10_000).map(topic).collect();
    logs.append(topics.iter().map(|topic| Append::new(topic.clone(), vec![1; 1024])).collect());
    let known: Vec<_> = topics.into_iter().map(|topic| (topic, Seq(0))).collect();
    let quiet: Vec<_> = known.iter().map(|(topic, _)| (topic.clone(), Seq(1))).collect();
    for (what, asked) in [("all moved", &known), ("none moved", &quiet)] {
        let began = Instant::now();
        let moved = logs.heads(asked).unwrap().len();
        println!(
            "heads of 10,000, {what} ({moved}): {:.1} ms",
            began.elapsed().as_secs_f64() * 1e3
        );
    }
    drop(logs);
    let _ = std::fs::remove_file(path);
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
