//! # The relay, as a library
//!
//! Ordered, durable, hash-chained logs, one per topic; a directory of key packages and one of
//! accounts. It never sees content, and who uses it need not trust it for more than its being
//! there.
//!
//! [`Logs`] stores, one commit at a time. [`RelayStore`] lets many callers share commits.
//! [`Service`] answers the requests of [`conclave_proto::relay`] over either, or over a
//! [`LogStore`] of yours. [`Connection`] is the relay's half of the protocol as a value, and
//! [`Host`] runs connections over any [`Link`](conclave_core::link::Link) on tokio.
//!
//! ```
//! use conclave_proto::{Cursor, GroupId, Timestamp, Topic, relay::PageLimit};
//! use conclave_relay::{Append, Founding, Logs, RelayLimits};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // 48 bytes from the system's generator, once in the life of a relay.
//! let logs = Logs::in_memory(&Founding::from_random(&[7; 48]), RelayLimits::default())?;
//! let topic = Topic::Group(GroupId([1; 16]));
//!
//! let append = Append::new(topic.clone(), b"opaque".to_vec());
//! let first = logs.append(vec![append.clone()])[0];
//! assert!(first.is_accepted());
//! assert_eq!(logs.append(vec![append])[0], first, "the same bytes again are the same record");
//!
//! let after = [(topic.clone(), Cursor::START)];
//! let pages = logs.read(Timestamp(0), &after, PageLimit::default())?;
//! assert!(pages[0].records[0].follows(&topic, Cursor::START.seq, &Cursor::START.hash));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod append;
mod connection;
mod directory;
mod failure;
mod format;
mod founding;
mod host;
mod hub;
mod identity;
mod limits;
mod local;
mod logs;
mod read;
mod service;
mod staging;
mod store;
mod writer;

pub use append::{Append, Call, record_bytes};
pub use conclave_redb_file::{Holder, OpenError};
pub use connection::{Connection, ConnectionLimits, Work};
pub use directory::CheckedUpload;
pub use failure::WriteError;
pub use founding::{Founding, RelayIdentity};
pub use host::{Host, HostLimits};
pub use limits::RelayLimits;
pub use logs::{Listener, Logs, Stats};
pub use read::ReadError;
pub use service::Service;
pub use staging::{Done, Job};
pub use store::{Direct, LogStore};
pub use writer::RelayStore;
