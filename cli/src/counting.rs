//! Figures: what goes over the wire, and how often something is stored.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use conclave::core::{
    bounds::BoxFuture,
    link::{Link, LinkError, LinkInfo},
    store::{Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write},
};

/// A link that counts the bytes of its frames, both ways. What QUIC adds around them is not in it.
pub(crate) struct CountingLink<L> {
    link: L,
    bytes: Arc<AtomicU64>,
}

impl<L> CountingLink<L> {
    pub(crate) const fn new(link: L, bytes: Arc<AtomicU64>) -> Self {
        Self { link, bytes }
    }
}

fn count(bytes: &AtomicU64, frames: &[Vec<u8>]) {
    let sum = frames.iter().map(Vec::len).sum::<usize>();
    bytes.fetch_add(u64::try_from(sum).unwrap_or(u64::MAX), Ordering::Relaxed);
}

impl<L: Link> Link for CountingLink<L> {
    fn info(&self) -> LinkInfo {
        self.link.info()
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        count(&self.bytes, &frames);
        self.link.send(frames)
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>> {
        Box::pin(async move {
            let frames = self.link.receive().await?;
            count(&self.bytes, &frames);
            Ok(frames)
        })
    }

    fn close(&self) {
        self.link.close();
    }
}

/// A store that counts its commits.
pub(crate) struct CountingStore<S> {
    store: S,
    commits: AtomicU64,
}

impl<S> CountingStore<S> {
    pub(crate) const fn new(store: S) -> Self {
        Self { store, commits: AtomicU64::new(0) }
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl<S: Store> Store for CountingStore<S> {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        self.store.claim(claim)
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.store.commit(claim, writes)
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.store.scan(table, range, direction, visit)
    }

    fn limits(&self) -> StoreLimits {
        self.store.limits()
    }
}
