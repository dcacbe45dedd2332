//! An entry of the outbox: what it is in memory, and how it is stored.

use std::borrow::Cow;

use conclave_proto::{MessageId, Seq, TransmitId, codec::Wire};
use serde::{Deserialize, Serialize};

use super::SentEnvelope;

/// An entry of the outbox.
pub(super) enum Outgoing {
    /// An own message that is to be encrypted, for the first time or again.
    Waiting(OwnMessage),
    /// An own message that was released; the log settles it.
    Sent { message: OwnMessage, envelope: SentEnvelope, answer: Answer },
    /// A Welcome or a body that was released; the relay settles it by having it.
    Plain(SentEnvelope),
    /// A Welcome that is released when the relay has the body that it names: its reader has to find
    /// that.
    Held { envelope: SentEnvelope, after: TransmitId },
}

/// An own message, before MLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct OwnMessage {
    pub(in super::super) id: MessageId,
    /// The encoded payload, to be encrypted again if the ciphertext comes too late.
    pub(in super::super) payload: Vec<u8>,
}

/// What the relay said of a released message since the load. It is not stored: after a load the
/// message is published again, and the relay says it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing yet.
    None,
    /// It is stored at this position.
    Accepted(Seq),
    /// It is not taken.
    Refused,
}

impl Answer {
    /// Whether the message may still find its position after `cursor`. Not if the relay will not
    /// take it, and not if the log has another record where the relay said it stands.
    pub(super) fn may_land(self, cursor: Seq) -> bool {
        match self {
            Self::None => true,
            Self::Accepted(seq) => seq > cursor,
            Self::Refused => false,
        }
    }
}

/// An entry as it is stored.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct StoredOutgoing<'a> {
    what: What<'a>,
    envelope: Option<Cow<'a, SentEnvelope>>,
    after: Option<TransmitId>,
}

#[derive(Serialize, Deserialize)]
enum What<'a> {
    Message(Cow<'a, OwnMessage>),
    Plain,
}

impl Wire for StoredOutgoing<'_> {
    const VERSION: u8 = 1;
    // Own bytes: whatever was written is read back.
    const MAX_BYTES: usize = usize::MAX;
}

impl Outgoing {
    pub(super) const fn message(&self) -> Option<&OwnMessage> {
        match self {
            Self::Waiting(message) | Self::Sent { message, .. } => Some(message),
            Self::Plain(_) | Self::Held { .. } => None,
        }
    }

    /// The envelope, if it was released.
    pub(super) const fn released(&self) -> Option<&SentEnvelope> {
        match self {
            Self::Sent { envelope, .. } | Self::Plain(envelope) => Some(envelope),
            Self::Waiting(_) | Self::Held { .. } => None,
        }
    }

    /// The envelope, if it was released.
    pub(super) const fn released_mut(&mut self) -> Option<&mut SentEnvelope> {
        match self {
            Self::Sent { envelope, .. } | Self::Plain(envelope) => Some(envelope),
            Self::Waiting(_) | Self::Held { .. } => None,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (envelope, after) = match self {
            Self::Waiting(_) => (None, None),
            Self::Sent { envelope, .. } | Self::Plain(envelope) => (Some(envelope), None),
            Self::Held { envelope, after } => (Some(envelope), Some(*after)),
        };
        let what = self.message().map_or(What::Plain, |own| What::Message(Cow::Borrowed(own)));
        StoredOutgoing { what, envelope: envelope.map(Cow::Borrowed), after }.encode()
    }

    /// The entry that was stored. `None` for a combination that no outbox stores.
    pub(super) fn restore(stored: StoredOutgoing<'_>) -> Option<Self> {
        let StoredOutgoing { what, envelope, after } = stored;
        match (what, envelope.map(Cow::into_owned), after) {
            (What::Message(message), None, None) => Some(Self::Waiting(message.into_owned())),
            (What::Message(message), Some(envelope), None) => {
                let message = message.into_owned();
                Some(Self::Sent { message, envelope, answer: Answer::None })
            }
            (What::Plain, Some(envelope), None) => Some(Self::Plain(envelope)),
            (What::Plain, Some(envelope), Some(after)) => Some(Self::Held { envelope, after }),
            (What::Message(_), _, Some(_)) | (What::Plain, None, _) => None,
        }
    }
}
