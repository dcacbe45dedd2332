//! Wakers that own their task, as those of small executors do. The last holder of a task may be
//! the link that keeps its waker, and the task may own the other end of that link.

use std::{
    sync::{Arc, Mutex, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use conclave_core::{bounds::BoxFuture, link::Link};
use conclave_links::{
    lossy::{self, LossySettings},
    memory,
};

type End = Arc<dyn Link>;
/// What waits, on which of the links, for what.
type Case = (&'static str, fn() -> (End, End), fn(&End, &Waker));

/// As long as no deadlock is.
const NEVER: Duration = Duration::from_secs(60);

/// Fails instead of waiting for ever.
fn ends(what: &str, body: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        body();
        done.send(()).unwrap();
    });
    assert!(ended.recv_timeout(NEVER).is_ok(), "{what}");
}

fn reliable() -> (End, End) {
    let (one, other) = memory::pair(64);
    (Arc::new(one), Arc::new(other))
}

/// Nothing is lost, so that what is sent wakes the reader.
fn unreliable() -> (End, End) {
    let settings = LossySettings { lost: 0, doubled: 0, held: 0, ..LossySettings::default() };
    let (one, other) = lossy::pair(settings, 7);
    (Arc::new(one), Arc::new(other))
}

fn poll<T>(mut call: BoxFuture<'_, T>, waker: &Waker) -> Poll<T> {
    call.as_mut().poll(&mut Context::from_waker(waker))
}

fn ready<T>(call: BoxFuture<'_, T>) -> T {
    match poll(call, Waker::noop()) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// More than the queue of a reliable link takes.
fn many_frames() -> Vec<Vec<u8>> {
    vec![vec![1]; 300]
}

/// A task that owns an end of a link.
struct Owner {
    _end: End,
}

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

/// Calls are polled with a waker that alone owns `_end` when this returns.
fn owned_by_waker(end: End, wait: impl FnOnce(&Waker)) {
    wait(&Waker::from(Arc::new(Owner { _end: end })));
}

fn waits_to_receive(end: &End, waker: &Waker) {
    assert!(poll(end.receive(), waker).is_pending());
}

fn waits_to_send(end: &End, waker: &Waker) {
    assert!(poll(end.send(many_frames()), waker).is_pending());
}

/// Scenario 145: what wakes a reader drops the last handle of the reader's end.
#[test]
fn the_waker_of_a_reader_may_hold_the_last_handle_of_its_end() {
    for pair in [reliable, unreliable] {
        for by in ["send", "close"] {
            let (ours, theirs) = pair();
            owned_by_waker(Arc::clone(&theirs), |waker| waits_to_receive(&theirs, waker));
            drop(theirs);
            ends(by, move || {
                if by == "send" {
                    ready(ours.send(vec![vec![1]])).unwrap();
                } else {
                    ours.close();
                }
                assert!(ready(ours.receive()).is_err(), "the other end is gone");
            });
        }
    }
}

/// Scenario 145: what wakes a writer drops the last handle of the writer's end.
#[test]
fn the_waker_of_a_writer_may_hold_the_last_handle_of_its_end() {
    for by in ["receive", "close"] {
        let (ours, theirs) = reliable();
        owned_by_waker(Arc::clone(&theirs), |waker| waits_to_send(&theirs, waker));
        drop(theirs);
        ends(by, move || {
            if by == "close" {
                ours.close();
            }
            assert!(ready(ours.receive()).is_ok(), "what was sent can be read");
            assert!(ready(ours.receive()).is_err(), "the other end is gone");
        });
    }
}

/// Scenario 145: a task that takes over from another lets the waker of that one go, which drops the
/// last handle of the other end.
#[test]
fn a_waker_that_is_replaced_may_hold_the_last_handle_of_the_other_end() {
    let cases: [Case; 3] = [
        ("receive", reliable, waits_to_receive),
        ("receive, unreliable", unreliable, waits_to_receive),
        ("send", reliable, waits_to_send),
    ];
    for (what, pair, wait) in cases {
        let (ours, theirs) = pair();
        owned_by_waker(theirs, |waker| wait(&ours, waker));
        ends(what, move || {
            wait(&ours, Waker::noop());
            assert!(ready(ours.receive()).is_err(), "the other end is gone");
        });
    }
}

/// A task that goes on inside of its waker, and says so over a link.
struct Inline {
    says: End,
    said: Mutex<bool>,
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        ready(self.says.send(vec![vec![2]])).unwrap();
        *self.said.lock().unwrap() = true;
    }
}

/// Scenario 145: a reader that goes on inside of its waker may use the very end whose frame woke
/// it.
#[test]
fn a_waker_may_send_over_the_end_that_wakes_it() {
    for pair in [reliable, unreliable] {
        let (ours, theirs) = pair();
        let inline = Arc::new(Inline { says: Arc::clone(&ours), said: Mutex::new(false) });
        waits_to_receive(&theirs, &Waker::from(Arc::clone(&inline)));
        ends("send", move || {
            ready(ours.send(vec![vec![1]])).unwrap();
            assert!(*inline.said.lock().unwrap());
            assert_eq!(ready(theirs.receive()).unwrap(), [[1], [2]]);
        });
    }
}
