//! Envelopes on their way out, and what became of them.

mod service;

pub use conclave_proto::relay::{Delivery, PageLimit, PublishOutcome, TopicPage, Uploaded, Watch};
pub use service::{DeliveryService, TransportError};

use alloc::vec::Vec;

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
