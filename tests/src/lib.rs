//! # Conclave's test kit
//!
//! Conformance suites, simulations and test doubles, for Conclave's own tests and for everyone
//! who implements one of its traits or builds on it.
//!
//! * [`conformance`]: macros that expand to one test per guarantee of a trait; each guarantee is
//!   also a function, to be called alone.
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
pub mod conformance;
pub mod device;
pub mod dice;
pub mod entropy;
pub mod faulty_store;
pub mod fuzz;
pub mod fuzz_relay;
pub mod net;
pub mod rogue;
pub mod sim_relay;
pub mod wire;
pub mod world;

/// The programs of the README compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// So do those of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct Testing;
