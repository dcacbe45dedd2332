//! # A store in memory
//!
//! [`MemoryStore`] keeps everything in ordered maps: for tests, for previews and for applications
//! that keep nothing. It is also the smallest complete example of a
//! [`Store`].
//!
//! ```
//! use conclave_core::store::{Claim, Key, Store, StoreError, Table, Write};
//! use conclave_store_memory::MemoryStore;
//!
//! # fn main() -> Result<(), StoreError> {
//! let store = MemoryStore::new();
//! let claim = Claim([1; 16]);
//! store.claim(claim)?;
//!
//! let key = Key::from_parts([7; 16], b"greeting");
//! let value = b"hello".to_vec();
//! store.commit(claim, &[Write::Put { table: Table::Group, key: key.clone(), value }])?;
//! assert_eq!(store.get(Table::Group, &key)?, Some(b"hello".to_vec()));
//!
//! let second_owner = Claim([2; 16]);
//! store.claim(second_owner)?;
//! assert_eq!(store.commit(claim, &[]), Err(StoreError::Fenced));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod data;

use std::sync::Arc;

use conclave_core::store::{
    Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::data::Data;

/// A store that lives as long as its handles.
///
/// Clones share the data, as two processes share a file; [`snapshot`](Self::snapshot) copies it,
/// as a backup does.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    data: Arc<RwLock<Data>>,
    limits: StoreLimits,
}

/// How much work a store was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commits that succeeded, empty ones included.
    pub commits: u64,
    /// Writes in these commits.
    pub writes: u64,
    /// Their [`Write::size`], added up.
    pub bytes: u64,
}

impl MemoryStore {
    /// An empty store without limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(StoreLimits::UNLIMITED)
    }

    /// An empty store that refuses what a smaller backend would refuse.
    #[must_use]
    pub fn with_limits(limits: StoreLimits) -> Self {
        Self { data: Arc::default(), limits }
    }

    /// An independent copy of everything, the claim and the counters included.
    ///
    /// Open it to see what a restored backup or a copied file does.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        Self { data: Arc::new(RwLock::new(self.read().clone())), limits: self.limits }
    }

    /// What was committed since the store was made or the counters were reset.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.read().counters
    }

    /// Sets the counters to zero, for all handles.
    pub fn reset_counters(&self) {
        self.write().counters = Counters::default();
    }

    /// Every record in order of table and key, to compare two stores byte by byte.
    ///
    /// The claim is not part of it, since it differs at each opening.
    #[must_use]
    pub fn digest_input(&self) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        self.read().records()
    }

    // A panic while the lock was held came from a visitor, under the read lock, or from running
    // out of memory. The maps are sound in both cases.
    fn read(&self) -> RwLockReadGuard<'_, Data> {
        self.data.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Data> {
        self.data.write()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        self.write().claim = Some(claim);
        Ok(())
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        let mut data = self.write();
        if data.claim != Some(claim) {
            return Err(StoreError::Fenced);
        }
        self.limits.check(writes)?;
        data.apply(writes);
        Ok(())
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read().value(table, key))
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let _ = self.read().visit(table, range, direction, visit);
        Ok(())
    }

    fn limits(&self) -> StoreLimits {
        self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIM: Claim = Claim([1; 16]);

    #[test]
    fn clones_share_the_data_and_snapshots_do_not() {
        let store = store_with(&[put(b"a", b"1")]);
        let (clone, snapshot) = (store.clone(), store.snapshot());

        store.commit(CLAIM, &[put(b"a", b"2")]).unwrap();

        assert_eq!(value(&clone, b"a"), Some(b"2".to_vec()));
        assert_eq!(value(&snapshot, b"a"), Some(b"1".to_vec()));
        snapshot.commit(CLAIM, &[put(b"a", b"3")]).unwrap();
        assert_eq!(value(&store, b"a"), Some(b"2".to_vec()));
    }

    #[test]
    fn counters_add_up_what_succeeded() {
        let store = store_with(&[put(b"a", b"12"), put(b"b", b"")]);
        store.commit(Claim([9; 16]), &[put(b"c", b"1")]).unwrap_err();
        store.commit(CLAIM, &[]).unwrap();

        assert_eq!(store.counters(), Counters { commits: 2, writes: 2, bytes: 17 + 2 + 17 });
        store.reset_counters();
        assert_eq!(store.clone().counters(), Counters::default());
    }

    #[test]
    fn equal_contents_have_equal_digest_inputs() {
        let left = store_with(&[put(b"a", b"1"), put(b"b", b"2")]);
        let right = store_with(&[put(b"b", b"2"), put(b"c", b"3"), put(b"a", b"1")]);
        assert_ne!(left.digest_input(), right.digest_input());

        let key = Key::from_parts([1; 16], b"c");
        right.commit(CLAIM, &[Write::Delete { table: Table::Group, key }]).unwrap();
        right.claim(Claim([2; 16])).unwrap();

        assert_eq!(left.digest_input(), right.digest_input());
        assert_eq!(left.digest_input().len(), 2);
    }

    #[test]
    fn a_panic_in_a_visitor_leaves_the_store_usable() {
        let store = store_with(&[put(b"a", b"1")]);
        let other = store.clone();
        std::thread::spawn(move || {
            let range = Range::default();
            other.scan(Table::Group, range, Direction::Forward, &mut |_, _| panic!("in a test"))
        })
        .join()
        .unwrap_err();

        store.commit(CLAIM, &[put(b"a", b"2")]).unwrap();
        assert_eq!(value(&store, b"a"), Some(b"2".to_vec()));
    }

    #[test]
    fn a_poisoned_lock_leaves_the_store_usable() {
        let store = store_with(&[put(b"a", b"1")]);
        let other = store.clone();
        std::thread::spawn(move || {
            let _guard = other.write();
            panic!("in a test");
        })
        .join()
        .unwrap_err();

        assert_eq!(value(&store, b"a"), Some(b"1".to_vec()));
        store.commit(CLAIM, &[put(b"a", b"2")]).unwrap();
    }

    fn store_with(writes: &[Write]) -> MemoryStore {
        let store = MemoryStore::new();
        store.claim(CLAIM).unwrap();
        store.commit(CLAIM, writes).unwrap();
        store
    }

    fn put(order: &[u8], value: &[u8]) -> Write {
        let key = Key::from_parts([1; 16], order);
        Write::Put { table: Table::Group, key, value: value.to_vec() }
    }

    fn value(store: &MemoryStore, order: &[u8]) -> Option<Vec<u8>> {
        store.get(Table::Group, &Key::from_parts([1; 16], order)).unwrap()
    }
}
