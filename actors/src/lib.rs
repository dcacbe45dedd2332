//! # Conclave for applications
//!
//! End-to-end encrypted groups for people with several devices, over your storage and your
//! transport. An [`Engine`] is one installation: it keeps its groups in a
//! [`Store`](conclave_core::store::Store), talks to a relay through a
//! [`DeliveryService`](conclave_core::delivery::DeliveryService), and tells what happened in a
//! durable log of [`Events`].
//!
//! What the core decides is stored, sent and told here; nothing here decides anything about
//! messages, keys or members.
#![forbid(unsafe_code)]

mod account;
mod builder;
mod call;
mod clock;
pub mod driver;
mod engine;
mod error;
mod events;
mod gather;
mod group_handle;
mod group_role;
mod index;
mod limits;
mod post;
#[cfg(feature = "quic")]
pub mod quic;
mod session_role;
mod shared;
mod view;
pub mod writer;

pub use account::{AccountKey, AccountSigner};
pub use builder::{Builder, OpenError};
pub use call::Call;
pub use clock::{Clock, OsEntropy, SystemClock};
pub use conclave_core::{
    self as core, BlockedOn, Class,
    delivery::Event,
    group::{GroupConfig, StoredMessage},
};
pub use conclave_proto::{
    self as proto, GroupId, InboxId, InstallationId, IntentId, MessageId, Seq, identity::Account,
};
pub use engine::Engine;
pub use error::Error;
pub use events::{EventCursor, Events, Told};
pub use group_handle::GroupHandle;
pub use limits::EngineLimits;
pub use view::GroupView;
