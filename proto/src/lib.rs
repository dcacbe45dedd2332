//! # What travels
//!
//! The wire types of Conclave: ids, topics, envelopes, records with their hash chain, identity
//! updates, group state and its changes, message payloads, Welcomes. No logic beyond encoding,
//! hashing and limits.
//!
//! Everything is encoded with postcard behind a version byte ([`codec`]); MLS messages keep their
//! RFC 9420 encoding inside. Enums only grow at the end, fields are never reordered, and golden
//! bytes in the tests of this crate hold old encodings in place for ever.
//!
//! ```
//! use conclave_proto::{ChainHash, GroupId, Record, Seq, Topic};
//!
//! let topic = Topic::Group(GroupId([7; 16]));
//! let record = Record::chained(&topic, Seq(1), Seq(0), &ChainHash::GENESIS, b"opaque".to_vec());
//! assert!(record.follows(&topic, Seq(0), &ChainHash::GENESIS));
//! assert!(!record.follows(&topic, Seq(1), &ChainHash::GENESIS));
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bytes;
pub mod codec;
pub mod envelope;
pub mod group;
pub mod id;
pub mod identity;
pub mod limits;
pub mod message;
pub mod package;
pub mod record;
pub mod relay;
pub mod topic;
pub mod welcome;

pub use codec::{DecodeError, Wire};
pub use envelope::{Envelope, EnvelopeKind, Mark};
pub use id::{
    ChainHash, Epoch, GroupId, InboxId, InstallationId, IntentId, MessageId, Seq, Timestamp,
    TransmitId,
};
pub use record::{Cursor, Record};
pub use topic::Topic;
