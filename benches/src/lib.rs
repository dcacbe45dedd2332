//! # Conclave's figures
//!
//! One table of ratios and bytes, made the same way on every machine: see [`table`]. Everything
//! that is compared does the same work in turn, in one process, on processor time.
//!
//! [`fixture`] makes groups of any size of which a few members are live, [`live`] is such a
//! member. [`messages`] times them, [`bytes`] counts what their stores are given, [`durable`] does
//! both for a store on disk. [`relay`] is a relay behind QUIC, [`links`] the channel beside QUIC,
//! [`engine`] whole engines, [`simulation`] simulated ones. [`bare`] and [`mls_rs_peer`] are what the engine is compared with,
//! [`shipped`] is what a user gets.
#![forbid(unsafe_code)]
// A benchmark has nobody to give an error to: what goes wrong ends it, with its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod bare;
pub mod bytes;
mod disk;
pub mod durable;
pub mod engine;
pub mod fixture;
pub mod links;
pub mod live;
pub mod measure;
pub mod messages;
pub mod mls_rs_peer;
pub mod relay;
mod served;
pub mod shipped;
pub mod simulation;
pub mod storage;
pub mod table;
