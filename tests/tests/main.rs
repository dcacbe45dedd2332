//! The integration tests of this crate, as one program: linking is most of what a test program costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod committer;
mod delivery;
mod delivery_canary;
mod delivery_kit;
mod first_light;
mod fuzz_bodies;
mod group_actor;
mod handovers;
mod host;
mod keyring;
mod mls_rs;
mod net;
mod properties;
mod scenarios_members;
mod scenarios_order;
mod scenarios_races;
mod scenarios_relay;
mod session_actor;
mod simulation;
mod store;
#[path = "store_canary/main.rs"]
mod store_canary;
mod suite_packages;
mod vectors;
mod verdicts;
mod versions;
mod wallets;
#[path = "workspace/main.rs"]
mod workspace;
