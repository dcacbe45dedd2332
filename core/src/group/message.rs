//! Application messages: what makes one count (PROTOCOL 3), and where it is stored.

use conclave_proto::{
    Epoch, Mark, Record, Seq, codec::Wire, group::LeafCredential, message::Payload,
};

use super::{Group, epochs::is_late, outbox::Echo, timeline::Origin};
use crate::{
    event::{Event, Rejection},
    padding,
};

impl Group {
    /// A decrypted message of another member, at its position in the log.
    pub(super) fn receive_message(
        &mut self,
        record: &Record,
        epoch: Epoch,
        sender: LeafCredential,
        plaintext: &[u8],
    ) {
        let payload = padding::unpad(plaintext).map(Payload::decode);
        let Some(Ok(payload)) = payload else {
            return self.draft.reject(record.seq, Rejection::BadContent);
        };
        if let Err(reason) = self.past.admit(&self.state, &sender, epoch) {
            return self.draft.reject(record.seq, reason);
        }
        let origin = Origin { seq: record.seq, epoch, sender };
        self.timeline.receive(&mut self.draft, origin, payload);
    }

    /// An own message has its position in the log.
    ///
    /// The rules that every member applies decide whether it counts: what the others do not show is
    /// not shown here either.
    pub(super) fn settle_message(&mut self, record: &Record, echo: &Echo) {
        let Echo { number, epoch, message } = echo;
        let (inbox, installation) = (self.installation.inbox(), self.installation.id());
        let sender = LeafCredential { inbox, installation };
        match self.past.admit(&self.state, &sender, *epoch) {
            Err(reason) => {
                self.outbox.remove(&mut self.draft, *number);
                self.draft.reject(record.seq, reason);
            }
            Ok(()) if is_late(*epoch, self.epoch()) => {
                self.draft.reject(record.seq, Rejection::TooOld);
                self.outbox.send_again(&mut self.draft, *number);
            }
            Ok(()) => {
                self.outbox.remove(&mut self.draft, *number);
                let origin = Origin { seq: record.seq, epoch: *epoch, sender };
                self.timeline.settle(&mut self.draft, origin, message);
            }
        }
    }

    /// An envelope on the own leaf that is not waiting in the outbox.
    pub(super) fn receive_on_own_leaf(&mut self, seq: Seq, mark: Mark) {
        let reason = self.marks.judge(&self.installation, &self.topic, mark);
        if reason.is_none() {
            self.draft.event(Event::CopyDetected { group: self.id, seq });
        }
        self.draft.reject(seq, reason.unwrap_or(Rejection::Forged));
    }
}
