//! The store of the example, judged as every store is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

#[allow(dead_code)]
#[path = "../examples/custom_store/store.rs"]
mod store;

use std::{
    ops::Deref,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use conclave_core::store::{
    Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
};
use store::FileStore;

/// A store whose file goes with it.
struct Temporary {
    store: FileStore,
    file: Removed,
}

/// A file that goes when nobody needs it any more.
struct Removed(PathBuf);

fn make() -> Temporary {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("conclave-custom-store-{}-{number}", std::process::id());
    let path = std::env::temp_dir().join(name);
    Temporary { store: FileStore::open(&path).unwrap(), file: Removed(path) }
}

fn reopen(Temporary { store, file }: Temporary) -> Temporary {
    drop(store);
    Temporary { store: FileStore::open(&file.0).unwrap(), file }
}

/// One file has one owner: whoever opens it twice is refused.
fn open_again(temporary: &Temporary) -> Option<Temporary> {
    let path = &temporary.file.0;
    let store = FileStore::open(path).ok()?;
    Some(Temporary { store, file: Removed(path.with_extension("none")) })
}

impl Drop for Removed {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

impl Deref for Temporary {
    type Target = FileStore;

    fn deref(&self) -> &FileStore {
        &self.store
    }
}

impl Store for Temporary {
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
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.store.scan(table, range, direction, visit)
    }

    fn limits(&self) -> StoreLimits {
        self.store.limits()
    }
}

conclave_testkit::store_conformance!(file_store, crate::make);
conclave_testkit::store_reopen_conformance!(file_store_again, crate::make, crate::reopen);
conclave_testkit::store_sharing_conformance!(file_store_shared, crate::make, crate::open_again);
