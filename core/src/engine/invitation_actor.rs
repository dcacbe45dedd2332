//! Invitations: the key ring, and the way from a Welcome to a group. One thing at a time, each
//! stored before the next.

mod gathering;
mod welcomes;

use std::{collections::VecDeque, sync::Arc};

use conclave_proto::Timestamp;

use super::{
    Actor, Context, Effect, Ended, GroupMessage, Input, InvitationMessage, LookUp, Message,
    NoRequest, SessionMessage, Token, context::Turn, sets::Sets,
};
use crate::{
    Class,
    delivery::Uploaded,
    group::LoadError,
    keyring::{KeyRing, WelcomeOutcome},
    step::{Effects, Pending, Step},
};
use welcomes::Reading;

/// The key ring of an installation and the Welcomes sealed to it, as a state machine: inputs in,
/// effects out.
#[derive(Debug)]
pub struct InvitationActor {
    context: Arc<Context>,
    ring: Ring,
    /// At most one write set.
    sets: Sets<Then>,
    uploads: VecDeque<(u64, Uploaded)>,
    reading: Reading,
    /// No timer before this time: one that could not do what was due is not to run at once again.
    timer_after: Timestamp,
    /// Whether the session was told that this installation can be invited.
    told_invitable: bool,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
enum Ring {
    /// The installation is not registered.
    Closed,
    /// It is in the store, or is still to be made.
    Unloaded {
        retry_at: Timestamp,
    },
    Open(Box<KeyRing>),
    Over,
}

/// What waits for a write set.
#[derive(Debug)]
enum Then {
    Nothing(Pending<()>),
    /// A ring that was just made.
    Made(Box<Pending<KeyRing>>),
    /// A Welcome was shown to the ring, see [`welcomes`].
    Shown(Pending<WelcomeOutcome>),
}

impl InvitationActor {
    /// The invitations of an engine that was just opened.
    #[must_use]
    pub const fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            ring: Ring::Closed,
            sets: Sets::new(),
            uploads: VecDeque::new(),
            reading: Reading::Idle,
            timer_after: Timestamp(0),
            told_invitable: false,
            effects: VecDeque::new(),
        }
    }

    /// The key ring, while it is in memory.
    #[must_use]
    pub fn ring(&self) -> Option<&KeyRing> {
        match &self.ring {
            Ring::Open(ring) => Some(ring),
            Ring::Closed | Ring::Unloaded { .. } | Ring::Over => None,
        }
    }

    /// Whether a Welcome, an upload or a write set of it is on its way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.sets.is_empty() || !self.uploads.is_empty() || !matches!(self.reading, Reading::Idle)
    }

    fn take(&mut self, turn: Turn<'_>, input: Input<NoRequest, InvitationMessage>) {
        match input {
            Input::Stored { token, result } => self.sets.note(token, result),
            Input::Recover => self.recover(turn),
            Input::Stop(ended) => {
                self.ring = Ring::Over;
                if ended != Ended::ShutDown {
                    drop(self.sets.drain());
                }
            }
            Input::Told(message) => {
                if !matches!(self.ring, Ring::Over) {
                    self.told(turn, message);
                }
            }
            // What is due is looked at after every input.
            Input::Due | Input::Answered { .. } | Input::Withdrawn(_) => {}
            Input::Asked { request, .. } => match request {},
        }
    }

    fn told(&mut self, turn: Turn<'_>, message: InvitationMessage) {
        match message {
            InvitationMessage::Registered => {
                if matches!(self.ring, Ring::Closed) {
                    self.ring = Ring::Unloaded { retry_at: turn.now };
                }
            }
            InvitationMessage::Welcomes(records) => self.reading = Reading::next(records.into()),
            InvitationMessage::Found(token, records) => self.found(token, records),
            InvitationMessage::Uploaded(counter, uploaded) => {
                self.uploads.push_back((counter, uploaded));
            }
            InvitationMessage::GroupRead(group) => self.group_read(group),
            InvitationMessage::SessionRestarted => {
                self.uploads.clear();
                self.reading = Reading::Idle;
                self.told_invitable = false;
                self.tell_of_ring();
            }
        }
    }

    /// Tells the session where the ring stands, if it is loaded.
    fn tell_of_ring(&mut self) {
        if let Ring::Open(ring) = &self.ring {
            let (cursor, upload) = (ring.cursor(), ring.unsettled());
            self.tell_session(SessionMessage::Ring { cursor, upload });
        }
    }

    /// Does what can be done, as long as nothing waits for the store.
    fn go_on(&mut self, turn: Turn<'_>) {
        loop {
            if self.settle_next(turn) {
                continue;
            }
            if !self.sets.is_empty() {
                break;
            }
            let goes_on = match &mut self.ring {
                Ring::Unloaded { retry_at } if *retry_at <= turn.now => self.load(turn),
                Ring::Open(_) => {
                    self.take_upload(turn) || self.fire_timer(turn) || self.read_on(turn)
                }
                Ring::Unloaded { .. } | Ring::Closed | Ring::Over => false,
            };
            if !goes_on {
                break;
            }
        }
        self.tell_invitable();
    }

    /// Loads the ring, or makes it.
    fn load(&mut self, turn: Turn<'_>) -> bool {
        let Some(installation) = self.context.installation() else {
            self.ring = Ring::Closed;
            return false;
        };
        let load = self.context.next_number();
        let (entropy, limits) = (self.context.child("ring", &[], load), self.context.limits.core);
        let loaded = KeyRing::load(turn.store, installation.clone(), limits, entropy, load);
        match loaded {
            Ok(Some(ring)) => {
                self.open(ring);
                return true;
            }
            Ok(None) => {}
            Err(error) => {
                self.load_failed(turn.now, error);
                return false;
            }
        }
        let load = self.context.next_number();
        let entropy = self.context.child("ring", &[], load);
        match KeyRing::create(turn.now, installation, limits, entropy, load) {
            Ok(step) => self.store(step, |pending| Then::Made(Box::new(pending))),
            // Without randomness; it is tried again.
            Err(_) => self.ring = self.later(turn.now),
        }
        false
    }

    fn open(&mut self, ring: KeyRing) {
        self.ring = Ring::Open(Box::new(ring));
        self.tell_of_ring();
        // The session gives again what the ring was lost over.
        self.reading.find_ring();
    }

    fn load_failed(&mut self, now: Timestamp, error: LoadError) {
        let passes = error.class() == Class::Transient;
        if let LoadError::Store(error) = error {
            self.effects.push_back(Effect::StoreTrouble(error));
        }
        self.ring = if passes {
            self.later(now)
        } else {
            // It is asked for again when the engine is opened again.
            Ring::Closed
        };
    }

    fn later(&self, now: Timestamp) -> Ring {
        Ring::Unloaded { retry_at: now.plus_ms(self.context.limits.session.trouble_ms) }
    }

    fn take_upload(&mut self, turn: Turn<'_>) -> bool {
        let (Ring::Open(ring), Some((counter, uploaded))) =
            (&mut self.ring, self.uploads.pop_front())
        else {
            return false;
        };
        let Uploaded { outcome, welcome_head } = uploaded;
        let step = ring.handle_upload(turn.now, counter, &outcome, welcome_head);
        self.store_quietly(step);
        true
    }

    fn fire_timer(&mut self, turn: Turn<'_>) -> bool {
        let Ring::Open(ring) = &mut self.ring else { return false };
        // The clock may have gone back.
        let rest = turn.now.plus_ms(self.context.limits.session.trouble_ms);
        self.timer_after = self.timer_after.min(rest);
        let due = ring.next_timeout().map(|due| due.max(self.timer_after));
        if due.is_none_or(|due| due > turn.now) {
            return false;
        }
        let step = ring.handle_timeout(turn.now);
        let is_idle = step.is_idle();
        if is_idle && ring.next_timeout().is_some_and(|due| due <= turn.now) {
            self.timer_after = rest;
        }
        self.store_quietly(step);
        !is_idle
    }

    fn store_quietly(&mut self, step: Step) {
        if let Err(step) = step.into_idle() {
            self.store(step, Then::Nothing);
        }
    }

    fn store<T>(&mut self, step: Step<T>, then: impl FnOnce(Pending<T>) -> Then) {
        self.sets.hand_in(&self.context, &mut self.effects, step, None, then);
    }

    fn settle_next(&mut self, turn: Turn<'_>) -> bool {
        let Some(set) = self.sets.next() else { return false };
        match set.result {
            Ok(proof) => match set.then {
                Then::Nothing(pending) => self.release(pending.release(proof).effects),
                Then::Made(pending) => {
                    let released = pending.release(proof);
                    if matches!(self.ring, Ring::Unloaded { .. }) {
                        // What it uploads is among what it says is unsettled.
                        self.open(released.reply);
                    }
                }
                Then::Shown(pending) => {
                    let released = pending.release(proof);
                    self.release(released.effects);
                    self.shown(released.reply);
                }
            },
            Err(_) => self.lost(turn.now, &set.then),
        }
        true
    }

    /// A write set was not stored, or it is not known whether it was: the value goes, and a group
    /// may have been joined.
    fn lost(&mut self, now: Timestamp, then: &Then) {
        if matches!(self.ring, Ring::Over) {
            return;
        }
        // Not at once: what the store has may last.
        self.ring = self.later(now);
        if matches!(then, Then::Shown(_)) {
            self.reading.lose_ring();
            self.tell_session(SessionMessage::Relist);
        }
    }

    fn release(&mut self, effects: Effects) {
        let Effects { transmits: _, uploads, events: _ } = effects;
        for upload in uploads {
            self.tell_session(SessionMessage::Upload(upload));
        }
    }

    fn tell_invitable(&mut self) {
        let invitable = self.sets.is_empty()
            && self.uploads.is_empty()
            && self.ring().is_some_and(|ring| ring.unsettled().is_none());
        if std::mem::replace(&mut self.told_invitable, invitable) != invitable {
            self.tell_session(SessionMessage::Invitable(invitable));
        }
    }

    /// After a panic: the ring may be half changed, so it is loaded again, once the set that is
    /// with the writer is settled.
    fn recover(&mut self, turn: Turn<'_>) {
        if matches!(self.ring, Ring::Over | Ring::Closed) {
            return;
        }
        self.ring = Ring::Unloaded { retry_at: turn.now };
        self.uploads.clear();
        self.reading.lose_ring();
        // A group may have been joined in the turn that panicked.
        self.tell_session(SessionMessage::Relist);
    }

    fn tell_session(&mut self, message: SessionMessage) {
        self.effects.push_back(Effect::Tell(Message::Session(message)));
    }
}

impl Actor for InvitationActor {
    type Request = NoRequest;
    type Message = InvitationMessage;

    fn handle(
        &mut self,
        now: Timestamp,
        store: &dyn crate::store::Store,
        input: Input<NoRequest, InvitationMessage>,
    ) {
        let turn = Turn { now, store };
        self.take(turn, input);
        self.go_on(turn);
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        match &self.ring {
            Ring::Unloaded { retry_at } if self.sets.is_empty() => Some(*retry_at),
            Ring::Open(ring) if self.sets.is_empty() => {
                ring.next_timeout().map(|due| due.max(self.timer_after))
            }
            Ring::Unloaded { .. } | Ring::Open(_) | Ring::Closed | Ring::Over => None,
        }
    }

    fn is_idle(&self) -> bool {
        matches!(self.ring, Ring::Over) && self.sets.is_empty() && self.effects.is_empty()
    }
}
