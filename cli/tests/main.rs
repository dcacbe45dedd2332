//! The integration tests of this crate, as one program: linking is most of what a test program costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod client;
mod demo;
mod full_relay;
mod help;
mod shell;
mod support;
