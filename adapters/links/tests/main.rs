//! The integration tests of this crate, as one program: linking is most of what a test program costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod canary;
mod conformance;
mod replay;
mod wakers;
