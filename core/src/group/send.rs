//! Sending messages.

use conclave_proto::{
    Envelope, EnvelopeKind, MessageId, Timestamp,
    codec::Wire,
    message::{Body, IdempotencyKey, Payload, message_id},
};

use super::{
    Group, SendError, Standing,
    outbox::{Outgoing, OwnMessage, SentEnvelope, What},
    place::Place,
};
use crate::{event::Parked, mls::MlsError, padding, step::Step};

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
        let waits = self.outbox.values().any(|out| out.message().is_some_and(|m| m.id == id));
        if waits || self.landed.contains(&id) {
            return Ok(self.end(id));
        }
        let payload = self.next_payload(now, key, body).encode();
        let message = OwnMessage { id, payload };
        let waits = self.outbox.values().any(Outgoing::is_waiting) || !self.may_encrypt(now);
        if waits {
            self.queue(Outgoing { what: What::Message(message), envelope: None, after: None });
            self.advance(now);
        } else {
            let envelope = self.encrypt(now, &message)?;
            self.transmit(envelope.transmit());
            let envelope = Some(envelope);
            self.queue(Outgoing { what: What::Message(message), envelope, after: None });
        }
        self.count_message(id);
        Ok(self.end(id))
    }

    fn may_send(&self, len: usize) -> Result<(), SendError> {
        match self.meta.standing {
            Standing::Removed { .. } => return Err(SendError::NotMember),
            Standing::Stuck { removal: true, .. } => {
                return Err(SendError::Parked(Parked::Removal));
            }
            Standing::Stuck { removal: false, .. } => {
                return Err(SendError::Parked(Parked::Undecidable));
            }
            Standing::Forked { at } => {
                return Err(SendError::Parked(Parked::OtherHistory { at }));
            }
            Standing::Member => {}
        }
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

    fn next_payload(&self, now: Timestamp, key: IdempotencyKey, body: Body) -> Payload {
        Payload {
            counter: self.meta.messages.saturating_add(1),
            previous: self.meta.previous,
            key,
            time: now,
            read: self.meta.cursor,
            body,
        }
    }

    fn count_message(&mut self, id: MessageId) {
        let meta = self.meta();
        meta.messages = meta.messages.saturating_add(1);
        meta.previous = id;
    }

    /// Encrypts a message in the present epoch. On error nothing has changed.
    fn encrypt(&mut self, now: Timestamp, message: &OwnMessage) -> Result<SentEnvelope, MlsError> {
        let padded = zeroize::Zeroizing::new(padding::pad(&message.payload));
        match self.mls.encrypt(&padded) {
            Ok(bytes) => Ok(self.envelope(now, EnvelopeKind::Mls(bytes))),
            Err(error) => {
                if self.mls.rollback().is_err() {
                    self.draft.broken = true;
                }
                Err(error)
            }
        }
    }

    /// An envelope of this group's topic with the next mark.
    pub(super) fn envelope(&mut self, now: Timestamp, kind: EnvelopeKind) -> SentEnvelope {
        let topic = self.topic.clone();
        let counter = self.meta.marks;
        self.meta().marks = counter.saturating_add(1);
        let mark = self.installation.mark(&topic, self.meta.life, counter);
        let payload = Envelope { mark, beacon: None, kind }.encode();
        SentEnvelope::new(topic, mark, self.epoch(), payload, now)
    }

    /// Whether messages may be encrypted in this epoch.
    ///
    /// Not while own messages of another epoch are on their way. Of two epochs the older one's
    /// can come too late and the newer one's in time: the order of sending would be lost. Those of
    /// one epoch come too late from some message on.
    fn may_encrypt(&self, now: Timestamp) -> bool {
        let epoch = self.epoch();
        let mut sent = self.outbox.values().filter_map(Outgoing::sent_message);
        let of_another = sent.any(|sent| sent.epoch != epoch && self.may_land(sent));
        !of_another && !self.is_path_update_due(now)
    }

    /// Encrypts what has waited, in order, if it may.
    pub(super) fn send_waiting(&mut self, now: Timestamp) {
        if self.meta.standing != Standing::Member || !self.may_encrypt(now) {
            return;
        }
        let waiting: Vec<u64> = self
            .outbox
            .iter()
            .filter(|(_, outgoing)| outgoing.is_waiting())
            .map(|(number, _)| *number)
            .collect();
        let mut bytes = 0;
        for number in waiting {
            if bytes >= self.limits.flush_bytes.max(1) {
                self.look_again = Timestamp(0);
                return;
            }
            // Nothing overtakes one that cannot be encrypted.
            let Some(len) = self.encrypt_queued(now, number) else { return };
            bytes = bytes.saturating_add(len);
        }
    }

    /// Nobody could read a message: it goes out again, with the same message id.
    pub(super) fn send_again(&mut self, number: u64) {
        let Some(outgoing) = self.outbox.get_mut(&number) else { return };
        let sent = outgoing.envelope.take();
        let stored = outgoing.encode();
        if let Some(sent) = sent {
            self.said.remove(&sent.id);
        }
        self.put(Place::Outgoing(number), stored);
    }

    /// Encrypts a message that waits; gives the length of its payload.
    fn encrypt_queued(&mut self, now: Timestamp, number: u64) -> Option<usize> {
        let message = self.outbox.get(&number).and_then(Outgoing::message)?.clone();
        // What the step has done so far must survive a rollback of this one.
        self.checkpoint();
        let envelope = self.encrypt(now, &message).ok()?;
        let len = message.payload.len();
        self.transmit(envelope.transmit());
        let envelope = Some(envelope);
        let outgoing = Outgoing { what: What::Message(message), envelope, after: None };
        self.put(Place::Outgoing(number), outgoing.encode());
        self.outbox.insert(number, outgoing);
        Some(len)
    }
}
