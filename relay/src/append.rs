//! What is appended, what is checked about it without any log, and what comes of it.

use core::fmt;

use conclave_core::{BlockedOn, Class};
use conclave_proto::{
    Seq, Topic, TransmitId, limits, record::transmit_id, relay::Publish, welcome::body_address,
};

use crate::limits::{BODY_RECORD_BYTES, WELCOME_RECORD_BYTES};

/// One payload for the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The log.
    pub topic: Topic,
    /// [`transmit_id`] of topic and payload; anything else is refused.
    pub id: TransmitId,
    /// Append only if this is the head. Required for identity logs.
    pub expect: Option<Seq>,
    /// The bytes.
    pub payload: Vec<u8>,
}

impl Append {
    /// Wherever the log stands, with the id computed.
    #[must_use]
    pub fn new(topic: Topic, payload: Vec<u8>) -> Self {
        let id = transmit_id(&topic, &payload);
        Self { topic, id, expect: None, payload }
    }

    /// Only if this is the head.
    #[must_use]
    pub fn expecting(self, head: Seq) -> Self {
        Self { expect: Some(head), ..self }
    }

    /// What can be said without knowing the log.
    fn verdict(&self) -> Result<(), AppendError> {
        let max = record_bytes(&self.topic);
        if self.payload.len() > max {
            return Err(AppendError::TooLarge { max: u32::try_from(max).unwrap_or(u32::MAX) });
        }
        let fits = match self.topic {
            Topic::Group(_) | Topic::Welcome(_) => true,
            Topic::Identity(_) => self.expect.is_some(),
            Topic::Blob(address) => body_address(&self.payload) == address,
        };
        if fits && transmit_id(&self.topic, &self.payload) == self.id {
            Ok(())
        } else {
            Err(AppendError::Invalid)
        }
    }
}

impl From<Publish> for Append {
    fn from(publish: Publish) -> Self {
        let Publish { topic, id, expect, payload, write: _ } = publish;
        Self { topic, id, expect, payload }
    }
}

/// The appends of one caller, in order, with everything checked that needs no log. Checking hashes
/// all payloads, so it is done before the writer's turn.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) items: Vec<(Append, Result<(), AppendError>)>,
}

impl Call {
    /// Checks sizes, ids and addresses of bodies.
    #[must_use]
    pub fn check(items: Vec<Append>) -> Self {
        let items = items.into_iter().map(|item| {
            let verdict = item.verdict();
            (item, verdict)
        });
        Self { items: items.collect() }
    }

    /// Items in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of payload in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.items.iter().map(|(item, _)| item.payload.len()).sum()
    }
}

/// Longest record of a topic, in bytes.
#[must_use]
pub fn record_bytes(topic: &Topic) -> usize {
    match topic {
        Topic::Group(_) => limits::ENVELOPE_BYTES,
        Topic::Welcome(_) => WELCOME_RECORD_BYTES,
        Topic::Identity(_) => limits::IDENTITY_UPDATE_BYTES,
        Topic::Blob(_) => BODY_RECORD_BYTES,
    }
}

/// Stored for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub seq: Seq,
    /// The place before.
    pub prev: Seq,
    /// Whether an earlier attempt had stored it.
    pub duplicate: bool,
}

/// Why a payload was not appended, or not for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppendError {
    /// The log's head is not the expected one.
    Conflict {
        /// What it is.
        actual: Seq,
    },
    /// Longer than the topic takes.
    TooLarge {
        /// Longest payload, in bytes.
        max: u32,
    },
    /// Not what the topic takes; it never will.
    Invalid,
    /// An item of the same topic before it in the call was not accepted.
    Behind,
    /// No room. Not stored.
    Full,
    /// Too busy, or the medium fails. Not stored.
    Unavailable,
    /// The medium failed while storing: it may be stored. The same bytes again tell.
    Unknown,
}

impl AppendError {
    /// What a driver does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Conflict { .. } | Self::TooLarge { .. } | Self::Invalid => Class::Permanent,
            Self::Behind | Self::Unavailable | Self::Unknown => Class::Transient,
            Self::Full => Class::Blocked(BlockedOn::Space),
        }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { actual } => write!(f, "the log's head is {}", actual.0),
            Self::TooLarge { max } => write!(f, "longer than the {max} bytes allowed"),
            Self::Invalid => f.write_str("not what the topic takes"),
            Self::Behind => f.write_str("an item before it was not accepted"),
            Self::Full => f.write_str("no room"),
            Self::Unavailable => f.write_str("not stored"),
            Self::Unknown => f.write_str("may be stored"),
        }
    }
}

impl core::error::Error for AppendError {}

#[cfg(test)]
mod tests {
    use conclave_proto::{
        InstallationId,
        codec::Wire,
        envelope::{Envelope, EnvelopeKind, Mark},
    };

    use super::*;

    #[test]
    fn the_longest_sealed_welcome_fits_in_its_envelope() {
        let kind = EnvelopeKind::Welcome(vec![0; limits::SEALED_WELCOME_BYTES]);
        let envelope = Envelope { mark: Mark([0; 16]), beacon: Some([0; 8]), kind };
        let topic = Topic::Welcome(InstallationId([0; 32]));
        assert!(envelope.encode().len() <= record_bytes(&topic));
    }
}
