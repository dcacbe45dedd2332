//! # A relay, from afar
//!
//! [`Remote`] is a [`DeliveryService`] over any [`Link`]: it opens one when it is needed, speaks
//! the relay protocol on it, and opens another one when it is lost. It has no opinion on when to
//! try again: the session above it has.
//!
//! Every call ends, also with a relay that keeps the connection alive and answers nothing or a
//! byte now and then: [`RemoteLimits`] says when.
//!
//! It runs on tokio. The protocol itself is [`conclave_core::relay_client::RelayClient`], which
//! runs anywhere.
//!
//! [`DeliveryService`]: conclave_core::delivery::DeliveryService
//! [`Link`]: conclave_core::link::Link
#![forbid(unsafe_code)]

mod driver;
mod mailbox;
mod remote;

pub use remote::{Connector, LastWrite, Remote, RemoteLimits};
