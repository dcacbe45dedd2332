//! One owner at a time: whoever claimed last (E9, scenarios 53 and 105).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use conclave_core::store::{Claim, Direction, Range, Store, StoreError, Table};

use super::kit::{
    OWNER, RIVAL, SCOPE, broken, claimed, commit, delete, delete_scope, entries, holding, picture,
    put, value,
};

const TABLE: Table = Table::Intent;

/// Nobody owns a fresh store, so nobody can write to it (E9).
pub fn a_commit_before_any_claim_is_fenced<S: Store>(make: impl Fn() -> S) {
    let store = make();
    for claim in [OWNER, Claim([0; 16]), Claim([0xFF; 16])] {
        let answer = store.commit(claim, &[put(TABLE, SCOPE, b"order", "value")]);
        assert_eq!(answer, Err(StoreError::Fenced), "nobody has claimed the store");
        assert_eq!(store.commit(claim, &[]), Err(StoreError::Fenced));
    }
    assert!(picture(&store).is_empty(), "nothing was stored");
}

/// A second claim fences the first off, at once and for good, until it claims again (E9,
/// scenario 53).
pub fn a_second_claim_fences_the_first<S: Store>(make: impl Fn() -> S) {
    let store = holding(&make, &[put(TABLE, SCOPE, b"order", "first")]);
    assert_eq!(store.claim(RIVAL), Ok(()));

    let write = [put(TABLE, SCOPE, b"order", "late")];
    assert_eq!(store.commit(OWNER, &write), Err(StoreError::Fenced));
    assert_eq!(store.commit(RIVAL, &[put(TABLE, SCOPE, b"order", "second")]), Ok(()));
    assert_eq!(store.commit(OWNER, &write), Err(StoreError::Fenced));
    assert_eq!(value(&store, TABLE, SCOPE, b"order"), Some(b"second".to_vec()));

    assert_eq!(store.claim(OWNER), Ok(()));
    assert_eq!(store.commit(RIVAL, &write), Err(StoreError::Fenced));
    assert_eq!(store.commit(OWNER, &write), Ok(()));
}

/// A fenced commit changes nothing, whatever it holds (E9, scenarios 50 and 53).
pub fn a_fenced_commit_changes_nothing<S: Store>(make: impl Fn() -> S) {
    let store = holding(&make, &[put(TABLE, SCOPE, b"order", "kept")]);
    assert_eq!(store.claim(RIVAL), Ok(()));
    let before = picture(&store);
    let many = super::kit::many(store.limits());
    let batches = [
        vec![put(TABLE, SCOPE, b"order", "replaced"), put(Table::Meta, SCOPE, b"", "new")],
        vec![delete(TABLE, SCOPE, b"order")],
        vec![delete_scope(TABLE, SCOPE)],
        (0..many).map(|order| put(TABLE, SCOPE, &order.to_be_bytes(), "new")).collect(),
    ];
    for batch in batches {
        assert_eq!(store.commit(OWNER, &batch), Err(StoreError::Fenced));
        assert_eq!(picture(&store), before, "after {batch:?}");
    }
}

/// An empty commit asks whether one still owns the store (E9).
pub fn an_empty_commit_checks_the_claim<S: Store>(make: impl Fn() -> S) {
    let store = claimed(&make);
    assert_eq!(store.commit(OWNER, &[]), Ok(()));
    assert_eq!(store.claim(RIVAL), Ok(()));
    assert_eq!(store.commit(OWNER, &[]), Err(StoreError::Fenced));
    assert_eq!(store.commit(RIVAL, &[]), Ok(()));
}

/// Setting the claim that already stands changes nothing.
pub fn the_same_claim_can_be_set_again<S: Store>(make: impl Fn() -> S) {
    let store = claimed(&make);
    assert_eq!(store.claim(OWNER), Ok(()));
    commit(&store, &[put(TABLE, SCOPE, b"order", "value")]);
}

/// A claim leaves all records as they are, and no scan shows it.
pub fn a_claim_changes_no_record_and_shows_in_no_scan<S: Store>(make: impl Fn() -> S) {
    let store = claimed(&make);
    assert!(picture(&store).is_empty(), "a claimed store is empty");
    for table in Table::ALL {
        commit(&store, &[put(table, SCOPE, b"order", table.name())]);
    }
    let before = picture(&store);
    assert_eq!(before.len(), Table::ALL.len());
    assert_eq!(store.claim(RIVAL), Ok(()));
    assert_eq!(picture(&store), before);
    let meta = entries(&store, Table::Meta, Range::default(), Direction::Reverse);
    assert_eq!(meta.len(), 1, "only what was put");
}

/// A second owner that opens the store while the first still writes stops it: from then on each
/// of its commits is fenced, and what it was told is stored is stored (E9, scenario 105).
pub fn a_second_owner_stops_a_first_that_is_writing<S: Store>(make: impl Fn() -> S) {
    let store = claimed(&make);
    let written = AtomicU32::new(0);
    let after_the_claim = std::thread::scope(|threads| {
        let first = threads.spawn(|| write_until_fenced(&store, &written));
        let patience = Instant::now() + Duration::from_secs(10);
        while written.load(Ordering::Acquire) < 20 && Instant::now() < patience {
            std::thread::yield_now();
        }
        assert_eq!(store.claim(RIVAL), Ok(()));
        let seen = counter(&store);
        assert!(first.join().is_ok(), "the first owner failed");
        seen
    });
    let told = written.load(Ordering::Acquire);
    assert_eq!(after_the_claim, told, "nothing of the first owner is stored after the claim");
    assert_eq!(counter(&store), told, "all that the first owner was told is stored is stored");
    assert_eq!(store.commit(RIVAL, &[put(TABLE, SCOPE, b"", "second")]), Ok(()));
}

/// Counts upwards in the store; returns once a commit is fenced.
fn write_until_fenced(store: &impl Store, written: &AtomicU32) {
    let patience = Instant::now() + Duration::from_secs(20);
    for number in 1_u32.. {
        assert!(Instant::now() < patience, "never fenced");
        match store.commit(OWNER, &[put(TABLE, SCOPE, b"counter", number.to_be_bytes())]) {
            Ok(()) => written.store(number, Ordering::Release),
            Err(StoreError::Fenced) => break,
            Err(error) => broken("a healthy store stores or fences", &error),
        }
    }
    let again = store.commit(OWNER, &[put(TABLE, SCOPE, b"counter", [0; 4])]);
    assert_eq!(again, Err(StoreError::Fenced), "fenced once, fenced for good");
}

fn counter(store: &impl Store) -> u32 {
    let bytes = value(store, TABLE, SCOPE, b"counter").unwrap_or_default();
    bytes.try_into().map(u32::from_be_bytes).unwrap_or_default()
}
