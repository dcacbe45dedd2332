//! # Conclave's test kit
//!
//! Simulations and test doubles, for Conclave's own tests and for everyone who builds on it. Those
//! who implement one of its traits need the crate `conclave-conformance` only.
//!
//! * [`conformance`]: that crate, with its macros.
//! * [`world`]: a whole network in one thread, with virtual time and one seed.
//! * [`chaos`], [`dice`]: random operations in a world, from its seed.
//! * [`faulty_store`], [`sim_relay`], [`rogue`]: a store, a relay and a member that misbehave by a
//!   script.
//! * [`net`], [`wire`]: the devices of a world over the real session, client and relay code, and
//!   the links between them.
//! * [`fuzz`], [`fuzz_relay`]: the bodies of the fuzz targets.
//!
//! `docs/testing.md` shows how they are used.
//!
//! ```
//! use conclave_testkit::world::World;
//!
//! let mut world = World::with_people(1, 2);
//! let group = world.create_group(0);
//! assert!(world.add(0, group, &[1]));
//! world.settle();
//! world.send(0, group, b"hello").unwrap();
//! world.settle();
//! world.check();
//! assert_eq!(world.timeline(1, group).len(), 1);
//! ```
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod account;
pub mod chaos;
pub mod device;
pub mod dice;
pub mod entropy;
pub mod fuzz;
pub mod fuzz_relay;
pub mod net;
pub mod rogue;
pub mod sim_relay;
pub mod simulation;
pub mod wire;
pub mod world;

pub use conclave_conformance::{
    self as conformance, delivery_conformance, faulty_store, link_conformance, store_conformance,
    store_fault_conformance, store_reopen_conformance, store_sharing_conformance,
};

/// The programs of the README compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// So do those of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct Testing;

/// And those of the guide to simulations of applications.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing-your-application.md")]
struct TestingApplications;
