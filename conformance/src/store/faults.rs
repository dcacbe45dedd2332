//! A layer over a failing store keeps its batches whole (E4, E5, E9; scenarios 48, 50, 53, 105).
//!
//! Each test commits one large batch, again and again, with the lower store failing at its first
//! call, at its second, and so on until the batch gets through.

use conclave_core::store::{Store, StoreError, StoreLimits, Table, Write};
use conclave_store_memory::MemoryStore;

use super::kit::{
    Entry, OWNER, RIVAL, SCOPE, broken, delete, delete_scope, noise, picture, put, try_picture,
};
use crate::faulty_store::{Fault, Faulty};

/// The least that a lower store may take, except that its keys have room for the encoding of a
/// layer.
pub const LOWER_LIMITS: StoreLimits =
    StoreLimits { key_bytes: 96, value_bytes: 4096, batch_writes: 16, batch_bytes: 16 * 1024 };

const OTHER: [u8; 16] = [0xFF; 16];
/// More calls than any layer needs for the batch of these tests.
const CALLS_MAX: u64 = 1000;

type Picture = Vec<(Table, Entry)>;

/// A call of the lower store that fails leaves all or nothing of the batch, and a definite error
/// leaves nothing (E5, scenario 50).
pub fn a_failed_call_leaves_all_or_nothing<S: Store>(layer: impl Fn(Faulty<MemoryStore>) -> S) {
    for error in [StoreError::Unavailable, StoreError::Full] {
        each_call_fails(&layer, Fault::Refuse(error));
    }
}

/// So does a call that is done but whose answer is lost (E5, scenario 50).
pub fn a_lost_answer_leaves_all_or_nothing<S: Store>(layer: impl Fn(Faulty<MemoryStore>) -> S) {
    each_call_fails(&layer, Fault::LoseAnswer);
}

/// So does a crash before or after any call, once the store is opened again (E4, scenario 48).
pub fn a_crash_leaves_all_or_nothing<S: Store>(layer: impl Fn(Faulty<MemoryStore>) -> S) {
    each_call_fails(&layer, Fault::DieBefore);
    each_call_fails(&layer, Fault::DieAfter);
}

/// So does a crash while an earlier crash is being recovered from (E4, scenario 48).
pub fn a_crash_during_recovery_leaves_all_or_nothing<S: Store>(
    layer: impl Fn(Faulty<MemoryStore>) -> S,
) {
    let sides = Sides::of(&layer);
    until_it_gets_through(|call| {
        let trial = Trial::new(&layer, &sides);
        trial.lower.fail_at(call, Fault::DieAfter);
        let outcome = trial.commit_large_batch();
        let crashed = trial.lower.fired() > 0;
        for fault in [Fault::DieBefore, Fault::DieAfter] {
            until_it_gets_through(|later_call| {
                let lower = Faulty::new(trial.memory().snapshot());
                lower.fail_at(later_call, fault.clone());
                let _ = layer(lower.clone()).claim(RIVAL);
                lower.disarm();
                let reopened = reopen(&layer, lower.inner());
                trial.judge(&outcome, &picture(&reopened));
                lower.fired() > 0
            });
        }
        crashed
    });
}

/// After a failed call the handle goes on: the next commits succeed, and nothing of theirs or of
/// the failed batch is half (E5, scenario 50).
pub fn the_same_handle_goes_on_after_a_failed_call<S: Store>(
    layer: impl Fn(Faulty<MemoryStore>) -> S,
) {
    let sides = Sides::of(&layer);
    for fault in [Fault::Refuse(StoreError::Unavailable), Fault::LoseAnswer] {
        until_it_gets_through(|call| {
            let trial = Trial::new(&layer, &sides);
            trial.lower.fail_at(call, fault.clone());
            let outcome = trial.commit_large_batch();

            assert_eq!(trial.store.commit(OWNER, &[]), Ok(()), "after {outcome:?} at {call}");
            trial.judge(&outcome, &picture(&trial.store));
            assert_eq!(trial.store.commit(OWNER, &large_batch(trial.store.limits())), Ok(()));
            assert!(picture(&trial.store) == sides.after, "the batch once more, at {call}");
            trial.lower.fired() > 0
        });
    }
}

/// A second owner that opens the store before any call of the first one's commit gets all or
/// nothing of the batch, and the first one is told (E9, scenarios 53 and 105).
pub fn a_second_owner_gets_all_or_nothing<S: Store>(layer: impl Fn(Faulty<MemoryStore>) -> S) {
    let sides = Sides::of(&layer);
    until_it_gets_through(|call| {
        let trial = Trial::new(&layer, &sides);
        let second = layer(Faulty::new(trial.memory().clone()));
        let second = std::sync::Arc::new(second);
        let claiming = second.clone();
        trial.lower.run_at(call, move || assert_eq!(claiming.claim(RIVAL), Ok(())));
        let outcome = trial.commit_large_batch();
        if trial.lower.fired() == 0 {
            return false;
        }
        assert_ne!(outcome, Err(StoreError::Unavailable), "a fence is no outage, at {call}");
        trial.judge(&outcome, &picture(&*second));

        let late = [put(Table::Group, SCOPE, b"late", "late")];
        assert_eq!(trial.store.commit(OWNER, &late), Err(StoreError::Fenced), "at {call}");
        trial.judge(&outcome, &picture(&*second));
        assert_eq!(second.commit(RIVAL, &large_batch(second.limits())), Ok(()));
        assert!(picture(&*second) == sides.after, "the second owner writes, at {call}");
        true
    });
}

/// A claim that failed can be repeated, on this handle or another (E9).
pub fn a_failed_claim_can_be_repeated<S: Store>(layer: impl Fn(Faulty<MemoryStore>) -> S) {
    let sides = Sides::of(&layer);
    for fault in [Fault::Refuse(StoreError::Unavailable), Fault::LoseAnswer] {
        until_it_gets_through(|call| {
            let trial = Trial::new(&layer, &sides);
            trial.lower.fail_at(call, fault.clone());
            let answer = trial.store.claim(RIVAL);
            trial.lower.disarm();
            let is_definite = answer.as_ref().is_err_and(|error| *error != StoreError::Unknown);
            if is_definite {
                assert_eq!(trial.store.commit(OWNER, &[]), Ok(()), "after {answer:?} at {call}");
            }
            assert_eq!(trial.store.claim(RIVAL), Ok(()));
            assert_eq!(trial.store.commit(OWNER, &[]), Err(StoreError::Fenced));
            assert_eq!(trial.store.commit(RIVAL, &large_batch(trial.store.limits())), Ok(()));
            assert!(picture(&trial.store) == sides.after, "at {call}");
            trial.lower.fired() > 0
        });
    }
}

fn each_call_fails<S: Store>(layer: &impl Fn(Faulty<MemoryStore>) -> S, fault: Fault) {
    let sides = Sides::of(layer);
    until_it_gets_through(|call| {
        let trial = Trial::new(layer, &sides);
        trial.lower.fail_at(call, fault.clone());
        let outcome = trial.commit_large_batch();
        // The handle may refuse to read, but not show half.
        match try_picture(&trial.store) {
            Ok(seen) => trial.judge(&outcome, &seen),
            Err(StoreError::Unavailable) => {}
            Err(error) => broken("a read after a fault may only be refused", &error),
        }
        trial.judge(&outcome, &picture(&reopen(layer, trial.memory())));
        trial.lower.fired() > 0
    });
}

/// Tries calls in turn; `attempt` says whether its fault was reached.
fn until_it_gets_through(mut attempt: impl FnMut(u64) -> bool) {
    let through = (0..CALLS_MAX).find(|call| !attempt(*call));
    assert!(through.is_some(), "more than {CALLS_MAX} calls for one batch");
}

fn reopen<S: Store>(layer: &impl Fn(Faulty<MemoryStore>) -> S, memory: &MemoryStore) -> S {
    let store = layer(Faulty::new(memory.clone()));
    assert_eq!(store.claim(RIVAL), Ok(()), "a healthy store can be opened");
    store
}

/// What the store holds before and after the large batch.
struct Sides {
    before: Picture,
    after: Picture,
}

impl Sides {
    fn of<S: Store>(layer: &impl Fn(Faulty<MemoryStore>) -> S) -> Self {
        let store = layer(Faulty::new(MemoryStore::with_limits(LOWER_LIMITS)));
        assert_eq!(store.claim(OWNER), Ok(()));
        fill(&store);
        let before = picture(&store);
        assert_eq!(store.commit(OWNER, &large_batch(store.limits())), Ok(()));
        Self { before, after: picture(&store) }
    }
}

/// One store with the first side in it, and a lower store whose calls count from here.
struct Trial<'a, S> {
    lower: Faulty<MemoryStore>,
    store: S,
    sides: &'a Sides,
}

impl<'a, S: Store> Trial<'a, S> {
    fn new(layer: &impl Fn(Faulty<MemoryStore>) -> S, sides: &'a Sides) -> Self {
        let lower = Faulty::new(MemoryStore::with_limits(LOWER_LIMITS));
        let store = layer(lower.clone());
        assert_eq!(store.claim(OWNER), Ok(()));
        fill(&store);
        lower.restart();
        Self { lower, store, sides }
    }

    fn memory(&self) -> &MemoryStore {
        self.lower.inner()
    }

    /// Only calls during the commit fail.
    fn commit_large_batch(&self) -> Result<(), StoreError> {
        let outcome = self.store.commit(OWNER, &large_batch(self.store.limits()));
        self.lower.disarm();
        outcome
    }

    /// All or nothing, and what the answer of the commit allows.
    fn judge(&self, outcome: &Result<(), StoreError>, seen: &Picture) {
        let (nothing, all) = (*seen == self.sides.before, *seen == self.sides.after);
        match outcome {
            Ok(()) => assert!(all, "the commit returned, but the batch is not there"),
            Err(StoreError::Unknown) => assert!(nothing || all, "half a batch is there"),
            Err(error) => assert!(nothing, "something is there after {error}"),
        }
    }
}

fn fill(store: &impl Store) {
    let batches = [
        vec![put(Table::Group, SCOPE, b"kept", "kept"), put(Table::Group, SCOPE, b"gone", "gone")],
        vec![put(Table::Group, SCOPE, b"large", large(store.limits(), 1))],
        vec![put(Table::Event, OTHER, b"", "whole scope"), put(Table::Event, OTHER, b"1", "too")],
        vec![put(Table::Event, OTHER, b"large", large(store.limits(), 2))],
    ];
    for batch in batches {
        assert_eq!(store.commit(OWNER, &batch), Ok(()));
    }
}

/// Every kind of write; larger than the lower store takes, if the upper one takes that.
fn large_batch(limits: StoreLimits) -> Vec<Write> {
    let many = limits.batch_writes.min(56) - 8;
    let mut batch = vec![
        put(Table::Group, SCOPE, b"gone", "undone by a later write"),
        delete_scope(Table::Event, OTHER),
        put(Table::Event, OTHER, b"1", "after the deletion"),
        delete(Table::Group, SCOPE, b"gone"),
        put(Table::Group, SCOPE, b"large", "small"),
        put(Table::Message, OTHER, b"large", large(limits, 3)),
        delete(Table::Message, OTHER, b"missing"),
        put(Table::Message, OTHER, b"empty", ""),
    ];
    let numbered = (0_u16..).take(many);
    batch.extend(numbered.map(|order| put(Table::Intent, SCOPE, &order.to_be_bytes(), [7; 20])));
    batch
}

/// A value of several pages, if the layer has pages.
fn large(limits: StoreLimits, seed: u8) -> Vec<u8> {
    let len = if limits.batch_bytes > LOWER_LIMITS.batch_bytes { 10_000 } else { 3000 };
    noise(len.min(limits.value_bytes), seed)
}
