//! Stores that do not take what they say.

use conclave_core::store::{Store, StoreError, StoreLimits};
use conclave_store_memory::MemoryStore;
use conclave_testkit::conformance::store::limits;

use super::broken::{Broken, Commit, FLOOR, committing, healthy};
use super::must_catch;

#[test]
fn limits_below_the_floor_are_caught() {
    for limits in [
        StoreLimits { key_bytes: 63, ..FLOOR },
        StoreLimits { value_bytes: 4095, ..FLOOR },
        StoreLimits { batch_writes: 15, ..FLOOR },
        StoreLimits { batch_bytes: 16 * 1024 - 1, ..FLOOR },
    ] {
        let make = || Broken { limits, ..healthy() };
        must_catch(|| limits::limits_reach_the_floor(make));
    }
}

#[test]
fn limits_that_promise_too_much_or_are_not_kept_are_caught() {
    let one_more = [
        StoreLimits { key_bytes: FLOOR.key_bytes + 1, ..FLOOR },
        StoreLimits { value_bytes: FLOOR.value_bytes + 1, ..FLOOR },
        StoreLimits { batch_writes: FLOOR.batch_writes + 1, ..FLOOR },
        StoreLimits { batch_bytes: FLOOR.batch_bytes + 1, ..FLOOR },
    ];
    for more in one_more {
        let promises_more = || Broken { limits: more, ..healthy() };
        must_catch(|| limits::everything_up_to_the_limits_is_stored(promises_more));
        let takes_more = || Broken { inner: MemoryStore::with_limits(more), ..healthy() };
        must_catch(|| limits::one_beyond_a_limit_is_named_and_nothing_is_stored(takes_more));
    }
}

#[test]
fn a_wrong_index_is_caught() {
    let first: Commit = |store, claim, writes| match store.inner.commit(claim, writes) {
        Err(StoreError::TooLarge { max, .. }) => Err(StoreError::TooLarge { write: 0, max }),
        answer => answer,
    };
    let make = committing(first);
    must_catch(|| limits::one_beyond_a_limit_is_named_and_nothing_is_stored(make));
}
