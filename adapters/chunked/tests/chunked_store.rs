//! What is particular to the store that makes small stores take large batches (E5, E9).
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::ops::ControlFlow;

use conclave_conformance::faulty_store::{Fault, Faulty};
use conclave_conformance::store::faults::LOWER_LIMITS;
use conclave_core::config::STORE_NEEDS;
use conclave_core::store::{
    Claim, Direction, Key, RESERVED_SCOPE, Range, Scope, Store, StoreError, StoreLimits, Table,
    Write,
};
use conclave_store_chunked::ChunkedStore;
use conclave_store_memory::MemoryStore;

const CLAIM: Claim = Claim([1; 16]);
const RIVAL: Claim = Claim([2; 16]);
const SCOPE: Scope = [7; 16];

#[test]
fn keys_of_72_bytes_below_give_the_floor_above() {
    let limits = |key_bytes| {
        let inner = MemoryStore::with_limits(StoreLimits { key_bytes, ..LOWER_LIMITS });
        ChunkedStore::new(inner).limits()
    };
    assert!(limits(72).key_bytes >= 64, "{:?}", limits(72));
    assert_eq!(limits(usize::MAX).key_bytes, 1024);
    assert!(limits(72).value_bytes > 200 * 1024 * 1024);
}

/// E5: an engine runs over any store that reaches the floor.
#[test]
fn the_floor_below_gives_what_an_engine_needs_above() {
    let above = ChunkedStore::new(MemoryStore::with_limits(StoreLimits::FLOOR)).limits();
    assert!(above.reach(&STORE_NEEDS), "{above:?}");
}

#[test]
fn the_reserved_scope_is_empty_and_takes_nothing() {
    let (_, store) = claimed();
    let key = Key::from_parts(RESERVED_SCOPE, b"order");
    let writes = [
        Write::Put { table: Table::Meta, key: key.clone(), value: Vec::new() },
        Write::Delete { table: Table::Meta, key: key.clone() },
        Write::DeleteScope { table: Table::Meta, scope: RESERVED_SCOPE },
    ];
    for write in writes {
        let refused = Err(StoreError::TooLarge { write: 1, max: 0 });
        assert_eq!(store.commit(CLAIM, &[put(0, 1), write]), refused);
    }
    assert_eq!(store.get(Table::Meta, &key), Ok(None));
    // In other tables the scope is one like any other.
    let value = b"value".to_vec();
    let elsewhere = Write::Put { table: Table::Group, key: key.clone(), value: value.clone() };
    store.commit(CLAIM, &[elsewhere]).unwrap();
    assert_eq!(store.get(Table::Group, &key), Ok(Some(value)));
}

/// Scenarios 48 and 105.
#[test]
fn an_undecided_journal_shows_nowhere_and_is_discarded_by_the_next_owner() {
    let (memory, store) = crashed_before_the_decision();
    assert!(memory.digest_input().len() > 10, "some of the journal is there");
    let mut visited = 0;
    store
        .scan(Table::Meta, Range::default(), Direction::Reverse, &mut |_, _| {
            visited += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(visited, 0);

    store.claim(RIVAL).unwrap();
    assert!(memory.digest_input().is_empty());
}

/// Scenario 48.
#[test]
fn a_decided_batch_is_not_read_before_it_is_applied() {
    let (memory, store) = crashed_after_the_decision();
    assert_eq!(store.get(Table::Group, &key(0)), Err(StoreError::Unavailable));
    let scan = store.scan(Table::Meta, Range::default(), Direction::Forward, &mut |_, _| {
        ControlFlow::Continue(())
    });
    assert_eq!(scan, Err(StoreError::Unavailable));

    store.claim(RIVAL).unwrap();
    assert_eq!(store.get(Table::Group, &key(99)), Ok(Some(vec![1; 50])));
    assert_eq!(memory.digest_input().len(), 100, "the journal is gone");
}

/// Scenario 50.
#[test]
fn a_handle_that_could_not_apply_refuses_until_it_could() {
    let (lower, store) = claimed();
    lower.restart();
    store.commit(CLAIM, &batch(1)).unwrap();
    let calls = lower.calls();
    lower.restart();
    for call in calls - 2..calls + 1 {
        lower.fail_at(call, Fault::Refuse(StoreError::Full));
    }
    assert_eq!(store.commit(CLAIM, &batch(2)), Err(StoreError::Unknown));
    assert_eq!(store.get(Table::Group, &key(0)), Err(StoreError::Unavailable));
    lower.disarm();
    lower.fail_at(lower.calls() + 2, Fault::Refuse(StoreError::Full));
    assert_eq!(store.commit(CLAIM, &[]), Err(StoreError::Full), "nothing of this one is stored");

    assert_eq!(store.commit(CLAIM, &[]), Ok(()));
    assert_eq!(store.get(Table::Group, &key(0)), Ok(Some(vec![2; 50])));
}

/// Scenario 50: before the decision a lost answer is no doubt about the batch.
#[test]
fn only_the_decision_and_what_follows_it_can_be_unknown() {
    let unknown: Vec<u64> = (0..300)
        .filter(|call| {
            let (lower, store) = claimed();
            lower.restart();
            lower.fail_at(*call, Fault::LoseAnswer);
            let is_unknown = store.commit(CLAIM, &batch(1)) == Err(StoreError::Unknown);
            let is_decided =
                is_decided(lower.inner()) || store.get(Table::Group, &key(0)) != Ok(None);
            assert!(is_decided || !is_unknown, "at call {call}");
            is_unknown
        })
        .collect();
    assert!(unknown.len() > 5, "the decision, and several commits that apply it");
}

/// Scenario 50: what was left to finish is not what this commit is about.
#[test]
fn a_lost_answer_while_finishing_an_earlier_batch_is_no_doubt_about_this_one() {
    let (lower, store) = claimed();
    let calls = {
        lower.restart();
        store.commit(CLAIM, &batch(1)).unwrap();
        lower.calls()
    };
    lower.restart();
    lower.fail_at(calls - 1, Fault::Refuse(StoreError::Full));
    assert_eq!(store.commit(CLAIM, &batch(2)), Err(StoreError::Unknown));
    lower.restart();
    lower.fail_at(2, Fault::LoseAnswer);
    assert_eq!(store.commit(CLAIM, &[put(0, 3)]), Err(StoreError::Unavailable));
    assert_eq!(lower.fired(), 1);
    assert_eq!(store.commit(CLAIM, &[]), Ok(()));
    assert_eq!(store.get(Table::Group, &key(0)), Ok(Some(vec![2; 50])));
}

/// Scenario 105, back and forth.
#[test]
fn an_owner_that_comes_back_finishes_what_the_other_had_decided() {
    let (first_lower, first) = claimed();
    first.commit(CLAIM, &batch(1)).unwrap();
    let lower = Faulty::new(first_lower.inner().clone());
    let second = ChunkedStore::new(lower.clone());
    second.claim(RIVAL).unwrap();
    let calls = {
        lower.restart();
        second.commit(RIVAL, &batch(2)).unwrap();
        lower.calls()
    };
    lower.restart();
    lower.fail_at(calls - 3, Fault::DieAfter);
    assert_eq!(second.commit(RIVAL, &batch(3)), Err(StoreError::Unknown));
    assert!(is_decided(first_lower.inner()));

    first.claim(CLAIM).unwrap();
    assert_eq!(first.get(Table::Group, &key(99)), Ok(Some(vec![3; 50])));
    assert!(!is_decided(first_lower.inner()));
}

/// Scenario 49: ENOSPC in the middle gives the room of the journal back.
#[test]
fn a_full_medium_is_left_as_it_was() {
    let (lower, store) = claimed();
    store.commit(CLAIM, &[put(0, 9)]).unwrap();
    let before = lower.inner().digest_input();
    let refusals = (0..200).filter(|call| {
        lower.restart();
        lower.fail_at(*call, Fault::Refuse(StoreError::Full));
        let is_full = store.commit(CLAIM, &batch(1)) == Err(StoreError::Full);
        lower.disarm();
        if is_full {
            assert_eq!(lower.inner().digest_input(), before, "at call {call}");
        }
        store.commit(CLAIM, &batch(9)[..1]).unwrap();
        store.commit(CLAIM, &[Write::DeleteScope { table: Table::Group, scope: SCOPE }]).unwrap();
        store.commit(CLAIM, &[put(0, 9)]).unwrap();
        is_full
    });
    assert!(refusals.count() > 5, "several commits to the journal, and the decision");
}

#[test]
fn nothing_is_left_below_of_values_that_are_gone() {
    let (lower, store) = claimed();
    let large = |len| Write::Put { table: Table::Group, key: key(1), value: vec![5; len] };
    store.commit(CLAIM, &[large(60_000)]).unwrap();
    let pages = lower.inner().digest_input().len();
    store.commit(CLAIM, &[large(20_000)]).unwrap();
    assert!(lower.inner().digest_input().len() < pages);
    store.commit(CLAIM, &[large(90_000), large(10)]).unwrap();
    assert_eq!(lower.inner().digest_input().len(), 1);
    store.commit(CLAIM, &[large(60_000)]).unwrap();
    store.commit(CLAIM, &[Write::Delete { table: Table::Group, key: key(1) }]).unwrap();
    assert!(lower.inner().digest_input().is_empty());
    store.commit(CLAIM, &[large(60_000)]).unwrap();
    store.commit(CLAIM, &[Write::DeleteScope { table: Table::Group, scope: SCOPE }]).unwrap();
    assert!(lower.inner().digest_input().is_empty());
}

#[test]
fn a_small_batch_is_one_commit_below() {
    let (lower, store) = claimed();
    lower.inner().reset_counters();
    store.commit(CLAIM, &batch(1)[..16]).unwrap();
    assert_eq!(lower.inner().counters().commits, 1);
}

/// Scenario 49: a missing or damaged page is noticed, not returned.
#[test]
fn a_damaged_value_is_corrupt() {
    let (lower, store) = claimed();
    let value = vec![5; 10_000];
    store.commit(CLAIM, &[Write::Put { table: Table::Group, key: key(1), value }]).unwrap();
    for (table, bytes, value) in lower.inner().digest_input() {
        let entry = Key::from_stored(&bytes).unwrap();
        lower.inner().commit(CLAIM, &[Write::Delete { table, key: entry.clone() }]).unwrap();
        let scan = |direction| {
            store.scan(table, Range::default(), direction, &mut |_, _| ControlFlow::Continue(()))
        };
        assert_eq!(scan(Direction::Forward), Err(StoreError::Corrupt));
        assert_eq!(scan(Direction::Reverse), Err(StoreError::Corrupt));
        lower.inner().commit(CLAIM, &[Write::Put { table, key: entry, value }]).unwrap();
        assert_eq!(scan(Direction::Forward), Ok(()));
    }
}

/// Scenario 49: a decided journal that lost records is not half applied and forgotten.
#[test]
fn a_damaged_journal_is_corrupt() {
    let (memory, store) = crashed_after_the_decision();
    let (table, last, _) = memory.digest_input().pop().unwrap();
    let key = Key::from_stored(&last).unwrap();
    memory.commit(CLAIM, &[Write::Delete { table, key }]).unwrap();
    assert_eq!(store.claim(RIVAL), Err(StoreError::Corrupt));
    assert_eq!(store.get(Table::Group, &self::key(0)), Err(StoreError::Unavailable));
}

fn claimed() -> (Faulty<MemoryStore>, ChunkedStore<Faulty<MemoryStore>>) {
    let lower = Faulty::new(MemoryStore::with_limits(LOWER_LIMITS));
    let store = ChunkedStore::new(lower.clone());
    store.claim(CLAIM).unwrap();
    (lower, store)
}

/// A store opened again, not claimed yet, after a crash at the first call that left
/// what `at` looks for.
fn crashed(at: impl Fn(&MemoryStore) -> bool) -> (MemoryStore, ChunkedStore<MemoryStore>) {
    for call in 0.. {
        let (lower, store) = claimed();
        lower.restart();
        lower.fail_at(call, Fault::DieAfter);
        let outcome = store.commit(CLAIM, &batch(1));
        assert!(outcome.is_err(), "no such moment");
        if at(lower.inner()) {
            let memory = lower.inner().clone();
            return (memory.clone(), ChunkedStore::new(memory));
        }
    }
    unreachable!("calls do not end")
}

fn crashed_before_the_decision() -> (MemoryStore, ChunkedStore<MemoryStore>) {
    crashed(|memory| !is_decided(memory) && memory.digest_input().len() > 50)
}

fn crashed_after_the_decision() -> (MemoryStore, ChunkedStore<MemoryStore>) {
    crashed(is_decided)
}

fn is_decided(memory: &MemoryStore) -> bool {
    memory.get(Table::Meta, &Key::from_parts(RESERVED_SCOPE, &[0])).unwrap().is_some()
}

fn batch(content: u8) -> Vec<Write> {
    (0..100).map(|order| put(order, content)).collect()
}

fn put(order: u8, content: u8) -> Write {
    Write::Put { table: Table::Group, key: key(order), value: vec![content; 50] }
}

fn key(order: u8) -> Key {
    Key::from_parts(SCOPE, &[order])
}
