//! The integration tests of this crate, as one program: linking is most of what a test program costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "connection/main.rs"]
mod connection;
mod directory;
mod killed;
mod kit;
mod logs;
mod model;
mod opening;
mod service;
mod writer;
