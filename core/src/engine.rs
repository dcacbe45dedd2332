//! One installation's engine as a value: groups, the session with the relay, invitations.
//!
//! An engine is made of [`Actor`]s, state machines that handle one input at a time. Inputs come
//! from applications ([`Engine::submit`]), from the store and the relay, and from other actors;
//! what an actor wants done comes out as [`Effect`]s. Nothing here waits, reads a clock or starts
//! anything: time, commits, calls and the order in which actors run are the driver's.
//!
//! Inputs from one actor to another keep their order; nothing else does. A driver that runs actors
//! in another order every time, loses answers, gives them late or twice, or lets a store refuse,
//! meets every order that threads can make: that is how simulations use this value. The crate
//! `conclave` runs the same actors on threads.
//!
//! ```text
//!   application ──Asked──▶ ┌─────────────────────┐ ──Reply──▶
//!   store ───────Stored──▶ │ actor, one at a time │ ──Commit─▶
//!   relay ─────Answered──▶ └─────────────────────┘ ──Call───▶
//!                                   ▲ └──Tell──▶ other actors
//! ```

mod candidates;
mod context;
mod error;
mod group_actor;
pub mod index;
mod installation_actor;
mod invitation_actor;
mod io;
mod limits;
mod mailbox;
mod session_actor;
mod sets;
mod state;
mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use conclave_proto::{GroupId, Timestamp, relay::Delivery};

pub use context::Context;
pub use error::Error;
pub use group_actor::GroupActor;
pub use index::StoredInstallation;
pub use installation_actor::{InstallationActor, NoMessage};
pub use invitation_actor::InvitationActor;
pub use io::{
    Actor, Answer, CallAnswer, DeliveryCall, Effect, Ended, GroupMessage, GroupRequest, Input,
    InstallationRequest, InvitationMessage, LookUp, Message, NoRequest, RelayState, ReplyToken,
    SessionMessage, SessionRequest, Subscription, Token,
};
pub use limits::EngineLimits;
pub use session_actor::SessionActor;
pub use state::EngineState;
pub use view::GroupView;

use crate::{
    delivery::TransportError,
    entropy::Entropy,
    step::Durable,
    store::{Store, StoreError},
};
use mailbox::Mailbox;

/// An actor of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActorId {
    /// [`InstallationActor`].
    Installation,
    /// [`SessionActor`].
    Session,
    /// [`InvitationActor`].
    Invitations,
    /// The [`GroupActor`] of this group.
    Group(GroupId),
}

/// What an application asks of an engine.
#[derive(Clone, Debug)]
pub enum Request {
    /// Of the installation.
    Installation(InstallationRequest),
    /// Of the session.
    Session(SessionRequest),
    /// Of a group.
    Group(GroupId, GroupRequest),
}

impl Request {
    /// The actor that answers.
    #[must_use]
    pub const fn actor(&self) -> ActorId {
        match self {
            Self::Installation(_) => ActorId::Installation,
            Self::Session(_) => ActorId::Session,
            Self::Group(id, _) => ActorId::Group(*id),
        }
    }
}

/// What a store holds of an engine when it is opened.
#[derive(Debug)]
pub struct Opening {
    /// The registered installation.
    pub installation: Option<Arc<crate::installation::Installation>>,
    /// The groups that are listed.
    pub groups: Vec<GroupId>,
}

impl Opening {
    /// Reads it, and makes the installation known to the context.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(store: &dyn Store, context: &Context) -> Result<Self, StoreError> {
        let stored = StoredInstallation::read(store)?.filter(|stored| stored.registered);
        let installation = stored.map(|stored| stored.installation());
        if let Some(installation) = &installation {
            context.set_installation(Arc::clone(installation));
        }
        Ok(Self { installation, groups: index::groups(store)? })
    }

    /// Returns the first messages to the actors, for a driver to deliver when it can.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        let session = Message::Session(SessionMessage::Registered);
        let invitations = Message::Invitations(InvitationMessage::Registered);
        let registered = self.installation.is_some();
        [session, invitations].into_iter().filter(move |_| registered)
    }
}

/// The actors of one installation with a mailbox each, and the routing between them.
///
/// It has no order of its own: [`Engine::ready`] says which actors have something to handle, and
/// whoever drives it picks one for [`Engine::run`].
#[derive(Debug)]
pub struct Engine {
    context: Arc<Context>,
    installation: Mailbox<InstallationActor>,
    session: Mailbox<SessionActor>,
    invitations: Mailbox<InvitationActor>,
    groups: BTreeMap<GroupId, Mailbox<GroupActor>>,
    effects: VecDeque<(ActorId, Effect)>,
}

impl Engine {
    /// The engine of an installation as its store has it. `entropy` is this opening's own; the
    /// store has to be claimed before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        store: &dyn Store,
        limits: EngineLimits,
        entropy: Entropy,
    ) -> Result<Self, StoreError> {
        let context = Arc::new(Context::new(limits, entropy));
        let opening = Opening::read(store, &context)?;
        let mut engine = Self {
            installation: Mailbox::new(InstallationActor::new(Arc::clone(&context))),
            session: Mailbox::new(SessionActor::new(Arc::clone(&context))),
            invitations: Mailbox::new(InvitationActor::new(Arc::clone(&context))),
            groups: BTreeMap::new(),
            effects: VecDeque::new(),
            context,
        };
        opening.messages().for_each(|message| engine.tell(message));
        for group in opening.groups {
            engine.mailbox(group);
        }
        Ok(engine)
    }

    /// What the actors share.
    #[must_use]
    pub const fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> &SessionActor {
        self.session.actor()
    }

    /// The invitations.
    #[must_use]
    pub const fn invitations(&self) -> &InvitationActor {
        self.invitations.actor()
    }

    /// The actors of the groups that the engine knows.
    pub fn groups(&self) -> impl Iterator<Item = &GroupActor> {
        self.groups.values().map(Mailbox::actor)
    }

    /// The actor of a group.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&GroupActor> {
        self.groups.get(&id).map(Mailbox::actor)
    }

    /// The value of a group that is awake, to be driven by hand: a test hands its steps to the
    /// committer itself while nothing of the group waits for the store.
    #[cfg(feature = "internals")]
    pub fn group_mut(&mut self, id: GroupId) -> Option<&mut crate::group::Group> {
        self.groups.get_mut(&id)?.actor_mut().group_mut()
    }

    /// Takes away the envelopes that groups have released and the session has not taken on, as if
    /// the session was lost before it got to them.
    #[cfg(feature = "internals")]
    pub fn take_publishes(&mut self) -> Vec<crate::delivery::Transmit> {
        let is_publish = |input: &Input<_, SessionMessage>| {
            matches!(input, Input::Told(SessionMessage::Publish(..)))
        };
        let taken = self.session.take_if(is_publish).into_iter().filter_map(|input| {
            let Input::Told(SessionMessage::Publish(_, transmits)) = input else { return None };
            Some(transmits)
        });
        taken.flatten().collect()
    }

    /// Gives an actor a message, as another actor would.
    pub fn tell(&mut self, message: Message) {
        match message {
            Message::Session(message) => self.session.put(Input::Told(message)),
            Message::Invitations(message) => self.invitations.put(Input::Told(message)),
            Message::Group(id, message) => self.mailbox(id).put(Input::Told(message)),
        }
    }

    /// An application asks for something; `reply` is chosen by the driver, and not used twice.
    pub fn submit(&mut self, reply: ReplyToken, request: Request) {
        match request {
            Request::Installation(request) => {
                self.installation.put(Input::Asked { reply, request });
            }
            Request::Session(request) => self.session.put(Input::Asked { reply, request }),
            Request::Group(id, request) => self.mailbox(id).put(Input::Asked { reply, request }),
        }
    }

    /// The application waits for this answer no longer.
    pub fn withdraw(&mut self, actor: ActorId, reply: ReplyToken) {
        match actor {
            ActorId::Installation => self.installation.put(Input::Withdrawn(reply)),
            ActorId::Session => self.session.put(Input::Withdrawn(reply)),
            ActorId::Invitations => {}
            ActorId::Group(id) => self.mailbox(id).put(Input::Withdrawn(reply)),
        }
    }

    /// A commit has its answer.
    pub fn stored(&mut self, of: ActorId, token: Token, result: Result<Durable, StoreError>) {
        match of {
            ActorId::Installation => self.installation.put(Input::Stored { token, result }),
            ActorId::Session => self.session.put(Input::Stored { token, result }),
            ActorId::Invitations => self.invitations.put(Input::Stored { token, result }),
            ActorId::Group(id) => self.mailbox(id).put(Input::Stored { token, result }),
        }
    }

    /// A call has its answer.
    pub fn answered(&mut self, of: ActorId, token: Token, answer: CallAnswer) {
        match of {
            ActorId::Installation => self.installation.put(Input::Answered { token, answer }),
            ActorId::Session => self.session.put(Input::Answered { token, answer }),
            ActorId::Invitations => self.invitations.put(Input::Answered { token, answer }),
            ActorId::Group(id) => self.mailbox(id).put(Input::Answered { token, answer }),
        }
    }

    /// What a subscription brought, or how it ended.
    pub fn delivered(&mut self, of: Subscription, delivery: Result<Delivery, TransportError>) {
        self.session.put(Input::Told(SessionMessage::Delivered(of, delivery)));
    }

    /// The engine ends: everyone who waits gets an answer.
    pub fn stop(&mut self, ended: Ended) {
        self.installation.put(Input::Stop(ended));
        self.session.put(Input::Stop(ended));
        self.invitations.put(Input::Stop(ended));
        self.groups.values_mut().for_each(|group| group.put(Input::Stop(ended)));
    }

    /// Handling an input of this actor panicked, and the driver has caught that.
    pub fn recover(&mut self, actor: ActorId) {
        match actor {
            ActorId::Installation => self.installation.put_first(Input::Recover),
            ActorId::Session => self.session.put_first(Input::Recover),
            ActorId::Invitations => self.invitations.put_first(Input::Recover),
            ActorId::Group(id) => self.mailbox(id).put_first(Input::Recover),
        }
    }

    /// The actors that have something to handle at that time.
    #[must_use]
    pub fn ready(&self, now: Timestamp) -> Vec<ActorId> {
        let single = [
            (ActorId::Installation, self.installation.is_ready(now)),
            (ActorId::Session, self.session.is_ready(now)),
            (ActorId::Invitations, self.invitations.is_ready(now)),
        ];
        let single = single.into_iter().filter_map(|(id, ready)| ready.then_some(id));
        let groups = self.groups.iter().filter(|(_, group)| group.is_ready(now));
        single.chain(groups.map(|(id, _)| ActorId::Group(*id))).collect()
    }

    /// Lets an actor handle one input: the next one of its mailbox, or that something is due.
    ///
    /// # Panics
    /// If the actor has a bug, or the store panics: catch it, and call [`Engine::recover`]. The
    /// input is gone then; no answer of the store is.
    pub fn run(&mut self, actor: ActorId, now: Timestamp, store: &dyn Store) {
        match actor {
            ActorId::Installation => self.installation.run(now, store),
            ActorId::Session => self.session.run(now, store),
            ActorId::Invitations => self.invitations.run(now, store),
            ActorId::Group(id) => self.mailbox(id).run(now, store),
        }
        self.collect(actor);
    }

    /// The next effect, and the actor that answers to it go to. Messages between actors are
    /// delivered here and do not come out.
    pub fn poll(&mut self) -> Option<(ActorId, Effect)> {
        self.effects.pop_front()
    }

    /// When an actor has something due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let single = [
            self.installation.next_timeout(),
            self.session.next_timeout(),
            self.invitations.next_timeout(),
        ];
        let groups = self.groups.values().filter_map(Mailbox::next_timeout);
        single.into_iter().flatten().chain(groups).min()
    }

    fn mailbox(&mut self, id: GroupId) -> &mut Mailbox<GroupActor> {
        let context = &self.context;
        let new = || Mailbox::new(GroupActor::new(id, Arc::clone(context)));
        self.groups.entry(id).or_insert_with(new)
    }

    /// Takes the effects of an actor, and delivers what it tells others.
    fn collect(&mut self, from: ActorId) {
        while let Some(effect) = self.poll_actor(from) {
            match effect {
                Effect::Tell(message) => self.tell(message),
                Effect::Commit { .. }
                | Effect::Call { .. }
                | Effect::Sign { .. }
                | Effect::Subscribe(_)
                | Effect::Watch(_)
                | Effect::Reply { .. }
                | Effect::Show(_)
                | Effect::Hide(_)
                | Effect::Relay(_)
                | Effect::StoreTrouble(_) => self.effects.push_back((from, effect)),
            }
        }
    }

    fn poll_actor(&mut self, actor: ActorId) -> Option<Effect> {
        match actor {
            ActorId::Installation => self.installation.poll(),
            ActorId::Session => self.session.poll(),
            ActorId::Invitations => self.invitations.poll(),
            ActorId::Group(id) => self.mailbox(id).poll(),
        }
    }
}
