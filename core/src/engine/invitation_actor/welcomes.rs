//! Records of the Welcome topic: each is shown to the ring, what it names is gathered, and it is
//! shown again.

use std::collections::VecDeque;

use conclave_proto::{Cursor, GroupId, Record};

use super::{
    Effect, GroupMessage, InvitationActor, Message, Ring, SessionMessage, Then, Token, Turn,
    gathering::Gathering,
};
use crate::{
    engine::index,
    group::{Held, LoadError},
    keyring::WelcomeOutcome,
};

/// Where the ring is with the records that the session gave it.
#[derive(Debug)]
pub(super) enum Reading {
    /// The session waits for nothing.
    Idle,
    /// These are there; the first one is where `look` says.
    Records { left: VecDeque<Record>, look: Look },
    /// The ring was lost over them: the session is told when it is loaded again.
    Lost,
}

/// Where the ring is with one Welcome.
#[derive(Debug)]
pub(super) enum Look {
    /// It is to be shown to the ring for the first time.
    First,
    /// What it names is looked up, or is there.
    Gathering(Box<Gathering>),
    /// The group that it is for is held and is to be read up to it first.
    Awaiting(Box<Gathering>, Cursor),
    /// A step over it is with the writer.
    Storing,
}

impl Reading {
    pub(super) const fn next(left: VecDeque<Record>) -> Self {
        Self::Records { left, look: Look::First }
    }

    /// The ring is gone.
    pub(super) fn lose_ring(&mut self) {
        if matches!(self, Self::Records { .. }) {
            *self = Self::Lost;
        }
    }

    /// The ring is there again.
    pub(super) fn find_ring(&mut self) {
        if matches!(self, Self::Lost) {
            *self = Self::Idle;
        }
    }
}

impl InvitationActor {
    /// Goes on with the first record; whether there was something to do.
    pub(super) fn read_on(&mut self, turn: Turn<'_>) -> bool {
        let Reading::Records { left, look } = &mut self.reading else { return false };
        let Some(record) = left.front().cloned() else {
            self.welcomes_handled(false);
            return true;
        };
        match look {
            Look::First => self.show_first(turn, &record),
            Look::Gathering(gathering) if gathering.is_complete() => {
                self.show_gathered(turn, &record)
            }
            Look::Gathering(_) | Look::Awaiting(..) | Look::Storing => false,
        }
    }

    fn show_first(&mut self, turn: Turn<'_>, record: &Record) -> bool {
        let Ring::Open(ring) = &mut self.ring else { return false };
        let step = ring.handle_welcome(turn.now, record, None);
        self.set_look(Look::Storing);
        match step.into_idle() {
            Ok(WelcomeOutcome::Needs(invitation)) => {
                let (gathering, questions) = Gathering::begin(invitation, &self.context);
                self.set_look(Look::Gathering(Box::new(gathering)));
                for question in questions {
                    self.tell_session(SessionMessage::LookUp(question));
                }
            }
            Ok(outcome) => self.shown(outcome),
            Err(step) => self.store(step, Then::Shown),
        }
        true
    }

    fn show_gathered(&mut self, turn: Turn<'_>, record: &Record) -> bool {
        let Reading::Records { look: Look::Gathering(gathering), .. } = &self.reading else {
            return false;
        };
        let group = gathering.invitation().group;
        let held = match Held::read(turn.store, group) {
            Ok(held) => held,
            Err(error) => {
                if let LoadError::Store(error) = error {
                    self.effects.push_back(Effect::StoreTrouble(error));
                }
                // The session shows it again after a while.
                self.welcomes_handled(false);
                return true;
            }
        };
        let gathered = gathering.gathered(held);
        let is_complete = gathered.commit.is_some() && gathered.body.is_some();
        let Ring::Open(ring) = &mut self.ring else { return false };
        let step = ring.handle_welcome(turn.now, record, Some(&gathered));
        match step.into_idle() {
            // Nothing is missing but that the group is read: that is in this engine's own hands.
            Ok(WelcomeOutcome::Waiting(_)) if is_complete => {
                self.wait_for_group(group, held.map_or(Cursor::START, |held| held.cursor));
            }
            Ok(outcome) => self.shown(outcome),
            Err(step) => {
                self.set_look(Look::Storing);
                let joins = matches!(step.reply(), WelcomeOutcome::Joined(_));
                // A group that it joins is listed in the same batch.
                let listed = joins.then(|| index::put(group));
                let effects = &mut self.effects;
                self.sets.hand_in(&self.context, effects, step, listed, Then::Shown);
            }
        }
        true
    }

    /// Waits until the group is read; if it stands where it stood when that was asked before, it
    /// cannot go on, and the Welcome waits like one whose body is missing.
    fn wait_for_group(&mut self, group: GroupId, stands: Cursor) {
        let Reading::Records { look, .. } = &mut self.reading else { return };
        match std::mem::replace(look, Look::Storing) {
            Look::Gathering(gathering) if gathering.waited_before() != Some(stands) => {
                *look = Look::Awaiting(gathering, stands);
                self.tell_session(SessionMessage::AwaitGroup(group));
            }
            Look::Gathering(_) | Look::First | Look::Awaiting(..) | Look::Storing => {
                self.welcomes_handled(true);
            }
        }
    }

    /// The group of an invitation is read.
    pub(super) fn group_read(&mut self, group: GroupId) {
        let Reading::Records { look, .. } = &mut self.reading else { return };
        if let Look::Awaiting(gathering, _) = look
            && gathering.invitation().group != group
        {
            return;
        }
        match std::mem::replace(look, Look::Storing) {
            Look::Awaiting(gathering, stood) => {
                *look = Look::Gathering(Box::new(gathering.waited_at(stood)));
            }
            other @ (Look::First | Look::Gathering(_) | Look::Storing) => *look = other,
        }
    }

    /// An answer to what a Welcome asks for.
    pub(super) fn found(&mut self, token: Token, records: Vec<Record>) {
        if let Reading::Records { look: Look::Gathering(gathering), .. } = &mut self.reading {
            gathering.found(token, records);
        }
    }

    /// The first record was shown to the ring, and what came of it is stored.
    pub(super) fn shown(&mut self, outcome: WelcomeOutcome) {
        match outcome {
            WelcomeOutcome::Joined(group) => {
                let (id, cursor) = (group.id(), group.cursor());
                self.effects.push_back(Effect::Tell(Message::Group(id, GroupMessage::Reload)));
                self.tell_session(SessionMessage::Watch(id, cursor));
                self.next_welcome();
            }
            WelcomeOutcome::Rejected(_) | WelcomeOutcome::Known => self.next_welcome(),
            WelcomeOutcome::Waiting(_) | WelcomeOutcome::Needs(_) | WelcomeOutcome::Parked(_) => {
                self.welcomes_handled(true);
            }
        }
    }

    fn next_welcome(&mut self) {
        if let Reading::Records { left, look } = &mut self.reading {
            left.pop_front();
            *look = Look::First;
        }
    }

    fn set_look(&mut self, next: Look) {
        if let Reading::Records { look, .. } = &mut self.reading {
            *look = next;
        }
    }

    /// Tells the session how far Welcomes were handled.
    pub(super) fn welcomes_handled(&mut self, parked: bool) {
        self.reading = Reading::Idle;
        if let Ring::Open(ring) = &self.ring {
            let cursor = ring.cursor();
            self.tell_session(SessionMessage::WelcomesHandled { cursor, parked });
        }
    }
}
