//! What the tests of the adapter share.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "these are tests, and each uses its part"
)]

pub(crate) mod disk;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use conclave_core::store::{Claim, Direction, Key, Range, Store, StoreError, Table, Write};
use conclave_store_redb::{OpenError, RedbStore};
use tempfile::{TempDir, tempdir};

pub(crate) const OWNER: Claim = Claim(*b"the first owner.");

/// A store and the folder in which its file lies.
pub(crate) struct InFolder {
    store: RedbStore,
    folder: TempDir,
}

impl InFolder {
    pub(crate) fn new() -> Self {
        let folder = tempdir().unwrap();
        let store = RedbStore::create_or_open(folder.path().join("store")).unwrap();
        Self { store, folder }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(crate) fn open_again(&self) -> Option<Self> {
        let store = RedbStore::open(self.path()).ok()?;
        Some(Self { store, folder: tempdir().unwrap() })
    }

    pub(crate) fn reopen(self) -> Self {
        let Self { store, folder } = self;
        drop(store);
        let store = RedbStore::open(folder.path().join("store")).unwrap();
        Self { store, folder }
    }
}

impl Store for InFolder {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        self.store.claim(claim)
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
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
        visit: conclave_core::store::Visit<'_>,
    ) -> Result<(), StoreError> {
        self.store.scan(table, range, direction, visit)
    }

    fn limits(&self) -> conclave_core::store::StoreLimits {
        self.store.limits()
    }
}

/// Everything in a store, in order of table and key.
pub(crate) type Picture = Vec<(Table, Vec<u8>, Vec<u8>)>;

pub(crate) fn picture(store: &impl Store) -> Result<Picture, StoreError> {
    let mut picture = Vec::new();
    for table in Table::ALL {
        store.scan(table, Range::default(), Direction::Forward, &mut |key, value| {
            picture.push((table, key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
    }
    Ok(picture)
}

pub(crate) fn put(table: Table, scope: u8, order: &[u8], value: Vec<u8>) -> Write {
    Write::Put { table, key: Key::from_parts([scope; 16], order), value }
}

pub(crate) fn refusal(path: &Path) -> OpenError {
    RedbStore::open(path).unwrap_err()
}
