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
//! An application keeps its state in a file (`redb`) and talks to a relay (`quic`), such as
//! `conclave relay` starts one:
//!
//! ```no_run
//! # #[cfg(all(feature = "quic", feature = "redb"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use conclave::{AccountKey, Engine, Event, EventCursor, RedbStore, Told, quic::RelayAddress};
//!
//! let fingerprint: [u8; 32] = [0; 32]; // what the relay prints, as bytes
//! let relay = RelayAddress::pinned("relay.example:4433".parse()?, fingerprint).remote();
//! let store = RedbStore::create_or_open("alice.conclave")?;
//! let alice = Engine::builder().store(store).delivery(relay).open()?;
//!
//! // The same account on every device of a person. On the second start this only answers.
//! let account = AccountKey::in_file("alice.key")?;
//! let inbox = alice.register(account, 0).wait()?;
//! println!("my inbox, for others to add me: {}", inbox.to_hex());
//!
//! // Everything that has happened is told, also what happened while nobody listened.
//! let mut events = alice.events(EventCursor(0));
//! while let Some(told) = events.wait_event()? {
//!     if let Told::Event(at, event) = told {
//!         if let Event::Joined { group, .. } = event {
//!             let group = alice.group(group).ok_or("a group that was joined is there")?;
//!             group.send("hello").wait()?;
//!         }
//!         println!("seen up to {}", at.0); // keep `at` with what you made of the event
//!     }
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "quic", feature = "redb")))]
//! # fn main() {}
//! ```
//!
//! Tests and first steps need no file and no network: the crate `conclave-relay` runs in the same
//! process.
//!
//! ```
//! # #[cfg(feature = "memory")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use conclave::{AccountKey, Engine, GroupConfig, MemoryStore, Seq};
//! use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
//!
//! let logs = Logs::in_memory(&Founding::from_random(&[7; 48]), RelayLimits::default())?;
//! let service = Service::new(RelayStore::start(logs)?, RelayLimits::default());
//! let relay = Arc::new(Host::new(service, HostLimits::default()));
//!
//! let alice = Engine::builder().store(MemoryStore::new()).delivery(relay.local()).open()?;
//! alice.register(AccountKey::generate()?, 0).wait()?;
//!
//! let group = alice.create_group(GroupConfig::default()).wait()?;
//! group.send("a note to myself").wait()?;
//! group.settled().wait()?;
//! assert_eq!(group.messages(Seq(0), 10)?.len(), 1);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
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
//! The features `actix`, `quic`, `redb` (`RedbStore`), `memory` (`MemoryStore`) and `wallets` can
//! each be left out; without `actix`, plain threads drive the engine.
#![forbid(unsafe_code)]

mod account;
mod builder;
mod call;
mod capacity;
mod clock;
pub mod driver;
mod engine;
mod events;
mod front;
mod group_handle;
mod inside;
mod lent;
mod mailbox;
mod port;
#[cfg(feature = "quic")]
pub mod quic;
mod runner;
mod say;
mod shell;
mod subscription;
pub mod writer;

pub use account::{AccountKey, AccountSigner};
pub use builder::{Builder, OpenError};
pub use call::Call;
pub use clock::{Clock, OsEntropy, SystemClock};
pub use conclave_core::{
    self as core, BlockedOn, Class,
    engine::{Ended, EngineLimits, EngineState, Error, GroupView, RelayState},
    event::{
        Event,
        log::{EventCursor, Told},
    },
    group::{GroupConfig, StoredMessage},
};
pub use conclave_proto::{
    self as proto, GroupId, InboxId, InstallationId, IntentId, MessageId, Seq, Timestamp,
    identity::Account,
};
#[cfg(feature = "memory")]
pub use conclave_store_memory::MemoryStore;
#[cfg(feature = "redb")]
pub use conclave_store_redb::RedbStore;
pub use engine::Engine;
pub use events::Events;
pub use front::Front;
pub use group_handle::GroupHandle;
pub use port::EnginePort;
