//! What is appended, and what is checked about it without any log.

use conclave_proto::{
    Seq, Topic, TransmitId, limits,
    record::transmit_id,
    relay::{Publish, PublishOutcome},
    welcome::body_address,
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
    fn verdict(&self) -> Result<(), PublishOutcome> {
        let max = record_bytes(&self.topic);
        if self.payload.len() > max {
            return Err(too_large(max));
        }
        let fits = match self.topic {
            Topic::Group(_) | Topic::Welcome(_) => true,
            Topic::Identity(_) => self.expect.is_some(),
            Topic::Blob(address) => body_address(&self.payload) == address,
        };
        if fits && transmit_id(&self.topic, &self.payload) == self.id {
            Ok(())
        } else {
            Err(PublishOutcome::Invalid)
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
    pub(crate) items: Vec<(Append, Result<(), PublishOutcome>)>,
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

/// The outcome for a payload longer than `max` bytes.
pub(crate) fn too_large(max: usize) -> PublishOutcome {
    PublishOutcome::TooLarge { max: u32::try_from(max).unwrap_or(u32::MAX) }
}
