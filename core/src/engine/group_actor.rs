//! One group's life: asleep in the store, awake in memory, and what happens when a commit fails.

mod reading;
mod requests;
mod storing;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use conclave_proto::{GroupId, MessageId, Timestamp};

use super::{
    Actor, Answer, CallAnswer, Context, Effect, Ended, Error, GroupMessage, GroupRequest,
    GroupView, Input, Message, ReplyToken, SessionMessage, Token, context::Turn, sets::Sets,
};
use crate::{
    BlockedOn, Class,
    delivery::PublishOutcome,
    group::{Group, GroupRecords, Taken},
    step::Pending,
};
use conclave_proto::{IntentId, TransmitId};
use reading::Reading;
use requests::Adding;
use storing::Then;

/// One group of an installation, as a state machine: inputs in, effects out.
///
/// It loads its [`Group`] when it has something to do, stores what the group makes, and lets it
/// leave the memory when it has rested for [`idle_ms`](super::EngineLimits::idle_ms).
#[derive(Debug)]
pub struct GroupActor {
    id: GroupId,
    context: Arc<Context>,
    life: Life,
    /// Inputs that wait until there can be a value, in their order.
    deferred: VecDeque<Input<GroupRequest, GroupMessage>>,
    sets: Sets<Then>,
    reading: Reading,
    /// Calls that wait for a view once everything is stored.
    viewers: BTreeSet<ReplyToken>,
    /// Calls that wait until nothing of the group's own is on its way.
    settlers: BTreeSet<ReplyToken>,
    adding: Vec<Adding>,
    /// The call whose input or write set is being handled: a panic must not leave it unanswered.
    in_hand: Option<ReplyToken>,
    /// No timer before this time: one that could not do what was due is not to run at once again.
    timer_after: Timestamp,
    /// How often in a row the store failed.
    failures: u32,
    /// When it last had something to do that is no reason to sleep at once.
    used: Option<Timestamp>,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
enum Life {
    /// Not in memory; the next input loads it.
    Asleep,
    Awake(Box<Awake>),
    /// Write sets of a dropped value are still with the writer; nothing is loaded before they are
    /// settled, for it would not know of them. What comes meanwhile is deferred.
    Draining,
    /// The store did not give it, or lost one of its sets; it is loaded again then.
    Unloadable {
        retry_at: Timestamp,
    },
    /// The engine has ended.
    Over(Ended),
}

#[derive(Debug)]
struct Awake {
    group: Group,
    view: Option<Arc<GroupView>>,
    /// Everything that is unsettled is to be published (again) once nothing waits for the store:
    /// the relay sees nothing that is not stored.
    republish: bool,
}

/// The retry delay doubles so often: a minute, where the first delay is a second.
const DOUBLINGS_MAX: u32 = 6;

impl GroupActor {
    /// The actor of a group that the store holds, or that was just made.
    #[must_use]
    pub fn new(id: GroupId, context: Arc<Context>) -> Self {
        Self {
            id,
            context,
            life: Life::Asleep,
            deferred: VecDeque::new(),
            sets: Sets::default(),
            reading: Reading::Idle,
            viewers: BTreeSet::new(),
            settlers: BTreeSet::new(),
            adding: Vec::new(),
            in_hand: None,
            timer_after: Timestamp(0),
            failures: 0,
            used: None,
            effects: VecDeque::new(),
        }
    }

    /// The group.
    #[must_use]
    pub const fn id(&self) -> GroupId {
        self.id
    }

    /// Its value, while it is in memory.
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        match &self.life {
            Life::Awake(awake) => Some(&awake.group),
            Life::Asleep | Life::Draining | Life::Unloadable { .. } | Life::Over(_) => None,
        }
    }

    #[cfg(feature = "internals")]
    pub(super) fn group_mut(&mut self) -> Option<&mut Group> {
        match &mut self.life {
            Life::Awake(awake) => Some(&mut awake.group),
            Life::Asleep | Life::Draining | Life::Unloadable { .. } | Life::Over(_) => None,
        }
    }

    fn take(&mut self, turn: Turn<'_>, input: Input<GroupRequest, GroupMessage>) {
        match input {
            Input::Stored { token, result } => self.sets.note(token, result),
            Input::Withdrawn(reply) => self.withdraw(reply),
            Input::Recover => self.recover(turn),
            Input::Stop(ended) => self.stop(ended),
            Input::Answered { token, answer } => {
                self.used = Some(turn.now);
                self.answered(turn, token, answer);
            }
            input @ (Input::Asked { .. } | Input::Told(_) | Input::Due) => match &mut self.life {
                Life::Over(ended) => {
                    if let Input::Asked { reply, .. } = input {
                        let answer = Err(Error::from(*ended));
                        self.effects.push_back(Effect::Reply { to: reply, answer });
                    }
                }
                Life::Draining | Life::Asleep | Life::Awake(_) | Life::Unloadable { .. } => {
                    self.deferred.push_back(input);
                }
            },
        }
    }

    fn act(&mut self, turn: Turn<'_>, input: Input<GroupRequest, GroupMessage>) {
        // Looking is no reason to stay in memory: with many groups the next ones have their turn.
        if !matches!(input, Input::Told(GroupMessage::Look) | Input::Due) {
            self.used = Some(turn.now);
        }
        match input {
            Input::Asked { reply, request } => self.asked(turn, reply, request),
            Input::Told(message) => self.told(turn, message),
            Input::Due => self.due(turn),
            Input::Stored { .. }
            | Input::Answered { .. }
            | Input::Withdrawn(_)
            | Input::Recover
            | Input::Stop(_) => {}
        }
    }

    fn told(&mut self, turn: Turn<'_>, message: GroupMessage) {
        match message {
            GroupMessage::Created(group) => {
                if matches!(self.life, Life::Asleep) {
                    self.wake(*group, false);
                    self.show();
                }
            }
            GroupMessage::Reload => {
                self.drop_value();
                if matches!(self.life, Life::Asleep) {
                    self.wake_up(turn);
                }
            }
            GroupMessage::Records { records, outcomes } => {
                // First: a panic must not lose that the session waits for an answer.
                self.read(records);
                for (id, outcome) in outcomes {
                    self.outcome(turn, id, &outcome);
                }
            }
            GroupMessage::Outcome(id, outcome) => self.outcome(turn, id, &outcome),
            GroupMessage::Look => self.look(turn),
        }
    }

    fn outcome(&mut self, turn: Turn<'_>, id: TransmitId, outcome: &PublishOutcome) {
        // A value that is loaded later publishes everything again.
        if matches!(self.life, Life::Unloadable { .. }) {
            return;
        }
        if let Some(group) = self.loaded(turn) {
            let step = group.handle_publish(turn.now, id, outcome);
            self.store_quietly(step);
        }
    }

    fn look(&mut self, turn: Turn<'_>) {
        if let Life::Awake(awake) = &mut self.life {
            awake.republish = true;
            self.show();
        } else {
            self.wake_up(turn);
        }
        self.fire_timer(turn);
        self.tell_session(SessionMessage::Looked(self.id));
    }

    fn due(&mut self, turn: Turn<'_>) {
        self.used = self.used.map(|used| used.min(turn.now));
        match &self.life {
            Life::Unloadable { retry_at } if *retry_at <= turn.now => self.wake_up(turn),
            Life::Awake(_)
            | Life::Unloadable { .. }
            | Life::Asleep
            | Life::Draining
            | Life::Over(_) => self.fire_timer(turn),
        }
    }

    fn fire_timer(&mut self, turn: Turn<'_>) {
        // The clock may have gone back.
        let rest = turn.now.plus_ms(self.context.limits.session.trouble_ms);
        self.timer_after = self.timer_after.min(rest);
        let Some(due) = self.timer() else { return };
        let Life::Awake(awake) = &mut self.life else { return };
        if due <= turn.now && self.sets.is_empty() {
            let step = awake.group.handle_timeout(turn.now);
            let is_due = |due| due <= turn.now;
            if step.is_idle() && awake.group.next_timeout().is_some_and(is_due) {
                self.timer_after = rest;
            }
            self.store_quietly(step);
        }
    }

    /// When something is due in a group that is awake.
    fn timer(&self) -> Option<Timestamp> {
        self.group().and_then(Group::next_timeout).map(|due| due.max(self.timer_after))
    }

    /// What follows from an input, as far as it can go without another one.
    fn go_on(&mut self, turn: Turn<'_>) {
        self.expire_calls(turn);
        loop {
            self.in_hand = None;
            if self.settle_next(turn) {
                continue;
            }
            if matches!(self.life, Life::Draining) {
                // Its time comes again.
                self.deferred.retain(|input| !matches!(input, Input::Due));
                if !self.sets.is_empty() {
                    return;
                }
                self.life = self.unloadable(turn.now);
            }
            // One at a time: a panic loses no other.
            if let Some(input) = self.deferred.pop_front() {
                self.in_hand = asking(&input);
                self.act(turn, input);
                continue;
            }
            if self.finish_adding(turn) || self.read_on(turn) {
                continue;
            }
            return self.rest(turn.now);
        }
    }

    /// Leaves the memory when there is nothing to do.
    fn rest(&mut self, now: Timestamp) {
        if matches!(self.life, Life::Awake(_)) && self.rests_at().is_some_and(|at| at <= now) {
            self.sleep();
        }
    }

    /// When an awake group may leave the memory, if nothing happens until then.
    fn rests_at(&self) -> Option<Timestamp> {
        let waits = !self.sets.is_empty()
            || !self.viewers.is_empty()
            || !self.settlers.is_empty()
            || !self.adding.is_empty()
            || !matches!(self.reading, Reading::Idle);
        let idle = self.context.limits.idle_ms;
        (!waits).then(|| self.used.map_or(Timestamp(0), |used| used.plus_ms(idle)))
    }

    fn sleep(&mut self) {
        let due = self.timer();
        self.life = Life::Asleep;
        self.used = None;
        self.effects.push_back(Effect::Hide(self.id));
        self.tell_session(SessionMessage::Asleep(self.id, due));
    }

    /// After a panic: the value may be half changed, so it is dropped. Sets that are with the
    /// writer count if they are stored.
    fn recover(&mut self, turn: Turn<'_>) {
        self.drop_value();
        let mut lost = self.waiting();
        let stored = |reply| self.sets.iter().any(|then| then.reply() == Some(reply));
        let in_hand = self.in_hand.take().filter(|reply| !lost.contains(reply) && !stored(*reply));
        lost.extend(in_hand);
        let answer = |to| Effect::Reply { to, answer: Err(Error::Closed) };
        self.effects.extend(lost.into_iter().map(answer));
        self.reading.recover(self.sets.iter().any(|then| matches!(then, Then::Records(..))));
        if !matches!(self.life, Life::Over(_)) {
            // What is stored is to go out, although nothing asks for it.
            self.take(turn, Input::Told(GroupMessage::Look));
        }
    }

    /// Calls that wait for something else than the writer; they are forgotten.
    fn waiting(&mut self) -> Vec<ReplyToken> {
        let adding = self.adding.drain(..).map(|adding| adding.reply);
        let (viewers, settlers) =
            (std::mem::take(&mut self.viewers), std::mem::take(&mut self.settlers));
        viewers.into_iter().chain(settlers).chain(adding).collect()
    }

    fn stop(&mut self, ended: Ended) {
        let mut waiting = self.waiting();
        if ended != Ended::ShutDown {
            waiting.extend(self.sets.drain().filter_map(|then| then.reply()));
        }
        self.life = Life::Over(ended);
        waiting.extend(self.deferred.drain(..).filter_map(|input| asking(&input)));
        self.reading = Reading::Idle;
        let answer = |to| Effect::Reply { to, answer: Err(ended.into()) };
        self.effects.extend(waiting.into_iter().map(answer));
        self.effects.push_back(Effect::Hide(self.id));
    }

    /// Forgets a question. A wish goes on: only its answer is not wanted.
    fn withdraw(&mut self, reply: ReplyToken) {
        self.viewers.remove(&reply);
        self.settlers.remove(&reply);
    }

    fn tell_session(&mut self, message: SessionMessage) {
        self.effects.push_back(Effect::Tell(Message::Session(message)));
    }

    fn reply(&mut self, to: ReplyToken, answer: Result<Answer, Error>) {
        self.effects.push_back(Effect::Reply { to, answer });
    }
}

/// The call that an input is, if it is one.
const fn asking(input: &Input<GroupRequest, GroupMessage>) -> Option<ReplyToken> {
    match input {
        Input::Asked { reply, .. } => Some(*reply),
        Input::Withdrawn(_)
        | Input::Stored { .. }
        | Input::Answered { .. }
        | Input::Told(_)
        | Input::Due
        | Input::Recover
        | Input::Stop(_) => None,
    }
}

impl Actor for GroupActor {
    type Request = GroupRequest;
    type Message = GroupMessage;

    fn handle(
        &mut self,
        now: Timestamp,
        store: &dyn crate::store::Store,
        input: Input<GroupRequest, GroupMessage>,
    ) {
        let turn = Turn { now, store };
        self.take(turn, input);
        self.go_on(turn);
        self.in_hand = None;
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        let calls = self.adding.iter().map(Adding::deadline).min();
        let own = match &self.life {
            Life::Awake(_) if self.sets.is_empty() => {
                [self.timer(), self.rests_at()].into_iter().flatten().min()
            }
            Life::Unloadable { retry_at } => Some(*retry_at),
            Life::Awake(_) | Life::Asleep | Life::Draining | Life::Over(_) => None,
        };
        calls.into_iter().chain(own).min()
    }

    fn is_idle(&self) -> bool {
        matches!(self.life, Life::Asleep | Life::Over(_))
            && self.deferred.is_empty()
            && self.sets.is_empty()
            && self.effects.is_empty()
            && self.adding.is_empty()
            && matches!(self.reading, Reading::Idle)
    }
}
