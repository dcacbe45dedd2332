//! Waiting before a commit that cannot be followed, and what ends the wait.

use std::collections::BTreeMap;

use conclave_proto::{
    Cursor, Envelope, InstallationId, Record, Seq, Timestamp, codec::Wire, group::LeafCredential,
    message::Payload,
};

use super::{
    Draft, Group, Standing, roll_back,
    standing::{Evidence, Sighting, Witness, chained},
};
use crate::{
    event::{Event, IntentFault, Parked},
    mls::{Content, Inside, Mls, Parsed},
    padding,
};

impl Group {
    /// Parks before a commit; `removes` names the installations that it removes, see
    /// [`Membership::park`](super::standing::Membership::park).
    pub(super) fn park(&mut self, now: Timestamp, at: Seq, removes: Vec<InstallationId>) -> Parked {
        self.membership.park(&mut self.draft, now, at, removes)
    }

    /// Looks whether a parked group can go on. `Some` says why it still waits.
    pub(super) fn unpark(&mut self, batch: &[Record]) -> Option<Parked> {
        let Standing::Stuck { at, removal, .. } = self.standing() else { return None };
        let following = chained(&self.topic, self.cursor, batch);
        match self.evidence(at, &following) {
            Evidence::Followed if removal => self.leave(at),
            Evidence::Passed => self.pass_over(&following, at),
            Evidence::Followed | Evidence::None => return self.standing().parked(),
        }
        None
    }

    fn evidence(&mut self, at: Seq, following: &[&Record]) -> Evidence {
        let heads: BTreeMap<_, _> =
            following.iter().map(|record| (record.seq, record.hash)).collect();
        let (epoch, group) = (self.epoch(), self.id);
        let seen = following.iter().filter(|record| record.seq > at).filter_map(|record| {
            let (_, message) = Envelope::decode_group(&record.payload).ok()?;
            let parsed = Mls::parse(&message).filter(|parsed| parsed.outside.group == group)?;
            let (epoch, content) = (parsed.outside.epoch, parsed.outside.content);
            let message = (content == Content::Application).then_some(parsed);
            Some(Sighting { epoch, message })
        });
        let Self { membership, mls, draft, leaves, .. } = self;
        membership.evidence(at, epoch, &heads, seen, |parsed| {
            let (sender, read) = peek(mls, draft, parsed)?;
            let sender = leaves.contains_key(&sender).then_some(sender.installation)?;
            Some(Witness { sender, read })
        })
    }

    /// The others are in an epoch without this installation: wishes and messages end, and so do
    /// the secrets of past epochs.
    fn leave(&mut self, at: Seq) {
        self.membership.end(&mut self.draft, at);
        self.intents.fail(&mut self.draft, IntentFault::NotMember);
        self.commits.clear(&mut self.draft);
        self.outbox.give_up_messages(&mut self.draft);
        if self.mls.keep_past_epochs(0).is_err() {
            self.draft.broken = true;
        }
        self.past.keep(&mut self.draft, 0);
        self.draft.event(Event::Removed { group: self.id });
    }

    /// The others passed over the commit, and so does this installation.
    fn pass_over(&mut self, following: &[&Record], at: Seq) {
        if let Some(record) = following.iter().find(|record| record.seq == at) {
            self.cursor = record.cursor();
            self.membership.pass_over(&mut self.draft, at);
        }
    }
}

/// Who sent a message, and how far the sender had read. The message is decrypted, and the group put
/// back to where it was: it is received for good at its position in the log.
fn peek(mls: &mut Mls, draft: &mut Draft, parsed: Parsed) -> Option<(LeafCredential, Cursor)> {
    let inside = mls.process(parsed);
    if inside.is_ok() {
        roll_back(mls, draft);
    }
    let Ok(Inside::Application { sender, plaintext, .. }) = inside else { return None };
    let plaintext = zeroize::Zeroizing::new(plaintext);
    let payload = Payload::decode(padding::unpad(&plaintext)?).ok()?;
    Some((sender, payload.read))
}
