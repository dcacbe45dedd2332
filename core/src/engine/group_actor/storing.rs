//! The value of a group that is awake: loading it, storing what it makes, showing what is stored.

use super::{
    Answer, Awake, BlockedOn, Class, DOUBLINGS_MAX, Effect, Error, Group, GroupActor, GroupRecords,
    GroupView, IntentId, Life, MessageId, Pending, ReplyToken, SessionMessage, Taken, Timestamp,
    Turn, reading::Read,
};
use crate::{
    step::{Effects, Step},
    store::StoreError,
};
use std::sync::Arc;

/// What waits for a write set.
#[derive(Debug)]
pub(super) enum Then {
    Nothing(Pending<()>),
    Message(ReplyToken, Pending<MessageId>),
    Intent(ReplyToken, Pending<IntentId>),
    Records(Read, Pending<Taken>),
}

impl Then {
    /// The call that waits for it.
    pub(super) const fn reply(&self) -> Option<ReplyToken> {
        match self {
            Self::Message(reply, _) | Self::Intent(reply, _) => Some(*reply),
            Self::Nothing(_) | Self::Records(..) => None,
        }
    }
}

impl GroupActor {
    /// The group, loaded if it is not in memory and the store gives it.
    pub(super) fn loaded(&mut self, turn: Turn<'_>) -> Option<&mut Group> {
        self.try_loaded(turn).ok()
    }

    pub(super) fn wake_up(&mut self, turn: Turn<'_>) {
        // What failed is reported, and tried again.
        drop(self.try_loaded(turn));
    }

    pub(super) fn try_loaded(&mut self, turn: Turn<'_>) -> Result<&mut Group, Error> {
        if matches!(self.life, Life::Asleep | Life::Unloadable { .. }) {
            match self.load(turn) {
                Ok(group) => {
                    self.wake(group, true);
                    self.show();
                }
                Err(error) => {
                    if let Error::Store(error) = &error {
                        self.effects.push_back(Effect::StoreTrouble(error.clone()));
                    }
                    self.note_trouble(turn.now, &error);
                    return Err(error);
                }
            }
        }
        match &mut self.life {
            Life::Awake(awake) => Ok(&mut awake.group),
            Life::Over(ended) => Err((*ended).into()),
            Life::Asleep | Life::Draining | Life::Unloadable { .. } => Err(Error::Busy),
        }
    }

    fn load(&self, turn: Turn<'_>) -> Result<Group, Error> {
        let records = GroupRecords::read(turn.store, self.id)?.ok_or(Error::UnknownGroup)?;
        let installation = self.context.installation().ok_or(Error::NotRegistered)?;
        let load = self.context.next_number();
        let entropy = self.context.child("group", &self.id.0, load);
        let limits = self.context.limits.core;
        Ok(Group::load(&records, self.id, installation, limits, entropy, load)?)
    }

    pub(super) fn wake(&mut self, group: Group, republish: bool) {
        self.life = Life::Awake(Box::new(Awake { group, view: None, republish }));
    }

    /// The store gave no value, or lost a set of it. If that can pass, the group is loaded later,
    /// ever later while it goes on; else everyone who waits hears of it.
    fn note_trouble(&mut self, now: Timestamp, error: &Error) {
        if passes(error) {
            self.failures = self.failures.saturating_add(1);
            if !matches!(self.life, Life::Draining | Life::Over(_)) {
                self.life = self.unloadable(now);
            }
        } else {
            if !matches!(self.life, Life::Draining | Life::Over(_)) {
                self.life = Life::Asleep;
            }
            let viewers = std::mem::take(&mut self.viewers);
            let waiting = viewers.into_iter().chain(std::mem::take(&mut self.settlers));
            let answer = |to| Effect::Reply { to, answer: Err(error.clone()) };
            self.effects.extend(waiting.map(answer));
        }
    }

    pub(super) fn unloadable(&self, now: Timestamp) -> Life {
        let doublings = self.failures.saturating_sub(1).min(DOUBLINGS_MAX);
        let wait = self.context.limits.session.trouble_ms << doublings;
        // After a panic there is nothing to wait for.
        let wait = if self.failures == 0 { 0 } else { wait };
        Life::Unloadable { retry_at: now.plus_ms(wait) }
    }

    /// Drops the value. Until its sets are settled there is no other.
    pub(super) fn drop_value(&mut self) {
        match &self.life {
            Life::Over(_) | Life::Draining => {}
            Life::Asleep | Life::Awake(_) | Life::Unloadable { .. } => {
                self.life = if self.sets.is_empty() { Life::Asleep } else { Life::Draining };
            }
        }
    }

    /// Hands in a step of which nothing but its effects is of interest.
    pub(super) fn store_quietly(&mut self, step: Step) {
        // What changes nothing goes to no writer.
        if let Err(step) = step.into_idle() {
            self.store(step, Then::Nothing);
        }
    }

    /// Hands a step to the writer.
    pub(super) fn store<T>(&mut self, step: Step<T>, then: impl FnOnce(Pending<T>) -> Then) {
        self.sets.hand_in(&self.context, &mut self.effects, step, None, then);
    }

    /// Does what waited for the first write set, if that has its answer.
    pub(super) fn settle_next(&mut self, turn: Turn<'_>) -> bool {
        let Some(set) = self.sets.next() else { return false };
        self.in_hand = set.then.reply();
        match set.result {
            Ok(proof) => {
                self.failures = 0;
                match set.then {
                    Then::Nothing(pending) => {
                        self.release(pending.release(proof).effects);
                    }
                    Then::Message(reply, pending) => {
                        let released = pending.release(proof);
                        self.release(released.effects);
                        self.reply(reply, Ok(Answer::Message(released.reply)));
                    }
                    Then::Intent(reply, pending) => {
                        let released = pending.release(proof);
                        self.release(released.effects);
                        self.reply(reply, Ok(Answer::Intent(released.reply)));
                    }
                    Then::Records(read, pending) => {
                        let released = pending.release(proof);
                        self.release(released.effects);
                        self.was_read(read, &released.reply);
                    }
                }
            }
            Err(error) => {
                if self.group().is_some_and(|group| group.lineage() == set.lineage) {
                    // Memory is a cache of the disk. The writer refuses later sets of this value.
                    self.drop_value();
                    self.note_trouble(turn.now, &Error::Store(error.clone()));
                }
                self.lost(set.then, error);
            }
        }
        self.show();
        true
    }

    fn lost(&mut self, then: Then, error: StoreError) {
        match then {
            Then::Message(reply, _) | Then::Intent(reply, _) => {
                self.reply(reply, Err(Error::Store(error)));
            }
            Then::Records(..) => self.reading.give_up(),
            Then::Nothing(_) => {}
        }
    }

    fn release(&mut self, effects: Effects) {
        let Effects { transmits, uploads: _, events: _ } = effects;
        let republishes = matches!(&self.life, Life::Awake(awake) if awake.republish);
        // If everything that is unsettled is to be published, these go out among the others.
        if !transmits.is_empty() && !republishes {
            self.tell_session(SessionMessage::Publish(self.id, transmits));
        }
    }

    /// Shows what the group looks like, once all of that is stored.
    pub(super) fn show(&mut self) {
        if !self.sets.is_empty() {
            return;
        }
        let Life::Awake(awake) = &mut self.life else { return };
        let republished =
            if std::mem::take(&mut awake.republish) { awake.group.unsettled() } else { Vec::new() };
        let view = Arc::new(GroupView::of(&awake.group, awake.view.as_deref()));
        let settled = awake.group.is_settled();
        let changed = awake.view.as_ref() != Some(&view);
        awake.view = Some(Arc::clone(&view));
        if !republished.is_empty() {
            self.tell_session(SessionMessage::Publish(self.id, republished));
        }
        if changed {
            self.effects.push_back(Effect::Show(Arc::clone(&view)));
        }
        for to in std::mem::take(&mut self.viewers) {
            self.reply(to, Ok(Answer::View(Arc::clone(&view))));
        }
        if settled {
            for to in std::mem::take(&mut self.settlers) {
                self.reply(to, Ok(Answer::Done));
            }
        }
    }
}

/// Whether the same can succeed later without anybody's help, or once there is room.
const fn passes(error: &Error) -> bool {
    matches!(error.class(), Class::Transient | Class::Blocked(BlockedOn::Space))
}
