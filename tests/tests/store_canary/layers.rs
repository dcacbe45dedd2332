//! Stores that forget when closed, and layers that do not survive what is below them.

use std::sync::atomic::{AtomicU32, Ordering};

use conclave_core::store::{
    Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
};
use conclave_store_memory::MemoryStore;
use conclave_testkit::conformance::store::{faults, reopening};
use conclave_testkit::faulty_store::Faulty;

use super::must_catch;

#[test]
fn a_store_that_forgets_when_closed_is_caught() {
    let forget_all = |_| MemoryStore::new();
    let forget_claim = |store: MemoryStore| {
        store.claim(Claim([0; 16])).unwrap();
        store
    };
    must_catch(|| {
        reopening::what_was_committed_is_there_after_reopening(MemoryStore::new, forget_all)
    });
    must_catch(|| reopening::the_claim_stands_after_reopening(MemoryStore::new, forget_claim));
}

#[test]
fn a_layer_that_splits_batches_without_a_journal_is_caught() {
    must_catch(|| faults::a_failed_call_leaves_all_or_nothing(naive));
    must_catch(|| faults::a_lost_answer_leaves_all_or_nothing(naive));
    must_catch(|| faults::a_crash_leaves_all_or_nothing(naive));
    must_catch(|| faults::a_crash_during_recovery_leaves_all_or_nothing(naive));
    must_catch(|| faults::the_same_handle_goes_on_after_a_failed_call(naive));
    must_catch(|| faults::a_second_owner_gets_all_or_nothing(naive));
}

#[test]
fn a_layer_that_calls_every_failure_definite_is_caught() {
    let definite = |inner| Layer {
        inner,
        commit: |layer, claim, writes| {
            let answer = layer.inner.commit(claim, writes);
            if answer == Err(StoreError::Unknown) { Err(StoreError::Unavailable) } else { answer }
        },
        has_failed: AtomicU32::new(0),
    };
    must_catch(|| faults::a_lost_answer_leaves_all_or_nothing(definite));
    must_catch(|| faults::a_crash_leaves_all_or_nothing(definite));
}

#[test]
fn a_layer_that_gives_up_after_a_failure_is_caught() {
    let sulking = |inner| Layer {
        inner,
        commit: |layer, claim, writes| {
            if layer.has_failed.load(Ordering::Relaxed) > 0 {
                return Err(StoreError::Unavailable);
            }
            layer.inner.commit(claim, writes)
        },
        has_failed: AtomicU32::new(0),
    };
    must_catch(|| faults::a_failed_claim_can_be_repeated(sulking));
}

/// A layer of which `commit` can be replaced.
struct Layer {
    inner: Faulty<MemoryStore>,
    commit: fn(&Layer, Claim, &[Write]) -> Result<(), StoreError>,
    has_failed: AtomicU32,
}

fn naive(inner: Faulty<MemoryStore>) -> Layer {
    Layer {
        inner,
        commit: |layer, claim, writes| {
            writes.chunks(5).try_for_each(|chunk| layer.inner.commit(claim, chunk))?;
            layer.inner.commit(claim, &[])
        },
        has_failed: AtomicU32::new(0),
    }
}

impl Store for Layer {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        self.inner.claim(claim).inspect_err(|_| {
            self.has_failed.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        (self.commit)(self, claim, writes)
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.inner.scan(table, range, direction, visit)
    }

    fn limits(&self) -> StoreLimits {
        self.inner.limits()
    }
}
