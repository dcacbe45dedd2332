//! The stores that Conclave ships keep what every store promises (E5, E9).

use conclave_core::store::StoreLimits;
use conclave_store_memory::MemoryStore;
use conclave_testkit::faulty_store::Faulty;
use conclave_testkit::{store_conformance, store_fault_conformance, store_reopen_conformance};

store_conformance!(memory_store, MemoryStore::new);
store_conformance!(memory_store_at_the_floor, || MemoryStore::with_limits(StoreLimits::FLOOR));
store_conformance!(faulty_store_without_script, || Faulty::new(MemoryStore::new()));

store_reopen_conformance!(memory_store_reopened, MemoryStore::new, |store| store);

store_fault_conformance!(no_layer_failing, |lower| lower);
