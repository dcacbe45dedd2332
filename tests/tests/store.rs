//! The stores that Conclave ships keep what every store promises (E5, E9).

use conclave_core::store::{ChunkedStore, StoreLimits};
use conclave_store_memory::MemoryStore;
use conclave_testkit::conformance::store::faults::LOWER_LIMITS;
use conclave_testkit::faulty_store::Faulty;
use conclave_testkit::{store_conformance, store_fault_conformance, store_reopen_conformance};

/// The least that [`StoreLimits`] allows.
const FLOOR: StoreLimits =
    StoreLimits { key_bytes: 64, value_bytes: 4096, batch_writes: 16, batch_bytes: 16 * 1024 };

store_conformance!(memory_store, MemoryStore::new);
store_conformance!(memory_store_at_the_floor, || MemoryStore::with_limits(FLOOR));
store_conformance!(chunked_store, || ChunkedStore::new(MemoryStore::with_limits(LOWER_LIMITS)));
store_conformance!(chunked_store_without_need, || ChunkedStore::new(MemoryStore::new()));
store_conformance!(chunked_store_twice, || {
    ChunkedStore::new(ChunkedStore::new(MemoryStore::with_limits(LOWER_LIMITS_FOR_TWO)))
});
store_conformance!(faulty_store_without_script, || Faulty::new(MemoryStore::new()));

store_reopen_conformance!(memory_store_reopened, MemoryStore::new, |store| store);
store_reopen_conformance!(
    chunked_store_reopened,
    || ChunkedStore::new(MemoryStore::with_limits(LOWER_LIMITS)),
    |store| ChunkedStore::new(store.into_inner())
);

store_fault_conformance!(chunked_store_failing, ChunkedStore::new);
store_fault_conformance!(no_layer_failing, |lower| lower);

/// Room for the key encoding of two layers.
const LOWER_LIMITS_FOR_TWO: StoreLimits = StoreLimits { key_bytes: 120, ..LOWER_LIMITS };
