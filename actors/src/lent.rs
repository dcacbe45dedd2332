//! What the application lent the engine: its store, its delivery service, its driver.
//!
//! Handles, readers of events and calls on their way may outlive an engine that was shut down.
//! They hold the loan, not the thing: when the engine gives it back, a store's file is closed,
//! whoever still has a handle.

use std::sync::Arc;

use conclave_core::store::{
    Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
};
use parking_lot::RwLock;

/// The store, until it is given back; then [`StoreError::Unavailable`].
pub(crate) struct LentStore {
    store: RwLock<Option<Arc<dyn Store>>>,
    limits: StoreLimits,
}

impl LentStore {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { limits: store.limits(), store: RwLock::new(Some(store)) }
    }

    /// Waits for the calls that are running.
    pub(crate) fn give_back(&self) {
        drop(self.store.write().take());
    }

    fn with<T>(
        &self,
        call: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // A store that panics is the writer's affair; the loan itself cannot be half changed.
        let store = self.store.read();
        call(&**store.as_ref().ok_or(StoreError::Unavailable)?)
    }
}

impl Store for LentStore {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        self.with(|store| store.claim(claim))
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        self.with(|store| store.commit(claim, writes))
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|store| store.get(table, key))
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.with(|store| store.scan(table, range, direction, visit))
    }

    fn limits(&self) -> StoreLimits {
        self.limits
    }
}

/// Something else that was lent, until it is given back.
pub(crate) struct Lent<T: ?Sized>(RwLock<Option<Arc<T>>>);

impl<T: ?Sized> Lent<T> {
    pub(crate) const fn new(thing: Arc<T>) -> Self {
        Self(RwLock::new(Some(thing)))
    }

    /// For one use; it ends as soon as the last use does.
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        self.0.read().clone()
    }

    pub(crate) fn give_back(&self) {
        let thing = self.0.write().take();
        drop(thing);
    }
}
