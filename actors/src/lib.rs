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
//!
//! ```
//! use std::sync::Arc;
//!
//! use conclave::{AccountKey, Engine, GroupConfig, Seq};
//! # use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
//! use conclave_store_memory::MemoryStore;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let logs = Logs::in_memory(&Founding::from_random(&[7; 48]), RelayLimits::default())?;
//! # let service = Service::new(RelayStore::start(logs)?, RelayLimits::default());
//! # let relay = Arc::new(Host::new(service, HostLimits::default()));
//! // A store and a way to the relay; `quic::RelayAddress` for one that is somewhere else.
//! let alice = Engine::builder().store(MemoryStore::new()).delivery(relay.local()).open()?;
//! alice.register(AccountKey::generate()?, 0).wait()?;
//!
//! let group = alice.create_group(GroupConfig::default()).wait()?;
//! group.send("a note to myself").wait()?;
//! group.settled().wait()?;
//! assert_eq!(group.messages(Seq(0), 10)?.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Waiting
//!
//! Every call gives a [`Call`]: a future for any runtime, with [`Call::wait`] for a plain thread.
//! What was asked for happens whether or not anybody waits.
//!
//! # What an answer means
//!
//! An answer comes when the step that it belongs to is stored, so a crash does not take it back.
//! That a message is stored is not that it has arrived: [`GroupHandle::settled`] and the event
//! [`Event::Message`] with `own` say so.
//!
//! # Without a part of it
//!
//! The features `actix`, `quic`, `redb`, `memory` and `wallets` can each be left out; without
//! `actix`, plain threads drive the engine.
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
mod lent;
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
    self as proto, GroupId, InboxId, InstallationId, IntentId, MessageId, Seq, Timestamp,
    identity::Account,
};
pub use engine::Engine;
pub use error::Error;
pub use events::{EventCursor, Events, Told};
pub use group_handle::GroupHandle;
pub use limits::EngineLimits;
pub use view::GroupView;
