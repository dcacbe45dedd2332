//! What a second processor is worth to an engine that reads two groups.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use conclave::{Engine, GroupConfig, GroupHandle, Seq};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use conclave_store_memory::MemoryStore;

use super::{content, from_the_start, joined, person};
use crate::measure::Ratio;

/// An engine that was away, and what it missed.
struct Missed {
    relay: Arc<Host<RelayStore>>,
    store: MemoryStore,
    /// In each of the two groups.
    messages: usize,
}

/// Messages per second that an engine with two groups receives on two processors, over those on
/// one; `None` where a thread cannot be bound to processors, or there is only one. The relay is
/// in the process of the engine and on the same processors; everything is in memory.
///
/// # Panics
/// If a message is missing.
#[must_use]
pub fn two_cores_over_one(messages: usize, repetitions: usize) -> Option<Ratio> {
    processors(2)?;
    let missed = Missed::prepare(messages);
    missed.receive(2);
    let ratio =
        Ratio::interleaved(repetitions, 2 * messages, || missed.receive(2), || missed.receive(1));
    Some(ratio.of_rates())
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
    fn receive(&self, processors: usize) -> Duration {
        let (store, relay) = (self.store.snapshot(), self.relay.local());
        // Threads of the engine are bound as the thread is that starts them.
        let bound = thread::scope(|scope| {
            let read = scope.spawn(|| {
                bind(processors);
                let start = Instant::now();
                let engine = Engine::builder().store(store).delivery(relay).open();
                let engine = engine.expect("it opens");
                engine.sync().wait().expect("the relay answers");
                let time = start.elapsed();
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
