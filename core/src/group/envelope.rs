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

#[cfg(test)]
mod tests {
    use conclave_proto::{Envelope, EnvelopeKind, GroupId, InboxId, Mark, Topic, codec::Wire};

    use super::{MARK_WINDOW, Marks, carries};
    use crate::{
        event::Rejection,
        group::fixture::{TOPIC, draft},
        installation::Installation,
    };

    fn installation(mark_key: u8) -> Installation {
        Installation::new(InboxId([1; 32]), [2; 32], [mark_key; 32])
    }

    #[test]
    fn each_envelope_has_a_mark_of_its_own() {
        let (own, mut marks, mut draft) = (installation(3), Marks::new(9, 0), draft());
        let first = marks.draw(&mut draft, &own, &TOPIC);
        let second = marks.draw(&mut draft, &own, &TOPIC);
        assert_eq!([first, second], [own.mark(&TOPIC, 9, 0), own.mark(&TOPIC, 9, 1)]);
        assert_ne!(first, second);
        assert_eq!((marks.life(), marks.count()), (9, 2));
        assert!(draft.meta_changed);
    }

    /// E9, scenario 91: an envelope on the own leaf was handled before, or comes of a copy of the
    /// store, or is forged; only the marks tell.
    #[test]
    fn marks_tell_repeats_from_copies_and_forgeries() {
        let (own, next) = (installation(3), 5_000);
        let marks = Marks::new(9, next);
        let judged = |mark| marks.judge(&own, &TOPIC, mark);
        let of = |counter| own.mark(&TOPIC, 9, counter);
        for counter in [next - 1, next - MARK_WINDOW] {
            assert_eq!(judged(of(counter)), Some(Rejection::Replayed), "{counter}");
        }
        for counter in [next, next + MARK_WINDOW - 1] {
            assert_eq!(judged(of(counter)), None, "{counter}");
        }
        let forged = [
            of(next - MARK_WINDOW - 1),
            of(next + MARK_WINDOW),
            own.mark(&TOPIC, 8, next),
            own.mark(&Topic::Group(GroupId([8; 16])), 9, next),
            installation(4).mark(&TOPIC, 9, next),
            Mark([0; 16]),
        ];
        for mark in forged {
            assert_eq!(judged(mark), Some(Rejection::Forged));
        }
    }

    #[test]
    fn an_envelope_carries_its_message_and_no_other() {
        let (mark, message) = (Mark([4; 16]), b"message".to_vec());
        let kind = EnvelopeKind::Mls(message.clone());
        let payload = Envelope { mark, beacon: None, kind }.encode();
        assert!(carries(&payload, mark, &message));
        assert!(!carries(&payload, mark, b"message of another"));
        // A part of the message stands at the end of the envelope as well.
        assert!(!carries(&payload, mark, b"sage"));
        assert!(!carries(&payload, mark, b""));
        assert!(!carries(&payload, Mark([5; 16]), &message));
    }
}
