//! Stores that more than one engine may write to.

use std::sync::atomic::Ordering;

use conclave_core::store::{Key, Store, StoreError, Table, Write};
use conclave_store_memory::MemoryStore;
use conclave_testkit::conformance::store::{fences, sharing};

use super::broken::{Broken, Commit, Get, SetClaim, committing, healthy};
use super::must_catch;

#[test]
fn a_store_that_anyone_may_write_to_unclaimed_is_caught() {
    let open: Commit = |store, claim, writes| {
        let owner = *store.owner.lock().unwrap();
        if owner.is_none() {
            store.claim(claim)?;
        }
        store.inner.commit(claim, writes)
    };
    let make = committing(open);
    must_catch(|| fences::a_commit_before_any_claim_is_fenced(make));
}

/// Two handles, each with a copy of its own: the last writer wins, and nobody is told.
#[test]
fn handles_that_do_not_know_of_each_other_are_caught() {
    let copy = |store: &MemoryStore| Some(store.snapshot());
    must_catch(|| sharing::a_second_handle_is_refused_or_fences_the_first(MemoryStore::new, copy));
    let empty = |_: &MemoryStore| Some(MemoryStore::new());
    must_catch(|| sharing::a_second_handle_sees_what_the_first_has_stored(MemoryStore::new, empty));
    let shared = |store: &MemoryStore| Some(store.clone());
    sharing::a_second_handle_is_refused_or_fences_the_first(MemoryStore::new, shared);
    sharing::a_second_handle_is_refused_or_fences_the_first(MemoryStore::new, |_| None);
}

#[test]
fn a_store_without_a_fence_is_caught() {
    let make = || Broken { commit: |store, _, writes| store.as_owner(writes), ..healthy() };
    must_catch(|| fences::a_second_claim_fences_the_first(make));
    must_catch(|| fences::a_fenced_commit_changes_nothing(make));
}

#[test]
fn a_fenced_commit_that_is_stored_is_caught() {
    let stored: Commit = |store, claim, writes| {
        let answer = store.inner.commit(claim, writes);
        if answer == Err(StoreError::Fenced) {
            store.as_owner(writes)?;
        }
        answer
    };
    let make = committing(stored);
    must_catch(|| fences::a_fenced_commit_changes_nothing(make));
}

#[test]
fn an_empty_commit_that_is_not_looked_at_is_caught() {
    let lazy: Commit = |store, claim, writes| {
        if writes.is_empty() { Ok(()) } else { store.inner.commit(claim, writes) }
    };
    let make = committing(lazy);
    must_catch(|| fences::an_empty_commit_checks_the_claim(make));
}

#[test]
fn a_claim_that_cannot_be_repeated_is_caught() {
    let once: SetClaim = |store, claim| {
        if store.owner.lock().unwrap().replace(claim) == Some(claim) {
            return Err(StoreError::Fenced);
        }
        store.inner.claim(claim)
    };
    let make = || Broken { claim: once, ..healthy() };
    must_catch(|| fences::the_same_claim_can_be_set_again(make));
}

#[test]
fn a_claim_that_is_a_record_is_caught() {
    let record: SetClaim = |store, claim| {
        store.inner.claim(claim)?;
        let (table, key) = (Table::Meta, Key::from_parts([0; 16], b"claim"));
        store.inner.commit(claim, &[Write::Put { table, key, value: claim.0.to_vec() }])
    };
    let make = || Broken { claim: record, ..healthy() };
    must_catch(|| fences::a_claim_changes_no_record_and_shows_in_no_scan(make));
}

/// The first owner gets through until somebody has looked, and once more.
#[test]
fn a_fence_that_comes_late_is_caught() {
    const LOOKED: u32 = 1;
    const CLOSED: u32 = 2;
    let late: Commit = |store, claim, writes| {
        let answer = store.inner.commit(claim, writes);
        if answer != Err(StoreError::Fenced) {
            return answer;
        }
        let (after, now) = (Ordering::Relaxed, Ordering::Relaxed);
        match store.count.compare_exchange(LOOKED, CLOSED, after, now) {
            Err(CLOSED) => answer,
            Ok(_) | Err(_) => store.as_owner(writes),
        }
    };
    let looking: Get = |store, table, key| {
        let value = store.inner.get(table, key);
        store.count.fetch_max(LOOKED, Ordering::Relaxed);
        value
    };
    let make = || Broken { commit: late, get: looking, ..healthy() };
    must_catch(|| fences::a_second_owner_stops_a_first_that_is_writing(make));
}
