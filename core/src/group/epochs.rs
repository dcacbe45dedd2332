//! Epochs that have ended: until when their secrets are kept, and whose messages of them count.

use conclave_proto::{
    Epoch, Timestamp,
    group::{LeafCredential, Right, Settings},
};
use serde::{Deserialize, Serialize};

use super::draft::Draft;
use crate::{config::PAST_EPOCHS, event::Rejection, state::State};

/// An epoch that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PastEpoch {
    pub(super) epoch: Epoch,
    pub(super) ended: Timestamp,
    /// Its settings, where they differ from the next epoch's: who could post is judged by them.
    pub(super) settings: Option<Settings>,
}

/// The past epochs whose secrets are kept, oldest first; at most [`PAST_EPOCHS`].
pub(super) struct PastEpochs(Vec<PastEpoch>);

impl PastEpochs {
    pub(super) const fn new(past: Vec<PastEpoch>) -> Self {
        Self(past)
    }

    pub(super) fn all(&self) -> &[PastEpoch] {
        &self.0
    }

    /// An epoch ends; its state was `before`, and that of the next epoch is `after`.
    pub(super) fn end(
        &mut self,
        draft: &mut Draft,
        now: Timestamp,
        epoch: Epoch,
        before: &State,
        after: &State,
    ) {
        let settings = before.settings();
        let settings = (settings != after.settings()).then(|| settings.clone());
        self.0.push(PastEpoch { epoch, ended: now, settings });
        if self.0.len() > PAST_EPOCHS {
            self.0.remove(0);
        }
        draft.change_meta();
    }

    /// Whether the secrets of an epoch are kept.
    pub(super) fn keeps(&self, epoch: Epoch) -> bool {
        self.0.iter().any(|past| past.epoch == epoch)
    }

    /// When the oldest epoch has been kept for as long as it may be (S4).
    pub(super) fn expiry(&self, kept_ms: u64) -> Option<Timestamp> {
        self.0.first().map(|past| past.ended.plus_ms(kept_ms))
    }

    /// How many epochs may still be kept, if that is fewer than there are.
    pub(super) fn expire(&self, now: Timestamp, kept_ms: u64) -> Option<usize> {
        let kept = self.0.iter().filter(|past| now.since_ms(past.ended) < kept_ms).count();
        (kept < self.0.len()).then_some(kept)
    }

    /// Forgets all but the newest epochs.
    pub(super) fn keep(&mut self, draft: &mut Draft, newest: usize) {
        let gone = self.0.len().saturating_sub(newest);
        self.0.drain(..gone);
        draft.change_meta();
    }

    /// Whether a sender's message of an epoch counts at this position of the log: the sender is
    /// still the same member (G17), and may post both in that epoch and in the present state.
    pub(super) fn admit(
        &self,
        present: &State,
        sender: &LeafCredential,
        epoch: Epoch,
    ) -> Result<(), Rejection> {
        if !present.is_member_since(sender, epoch) {
            return Err(Rejection::NotAMember);
        }
        let here = present.may(&sender.inbox, present.settings().policy.post);
        let then = self.settings_in(epoch).is_none_or(|settings| may_post(settings, sender));
        if here && then { Ok(()) } else { Err(Rejection::NotAllowed) }
    }

    /// The settings of a past epoch, if they differ from the present ones.
    fn settings_in(&self, epoch: Epoch) -> Option<&Settings> {
        let from = self.0.iter().filter(|past| past.epoch >= epoch);
        from.filter_map(|past| past.settings.as_ref()).next()
    }
}

/// Whether no member has keys for an own message any more, because too many epochs have passed:
/// then it is sent again, in the present epoch. Time plays no part: clocks decide who has erased an
/// epoch by its age, and they must not decide on the position of a message.
pub(super) const fn is_late(sent: Epoch, present: Epoch) -> bool {
    present.0.saturating_sub(sent.0) > PAST_EPOCHS as u64
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
