//! Delivery services and stores that misbehave.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use conclave::{
    EnginePort, Error, EventCursor, Front, GroupId, InboxId, InstallationId, OsEntropy, Seq,
    core::{
        bounds::{BoxFuture, BoxStream},
        delivery::{
            Delivery, DeliveryService, PageLimit, PublishOutcome, TopicPage, Transmit,
            TransportError, Uploaded, Watch,
        },
        engine::{
            ActorId, Context, EngineLimits, Opening, ReplyToken, Request, StoredInstallation,
        },
        entropy::Entropy,
        event::log::EventLog,
        step::{Committer, Upload},
        store::{
            Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
        },
    },
    proto::{Cursor, Topic, identity::Account},
};
use conclave_remote::Remote;
use conclave_store_memory::MemoryStore;
use futures_util::StreamExt as _;

/// What a [`Refusing`] does wrong once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Panics when it is to publish, before there is a future.
    PanicInPublish,
    /// Panics in the future of a call.
    PanicInFetch,
    /// Ends the subscription without an error.
    EndOfSubscription,
    /// Panics when something is delivered.
    PanicInSubscription,
}

/// A relay that answers, and stores no envelope while it is told to refuse. Its client has bugs on
/// request.
pub(crate) struct Refusing {
    pub(crate) relay: Remote,
    pub(crate) refuses: Arc<AtomicBool>,
    pub(crate) bug: Arc<Mutex<Option<Bug>>>,
}

impl Refusing {
    pub(crate) fn new(relay: Remote) -> Self {
        Self { relay, refuses: Arc::default(), bug: Arc::default() }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug.lock().unwrap().take_if(|next| *next == bug).is_some()
    }
}

impl DeliveryService for Refusing {
    fn publish(&self, batch: Vec<Transmit>) -> BoxFuture<'_, Vec<PublishOutcome>> {
        assert!(!self.has(Bug::PanicInPublish), "a bug of the delivery service");
        if self.refuses.load(Ordering::SeqCst) {
            let refusal = PublishOutcome::not_stored(Duration::from_millis(1));
            let refused = vec![refusal; batch.len()];
            return Box::pin(std::future::ready(refused));
        }
        self.relay.publish(batch)
    }

    fn fetch(
        &self,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, TransportError>> {
        let fetched = self.relay.fetch(after, limit);
        Box::pin(async move {
            assert!(!self.has(Bug::PanicInFetch), "a bug of the delivery service");
            fetched.await
        })
    }

    fn heads(
        &self,
        known: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, TransportError>> {
        self.relay.heads(known)
    }

    fn subscribe(
        &self,
        changes: BoxStream<'static, Watch>,
    ) -> BoxStream<'static, Result<Delivery, TransportError>> {
        let bug = Arc::clone(&self.bug);
        Box::pin(self.relay.subscribe(changes).scan((), move |(), delivery| {
            let mut bug = bug
                .lock()
                .unwrap()
                .take_if(|bug| matches!(bug, Bug::EndOfSubscription | Bug::PanicInSubscription));
            let panics = bug.take_if(|bug| *bug == Bug::PanicInSubscription);
            assert!(panics.is_none(), "a bug of the delivery service");
            std::future::ready(bug.is_none().then_some(delivery))
        }))
    }

    fn key_packages(
        &self,
        of: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, TransportError>> {
        self.relay.key_packages(of)
    }

    fn upload(&self, upload: Upload) -> BoxFuture<'_, Uploaded> {
        self.relay.upload(upload)
    }

    fn resolve(
        &self,
        accounts: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, TransportError>> {
        self.relay.resolve(accounts)
    }
}

/// A relay that never answers, and keeps the changes of subscriptions unread.
#[derive(Clone, Default)]
pub(crate) struct Silent {
    pub(crate) subscriptions: Arc<Mutex<Vec<BoxStream<'static, Watch>>>>,
}

impl DeliveryService for Silent {
    fn publish(&self, _: Vec<Transmit>) -> BoxFuture<'_, Vec<PublishOutcome>> {
        Box::pin(std::future::pending())
    }

    fn fetch(
        &self,
        _: Vec<(Topic, Cursor)>,
        _: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, TransportError>> {
        Box::pin(std::future::pending())
    }

    fn heads(
        &self,
        _: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, TransportError>> {
        Box::pin(std::future::pending())
    }

    fn subscribe(
        &self,
        changes: BoxStream<'static, Watch>,
    ) -> BoxStream<'static, Result<Delivery, TransportError>> {
        self.subscriptions.lock().unwrap().push(changes);
        Box::pin(futures_util::stream::pending())
    }

    fn key_packages(
        &self,
        _: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, TransportError>> {
        Box::pin(std::future::pending())
    }

    fn upload(&self, _: Upload) -> BoxFuture<'_, Uploaded> {
        Box::pin(std::future::pending())
    }

    fn resolve(
        &self,
        _: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, TransportError>> {
        Box::pin(std::future::pending())
    }
}

/// A store in memory that panics while it is told to.
#[derive(Default)]
pub(crate) struct Panicking {
    store: MemoryStore,
    pub(crate) in_commits: AtomicBool,
    pub(crate) in_reads: AtomicBool,
    /// Panic once only.
    pub(crate) in_next_read: AtomicBool,
}

impl Panicking {
    fn read(&self) {
        let once = self.in_next_read.swap(false, Ordering::SeqCst);
        assert!(!once && !self.in_reads.load(Ordering::SeqCst), "a read that the test lets panic");
    }
}

impl Store for Panicking {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        self.store.claim(claim)
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        assert!(!self.in_commits.load(Ordering::SeqCst), "a commit that the test lets panic");
        self.store.commit(claim, writes)
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.read();
        self.store.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.read();
        self.store.scan(table, range, direction, visit)
    }

    fn limits(&self) -> StoreLimits {
        self.store.limits()
    }
}

/// An engine that answers nothing, and counts.
pub(crate) struct Port {
    front: Arc<Front>,
    context: Context,
    store: MemoryStore,
    pub(crate) submitted: AtomicUsize,
    pub(crate) withdrawn: AtomicUsize,
}

pub(crate) const GROUP: GroupId = GroupId([1; 16]);

impl Port {
    pub(crate) fn new() -> Self {
        let store = MemoryStore::new();
        let claim = Claim([1; 16]);
        store.claim(claim).unwrap();
        let mut installation = StoredInstallation::new(InboxId([2; 32]), [3; 32], [4; 32]);
        installation.registered = true;
        Committer::new(claim).drive(&store, installation.step(0)).unwrap();
        let events = EventLog::open(&store, 10).unwrap();
        let entropy = Entropy::new(Box::new(OsEntropy));
        let context = Context::new(EngineLimits::default(), entropy);
        Opening::read(&store, &context).unwrap();
        let (submitted, withdrawn) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { front: Arc::new(Front::new(events)), context, store, submitted, withdrawn }
    }
}

impl EnginePort for Port {
    fn front(&self) -> &Arc<Front> {
        &self.front
    }

    fn context(&self) -> &Context {
        &self.context
    }

    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn groups(&self) -> Vec<GroupId> {
        vec![GROUP]
    }

    fn submit(
        &self,
        _: ReplyToken,
        _: Request,
        _: Option<Arc<dyn conclave::AccountSigner>>,
    ) -> Result<(), Error> {
        self.submitted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn withdraw(&self, _: ActorId, _: ReplyToken) {
        self.withdrawn.fetch_add(1, Ordering::SeqCst);
    }

    fn forget_events(&self, _: EventCursor) {}

    fn shut_down(&self) {}
}
