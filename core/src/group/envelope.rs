//! Envelopes that this installation makes: their marks, and how they are recognised in the log.

use conclave_proto::{
    Envelope, EnvelopeKind, Epoch, Mark, Timestamp, Topic, TransmitId, codec::Wire,
    record::transmit_id,
};
use serde::{Deserialize, Serialize};

use super::draft::Draft;
use crate::{delivery::Transmit, event::Rejection, installation::Installation};

/// The bytes that were released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SentEnvelope {
    pub(super) topic: Topic,
    pub(super) id: TransmitId,
    pub(super) mark: Mark,
    /// The epoch it was encrypted in; meaningless for what is not a message.
    pub(super) epoch: Epoch,
    pub(super) payload: Vec<u8>,
    /// When it was last given to the driver.
    pub(super) since: Timestamp,
}

/// The counter of the marks that own envelopes carry.
pub(super) struct Marks {
    /// The position at which this membership began; tells its marks from those of earlier ones.
    life: u64,
    /// The next envelope gets this one.
    next: u64,
}

/// Own marks that are tried, each way, for an envelope on the own leaf that is not in the outbox.
const MARK_WINDOW: u64 = 1_024;

impl SentEnvelope {
    pub(super) fn new(
        topic: Topic,
        mark: Mark,
        epoch: Epoch,
        payload: Vec<u8>,
        now: Timestamp,
    ) -> Self {
        let id = transmit_id(&topic, &payload);
        Self { topic, id, mark, epoch, payload, since: now }
    }

    pub(super) fn transmit(&self) -> Transmit {
        Transmit {
            topic: self.topic.clone(),
            id: self.id,
            expect: None,
            payload: self.payload.clone(),
        }
    }
}

/// Whether an own envelope, given by its payload and mark, carries exactly this MLS message.
///
/// Own echoes are recognised by the message inside. The envelope around it is not authenticated:
/// a relay or a member may wrap the same message under another mark, and every member has to judge
/// it alike.
pub(super) fn carries(payload: &[u8], mark: Mark, message: &[u8]) -> bool {
    payload.ends_with(message) && {
        let kind = EnvelopeKind::Mls(message.to_vec());
        Envelope { mark, beacon: None, kind }.encode() == payload
    }
}

impl Marks {
    pub(super) const fn new(life: u64, next: u64) -> Self {
        Self { life, next }
    }

    pub(super) const fn life(&self) -> u64 {
        self.life
    }

    pub(super) const fn count(&self) -> u64 {
        self.next
    }

    /// The mark of the next envelope in a topic.
    pub(super) fn draw(
        &mut self,
        draft: &mut Draft,
        installation: &Installation,
        topic: &Topic,
    ) -> Mark {
        let counter = self.next;
        self.next = counter.saturating_add(1);
        draft.change_meta();
        installation.mark(topic, self.life, counter)
    }

    /// Judges the mark of an envelope on the own leaf that is not in the outbox (scenario 91). The
    /// envelope was handled before ([`Rejection::Replayed`]), or a second engine made it on a copy
    /// of this store (`None`), or a member forged it.
    pub(super) fn judge(
        &self,
        installation: &Installation,
        topic: &Topic,
        mark: Mark,
    ) -> Option<Rejection> {
        let next = self.next;
        let verifies = |counter| installation.mark(topic, self.life, counter) == mark;
        if (next.saturating_sub(MARK_WINDOW)..next).rev().any(verifies) {
            Some(Rejection::Replayed)
        } else if (next..next.saturating_add(MARK_WINDOW)).any(verifies) {
            None
        } else {
            Some(Rejection::Forged)
        }
    }
}
