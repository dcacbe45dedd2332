//! Application messages: what makes one count (PROTOCOL 3), and where it lands.

use conclave_proto::{
    Epoch, Mark, Record, Seq,
    codec::Wire,
    group::{LeafCredential, Right, Settings},
    message::{Payload, message_id},
};

use super::{Group, Standing, outbox::OwnMessage, place::Place, stored::StoredMessage};
use crate::{
    config::PAST_EPOCHS,
    event::{Event, Rejection},
    padding,
};

/// Own marks that are tried, each way, for an envelope on the own leaf that is not in the outbox.
const MARK_WINDOW: u64 = 1_024;

impl Group {
    /// A decrypted message of another member, at its place in the log.
    pub(super) fn receive_message(
        &mut self,
        record: &Record,
        epoch: Epoch,
        sender: LeafCredential,
        plaintext: &[u8],
    ) {
        let payload = padding::unpad(plaintext).map(Payload::decode);
        let Some(Ok(payload)) = payload else {
            return self.reject(record.seq, Rejection::BadContent);
        };
        if let Err(reason) = self.admit(&sender, epoch) {
            return self.reject(record.seq, reason);
        }
        let log = self.senders.entry(sender.installation).or_default();
        if log.has(payload.counter) {
            return self.reject(record.seq, Rejection::Duplicate);
        }
        if let Some((first, last)) = log.note(payload.counter) {
            let (group, sender) = (self.id, sender.installation);
            self.event(Event::Gap { group, sender, first, last });
        }
        self.store_sender(&sender);
        self.compare_logs(&sender, &payload);
        self.store_message(record.seq, epoch, sender, payload, false);
    }

    /// An own message has its place in the log.
    ///
    /// The same rules as for everybody's decide whether it counts: what the others do not show is
    /// not shown here either.
    pub(super) fn settle_message(
        &mut self,
        record: &Record,
        number: u64,
        epoch: Epoch,
        late: bool,
        message: &OwnMessage,
    ) {
        let own = LeafCredential {
            inbox: self.installation.inbox(),
            installation: self.installation.id(),
        };
        match self.admit(&own, epoch) {
            Err(reason) => {
                self.unqueue(number);
                self.reject(record.seq, reason);
            }
            Ok(()) if late => {
                self.reject(record.seq, Rejection::TooOld);
                self.send_again(number);
            }
            Ok(()) => {
                self.unqueue(number);
                self.landed.push_back(message.id);
                if self.landed.len() > super::LANDED {
                    self.landed.pop_front();
                }
                if let Ok(payload) = Payload::decode(&message.payload) {
                    self.store_message(record.seq, epoch, own, payload, true);
                }
            }
        }
    }

    /// Whether nobody has keys for an own message any more, because too many epochs have passed:
    /// then it goes out again, in this epoch. Time plays no part: who has erased an epoch by its
    /// age and who has not depends on clocks, and the place of a message must not.
    pub(super) fn is_late(&self, epoch: Epoch) -> bool {
        self.epoch().0.saturating_sub(epoch.0) > PAST_EPOCHS as u64
    }

    /// Whether a sender's message of an epoch counts at this place of the log: still the same
    /// member (G17), and allowed to post both then and here.
    fn admit(&self, sender: &LeafCredential, epoch: Epoch) -> Result<(), Rejection> {
        if !self.state.is_member_since(sender, epoch) {
            return Err(Rejection::NotAMember);
        }
        let present = self.state.settings();
        let here = self.state.may(&sender.inbox, present.policy.post);
        let then = self.settings_in(epoch).is_none_or(|settings| may_post(settings, sender));
        if here && then { Ok(()) } else { Err(Rejection::NotAllowed) }
    }

    /// The settings of a past epoch, if they were others than now.
    fn settings_in(&self, epoch: Epoch) -> Option<&Settings> {
        let from = self.meta.past.iter().filter(|past| past.epoch >= epoch);
        from.filter_map(|past| past.settings.as_ref()).next()
    }

    fn store_sender(&mut self, sender: &LeafCredential) {
        if let Some(log) = self.senders.get(&sender.installation) {
            let value = log.encode();
            self.put(Place::Sender(&sender.installation), value);
        }
    }

    /// The sender says how far it had read: another chain hash there is another log.
    fn compare_logs(&mut self, sender: &LeafCredential, payload: &Payload) {
        let read = payload.read;
        let ours = self.trail.iter().rev().find(|(seq, _)| *seq == read.seq);
        if ours.is_some_and(|(_, hash)| *hash != read.hash) {
            let (group, sender) = (self.id, sender.installation);
            self.event(Event::LogDiffers { group, sender, seq: read.seq });
        }
    }

    fn store_message(
        &mut self,
        seq: Seq,
        epoch: Epoch,
        sender: LeafCredential,
        payload: Payload,
        own: bool,
    ) {
        let id = message_id(&self.id, &sender.installation, &payload.key, &payload.body);
        let message = StoredMessage {
            id,
            inbox: sender.inbox,
            installation: sender.installation,
            epoch,
            counter: payload.counter,
            key: payload.key,
            time: payload.time,
            body: payload.body,
        };
        self.put(Place::Message(seq), message.encode());
        self.put(Place::MessageId(&id), seq.0.to_be_bytes().to_vec());
        self.event(Event::Message { group: self.id, id, seq, own });
    }

    /// An envelope on the own leaf that is not waiting in the outbox: seen before, made by
    /// another engine on a copy of this store, or forged by a member (scenario 91).
    pub(super) fn receive_on_own_leaf(&mut self, seq: Seq, mark: Mark) {
        let next = self.meta.marks;
        let verifies =
            |counter| self.installation.mark(&self.topic, self.meta.life, counter) == mark;
        if (next.saturating_sub(MARK_WINDOW)..next).rev().any(verifies) {
            self.reject(seq, Rejection::Replayed);
        } else if (next..next.saturating_add(MARK_WINDOW)).any(verifies) {
            self.event(Event::CopyDetected { group: self.id, seq });
            self.reject(seq, Rejection::Forged);
        } else {
            self.reject(seq, Rejection::Forged);
        }
    }

    /// Own messages that cannot be sent any more are given up with the membership.
    pub(super) fn is_member(&self) -> bool {
        self.meta.standing == Standing::Member
    }
}

fn may_post(settings: &Settings, sender: &LeafCredential) -> bool {
    let super_admin = settings.super_admins.contains(&sender.inbox);
    match settings.policy.post {
        Right::Everyone => true,
        Right::Admins => super_admin || settings.admins.contains(&sender.inbox),
        Right::SuperAdmins => super_admin,
        Right::Nobody => false,
    }
}
