//! # Conclave core
//!
//! The pure state machines of Conclave: identity, key packages, Welcomes and groups as values
//! with methods. Nothing here waits, reads a clock, opens a socket or a file, or starts a thread;
//! time and randomness are arguments.
//!
//! Each input gives one [`Step`](step::Step): the writes to store in one atomic batch, and the
//! effects (envelopes to publish, events, the caller's answer) that only a proof of durability
//! releases. [`Committer`](step::Committer) is the only maker of such proofs.
//!
//! The crate is `no_std` + `alloc` without its default feature `std`; what needs the MLS library
//! (groups, the key ring) sits behind that feature, and the library itself behind one module.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bounds;
mod class;
pub mod config;
pub mod delivery;
#[cfg(feature = "std")]
pub mod engine;
pub mod entropy;
pub mod event;
#[cfg(feature = "std")]
pub mod group;
pub mod identity;
pub mod installation;
#[cfg(feature = "std")]
pub mod keyring;
pub mod link;
#[cfg(feature = "std")]
pub mod mls;
pub mod padding;
pub mod relay_client;
pub mod seal;
pub mod session;
pub mod state;
pub mod step;
pub mod store;
mod timetable;

pub use class::{BlockedOn, Class};
pub use conclave_proto as proto;
