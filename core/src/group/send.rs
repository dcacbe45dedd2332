//! Sending messages.

use conclave_proto::{
    Envelope, EnvelopeKind, MessageId, Timestamp,
    codec::Wire,
    message::{Body, IdempotencyKey, message_id},
};

use super::{Group, SendError, envelope::SentEnvelope, outbox::OwnMessage};
use crate::{mls::MlsError, padding, step::Step};

impl Group {
    /// Sends a message. The answer is its id; an event tells when it has its place in the log.
    ///
    /// The idempotency key belongs to the message: sending the same key and content again gives
    /// the same id and no second message, while it waits and when it got its place since this
    /// value was loaded. Of earlier ones [`find_message`](super::find_message) knows.
    ///
    /// It is stored at once and encrypted as soon as may be. The first message of an installation,
    /// and the first after three months, waits for a path update (S5). After a change of the epoch
    /// messages wait until those of the epochs before have their places: one of them may come too
    /// late, and goes out again before anything that was sent after it. Whoever is a member when a
    /// message is encrypted can read it, be they added after this call.
    ///
    /// # Errors
    /// [`SendError`]; nothing has changed.
    pub fn send(
        &mut self,
        now: Timestamp,
        key: IdempotencyKey,
        content: Vec<u8>,
    ) -> Result<Step<MessageId>, SendError> {
        self.may_send(content.len())?;
        let body = Body::Content(content);
        let id = message_id(&self.id, &self.installation.id(), &key, &body);
        self.begin()?;
        if self.outbox.holds(&id) || self.timeline.has_settled(&id) {
            return Ok(self.end(id));
        }
        let payload = self.timeline.next_payload(now, key, self.cursor, body).encode();
        let message = OwnMessage { id, payload };
        if self.outbox.has_waiting() || !self.may_encrypt(now) {
            self.outbox.queue(&mut self.draft, message);
            self.advance(now);
        } else {
            let envelope = self.encrypt(now, &message)?;
            self.outbox.send(&mut self.draft, message, envelope);
        }
        self.timeline.count(&mut self.draft, id);
        Ok(self.end(id))
    }

    fn may_send(&self, len: usize) -> Result<(), SendError> {
        self.membership.may_act()?;
        if !self.state.may(&self.installation.inbox(), self.state.settings().policy.post) {
            return Err(SendError::NotAllowed);
        }
        if len > self.limits.content_bytes {
            return Err(SendError::TooLong { len, max: self.limits.content_bytes });
        }
        if self.unsettled_messages() >= self.limits.unsettled {
            return Err(SendError::QueueFull { max: self.limits.unsettled });
        }
        Ok(())
    }

    /// Encrypts a message in the present epoch. On error nothing has changed.
    fn encrypt(&mut self, now: Timestamp, message: &OwnMessage) -> Result<SentEnvelope, MlsError> {
        let padded = zeroize::Zeroizing::new(padding::pad(&message.payload));
        match self.mls.encrypt(&padded) {
            Ok(bytes) => Ok(self.envelope(now, EnvelopeKind::Mls(bytes))),
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    /// An envelope of this group's topic with the next mark.
    pub(super) fn envelope(&mut self, now: Timestamp, kind: EnvelopeKind) -> SentEnvelope {
        let mark = self.marks.draw(&mut self.draft, &self.installation, &self.topic);
        let payload = Envelope { mark, beacon: None, kind }.encode();
        SentEnvelope::new(self.topic.clone(), mark, self.epoch(), payload, now)
    }

    /// Whether messages may be encrypted in this epoch.
    ///
    /// Not while own messages of another epoch are on their way. Of two epochs the older one's
    /// can come too late and the newer one's in time: the order of sending would be lost. Those of
    /// one epoch come too late from some message on.
    fn may_encrypt(&self, now: Timestamp) -> bool {
        !self.outbox.waits_for_other_epochs(self.epoch(), self.cursor.seq)
            && !self.is_path_update_due(now)
    }

    /// Encrypts what has waited, in order, if it may.
    pub(super) fn send_waiting(&mut self, now: Timestamp) {
        if !self.may_encrypt(now) {
            return;
        }
        for number in self.outbox.next_waiting(self.limits.flush_bytes) {
            let Some(message) = self.outbox.waiting(number).cloned() else { return };
            // What the step has done so far must survive a rollback of this one.
            self.checkpoint();
            // Nothing overtakes one that cannot be encrypted.
            let Ok(envelope) = self.encrypt(now, &message) else { return };
            self.outbox.encrypted(&mut self.draft, number, envelope);
        }
        if self.outbox.has_waiting() {
            // The rest is for the next step.
            self.outbox.look_again_at(Timestamp(0));
        }
    }
}
