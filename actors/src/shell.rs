//! A running engine: its actors' mailboxes, and how their effects are carried out.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use conclave_core::{
    delivery::DeliveryService,
    engine::{
        Actor, ActorId, CallAnswer, Context, DeliveryCall, Effect, Ended, Error, GroupActor,
        GroupMessage, Input, InstallationActor, InvitationActor, Message, ReplyToken, Request,
        SessionActor, SessionMessage, Subscription, Token,
    },
    event::log::EventCursor,
    step::{Durable, EventRange, WriteSet},
    store::{Store, StoreError},
};
use conclave_proto::{GroupId, Timestamp, codec::Wire};
use futures_util::FutureExt;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    account::AccountSigner,
    clock::Clock,
    driver::Driver,
    front::Front,
    inside::{self, Process},
    lent::{Lent, LentStore},
    mailbox::{Mail, Mailbox},
    port::EnginePort,
    runner::Runner,
    say::say,
    subscription::Subscribed,
    writer::WriterHandle,
};

/// See the module.
pub(crate) struct Shell {
    pub(crate) parts: Parts,
    installation: Arc<Mailbox<InstallationActor>>,
    session: Arc<Mailbox<SessionActor>>,
    invitations: Arc<Mailbox<InvitationActor>>,
    groups: RwLock<BTreeMap<GroupId, Arc<Mailbox<GroupActor>>>>,
    /// Who signs for registrations that are under way.
    signers: Mutex<BTreeMap<ReplyToken, Arc<dyn AccountSigner>>>,
    pub(crate) subscription: Mutex<Option<Arc<Subscribed>>>,
    stopping: AtomicBool,
    /// Actors that run.
    running: Mutex<usize>,
    all_ended: Condvar,
    process: Process,
    me: std::sync::Weak<Self>,
}

/// What a builder brings.
pub(crate) struct Parts {
    pub(crate) store: Arc<LentStore>,
    pub(crate) delivery: Lent<dyn DeliveryService>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) driver: Lent<dyn Driver>,
    pub(crate) context: Arc<Context>,
    pub(crate) front: Arc<Front>,
    pub(crate) writer: WriterHandle,
}

impl Shell {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            parts,
            installation: Arc::default(),
            session: Arc::default(),
            invitations: Arc::default(),
            groups: RwLock::default(),
            signers: Mutex::default(),
            subscription: Mutex::default(),
            stopping: AtomicBool::new(false),
            running: Mutex::new(0),
            all_ended: Condvar::new(),
            process: Process::here(),
            me: std::sync::Weak::clone(me),
        })
    }

    pub(crate) fn me(&self) -> Arc<Self> {
        #[allow(clippy::expect_used, reason = "whoever calls it holds one")]
        self.me.upgrade().expect("a shell that is called exists")
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.parts.store
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Runs something that waits for the network.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(driver) = self.parts.driver.get() {
            let mut task = Box::pin(task);
            driver.spawn(Box::pin(poll_fn(move |context| {
                let _inside = inside::during();
                task.as_mut().poll(context)
            })));
        }
    }

    /// The delivery service, for one call.
    pub(crate) fn delivery(&self) -> Option<Arc<dyn DeliveryService>> {
        self.parts.delivery.get()
    }

    /// Does what an actor wants done.
    pub(crate) fn carry_out(&self, from: ActorId, effect: Effect) {
        match effect {
            Effect::Commit { token, set } => self.commit(from, token, set),
            Effect::Call { token, call } => self.call(from, token, call),
            Effect::Sign { token, of, text } => self.sign(from, token, of, text),
            Effect::Subscribe(number) => self.subscribe(number),
            Effect::Watch(change) => {
                // Not under the lock: it wakes the reader of the changes.
                let subscription = self.subscription.lock().clone();
                if let Some(subscription) = subscription {
                    subscription.change(change);
                }
            }
            Effect::Tell(message) => self.tell(message),
            Effect::Reply { to, answer } => {
                self.signers.lock().remove(&to);
                self.parts.front.answer(to, answer);
            }
            Effect::Show(view) => self.parts.front.show(view),
            Effect::Hide(group) => self.parts.front.hide(group),
            Effect::Relay(state) => {
                say(|| tracing::debug!(?state, "the relay"));
                self.parts.front.set_relay(state);
            }
            Effect::StoreTrouble(error) => {
                say(|| tracing::warn!(%error, "the store"));
                self.parts.front.set_store_trouble(error);
            }
        }
    }

    fn commit(&self, from: ActorId, token: Token, set: WriteSet) {
        say(|| {
            if tracing::enabled!(tracing::Level::DEBUG) {
                for event in set.events() {
                    let event = conclave_core::event::Event::decode(event);
                    tracing::debug!(?event, "happens");
                }
            }
        });
        let shell = self.me();
        self.parts.writer.submit(set, move |result| shell.stored(from, token, result));
    }

    fn stored(&self, to: ActorId, token: Token, result: Result<Durable, StoreError>) {
        let ended = self.parts.front.note_commit(&result);
        let _taken = match to {
            ActorId::Installation => self.put_installation(Input::Stored { token, result }),
            ActorId::Session => self.put_session(Input::Stored { token, result }, None),
            ActorId::Invitations => self.put_invitations(Input::Stored { token, result }),
            ActorId::Group(id) => self.put_group(id, Input::Stored { token, result }),
        };
        if let Some(ended) = ended {
            self.end(ended);
        }
    }

    pub(crate) fn events_handled(&self, range: EventRange) {
        self.erase(self.parts.front.events_handled(range));
    }

    /// Erases events. What stays because this fails is only erased later.
    fn erase(&self, sets: Vec<WriteSet>) {
        for set in sets {
            let shell = self.me();
            self.parts.writer.submit(set, move |result| {
                if let Some(ended) = shell.parts.front.note_commit(&result) {
                    shell.end(ended);
                }
            });
        }
    }

    fn call(&self, from: ActorId, token: Token, call: DeliveryCall) {
        // Without a delivery service the engine ends.
        let Some(delivery) = self.delivery() else { return };
        let shell = self.me();
        self.spawn(async move {
            let unanswered = call.unanswered();
            let answer = AssertUnwindSafe(make(&*delivery, call)).catch_unwind().await;
            drop(delivery);
            let answer = answer.unwrap_or_else(|_| {
                say(|| tracing::error!("the delivery service panicked in a call"));
                unanswered
            });
            shell.answered(from, token, answer);
        });
    }

    fn sign(&self, from: ActorId, token: Token, of: ReplyToken, text: String) {
        let Some(signer) = self.signers.lock().get(&of).cloned() else { return };
        let shell = self.me();
        self.spawn(async move {
            let signing = AssertUnwindSafe(async { signer.sign(&text).await });
            let signature = signing.catch_unwind().await.unwrap_or(Err("the signer panicked"));
            shell.answered(from, token, CallAnswer::Signed(signature));
        });
    }

    fn answered(&self, to: ActorId, token: Token, answer: CallAnswer) {
        let _taken = match to {
            ActorId::Installation => self.put_installation(Input::Answered { token, answer }),
            ActorId::Session => self.put_session(Input::Answered { token, answer }, None),
            ActorId::Invitations => self.put_invitations(Input::Answered { token, answer }),
            ActorId::Group(id) => self.put_group(id, Input::Answered { token, answer }),
        };
    }

    pub(crate) fn delivered(
        &self,
        of: Subscription,
        delivery: Result<conclave_proto::relay::Delivery, conclave_core::delivery::TransportError>,
        room: Option<OwnedSemaphorePermit>,
    ) {
        self.put_session(Input::Told(SessionMessage::Delivered(of, delivery)), room);
    }

    pub(crate) fn tell(&self, message: Message) {
        let _taken = match message {
            Message::Session(message) => self.put_session(Input::Told(message), None),
            Message::Invitations(message) => self.put_invitations(Input::Told(message)),
            Message::Group(id, message) => {
                if let GroupMessage::Records { records, .. } = &message {
                    for record in records {
                        say(|| tracing::trace!(group = ?id, seq = record.seq.0, "record"));
                    }
                }
                self.put_group(id, Input::Told(message))
            }
        };
    }

    /// Whether it was put in: an engine that ends starts no actor.
    fn put_installation(&self, input: Installed) -> bool {
        let mailbox = &self.installation;
        mailbox.put(Mail { input, room: None }, || {
            let actor = InstallationActor::new(Arc::clone(&self.parts.context));
            let driver = self.parts.driver.get()?;
            Some(driver.run_installation(self.runner(ActorId::Installation, actor, mailbox)))
        })
    }

    fn put_session(&self, input: InSession, room: Option<OwnedSemaphorePermit>) -> bool {
        let mailbox = &self.session;
        mailbox.put(Mail { input, room }, || {
            let actor = SessionActor::new(Arc::clone(&self.parts.context));
            let driver = self.parts.driver.get()?;
            Some(driver.run_session(self.runner(ActorId::Session, actor, mailbox)))
        })
    }

    fn put_invitations(&self, input: Invited) -> bool {
        let mailbox = &self.invitations;
        mailbox.put(Mail { input, room: None }, || {
            let actor = InvitationActor::new(Arc::clone(&self.parts.context));
            let driver = self.parts.driver.get()?;
            Some(driver.run_invitations(self.runner(ActorId::Invitations, actor, mailbox)))
        })
    }

    fn put_group(&self, id: GroupId, input: Grouped) -> bool {
        let mailbox = self.group(id);
        mailbox.put(Mail { input, room: None }, || {
            let actor = GroupActor::new(id, Arc::clone(&self.parts.context));
            let driver = self.parts.driver.get()?;
            Some(driver.run_group(self.runner(ActorId::Group(id), actor, &mailbox)))
        })
    }

    fn runner<A: Actor>(&self, id: ActorId, actor: A, mailbox: &Arc<Mailbox<A>>) -> Runner<A> {
        Runner::new(id, actor, Arc::clone(mailbox), self.me())
    }

    /// The mailbox of a group, new or known.
    pub(crate) fn group(&self, id: GroupId) -> Arc<Mailbox<GroupActor>> {
        let known = self.groups.read().get(&id).cloned();
        known.unwrap_or_else(|| {
            let mut groups = self.groups.write();
            // Who ends the engine has said so before it looks at the groups.
            let new = || Arc::new(Mailbox::new(self.is_stopping()));
            Arc::clone(groups.entry(id).or_insert_with(new))
        })
    }

    /// A runner was made.
    pub(crate) fn started(&self) {
        *self.running.lock() += 1;
    }

    /// A runner is gone.
    pub(crate) fn ended(&self) {
        let mut running = self.running.lock();
        *running = running.saturating_sub(1);
        self.all_ended.notify_all();
    }

    /// Tells every actor that the engine ends, and starts no further one.
    pub(crate) fn end(&self, ended: Ended) {
        self.parts.front.end(ended);
        if self.stopping.swap(true, Ordering::SeqCst) {
            return;
        }
        // Dropped without the lock: that wakes the reader of its changes.
        let subscription = self.subscription.lock().take();
        drop(subscription);
        let groups = self.groups.read().clone();
        self.installation.close(Mail { input: Input::Stop(ended), room: None });
        self.session.close(Mail { input: Input::Stop(ended), room: None });
        self.invitations.close(Mail { input: Input::Stop(ended), room: None });
        for group in groups.into_values() {
            group.close(Mail { input: Input::Stop(ended), room: None });
        }
    }

    /// Waits until no actor runs.
    pub(crate) fn wait_for_actors(&self) {
        let mut running = self.running.lock();
        while *running > 0 {
            self.all_ended.wait(&mut running);
        }
    }

    fn refusal(&self, request: &Request) -> Option<Error> {
        if self.is_forked() {
            return Some(Error::Closed);
        }
        if let Some(ended) = self.parts.front.state().ended {
            return Some(ended.into());
        }
        // What only asks is not refused for a full queue: it waits its turn.
        let Request::Group(id, request) = request else { return None };
        let asks = matches!(
            request,
            conclave_core::engine::GroupRequest::View
                | conclave_core::engine::GroupRequest::Settled
        );
        let full = !asks && self.group(*id).queued() >= self.parts.context.limits.group_calls;
        full.then_some(Error::Busy)
    }
}

type InputOf<A> = Input<<A as Actor>::Request, <A as Actor>::Message>;
type Installed = InputOf<InstallationActor>;
type InSession = InputOf<SessionActor>;
type Invited = InputOf<InvitationActor>;
type Grouped = InputOf<GroupActor>;

impl EnginePort for Shell {
    fn front(&self) -> &Arc<Front> {
        &self.parts.front
    }

    fn context(&self) -> &Context {
        &self.parts.context
    }

    fn store(&self) -> &dyn Store {
        &*self.parts.store
    }

    fn groups(&self) -> Vec<GroupId> {
        if self.is_forked() {
            return Vec::new();
        }
        self.groups.read().keys().copied().collect()
    }

    fn submit(
        &self,
        reply: ReplyToken,
        request: Request,
        signer: Option<Arc<dyn AccountSigner>>,
    ) -> Result<(), Error> {
        if let Some(error) = self.refusal(&request) {
            return Err(error);
        }
        if let Some(signer) = signer {
            self.signers.lock().insert(reply, signer);
        }
        let taken = match request {
            Request::Installation(request) => {
                self.put_installation(Input::Asked { reply, request })
            }
            Request::Session(request) => self.put_session(Input::Asked { reply, request }, None),
            Request::Group(id, request) => self.put_group(id, Input::Asked { reply, request }),
        };
        if taken {
            return Ok(());
        }
        self.signers.lock().remove(&reply);
        Err(self.parts.front.state().ended.map_or(Error::Closed, Error::from))
    }

    fn withdraw(&self, actor: ActorId, reply: ReplyToken) {
        if self.is_forked() || self.is_stopping() {
            return;
        }
        let _taken = match actor {
            ActorId::Installation => self.put_installation(Input::Withdrawn(reply)),
            ActorId::Session => self.put_session(Input::Withdrawn(reply), None),
            ActorId::Group(id) => self.put_group(id, Input::Withdrawn(reply)),
            ActorId::Invitations => false,
        };
    }

    fn forget_events(&self, upto: EventCursor) {
        if !self.is_forked() {
            self.erase(self.parts.front.erase_events(upto));
        }
    }

    fn shut_down(&self) {
        self.end(Ended::ShutDown);
    }

    fn is_forked(&self) -> bool {
        self.process.is_forked()
    }
}

async fn make(delivery: &dyn DeliveryService, call: DeliveryCall) -> CallAnswer {
    match call {
        DeliveryCall::Publish(batch) => CallAnswer::Published(delivery.publish(batch).await),
        DeliveryCall::Fetch { after, limit } => {
            CallAnswer::Fetched(delivery.fetch(after, limit).await)
        }
        DeliveryCall::Upload(upload) => CallAnswer::Uploaded(delivery.upload(upload).await),
        DeliveryCall::KeyPackages(of) => CallAnswer::KeyPackages(delivery.key_packages(of).await),
        DeliveryCall::Resolve(accounts) => CallAnswer::Resolved(delivery.resolve(accounts).await),
    }
}
