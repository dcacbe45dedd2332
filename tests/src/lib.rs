//! # Conclave's test kit
//!
//! Conformance suites and test doubles, for Conclave's own tests and for everyone who implements
//! one of its traits. A suite is a macro that expands to one test per guarantee; each guarantee
//! is also a function, to be called alone.

pub mod conformance;
pub mod faulty_store;
