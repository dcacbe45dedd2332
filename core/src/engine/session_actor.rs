//! The session with the relay: it drives [`Session`], follows and wakes groups, and answers `sync`.

mod calls;
mod groups;
mod syncs;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use conclave_proto::{Cursor, GroupId, Timestamp, Topic, TransmitId, relay::Delivery};

use super::{
    Actor, Answer, CallAnswer, Context, Effect, Ended, Error, GroupMessage, Input,
    InvitationMessage, LookUp, Message, RelayState, ReplyToken, SessionMessage, SessionRequest,
    Subscription, Token, context::Turn,
};
use crate::{
    delivery::{PublishOutcome, TransportError, Uploaded},
    session::{Action, CallId, LookUpId, Session},
};
use calls::{Calls, SessionCall};
use groups::Roster;
use syncs::Syncs;

/// The session of an installation, as a state machine: inputs in, effects out.
#[derive(Debug)]
pub struct SessionActor {
    context: Arc<Context>,
    session: Session,
    state: State,
    /// The present subscription.
    subscription: Option<Subscribed>,
    calls: Calls,
    groups: Roster,
    /// The memberships that groups were told to be followed in, by their beginnings.
    lives: BTreeMap<GroupId, u64>,
    /// Questions of the invitations.
    look_ups: BTreeMap<LookUpId, Token>,
    /// The invitations wait until this group is read.
    waited_for: Option<GroupId>,
    invitable: bool,
    syncs: Syncs,
    caught_up: bool,
    relay: RelayState,
    /// The relay said that it did not store an envelope, and has taken none since.
    refuses: bool,
    effects: VecDeque<Effect>,
}

/// How far the session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The installation is not registered, or its key ring is not loaded: the Welcome topic has to
    /// be watched from the first connection on.
    Waiting,
    Open,
    Over(Ended),
}

#[derive(Debug)]
struct Subscribed {
    number: Subscription,
    /// The relay has to deliver something until then: that everything is read, at last.
    deadline: Option<Timestamp>,
}

impl SessionActor {
    /// The session of an engine that was just opened.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self {
            session: Session::new(context.limits.session, jitter(&context)),
            calls: Calls::default(),
            groups: Roster::default(),
            lives: BTreeMap::new(),
            context,
            state: State::Waiting,
            subscription: None,
            look_ups: BTreeMap::new(),
            waited_for: None,
            invitable: false,
            syncs: Syncs::default(),
            caught_up: false,
            relay: RelayState::Unreachable,
            refuses: false,
            effects: VecDeque::new(),
        }
    }

    /// Its session, for tests and reports.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    fn take(&mut self, turn: Turn<'_>, input: Input<SessionRequest, SessionMessage>) {
        if let State::Over(ended) = self.state {
            if let Input::Asked { reply, .. } = input {
                self.reply(reply, Err(ended.into()));
            }
            return;
        }
        match input {
            Input::Asked { reply, request: SessionRequest::Sync } => {
                if self.context.installation().is_none() {
                    return self.reply(reply, Err(Error::NotRegistered));
                }
                self.syncs.push(reply);
                self.begin_syncs(turn.now);
            }
            Input::Withdrawn(reply) => self.syncs.withdraw(reply),
            Input::Answered { token, answer } => self.answered(turn.now, token, answer),
            Input::Told(message) => self.told(turn, message),
            Input::Recover => self.recover(turn),
            Input::Stop(ended) => self.stop(ended),
            // What is due is looked at after every input.
            Input::Due | Input::Stored { .. } => {}
        }
    }

    fn told(&mut self, turn: Turn<'_>, message: SessionMessage) {
        let now = turn.now;
        match message {
            SessionMessage::Delivered(of, delivery) => self.delivered(now, of, delivery),
            SessionMessage::Registered => self.follow_all(turn),
            SessionMessage::Ring { cursor, upload } => self.open(now, cursor, upload),
            SessionMessage::Upload(upload) => self.session.upload(upload),
            SessionMessage::Invitable(invitable) => self.invitable = invitable,
            SessionMessage::WelcomesHandled { cursor, parked } => {
                if let Some(topic) = self.welcome_topic() {
                    self.session.handled(now, &topic, cursor, parked);
                }
            }
            SessionMessage::LookUp(LookUp { token, topic, after, count }) => {
                self.look_ups.insert(self.session.look_up(topic, after, count), token);
            }
            SessionMessage::AwaitGroup(group) => self.waited_for = Some(group),
            SessionMessage::Watch(group, cursor) => {
                self.lives.insert(group, cursor.seq.0);
                self.session.watch(Topic::Group(group), cursor);
                self.catch_up(now);
            }
            SessionMessage::Relist => self.relist(turn),
            // It may have been joined again before the membership before has said its last word.
            SessionMessage::Handled { group, life, .. }
                if self.lives.get(&group).is_some_and(|present| life < *present) => {}
            SessionMessage::Handled { group, life: _, cursor, parked, removed } => {
                let topic = Topic::Group(group);
                self.session.handled(now, &topic, cursor, parked);
                if removed {
                    self.session.unwatch(&topic);
                }
            }
            SessionMessage::Unreadable(group) => self.session.unwatch(&Topic::Group(group)),
            SessionMessage::Publish(group, transmits) => self.session.publish(group, transmits),
            SessionMessage::Asleep(group, due) => self.groups.set_due(group, due),
            SessionMessage::Looked(group) => self.groups.looked(group),
        }
    }

    fn welcome_topic(&self) -> Option<Topic> {
        self.context.installation().map(|installation| Topic::Welcome(installation.id()))
    }

    fn open(&mut self, now: Timestamp, cursor: Cursor, upload: Option<crate::step::Upload>) {
        let Some(topic) = self.welcome_topic() else { return };
        self.state = State::Open;
        if let Some(upload) = upload {
            self.session.upload(upload);
        }
        if self.session.is_watched(&topic) {
            // What the ring was given before is forgotten.
            self.session.handled(now, &topic, cursor, false);
        } else {
            self.session.watch(topic, cursor);
        }
    }

    fn begin_syncs(&mut self, now: Timestamp) {
        if self.syncs.begin() {
            self.catch_up(now);
        }
    }

    /// A sync answers for what there is at the relay when it is asked.
    fn catch_up(&mut self, now: Timestamp) {
        if self.syncs.is_waiting() {
            self.caught_up = false;
            self.session.catch_up();
            self.expect_delivery(now);
        }
    }

    fn expect_delivery(&mut self, now: Timestamp) {
        let deadline = now.plus_ms(self.context.limits.call_ms);
        if let Some(subscription) = &mut self.subscription {
            subscription.deadline = Some(deadline);
        }
    }

    fn delivered(
        &mut self,
        now: Timestamp,
        of: Subscription,
        delivery: Result<Delivery, TransportError>,
    ) {
        if self.subscription.as_ref().is_none_or(|present| present.number != of) {
            return;
        }
        match delivery {
            Ok(delivery) => {
                let last = matches!(delivery, Delivery::CaughtUp(_));
                if let Some(subscription) = &mut self.subscription {
                    let next = now.plus_ms(self.context.limits.call_ms);
                    subscription.deadline = subscription.deadline.filter(|_| !last).map(|_| next);
                }
                self.set_relay(self.answers());
                self.session.handle_delivery(delivery);
            }
            Err(error) => self.unsubscribed(now, &error),
        }
    }

    fn unsubscribed(&mut self, now: Timestamp, error: &TransportError) {
        self.subscription = None;
        self.caught_up = false;
        self.set_relay(match error {
            TransportError::Misconfigured(why) => RelayState::Unusable(why),
            TransportError::NotAdmitted => RelayState::Unusable("it asks for an admission"),
            TransportError::RelayTrouble { .. } => RelayState::NotStoring,
            TransportError::TooMuch
            | TransportError::Unavailable { .. }
            | TransportError::Truncated { .. } => RelayState::Unreachable,
        });
        self.session.handle_unsubscribed(now, error);
    }

    fn set_relay(&mut self, state: RelayState) {
        if self.relay != state {
            self.relay = state.clone();
            self.effects.push_back(Effect::Relay(state));
        }
    }

    fn answered(&mut self, now: Timestamp, token: Token, answer: CallAnswer) {
        let Some(call) = self.calls.take(token) else { return };
        match (call, answer) {
            (SessionCall::Fetch(call), CallAnswer::Fetched(pages)) => {
                self.session.handle_pages(now, call, pages);
            }
            (SessionCall::Publish(call), CallAnswer::Published(outcomes)) => {
                self.note_outcomes(&outcomes);
                self.session.handle_published(now, call, outcomes);
            }
            (SessionCall::Upload(call), CallAnswer::Uploaded(uploaded)) => {
                self.note_outcomes(core::slice::from_ref(&uploaded.outcome));
                self.session.handle_uploaded(now, call, uploaded);
            }
            // An answer to another question is none.
            (call, _) => self.unanswered(now, call),
        }
    }

    fn note_outcomes(&mut self, outcomes: &[PublishOutcome]) {
        let fails = |outcome: &PublishOutcome| matches!(outcome, PublishOutcome::NotStored { .. });
        let accepts = |outcome: &PublishOutcome| matches!(outcome, PublishOutcome::Accepted { .. });
        if outcomes.iter().any(fails) {
            self.refuses = true;
        } else if outcomes.iter().any(accepts) {
            self.refuses = false;
        }
        if self.relay.is_reachable() {
            self.set_relay(self.answers());
        }
    }

    /// The state of a relay that answers.
    const fn answers(&self) -> RelayState {
        if self.refuses { RelayState::NotStoring } else { RelayState::Reachable }
    }

    fn unanswered(&mut self, now: Timestamp, call: SessionCall) {
        match call {
            SessionCall::Fetch(call) => {
                self.session.handle_pages(now, call, Err(TransportError::NO_ANSWER));
            }
            SessionCall::Publish(call) => self.session.handle_published(now, call, Vec::new()),
            SessionCall::Upload(call) => {
                let outcome = PublishOutcome::Unknown;
                let uploaded = Uploaded::failed(outcome);
                self.session.handle_uploaded(now, call, uploaded);
            }
        }
    }

    /// Does what is due, then everything that the session wants done.
    fn go_on(&mut self, turn: Turn<'_>) {
        let now = turn.now;
        if matches!(self.state, State::Over(_)) {
            return;
        }
        for call in self.calls.expired(now) {
            self.unanswered(now, call);
        }
        let silent = |it: &Subscribed| it.deadline.is_some_and(|deadline| deadline <= now);
        if self.subscription.as_ref().is_some_and(silent) {
            self.unsubscribed(now, &TransportError::NO_ANSWER);
        }
        self.read_again(turn);
        self.wake_groups(now);
        self.act_all(now);
        self.tell_waiting();
        self.tell_held_outcomes(now);
        if self.caught_up && self.session.is_read() && self.invitable {
            for reply in self.syncs.take_answered() {
                self.reply(reply, Ok(Answer::Done));
            }
            self.begin_syncs(now);
            self.act_all(now);
        }
    }

    fn act_all(&mut self, now: Timestamp) {
        if self.state == State::Open {
            while let Some(action) = self.session.poll(now) {
                self.act(now, action);
            }
        }
    }

    fn act(&mut self, now: Timestamp, action: Action) {
        match action {
            Action::Subscribe => {
                let number = Subscription(self.context.next_number());
                self.subscription = Some(Subscribed { number, deadline: None });
                self.expect_delivery(now);
                self.effects.push_back(Effect::Subscribe(number));
            }
            Action::Watch(change) => self.effects.push_back(Effect::Watch(change)),
            Action::Fetch { call, after, limit } => self.fetch(now, call, after, limit),
            Action::Publish { call, batch } => self.publish(now, call, batch),
            Action::Upload { call, upload } => self.upload(now, call, upload),
            Action::Deliver { topic: Topic::Group(id), records } => {
                let outcomes = self.groups.take_outcomes(id);
                self.tell_group(id, GroupMessage::Records { records, outcomes });
            }
            Action::Deliver { records, .. } => {
                self.tell_invitations(InvitationMessage::Welcomes(records));
            }
            Action::Found { look_up, records } => {
                if let Some(token) = self.look_ups.remove(&look_up) {
                    self.tell_invitations(InvitationMessage::Found(token, records));
                }
            }
            Action::Outcome { owner, topic, id, outcome } => {
                self.outcome(now, owner, &topic, id, outcome);
            }
            Action::Uploaded { counter, uploaded } => {
                self.tell_invitations(InvitationMessage::Uploaded(counter, uploaded));
            }
            Action::CaughtUp => self.caught_up = true,
            // Told by the state of the relay, and tried again by the session.
            Action::Truncated { .. } | Action::Misconfigured(_) | Action::Unreachable => {}
        }
    }

    /// That the relay has taken a message the log is about to say as well: both are told at once.
    fn outcome(
        &mut self,
        now: Timestamp,
        owner: GroupId,
        topic: &Topic,
        id: TransmitId,
        outcome: PublishOutcome,
    ) {
        let of_log = *topic == Topic::Group(owner);
        if of_log && matches!(outcome, PublishOutcome::Accepted { .. }) {
            let until = now.plus_ms(self.context.limits.outcome_ms);
            self.groups.hold_outcome(owner, until, id, outcome);
        } else {
            self.tell_group(owner, GroupMessage::Outcome(id, outcome));
        }
    }

    fn tell_held_outcomes(&mut self, now: Timestamp) {
        for (owner, id, outcome) in self.groups.late_outcomes(now) {
            self.tell_group(owner, GroupMessage::Outcome(id, outcome));
        }
    }

    /// Whoever waits for a group hears when nothing more of it is to be read.
    fn tell_waiting(&mut self) {
        if let Some(group) = self.waited_for
            && self.session.has_read(&Topic::Group(group))
        {
            self.waited_for = None;
            self.tell_invitations(InvitationMessage::GroupRead(group));
        }
    }

    /// After a panic: everything that a session knows can be found again.
    fn recover(&mut self, turn: Turn<'_>) {
        // Made first: it may panic again.
        let fresh = Self::new(Arc::clone(&self.context));
        let syncs = std::mem::take(&mut self.syncs);
        let effects = std::mem::take(&mut self.effects);
        // Groups that have something on its way publish it again when they are looked at.
        let lives = std::mem::take(&mut self.lives);
        *self = Self { syncs, effects, lives, relay: self.relay.clone(), ..fresh };
        self.set_relay(RelayState::Unreachable);
        if self.context.installation().is_some() {
            self.follow_all(turn);
            self.tell_invitations(InvitationMessage::SessionRestarted);
        }
    }

    fn stop(&mut self, ended: Ended) {
        self.state = State::Over(ended);
        self.subscription = None;
        for reply in self.syncs.take_all() {
            self.reply(reply, Err(ended.into()));
        }
        self.set_relay(RelayState::Unreachable);
    }

    fn reply(&mut self, to: ReplyToken, answer: Result<Answer, Error>) {
        self.effects.push_back(Effect::Reply { to, answer });
    }

    fn tell_group(&mut self, id: GroupId, message: GroupMessage) {
        self.effects.push_back(Effect::Tell(Message::Group(id, message)));
    }

    fn tell_invitations(&mut self, message: InvitationMessage) {
        self.effects.push_back(Effect::Tell(Message::Invitations(message)));
    }
}

impl Actor for SessionActor {
    type Request = SessionRequest;
    type Message = SessionMessage;

    fn handle(
        &mut self,
        now: Timestamp,
        store: &dyn crate::store::Store,
        input: Input<SessionRequest, SessionMessage>,
    ) {
        let turn = Turn { now, store };
        self.take(turn, input);
        self.go_on(turn);
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        if matches!(self.state, State::Over(_)) {
            return None;
        }
        let silent = self.subscription.as_ref().and_then(|it| it.deadline);
        let own = [self.groups.read_again_at(), self.calls.next_timeout(), silent];
        let open = (self.state == State::Open)
            .then(|| [self.session.next_timeout(), self.groups.next_timeout()]);
        own.into_iter().chain(open.into_iter().flatten()).flatten().min()
    }

    fn is_idle(&self) -> bool {
        matches!(self.state, State::Over(_)) && self.effects.is_empty()
    }
}

/// Jitter only has to differ between engines: without randomness it differs by nothing.
fn jitter(context: &Context) -> [u8; 32] {
    let mut entropy = context.child("session", &[], context.next_number());
    entropy.step().map_or([0; 32], |mut step| step.array())
}
