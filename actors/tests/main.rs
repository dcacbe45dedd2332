//! The integration tests of this crate, as one program: linking is most of what a test program costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::duplicate_mod, reason = "examples are run, and judged by the suites")]

mod custom_store;
mod custom_transport;
#[path = "engine/main.rs"]
mod engine;
mod examples;
mod goodbye;
mod own_delivery;
mod own_driver;
mod quiet;
mod small_stores;
mod writer;
