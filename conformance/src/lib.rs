//! # Conformance suites
//!
//! What an implementation of one of Conclave's traits has to promise, as tests. Each macro expands
//! to one test per guarantee; each guarantee is also a function, to be called alone.
//!
//! | trait | macros |
//! |---|---|
//! | [`Store`](conclave_core::store::Store) | [`store_conformance!`], [`store_reopen_conformance!`], [`store_sharing_conformance!`], [`store_fault_conformance!`] |
//! | [`Link`](conclave_core::link::Link) | [`link_conformance!`] |
//! | [`DeliveryService`](conclave_core::delivery::DeliveryService) | [`delivery_conformance!`] |
//!
//! [`faulty_store`] is a store that fails by a script, for tests of what lies above a store.
//!
//! The crate needs neither a relay nor the MLS library, so it can be a dev-dependency of an
//! adapter.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![forbid(unsafe_code)]

pub mod delivery;
pub mod faulty_store;
pub mod link;
pub mod store;
