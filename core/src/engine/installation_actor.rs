//! The installation: how it becomes part of an inbox, and founds groups.

mod founding;
mod registration;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use conclave_proto::Timestamp;

use super::{
    Actor, Answer, CallAnswer, Context, DeliveryCall, Effect, Ended, Error, GroupMessage, Input,
    InstallationRequest, InvitationMessage, Message, ReplyToken, SessionMessage, Token,
    candidates::{LogReader, unanswered},
    context::Turn,
    sets::Sets,
};
use crate::{
    group::Group,
    step::{Pending, Step},
};
use founding::Founding;
use registration::Registration;

/// The installation of an engine, as a state machine: inputs in, effects out.
#[derive(Debug)]
pub struct InstallationActor {
    context: Arc<Context>,
    /// The registration that is under way, and those that wait for it.
    registration: Option<Registration>,
    registrations: VecDeque<(ReplyToken, InstallationRequest)>,
    foundings: Vec<Founding>,
    look_ups: BTreeMap<Token, LookUp>,
    sets: Sets<Then>,
    /// The call whose input is being handled: a panic must not leave it unanswered.
    in_hand: Option<ReplyToken>,
    ended: Option<Ended>,
    effects: VecDeque<Effect>,
}

/// A look-up in the relay's directory.
#[derive(Debug)]
struct LookUp {
    reply: ReplyToken,
    deadline: Timestamp,
}

/// What waits for a write set.
#[derive(Debug)]
enum Then {
    /// The registration goes on.
    Registered(Pending<()>),
    Founded(ReplyToken, Box<Pending<Group>>),
}

impl InstallationActor {
    /// The installation of an engine that was just opened.
    #[must_use]
    pub const fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            registration: None,
            registrations: VecDeque::new(),
            foundings: Vec::new(),
            look_ups: BTreeMap::new(),
            sets: Sets::new(),
            in_hand: None,
            ended: None,
            effects: VecDeque::new(),
        }
    }

    fn take(&mut self, turn: Turn<'_>, input: Input<InstallationRequest, NoMessage>) {
        match input {
            Input::Stored { token, result } => self.sets.note(token, result),
            Input::Asked { reply, request } => self.asked(turn, reply, request),
            Input::Answered { token, answer } => self.answered(turn, token, answer),
            Input::Withdrawn(reply) => self.look_ups.retain(|_, look_up| look_up.reply != reply),
            Input::Recover => {
                let in_hand = self.in_hand.take();
                let mut lost = self.waiting();
                lost.extend(in_hand.filter(|reply| !lost.contains(reply)));
                self.fail(lost, &Error::Closed);
            }
            Input::Stop(ended) => {
                self.ended = Some(ended);
                let mut lost = self.waiting();
                if ended != Ended::ShutDown {
                    lost.extend(self.sets.drain().filter_map(|then| match then {
                        Then::Founded(reply, _) => Some(reply),
                        Then::Registered(_) => None,
                    }));
                }
                self.fail(lost, &ended.into());
            }
            // What is due is looked at after every input.
            Input::Due => {}
            Input::Told(message) => match message {},
        }
    }

    fn asked(&mut self, turn: Turn<'_>, reply: ReplyToken, request: InstallationRequest) {
        if let Some(ended) = self.ended {
            return self.reply(reply, Err(ended.into()));
        }
        match request {
            InstallationRequest::Register { .. } => {
                self.registrations.push_back((reply, request));
            }
            InstallationRequest::Find(accounts) => {
                let deadline = turn.now.plus_ms(self.context.limits.call_ms);
                let token = self.call(DeliveryCall::Resolve(accounts));
                self.look_ups.insert(token, LookUp { reply, deadline });
            }
            InstallationRequest::CreateGroup(config) => self.found(turn, reply, config),
        }
    }

    fn answered(&mut self, turn: Turn<'_>, token: Token, answer: CallAnswer) {
        if let Some(LookUp { reply, .. }) = self.look_ups.remove(&token) {
            let found = match answer {
                CallAnswer::Resolved(found) => found.map(Answer::Found).map_err(Error::from),
                CallAnswer::Published(_)
                | CallAnswer::Fetched(_)
                | CallAnswer::Uploaded(_)
                | CallAnswer::KeyPackages(_)
                | CallAnswer::Signed(_) => Err(unanswered()),
            };
            return self.reply(reply, found);
        }
        if self.registration.as_ref().is_some_and(|it| it.waits_for(token)) {
            self.go_on_registering(turn, answer);
        } else {
            self.go_on_founding(turn, token, answer);
        }
    }

    fn go_on(&mut self, turn: Turn<'_>) {
        self.expire(turn.now);
        while self.settle_next(turn) {}
        while self.registration.is_none()
            && let Some((reply, request)) = self.registrations.pop_front()
        {
            self.in_hand = Some(reply);
            self.begin_registering(turn, reply, request);
        }
    }

    fn settle_next(&mut self, turn: Turn<'_>) -> bool {
        let Some(set) = self.sets.next() else { return false };
        match (set.then, set.result) {
            (Then::Registered(pending), Ok(proof)) => {
                drop(pending.release(proof));
                self.stored_registration(turn);
            }
            (Then::Registered(_), Err(error)) => self.end_registering(Err(Error::Store(error))),
            (Then::Founded(reply, pending), Ok(proof)) => {
                self.founded(reply, pending.release(proof).reply);
            }
            (Then::Founded(reply, _), Err(error)) => self.reply(reply, Err(error.into())),
        }
        true
    }

    fn expire(&mut self, now: Timestamp) {
        let mut late: Vec<ReplyToken> = self
            .look_ups
            .extract_if(.., |_, look_up| look_up.deadline <= now)
            .map(|(_, look_up)| look_up.reply)
            .collect();
        let foundings = self.foundings.extract_if(.., |founding| founding.deadline <= now);
        late.extend(foundings.map(|founding| founding.reply));
        self.fail(late, &unanswered());
        if self.registration.as_ref().and_then(Registration::deadline).is_some_and(|it| it <= now) {
            self.end_registering(Err(unanswered()));
        }
    }

    /// Calls that wait for something else than the writer; they are forgotten.
    fn waiting(&mut self) -> Vec<ReplyToken> {
        let mut all: Vec<ReplyToken> =
            std::mem::take(&mut self.look_ups).into_values().map(|it| it.reply).collect();
        all.extend(self.foundings.drain(..).map(|founding| founding.reply));
        all.extend(self.registration.take().map(|registration| registration.reply()));
        all.extend(self.registrations.drain(..).map(|(reply, _)| reply));
        all
    }

    fn fail(&mut self, calls: Vec<ReplyToken>, error: &Error) {
        let answer = |to| Effect::Reply { to, answer: Err(error.clone()) };
        self.effects.extend(calls.into_iter().map(answer));
    }

    fn call(&mut self, call: DeliveryCall) -> Token {
        let token = self.context.next_token();
        self.effects.push_back(Effect::Call { token, call });
        token
    }

    fn store<T>(
        &mut self,
        step: Step<T>,
        also: Option<crate::store::Write>,
        then: impl FnOnce(Pending<T>) -> Then,
    ) {
        self.sets.hand_in(&self.context, &mut self.effects, step, also, then);
    }

    fn tell(&mut self, message: Message) {
        self.effects.push_back(Effect::Tell(message));
    }

    fn reply(&mut self, to: ReplyToken, answer: Result<Answer, Error>) {
        self.effects.push_back(Effect::Reply { to, answer });
    }
}

/// An actor that is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMessage {}

impl Actor for InstallationActor {
    type Request = InstallationRequest;
    type Message = NoMessage;

    fn handle(
        &mut self,
        now: Timestamp,
        store: &dyn crate::store::Store,
        input: Input<InstallationRequest, NoMessage>,
    ) {
        let turn = Turn { now, store };
        if let Input::Asked { reply, .. } = &input {
            self.in_hand = Some(*reply);
        }
        self.take(turn, input);
        self.go_on(turn);
        self.in_hand = None;
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        let look_ups = self.look_ups.values().map(|look_up| look_up.deadline);
        let foundings = self.foundings.iter().map(|founding| founding.deadline);
        let registration = self.registration.as_ref().and_then(Registration::deadline);
        look_ups.chain(foundings).chain(registration).min()
    }

    fn is_idle(&self) -> bool {
        self.registration.is_none()
            && self.registrations.is_empty()
            && self.foundings.is_empty()
            && self.look_ups.is_empty()
            && self.sets.is_empty()
            && self.effects.is_empty()
    }
}
