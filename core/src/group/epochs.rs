//! Epochs that have ended: until when their secrets are kept, and whose messages of them count.

use conclave_proto::{
    Epoch, Timestamp,
    group::{LeafCredential, Settings},
};
use serde::{Deserialize, Serialize};

use super::draft::Draft;
use crate::{
    config::PAST_EPOCHS,
    event::Rejection,
    state::{State, gives},
};

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
        let then =
            self.settings_in(epoch).is_none_or(|then| gives(then, &sender.inbox, then.policy.post));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use conclave_proto::{
        Epoch, Timestamp,
        group::{Policy, Right, Settings},
    };

    use super::{PastEpoch, PastEpochs, is_late};
    use crate::{
        config::PAST_EPOCHS,
        event::Rejection,
        group::fixture::{NOW, draft, entry, inbox, leaf, state},
        state::{Entry, State},
    };

    const ONLY_ADMINS: Policy = Policy { post: Right::Admins, ..Policy::OPEN };

    fn ended(epochs: &[(u64, &State, &State)]) -> PastEpochs {
        let mut past = PastEpochs::new(Vec::new());
        for (epoch, before, after) in epochs {
            past.end(&mut draft(), NOW, Epoch(*epoch), before, after);
        }
        past
    }

    /// G17: the right to post counts at the position in the log. Person 1 is the super-admin.
    #[test]
    fn who_may_not_post_here_is_refused() {
        let (open, closed) = (state(&[1, 2], Policy::OPEN), state(&[1, 2], ONLY_ADMINS));
        let past = ended(&[(4, &open, &closed)]);
        assert_eq!(past.admit(&closed, &leaf(2), Epoch(4)), Err(Rejection::NotAllowed));
        assert_eq!(past.admit(&closed, &leaf(1), Epoch(4)), Ok(()));
    }

    /// G17: and it counts in the epoch of the message, so past settings are kept.
    #[test]
    fn who_could_not_post_then_is_refused() {
        let (open, closed) = (state(&[1, 2], Policy::OPEN), state(&[1, 2], ONLY_ADMINS));
        let past = ended(&[(3, &closed, &closed), (4, &closed, &open), (5, &open, &open)]);
        for (epoch, verdict) in [
            (3, Err(Rejection::NotAllowed)),
            (4, Err(Rejection::NotAllowed)),
            (5, Ok(())),
            (6, Ok(())),
        ] {
            assert_eq!(past.admit(&open, &leaf(2), Epoch(epoch)), verdict, "epoch {epoch}");
            assert_eq!(past.admit(&open, &leaf(1), Epoch(epoch)), Ok(()), "epoch {epoch}");
        }
    }

    /// Each right to post admits those who hold it in the past settings, and no other.
    #[test]
    fn each_right_to_post_then_admits_its_holders() {
        let present = state(&[1, 2, 3], Policy::OPEN);
        let admitted = |post| {
            let policy = Policy { post, ..Policy::OPEN };
            let admins = BTreeSet::from([inbox(2)]);
            let settings = Settings { policy, admins, ..present.settings().clone() };
            let epoch = PastEpoch { epoch: Epoch(4), ended: NOW, settings: Some(settings) };
            let past = PastEpochs::new(vec![epoch]);
            [1, 2, 3].map(|seed| past.admit(&present, &leaf(seed), Epoch(4)).is_ok())
        };
        assert_eq!(admitted(Right::Everyone), [true, true, true]);
        assert_eq!(admitted(Right::Admins), [true, true, false]);
        assert_eq!(admitted(Right::SuperAdmins), [true, false, false]);
        assert_eq!(admitted(Right::Nobody), [false, false, false]);
    }

    /// G17: an inbox that was added again is another member than the one that sent the message.
    #[test]
    fn a_message_counts_for_the_incarnation_that_sent_it() {
        let founder = state(&[1], Policy::OPEN);
        let mut roster = founder.roster().clone();
        roster.insert(inbox(2), Entry::new(entry(2, Epoch(5))));
        let again = State::new(founder.settings().clone(), roster);
        let past = ended(&[]);
        assert_eq!(past.admit(&again, &leaf(2), Epoch(4)), Err(Rejection::NotAMember));
        assert_eq!(past.admit(&again, &leaf(2), Epoch(5)), Ok(()));
        assert_eq!(past.admit(&founder, &leaf(2), Epoch(5)), Err(Rejection::NotAMember));
        let mut other_device = leaf(2);
        other_device.installation = leaf(3).installation;
        assert_eq!(past.admit(&again, &other_device, Epoch(5)), Err(Rejection::NotAMember));
    }

    /// S4: as many epochs are kept as the rules say, the newest.
    #[test]
    fn only_the_newest_epochs_are_kept() {
        let state = state(&[1], Policy::OPEN);
        let (mut past, mut draft) = (PastEpochs::new(Vec::new()), draft());
        for epoch in 0..10 {
            past.end(&mut draft, NOW, Epoch(epoch), &state, &state);
        }
        assert!(draft.meta_changed);
        assert_eq!(past.all().len(), PAST_EPOCHS);
        for epoch in 0..12 {
            assert_eq!(past.keeps(Epoch(epoch)), (7..10).contains(&epoch), "epoch {epoch}");
        }
    }

    /// S4: an epoch is kept for so long, and not a millisecond longer.
    #[test]
    fn an_epoch_expires_by_its_age() {
        let epoch =
            |n: u64| PastEpoch { epoch: Epoch(n), ended: Timestamp(n * 100), settings: None };
        let mut past = PastEpochs::new(vec![epoch(1), epoch(2)]);
        assert_eq!(past.expiry(50), Some(Timestamp(150)));
        assert_eq!(past.expire(Timestamp(149), 50), None);
        assert_eq!(past.expire(Timestamp(150), 50), Some(1));
        assert_eq!(past.expire(Timestamp(250), 50), Some(0));
        let mut draft = draft();
        past.keep(&mut draft, 1);
        assert_eq!(past.all(), [epoch(2)]);
        assert!(draft.meta_changed);
        past.keep(&mut draft, 0);
        assert_eq!(past.expiry(50), None);
    }

    /// A message is late when the window of the rules has passed, whatever the time.
    #[test]
    fn a_message_is_late_after_the_epochs_that_all_members_keep() {
        let window = PAST_EPOCHS as u64;
        assert!(!is_late(Epoch(4), Epoch(4)) && !is_late(Epoch(4), Epoch(4 + window)));
        assert!(is_late(Epoch(4), Epoch(5 + window)));
        assert!(!is_late(Epoch(9), Epoch(4)));
    }
}
