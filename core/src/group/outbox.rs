//! What still has to reach the relay or the log, and what the relay's answers mean for it.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use conclave_proto::{Epoch, MessageId, Seq, Timestamp, TransmitId};

use super::{
    draft::Draft,
    envelope::{SentEnvelope, carries},
    place::Place,
};
use crate::delivery::{PublishOutcome, Transmit};
use entry::{Answer, Outgoing};
pub(super) use entry::{OwnMessage, StoredOutgoing};

/// Own messages until the log shows them, Welcomes and their bodies until the relay has them.
///
/// An entry lies under a number, which is its position in the order of sending.
pub(super) struct Outbox {
    entries: BTreeMap<u64, Outgoing>,
    next: u64,
    /// When waiting messages are looked at although no record comes: at once after a load, and
    /// where a step left some of them for the next.
    look_again: Timestamp,
}

/// An own message that the log shows.
pub(super) struct Echo {
    pub(super) number: u64,
    /// The epoch it was encrypted in.
    pub(super) epoch: Epoch,
    pub(super) message: OwnMessage,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self { entries: BTreeMap::new(), next: 0, look_again: Timestamp(0) }
    }

    /// The outbox as it was stored. `None` if an entry is not one that an outbox stores.
    pub(super) fn restore(stored: BTreeMap<u64, StoredOutgoing<'_>>, next: u64) -> Option<Self> {
        let entry = |(number, stored)| Some((number, Outgoing::restore(stored)?));
        let entries = stored.into_iter().map(entry).collect::<Option<_>>()?;
        Some(Self { entries, next, look_again: Timestamp(0) })
    }

    /// The number that the next entry gets.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Own messages that the log has not shown.
    pub(super) fn message_count(&self) -> usize {
        self.entries.values().filter(|outgoing| outgoing.message().is_some()).count()
    }

    pub(super) fn holds(&self, id: &MessageId) -> bool {
        self.entries.values().filter_map(Outgoing::message).any(|message| message.id == *id)
    }

    /// Everything that may be published, in the order of sending.
    pub(super) fn released(&self) -> impl Iterator<Item = Transmit> + '_ {
        self.entries.values().filter_map(Outgoing::released).map(SentEnvelope::transmit)
    }

    /// Queues a message that is encrypted later.
    pub(super) fn queue(&mut self, draft: &mut Draft, message: OwnMessage) {
        self.push(draft, Outgoing::Waiting(message));
    }

    /// Queues an encrypted message and releases it.
    pub(super) fn send(&mut self, draft: &mut Draft, message: OwnMessage, envelope: SentEnvelope) {
        draft.transmit(envelope.transmit());
        self.push(draft, Outgoing::Sent { message, envelope, answer: Answer::None });
    }

    /// Queues an envelope that the relay settles. It is released at once, or when the relay has
    /// `after`.
    pub(super) fn send_plain(
        &mut self,
        draft: &mut Draft,
        envelope: SentEnvelope,
        after: Option<TransmitId>,
    ) {
        if let Some(after) = after {
            return self.push(draft, Outgoing::Held { envelope, after });
        }
        draft.transmit(envelope.transmit());
        self.push(draft, Outgoing::Plain(envelope));
    }

    /// Whether messages are to be encrypted, for the first time or again.
    pub(super) fn has_waiting(&self) -> bool {
        self.entries.values().any(|outgoing| matches!(outgoing, Outgoing::Waiting(_)))
    }

    /// The waiting messages that one step encrypts, in the order of sending: their payloads come to
    /// `most_bytes` or a little more.
    pub(super) fn next_waiting(&self, most_bytes: usize) -> Vec<u64> {
        let (mut taken, mut bytes) = (Vec::new(), 0_usize);
        for (number, outgoing) in &self.entries {
            let Outgoing::Waiting(message) = outgoing else { continue };
            if bytes >= most_bytes.max(1) {
                break;
            }
            bytes = bytes.saturating_add(message.payload.len());
            taken.push(*number);
        }
        taken
    }

    /// A message that waits.
    pub(super) fn waiting(&self, number: u64) -> Option<&OwnMessage> {
        match self.entries.get(&number)? {
            Outgoing::Waiting(message) => Some(message),
            Outgoing::Sent { .. } | Outgoing::Plain(_) | Outgoing::Held { .. } => None,
        }
    }

    /// A message that waited is encrypted, and released.
    pub(super) fn encrypted(&mut self, draft: &mut Draft, number: u64, envelope: SentEnvelope) {
        let Some(message) = self.waiting(number).cloned() else { return };
        draft.transmit(envelope.transmit());
        let sent = Outgoing::Sent { message, envelope, answer: Answer::None };
        self.set(draft, number, sent);
    }

    /// When waiting messages are looked at although no record comes.
    pub(super) fn waiting_due(&self) -> Option<Timestamp> {
        self.has_waiting().then_some(self.look_again)
    }

    pub(super) const fn look_again_at(&mut self, at: Timestamp) {
        self.look_again = at;
    }

    /// Whether own messages of another epoch may still find their positions; `cursor` is the last
    /// record that was handled.
    pub(super) fn waits_for_other_epochs(&self, epoch: Epoch, cursor: Seq) -> bool {
        self.entries.values().any(|outgoing| match outgoing {
            Outgoing::Sent { envelope, answer, .. } => {
                envelope.epoch != epoch && answer.may_land(cursor)
            }
            Outgoing::Waiting(_) | Outgoing::Plain(_) | Outgoing::Held { .. } => false,
        })
    }

    /// The own message that an MLS message of the log is.
    pub(super) fn find(&self, mls_message: &[u8]) -> Option<Echo> {
        self.entries.iter().find_map(|(number, outgoing)| {
            let Outgoing::Sent { message, envelope, .. } = outgoing else { return None };
            carries(&envelope.payload, envelope.mark, mls_message).then(|| Echo {
                number: *number,
                epoch: envelope.epoch,
                message: message.clone(),
            })
        })
    }

    /// The log has settled a message.
    pub(super) fn remove(&mut self, draft: &mut Draft, number: u64) {
        if self.entries.remove(&number).is_some() {
            draft.delete(Place::Outgoing(number));
        }
    }

    /// No member could read a message: it is encrypted again, with the same message id.
    pub(super) fn send_again(&mut self, draft: &mut Draft, number: u64) {
        if let Some(Outgoing::Sent { message, .. }) = self.entries.get(&number) {
            self.set(draft, number, Outgoing::Waiting(message.clone()));
        }
    }

    /// The messages end with the membership; Welcomes and bodies do not.
    pub(super) fn give_up_messages(&mut self, draft: &mut Draft) {
        let messages = self.entries.iter().filter(|(_, outgoing)| outgoing.message().is_some());
        for number in messages.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.remove(draft, number);
        }
    }

    /// The relay's answer to a publish. It settles what only the relay sees, and releases what
    /// waited for that; a message is settled by the log. An answer that leaves the matter open
    /// changes nothing: the envelope is published again.
    pub(super) fn answered(
        &mut self,
        draft: &mut Draft,
        now: Timestamp,
        id: TransmitId,
        outcome: &PublishOutcome,
    ) {
        let answer = match outcome {
            PublishOutcome::Accepted { seq, .. } => Answer::Accepted(*seq),
            refused if is_refusal(refused) => Answer::Refused,
            PublishOutcome::Conflict { .. }
            | PublishOutcome::TooLarge { .. }
            | PublishOutcome::Invalid
            | PublishOutcome::Behind
            | PublishOutcome::NotStored { .. }
            | PublishOutcome::Unknown => return,
        };
        self.settle_plain(draft, id);
        // After a refusal too: the reader of the Welcome sees whether it was the truth.
        self.release_after(draft, now, id);
        self.note_answer(id, answer);
    }

    /// When the envelope that was released first is published again.
    pub(super) fn republish_due(&self, patience_ms: u64) -> Option<Timestamp> {
        let released = self.entries.values().filter_map(Outgoing::released);
        released.map(|envelope| envelope.since.plus_ms(patience_ms)).min()
    }

    /// Publishes again what was released too long ago: an answer may have been a lie (scenario 9).
    pub(super) fn republish(&mut self, draft: &mut Draft, now: Timestamp, patience_ms: u64) {
        for (number, outgoing) in &mut self.entries {
            let Some(envelope) = outgoing.released_mut() else { continue };
            if now.since_ms(envelope.since) >= patience_ms {
                envelope.since = now;
                draft.transmit(envelope.transmit());
                draft.put(Place::Outgoing(*number), outgoing.encode());
            }
        }
    }

    fn push(&mut self, draft: &mut Draft, outgoing: Outgoing) {
        let number = self.next;
        self.next = number.saturating_add(1);
        draft.change_meta();
        self.set(draft, number, outgoing);
    }

    fn set(&mut self, draft: &mut Draft, number: u64, outgoing: Outgoing) {
        draft.put(Place::Outgoing(number), outgoing.encode());
        self.entries.insert(number, outgoing);
    }

    fn settle_plain(&mut self, draft: &mut Draft, id: TransmitId) {
        let found = self.entries.iter().find(|(_, outgoing)| match outgoing {
            Outgoing::Plain(envelope) | Outgoing::Held { envelope, .. } => envelope.id == id,
            Outgoing::Waiting(_) | Outgoing::Sent { .. } => false,
        });
        if let Some(number) = found.map(|(number, _)| *number) {
            self.remove(draft, number);
        }
    }

    fn release_after(&mut self, draft: &mut Draft, now: Timestamp, id: TransmitId) {
        for (number, outgoing) in &mut self.entries {
            let Outgoing::Held { envelope, after } = outgoing else { continue };
            if *after == id {
                draft.transmit(envelope.transmit());
                *outgoing = Outgoing::Plain(SentEnvelope { since: now, ..envelope.clone() });
                draft.put(Place::Outgoing(*number), outgoing.encode());
            }
        }
    }

    fn note_answer(&mut self, id: TransmitId, said: Answer) {
        for outgoing in self.entries.values_mut() {
            if let Outgoing::Sent { envelope, answer, .. } = outgoing
                && envelope.id == id
            {
                *answer = said;
            }
        }
    }
}

/// Whether the relay will never take an envelope, whatever comes before it.
pub(super) const fn is_refusal(outcome: &PublishOutcome) -> bool {
    matches!(outcome, PublishOutcome::TooLarge { .. } | PublishOutcome::Invalid)
}
