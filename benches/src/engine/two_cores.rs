//! What a second processor is worth to an engine that reads two groups.

use std::{
    cell::RefCell,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use conclave::{Engine, GroupConfig, GroupHandle, Seq};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use conclave_store_memory::MemoryStore;

use super::{content, from_the_start, joined, person};
use crate::{
    fixture::{Fixture, Shape},
    measure::{Ratio, process_time},
    messages::BATCH,
};

/// An engine that was away, and what it missed.
struct Missed {
    relay: Arc<Host<RelayStore>>,
    store: MemoryStore,
    /// In each of the two groups.
    messages: usize,
}

/// What two threads make of two processors that only receive messages, each in a group of its
/// own, with nothing in common: no engine can be better. Virtual processors often share what
/// cryptography needs most.
///
/// # Panics
/// If a message is not received.
#[must_use]
pub fn two_threads_over_one_processor(repetitions: usize) -> Option<Ratio> {
    processors(2)?;
    let groups = RefCell::new([Fixture::new(Shape::of(10)), Fixture::new(Shape::of(10))]);
    let side = |processors| receive_alone(&mut groups.borrow_mut(), processors);
    side(2);
    Some(Ratio::interleaved(repetitions, 2 * ALONE, || side(2), || side(1)).of_rates())
}

fn receive_alone(groups: &mut [Fixture; 2], processors: usize) -> Duration {
    for group in groups.iter_mut() {
        group.messages(ALONE);
    }
    let start = Instant::now();
    thread::scope(|scope| {
        for group in groups.iter_mut() {
            scope.spawn(move || {
                bind(processors);
                let records = group.log[group.log.len() - ALONE..].to_vec();
                records.chunks(BATCH).for_each(|batch| group.receiver().receive(batch));
            });
        }
    });
    let time = start.elapsed();
    groups.iter_mut().for_each(Fixture::catch_up);
    time
}

/// Messages of each of the two groups alone.
const ALONE: usize = 256;

/// Messages per second that an engine with two groups receives on two processors, over those on
/// one; `None` where a thread cannot be bound to processors, or there is only one. The relay is
/// in the process of the engine and on the same processors; everything is in memory.
/// Also how many processors were busy on average while there were two.
///
/// # Panics
/// If a message is missing.
#[must_use]
pub fn two_cores_over_one(messages: usize, repetitions: usize) -> Option<(Ratio, f64)> {
    processors(2)?;
    let missed = Missed::prepare(messages);
    missed.receive(2);
    let mut busy = Vec::new();
    let on_two = || {
        let (time, processor_time) = missed.receive(2);
        busy.push(processor_time.as_secs_f64() / time.as_secs_f64());
        time
    };
    let ratio = Ratio::interleaved(repetitions, 2 * messages, on_two, || missed.receive(1).0);
    busy.sort_by(f64::total_cmp);
    Some((ratio.of_rates(), busy[busy.len() / 2]))
}

impl Missed {
    fn prepare(messages: usize) -> Self {
        let founding = Founding::from_random(&[7; 48]);
        let logs = Logs::in_memory(&founding, RelayLimits::default()).expect("it is in memory");
        let store = RelayStore::start(logs).expect("there is a thread");
        let service = Service::new(store, RelayLimits::default());
        let relay = Arc::new(Host::new(service, HostLimits::default()));
        let store = MemoryStore::new();
        let (sender, _) = person(MemoryStore::new(), relay.local());
        let (receiver, inbox) = person(store.clone(), relay.local());
        let mut events = from_the_start(&receiver);
        let groups: Vec<GroupHandle> = (0..2)
            .map(|_| {
                let group = sender.create_group(GroupConfig::default()).wait().expect("stored");
                group.add(&[inbox]).wait().expect("the other has keys");
                joined(&receiver, &mut events);
                group
            })
            .collect();
        receiver.sync().wait().expect("the relay answers");
        receiver.shut_down();
        for number in 0..messages {
            for group in &groups {
                group.send(content(number)).wait().expect("it is stored");
            }
        }
        for group in &groups {
            group.settled().wait().expect("it is stored");
        }
        sender.shut_down();
        Self { relay, store, messages }
    }

    /// Opens the engine and lets it read, on so many processors.
    fn receive(&self, processors: usize) -> (Duration, Duration) {
        let (store, relay) = (self.store.snapshot(), self.relay.local());
        // Threads of the engine are bound as the thread is that starts them.
        let bound = thread::scope(|scope| {
            let read = scope.spawn(|| {
                bind(processors);
                let (start, spent) = (Instant::now(), process_time());
                let engine = Engine::builder().store(store).delivery(relay).open();
                let engine = engine.expect("it opens");
                engine.sync().wait().expect("the relay answers");
                let time = (start.elapsed(), process_time().saturating_sub(spent));
                for group in engine.groups() {
                    let read = group.messages(Seq(0), usize::MAX).expect("the store works");
                    assert_eq!(read.len(), self.messages, "every message is read");
                }
                engine.shut_down();
                time
            });
            read.join()
        });
        bound.expect("it reads")
    }
}

/// The first so many processors that this program may use.
#[cfg(target_os = "linux")]
fn processors(count: usize) -> Option<rustix::thread::CpuSet> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let all = sched_getaffinity(None).ok()?;
    let mut some = CpuSet::new();
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).take(count);
    (0..count).try_for_each(|_| allowed.next().map(|cpu| some.set(cpu)))?;
    Some(some)
}

#[cfg(target_os = "linux")]
fn bind(count: usize) {
    let some = processors(count).expect("there are as many");
    rustix::thread::sched_setaffinity(None, &some).expect("a thread may bind itself");
}

#[cfg(not(target_os = "linux"))]
fn processors(_: usize) -> Option<()> {
    None
}

#[cfg(not(target_os = "linux"))]
fn bind(_: usize) {}
