//! What engines say about their work, and what they do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg(feature = "memory")]

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use conclave::{AccountKey, Engine, GroupConfig, GroupHandle, InboxId, Seq};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use conclave_store_memory::MemoryStore;
use tracing::{
    Event, Level, Metadata, Subscriber, span,
    subscriber::{Interest, set_global_default},
};

/// S18: 10,000 messages give no line for people who watch at `info`, what is decided is there at
/// `debug`, and every record at `trace`.
#[test]
fn ten_thousand_messages_give_no_line_at_info() {
    alone("quiet::ten_thousand_messages_give_no_line_at_info", count_the_lines);
}

/// E13: the log is the application's; a subscriber that panics at each line loses its lines, and
/// no call its answer.
#[test]
fn a_subscriber_that_panics_costs_no_answer() {
    alone("quiet::a_subscriber_that_panics_costs_no_answer", || {
        set_global_default(Panics).unwrap();
        let [(alice, _), (bob, group)] = two_in_a_group(&relay());
        group.send("heard").wait().unwrap();
        for engine in [alice, bob] {
            engine.shut_down();
        }
    });
}

/// Runs what sets the subscriber of a whole process in a process of its own.
fn alone(test: &str, run: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        return run();
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args([test, "--exact", "--nocapture"]);
    let output = alone.env(ALONE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Set in the process that counts: lines of the other tests of this program would count as well.
const ALONE: &str = "CONCLAVE_TEST_QUIET";

fn count_the_lines() {
    let lines = Lines::default();
    set_global_default(lines.clone()).unwrap();
    let [(alice, group), (bob, other)] = two_in_a_group(&relay());
    std::thread::scope(|scope| {
        scope.spawn(|| send(&group));
        scope.spawn(|| send(&other));
    });
    for engine in [&alice, &bob] {
        engine.sync().wait().unwrap();
        let read = engine.groups()[0].messages(Seq(0), usize::MAX).unwrap();
        assert_eq!(read.len(), 10_000);
        engine.shut_down();
    }
    assert_eq!(lines.loud(), 0);
    assert!(lines.at(Level::DEBUG) > 0 && lines.at(Level::TRACE) >= 10_000);
    // Each line says of whom it is.
    assert!(lines.1.iter().all(|spans| spans.load(Ordering::SeqCst) > 0));
}

fn relay() -> Arc<Host<RelayStore>> {
    let logs = Logs::in_memory(&Founding::from_random(&[7; 48]), RelayLimits::default()).unwrap();
    let service = Service::new(RelayStore::start(logs).unwrap(), RelayLimits::default());
    Arc::new(Host::new(service, HostLimits::default()))
}

/// Two people, each with a hold on the group that they share.
fn two_in_a_group(relay: &Arc<Host<RelayStore>>) -> [(Engine, GroupHandle); 2] {
    let ((alice, _), (bob, inbox)) = (person(relay), person(relay));
    let group = alice.create_group(GroupConfig::default()).wait().unwrap();
    group.add(&[inbox]).wait().unwrap();
    group.settled().wait().unwrap();
    bob.sync().wait().unwrap();
    let other = bob.groups().pop().unwrap();
    [(alice, group), (bob, other)]
}

fn person(relay: &Arc<Host<RelayStore>>) -> (Engine, InboxId) {
    let store = MemoryStore::new();
    let engine = Engine::builder().store(store).delivery(relay.local()).open().unwrap();
    let inbox = engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
    engine.sync().wait().unwrap();
    (engine, inbox)
}

/// Half of the messages, some of them on their way at a time.
fn send(group: &GroupHandle) {
    for part in 0..50 {
        let sent: Vec<_> = (0..100).map(|number| group.send(format!("{part} {number}"))).collect();
        for sent in sent {
            sent.wait().unwrap();
        }
        group.settled().wait().unwrap();
    }
}

/// Counts lines by their level, and spans by their name.
#[derive(Clone, Default)]
struct Lines(Arc<[AtomicU64; 5]>, Arc<[AtomicU64; SPANS.len()]>);

/// The spans in which an engine works.
const SPANS: [&str; 4] = ["group", "session", "invitations", "installation"];

impl Lines {
    fn at(&self, level: Level) -> u64 {
        self.0[place(level)].load(Ordering::SeqCst)
    }

    /// At `info` and above.
    fn loud(&self) -> u64 {
        [Level::ERROR, Level::WARN, Level::INFO].into_iter().map(|level| self.at(level)).sum()
    }
}

fn place(level: Level) -> usize {
    let all = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    all.iter().position(|it| *it == level).unwrap()
}

impl Subscriber for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let name = attributes.metadata().name();
        let known = SPANS.iter().position(|it| *it == name).expect("a span of an engine");
        self.1[known].fetch_add(1, Ordering::SeqCst);
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        self.0[place(*metadata.level())].fetch_add(1, Ordering::SeqCst);
        if *metadata.level() <= Level::INFO {
            // For whoever has to find out why.
            eprintln!("{}: {} {}", metadata.level(), metadata.target(), metadata.name());
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Panics at every line and span.
struct Panics;

impl Subscriber for Panics {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("conclave")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        panic!("a span")
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("a line")
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
