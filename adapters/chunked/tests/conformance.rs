//! The chunked store keeps what every store promises, over stores of every size (E5, E9).

use conclave_conformance::store::faults::LOWER_LIMITS;
use conclave_conformance::{store_conformance, store_fault_conformance, store_reopen_conformance};
use conclave_core::store::StoreLimits;
use conclave_store_chunked::ChunkedStore;
use conclave_store_memory::MemoryStore;

store_conformance!(chunked_store, || ChunkedStore::new(MemoryStore::with_limits(LOWER_LIMITS)));
store_conformance!(chunked_store_without_need, || ChunkedStore::new(MemoryStore::new()));
store_conformance!(chunked_store_twice, || {
    ChunkedStore::new(ChunkedStore::new(MemoryStore::with_limits(LOWER_LIMITS_FOR_TWO)))
});

store_reopen_conformance!(
    chunked_store_reopened,
    || ChunkedStore::new(MemoryStore::with_limits(LOWER_LIMITS)),
    |store| ChunkedStore::new(store.into_inner())
);

store_fault_conformance!(chunked_store_failing, ChunkedStore::new);

/// Room for the key encoding of two layers.
const LOWER_LIMITS_FOR_TWO: StoreLimits = StoreLimits { key_bytes: 120, ..LOWER_LIMITS };
