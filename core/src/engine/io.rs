//! What goes into an actor and what comes out of it.

use std::sync::Arc;

use conclave_proto::{
    Cursor, GroupId, InboxId, InstallationId, IntentId, MessageId, Record, Timestamp, Topic,
    TransmitId,
    identity::Account,
    relay::{Delivery, PageLimit, TopicPage, Watch},
};

use super::{Error, GroupView};
use crate::{
    delivery::{PublishOutcome, Transmit, TransportError, Uploaded},
    group::{Group, GroupConfig},
    step::{Durable, Upload, WriteSet},
    store::{Store, StoreError},
};

/// Names something that an actor waits for: a commit or a call. Never used twice in the life of an
/// engine, so an answer that comes late or twice meets nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Names a call of the application. The driver chooses it; each is answered exactly once, unless
/// it is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyToken(pub u64);

/// A part of an engine that handles one input at a time: a group, the session, the invitations,
/// the installation.
///
/// An actor never waits. It reads the store inside [`Actor::handle`]; commits, calls of the relay
/// and messages to other actors are [`Effect`]s, which the driver carries out in order.
pub trait Actor: Send + 'static {
    /// What an application asks of it.
    type Request: Send;
    /// What other actors and the driver tell it.
    type Message: Send;

    /// Handles one input. It may panic only through a bug; the driver then gives it
    /// [`Input::Recover`] next.
    fn handle(
        &mut self,
        now: Timestamp,
        store: &dyn Store,
        input: Input<Self::Request, Self::Message>,
    );

    /// What is to be done next; `None` until there is another input.
    fn poll(&mut self) -> Option<Effect>;

    /// When to give it [`Input::Due`].
    fn next_timeout(&self) -> Option<Timestamp>;

    /// Whether it can be dropped: it holds nothing that another one would not load again.
    fn is_idle(&self) -> bool;
}

/// What an actor handles.
#[derive(Debug)]
pub enum Input<R, M> {
    /// The application asks for something.
    Asked {
        /// Where the answer goes.
        reply: ReplyToken,
        /// What it asks.
        request: R,
    },
    /// The application waits for this answer no longer.
    Withdrawn(ReplyToken),
    /// A write set was stored, or not.
    Stored {
        /// The commit.
        token: Token,
        /// The proof, or why there is none.
        result: Result<Durable, StoreError>,
    },
    /// A call has an answer.
    Answered {
        /// The call.
        token: Token,
        /// The answer.
        answer: CallAnswer,
    },
    /// Another actor, or the driver, tells it something.
    Told(M),
    /// It is time, see [`Actor::next_timeout`].
    Due,
    /// Handling an input panicked: what is in memory may be half changed.
    Recover,
    /// The engine ends: everyone who waits gets an answer.
    Stop(Ended),
}

/// Why an engine has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// It was shut down.
    ShutDown,
    /// Another engine has opened its store.
    Fenced,
    /// Its store panicked, so nobody knows what it would do next.
    StoreLost,
}

/// What an actor wants done. A driver carries effects out in the order in which they come.
#[derive(Debug)]
pub enum Effect {
    /// Store this, after everything that the same actor handed in before; answer with
    /// [`Input::Stored`].
    Commit {
        /// Names the commit.
        token: Token,
        /// What to store.
        set: WriteSet,
    },
    /// Call the delivery service; answer with [`Input::Answered`]. An answer that never comes does
    /// no harm: the actor keeps a deadline.
    Call {
        /// Names the call.
        token: Token,
        /// The call.
        call: DeliveryCall,
    },
    /// Let the account of a registration sign; answer with [`Input::Answered`].
    Sign {
        /// Names the call.
        token: Token,
        /// The registration.
        of: ReplyToken,
        /// The text to sign.
        text: String,
    },
    /// Open a subscription in place of any other.
    Subscribe(Subscription),
    /// Change the present subscription.
    Watch(Watch),
    /// Give another actor a message.
    Tell(Message),
    /// Answer a call of the application.
    Reply {
        /// The call.
        to: ReplyToken,
        /// The answer.
        answer: Result<Answer, Error>,
    },
    /// Show this view of a group, until the next one or [`Effect::Hide`].
    Show(Arc<GroupView>),
    /// The group has left the memory: there is no view that would stay true.
    Hide(GroupId),
    /// The relay can be reached, or not.
    Relay(RelayState),
    /// A read of the store failed; what it was for is tried again.
    StoreTrouble(StoreError),
}

/// A subscription, numbered in the order of their openings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subscription(pub u64);

/// What an engine knows of its relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayState {
    /// Nothing was heard of it on the present connection.
    #[default]
    Unreachable,
    /// It answers.
    Reachable,
    /// It answers, and says that it cannot store: its disk is full, perhaps.
    NotStoring,
    /// It cannot be used as it is set up.
    Unusable(&'static str),
}

impl RelayState {
    /// Whether it answers.
    #[must_use]
    pub const fn is_reachable(&self) -> bool {
        matches!(self, Self::Reachable | Self::NotStoring)
    }
}

/// A call of the [`DeliveryService`](crate::delivery::DeliveryService).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryCall {
    /// `publish`.
    Publish(Vec<Transmit>),
    /// `fetch`.
    Fetch {
        /// Which topics, from where.
        after: Vec<(Topic, Cursor)>,
        /// How much.
        limit: PageLimit,
    },
    /// `upload`.
    Upload(Upload),
    /// `key_packages`.
    KeyPackages(Vec<InstallationId>),
    /// `resolve`.
    Resolve(Vec<Account>),
}

impl DeliveryCall {
    /// The answer to a call that will have none.
    #[must_use]
    pub fn unanswered(&self) -> CallAnswer {
        match self {
            Self::Publish(batch) => {
                CallAnswer::Published(vec![PublishOutcome::Unknown; batch.len()])
            }
            Self::Fetch { .. } => CallAnswer::Fetched(Err(TransportError::NO_ANSWER)),
            Self::Upload(_) => CallAnswer::Uploaded(Uploaded::failed(PublishOutcome::Unknown)),
            Self::KeyPackages(_) => CallAnswer::KeyPackages(Err(TransportError::NO_ANSWER)),
            Self::Resolve(_) => CallAnswer::Resolved(Err(TransportError::NO_ANSWER)),
        }
    }
}

/// The answer to an [`Effect::Call`] or [`Effect::Sign`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallAnswer {
    /// To [`DeliveryCall::Publish`].
    Published(Vec<PublishOutcome>),
    /// To [`DeliveryCall::Fetch`].
    Fetched(Result<Vec<TopicPage>, TransportError>),
    /// To [`DeliveryCall::Upload`].
    Uploaded(Uploaded),
    /// To [`DeliveryCall::KeyPackages`].
    KeyPackages(Result<Vec<Option<Vec<u8>>>, TransportError>),
    /// To [`DeliveryCall::Resolve`].
    Resolved(Result<Vec<Option<InboxId>>, TransportError>),
    /// To [`Effect::Sign`]: the signature, or why there is none.
    Signed(Result<Vec<u8>, &'static str>),
}

/// What an application asks of one group.
#[derive(Clone, Debug)]
pub enum GroupRequest {
    /// Send a message.
    Send {
        /// Its idempotency key.
        key: [u8; 16],
        /// Its content.
        content: Vec<u8>,
        /// Whether a message with this key that has its position already is not sent again.
        once: bool,
    },
    /// Add inboxes.
    Add(Vec<InboxId>),
    /// Remove inboxes.
    Remove(Vec<InboxId>),
    /// Renew this installation's keys.
    UpdateKeys,
    /// Say what the group looks like.
    View,
    /// Answer when nothing of its own is on its way.
    Settled,
}

/// What an application asks of the installation.
#[derive(Clone, Debug)]
pub enum InstallationRequest {
    /// Become part of an inbox.
    Register {
        /// Whose signature is asked for.
        account: Account,
        /// The inbox, if another account founded it.
        inbox: Option<InboxId>,
        /// Which of the account's inboxes.
        nonce: u64,
    },
    /// Look up the inboxes of accounts.
    Find(Vec<Account>),
    /// Found a group.
    CreateGroup(GroupConfig),
}

/// What an application asks of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRequest {
    /// Answer when everything that was at the relay has been read.
    Sync,
}

/// An actor that applications ask nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRequest {}

/// The answer to a call of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The id of a message.
    Message(MessageId),
    /// The number of a wish.
    Intent(IntentId),
    /// A view.
    View(Arc<GroupView>),
    /// The own inbox.
    Registered(InboxId),
    /// A new group.
    Group(GroupId),
    /// Inboxes of accounts.
    Found(Vec<Option<InboxId>>),
    /// What was waited for has happened.
    Done,
}

macro_rules! answers {
    ($($name:ident: $variant:ident($type:ty), $doc:literal;)*) => {
        impl Answer {
            $(
                #[doc = $doc]
                #[must_use]
                pub fn $name(self) -> Option<$type> {
                    if let Self::$variant(value) = self { Some(value) } else { None }
                }
            )*

            /// Whether what was waited for has happened.
            #[must_use]
            pub fn done(self) -> Option<()> {
                matches!(self, Self::Done).then_some(())
            }
        }
    };
}

answers! {
    message: Message(MessageId), "The id of a message, if it is that.";
    intent: Intent(IntentId), "The number of a wish, if it is that.";
    view: View(Arc<GroupView>), "A view, if it is that.";
    registered: Registered(InboxId), "The own inbox, if it is that.";
    group: Group(GroupId), "A new group, if it is that.";
    found: Found(Vec<Option<InboxId>>), "Inboxes of accounts, if it is that.";
}

/// A message for an actor.
#[derive(Debug)]
pub enum Message {
    /// For the session.
    Session(SessionMessage),
    /// For the invitations.
    Invitations(InvitationMessage),
    /// For a group.
    Group(GroupId, GroupMessage),
}

/// What the session is told.
#[derive(Debug)]
pub enum SessionMessage {
    /// By the driver: what the subscription brought, or how it ended.
    Delivered(Subscription, Result<Delivery, TransportError>),
    /// The installation is registered: follow its groups.
    Registered,
    /// The key ring is loaded and stands there.
    Ring {
        /// How far the Welcome topic has been handled.
        cursor: Cursor,
        /// A package that the relay has not acknowledged.
        upload: Option<Upload>,
    },
    /// A key package to upload.
    Upload(Upload),
    /// Whether the relay has what others need to invite this installation, and nothing of the
    /// key ring waits for the store.
    Invitable(bool),
    /// Welcomes were handled up to there.
    WelcomesHandled {
        /// Where the key ring stands.
        cursor: Cursor,
        /// Whether the next one waits.
        parked: bool,
    },
    /// Find records for an invitation.
    LookUp(LookUp),
    /// Say when a group has read everything that is known of its log.
    AwaitGroup(GroupId),
    /// A group was made or joined: follow it from there.
    Watch(GroupId, Cursor),
    /// The list of groups may have grown.
    Relist,
    /// A group has handled its records.
    Handled {
        /// The group.
        group: GroupId,
        /// The membership that it handled them in, by the position at which that began.
        life: u64,
        /// Where it stands.
        cursor: Cursor,
        /// Whether it waits there.
        parked: bool,
        /// Whether the membership is over.
        removed: bool,
    },
    /// What is stored of a group does not load, and will not.
    Unreadable(GroupId),
    /// Envelopes to publish for a group.
    Publish(GroupId, Vec<Transmit>),
    /// A group has left the memory; something is due in it then.
    Asleep(GroupId, Option<Timestamp>),
    /// A group has looked at what was left undone.
    Looked(GroupId),
}

/// A question of the invitations to the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// Names the question.
    pub token: Token,
    /// Where.
    pub topic: Topic,
    /// After this position.
    pub after: Cursor,
    /// At most so many records, or all.
    pub count: Option<u32>,
}

/// What the invitations are told.
#[derive(Debug)]
pub enum InvitationMessage {
    /// The installation is registered: load or make its key ring.
    Registered,
    /// Records of the Welcome topic.
    Welcomes(Vec<Record>),
    /// The records that were looked up.
    Found(Token, Vec<Record>),
    /// What became of an upload.
    Uploaded(u64, Uploaded),
    /// A group has read what is known of its log, see [`SessionMessage::AwaitGroup`].
    GroupRead(GroupId),
    /// The session starts over: it has forgotten what it was told and asked.
    SessionRestarted,
}

/// What a group is told.
#[derive(Debug)]
pub enum GroupMessage {
    /// It was just made: this is its value.
    Created(Box<Group>),
    /// The store holds another membership than before: load it.
    Reload,
    /// Records of its log, from its cursor on, and what the relay said of own envelopes.
    Records {
        /// The records.
        records: Vec<Record>,
        /// The relay's answers.
        outcomes: Vec<(TransmitId, PublishOutcome)>,
    },
    /// What the relay said of an own envelope.
    Outcome(TransmitId, PublishOutcome),
    /// Look at what is due, and publish what was left undone.
    Look,
}
