//! What still has to reach the relay, and what its answers mean.

use conclave_proto::{
    Epoch, Mark, MessageId, Seq, Timestamp, Topic, TransmitId, codec::Wire, record::transmit_id,
};
use serde::{Deserialize, Serialize};

use super::{Group, place::Place};
use crate::{
    delivery::{PublishOutcome, Refusal, Transmit},
    event::{IntentFault, IntentOutcome},
    step::Step,
};

/// An entry of the outbox. The number it lies under is its place in the order of sending.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Outgoing {
    pub(super) what: What,
    pub(super) envelope: Option<SentEnvelope>,
    /// Not published before this one is stored: a Welcome names a body, and whoever reads the
    /// Welcome has to find it.
    pub(super) after: Option<TransmitId>,
}

/// What is on its way.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum What {
    /// An own message; settled by its place in the log.
    Message(OwnMessage),
    /// A Welcome or a body; settled when the relay says that it is stored.
    Plain,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct OwnMessage {
    pub(super) id: MessageId,
    /// The encoded payload, to be encrypted again if the ciphertext comes too late.
    pub(super) payload: Vec<u8>,
}

/// The bytes that were released.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// What the relay said of an own message that has no place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is stored at this place.
    Accepted(Seq),
    /// It is not taken.
    Refused,
}

impl Wire for Outgoing {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = usize::MAX;
}

impl Outgoing {
    pub(super) const fn message(&self) -> Option<&OwnMessage> {
        match &self.what {
            What::Message(message) => Some(message),
            What::Plain => None,
        }
    }

    /// The envelope of an own message that is on its way.
    pub(super) fn sent_message(&self) -> Option<&SentEnvelope> {
        self.message().and(self.envelope.as_ref())
    }

    /// The envelope, if it may be published.
    pub(super) fn released(&self) -> Option<&SentEnvelope> {
        self.envelope.as_ref().filter(|_| self.after.is_none())
    }

    /// A message that is to be encrypted, for the first time or again.
    pub(super) const fn is_waiting(&self) -> bool {
        self.envelope.is_none()
    }
}

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

impl Group {
    /// Everything that is not settled, in the order of sending: after a load, publish all of it
    /// again. Ids are stable, so a relay that has it already says so.
    #[must_use]
    pub fn unsettled(&self) -> Vec<Transmit> {
        let commits = self.kept.iter().filter(|(_, kept)| !kept.refused);
        let commits = commits.map(|(id, kept)| self.commit_transmit(*id, kept.payload.clone()));
        let envelopes = self.outbox.values().filter_map(Outgoing::released);
        commits.chain(envelopes.map(SentEnvelope::transmit)).collect()
    }

    /// What became of a publish.
    ///
    /// Settles bodies and Welcomes, which only the relay sees. Messages and commits are settled by
    /// the log, whatever the answer was; but what the relay refuses holds up nothing that waits for
    /// it any more.
    pub fn handle_publish(
        &mut self,
        now: Timestamp,
        id: TransmitId,
        outcome: &PublishOutcome,
    ) -> Step {
        let refused =
            matches!(outcome, PublishOutcome::Refused(Refusal::TooLarge { .. } | Refusal::Invalid));
        // Going on with what waited takes randomness. Without any, the timer does it.
        let goes_on = refused && self.begin().is_ok();
        if !goes_on {
            self.draft = super::Draft::default();
        }
        match outcome {
            PublishOutcome::Accepted { seq, .. } => {
                self.settle_plain(id);
                self.release_behind(now, id);
                self.note_said(id, Said::Accepted(*seq));
            }
            PublishOutcome::Refused(Refusal::TooLarge { .. } | Refusal::Invalid) => {
                self.settle_plain(id);
                // Whoever reads the Welcome sees whether the refusal was the truth.
                self.release_behind(now, id);
                self.note_refused(id);
                self.note_said(id, Said::Refused);
            }
            PublishOutcome::Refused(Refusal::Behind | Refusal::Conflict { .. })
            | PublishOutcome::NotStored { .. }
            | PublishOutcome::Unknown => {}
        }
        if goes_on {
            self.advance(now);
        }
        self.end(())
    }

    pub(super) fn commit_transmit(&self, id: TransmitId, payload: Vec<u8>) -> Transmit {
        Transmit { topic: self.topic.clone(), id, expect: None, payload }
    }

    /// Queues an envelope that only the relay settles.
    pub(super) fn queue_plain(&mut self, envelope: SentEnvelope, after: Option<TransmitId>) {
        let outgoing = Outgoing { what: What::Plain, envelope: Some(envelope), after };
        if let Some(envelope) = outgoing.released() {
            self.transmit(envelope.transmit());
        }
        self.queue(outgoing);
    }

    /// An envelope is stored: those that waited for it may be published.
    fn release_behind(&mut self, now: Timestamp, id: TransmitId) {
        let behind = self.outbox.iter().filter(|(_, outgoing)| outgoing.after == Some(id));
        for number in behind.map(|(number, _)| *number).collect::<Vec<_>>() {
            let Some(outgoing) = self.outbox.get_mut(&number) else { continue };
            outgoing.after = None;
            if let Some(envelope) = &mut outgoing.envelope {
                envelope.since = now;
                self.draft.effects.transmits.push(envelope.transmit());
            }
            let stored = outgoing.encode();
            self.put(Place::Outgoing(number), stored);
        }
    }

    pub(super) fn queue(&mut self, outgoing: Outgoing) {
        let number = self.meta.outgoing;
        self.meta().outgoing = number.saturating_add(1);
        self.put(Place::Outgoing(number), outgoing.encode());
        self.outbox.insert(number, outgoing);
    }

    pub(super) fn unqueue(&mut self, number: u64) {
        if let Some(outgoing) = self.outbox.remove(&number) {
            if let Some(envelope) = &outgoing.envelope {
                self.said.remove(&envelope.id);
            }
            self.delete(Place::Outgoing(number));
        }
    }

    fn settle_plain(&mut self, id: TransmitId) {
        let found = self.outbox.iter().find(|(_, outgoing)| {
            let is_it = outgoing.envelope.as_ref().is_some_and(|envelope| envelope.id == id);
            is_it && outgoing.message().is_none()
        });
        if let Some(number) = found.map(|(number, _)| *number) {
            self.unqueue(number);
        }
    }

    fn note_said(&mut self, id: TransmitId, said: Said) {
        let mut sent = self.outbox.values().filter_map(Outgoing::sent_message);
        if sent.any(|sent| sent.id == id) {
            self.said.insert(id, said);
        }
    }

    /// Whether a message that is on its way may still find its place in the log. Not if the relay
    /// will not take it, and not if the log has something else where the relay said it stands.
    pub(super) fn may_land(&self, sent: &SentEnvelope) -> bool {
        match self.said.get(&sent.id) {
            Some(Said::Refused) => false,
            Some(Said::Accepted(seq)) => *seq > self.meta.cursor.seq,
            None => true,
        }
    }

    /// A commit that the relay will not take ends its wishes, but stays kept: the log may show
    /// it all the same (scenarios 8, 99).
    fn note_refused(&mut self, id: TransmitId) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        if kept.refused {
            return;
        }
        kept.refused = true;
        let (intents, stored) = (kept.intents.clone(), kept.encode());
        self.put(Place::Kept(&id), stored);
        for intent in intents {
            self.settle_intent(intent, IntentOutcome::Failed(IntentFault::TooLarge));
        }
    }
}

#[cfg(test)]
mod tests {
    use conclave_proto::{
        Epoch, GroupId, Mark, MessageId, Timestamp, Topic, TransmitId, codec::Wire,
    };

    use super::{Outgoing, OwnMessage, SentEnvelope, What};

    fn envelope() -> SentEnvelope {
        SentEnvelope {
            topic: Topic::Group(GroupId([1; 16])),
            id: TransmitId([2; 16]),
            mark: Mark([3; 16]),
            epoch: Epoch(4),
            payload: vec![5],
            since: Timestamp(6),
        }
    }

    /// E10: golden bytes; old stores open for ever.
    #[test]
    fn the_stored_forms_of_what_waits_are_frozen() {
        let message = || What::Message(OwnMessage { id: MessageId([7; 32]), payload: vec![8] });
        let all = [
            Outgoing { what: message(), envelope: None, after: None },
            Outgoing { what: message(), envelope: Some(envelope()), after: None },
            Outgoing {
                what: What::Plain,
                envelope: Some(envelope()),
                after: Some(TransmitId([9; 16])),
            },
        ];
        let of = |byte: &str, count: usize| byte.repeat(count);
        let (id, sent) =
            (of("07", 32), format!("0100{}{}{}04010506", of("01", 16), of("02", 16), of("03", 16)));
        let golden = [
            format!("0100{id}01080000"),
            format!("0100{id}0108{sent}00"),
            format!("0101{sent}01{}", of("09", 16)),
        ];
        for (stored, golden) in all.iter().zip(golden) {
            assert_eq!(conclave_proto::identity::hex(&stored.encode()), golden);
        }
    }
}
