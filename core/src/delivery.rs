//! Envelopes on their way out, and what became of them.

mod service;

pub use conclave_proto::relay::{Delivery, PageLimit, TopicPage, Watch};
pub use service::{DeliveryService, TransportError, Uploaded};

use alloc::vec::Vec;
use core::time::Duration;

use conclave_proto::{Seq, Topic, TransmitId};

/// An envelope to publish. Its id is stable: it comes out again, byte for byte, until it is
/// settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub topic: Topic,
    /// First 16 bytes of SHA-256 over topic and payload.
    pub id: TransmitId,
    /// For identity logs: append only if this is the head.
    pub expect: Option<Seq>,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// How a publish ended. None of these settles an envelope that goes to a group's log: only the
/// log does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// Stored, says the relay.
    Accepted {
        /// At this place.
        seq: Seq,
        /// After this one.
        prev: Seq,
    },
    /// Will never be stored as it is, says the relay.
    Refused(Refusal),
    /// Was not stored; the same envelope may be tried again.
    NotStored {
        /// Not before this has passed.
        retry_after: Duration,
    },
    /// No answer: may be stored. The log settles it, or a retry with the same id.
    Unknown,
}

/// Why a relay will never store an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The expected head is not the head.
    Conflict {
        /// What the head is.
        head: Seq,
    },
    /// Too long.
    TooLarge {
        /// Longest payload, in bytes.
        max: u32,
    },
    /// Not what the topic takes.
    Invalid,
    /// An item of the same topic before it in the call was not accepted; try again.
    Behind,
}
