//! The integration tests of this crate, as one program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod chunked_store;
mod conformance;
