//! Delivery services and stores that misbehave.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use conclave::{
    InboxId, InstallationId, Seq,
    core::{
        bounds::{BoxFuture, BoxStream},
        delivery::{
            Delivery, DeliveryService, PageLimit, PublishOutcome, TopicPage, Transmit,
            TransportError, Uploaded, Watch,
        },
        step::Upload,
        store::{
            Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
        },
    },
    proto::{Cursor, Topic, identity::Account},
};
use conclave_remote::Remote;
use conclave_store_memory::MemoryStore;

/// A relay that answers, and stores no envelope while it is told to refuse.
pub(crate) struct Refusing {
    pub(crate) relay: Remote,
    pub(crate) refuses: Arc<AtomicBool>,
}

impl DeliveryService for Refusing {
    fn publish(&self, batch: Vec<Transmit>) -> BoxFuture<'_, Vec<PublishOutcome>> {
        if self.refuses.load(Ordering::SeqCst) {
            let refusal = PublishOutcome::NotStored { retry_after: Duration::from_millis(1) };
            let refused = batch.iter().map(|_| refusal.clone()).collect();
            return Box::pin(std::future::ready(refused));
        }
        self.relay.publish(batch)
    }

    fn fetch(
        &self,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, TransportError>> {
        self.relay.fetch(after, limit)
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
        self.relay.subscribe(changes)
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
