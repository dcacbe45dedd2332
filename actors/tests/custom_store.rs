//! The store of the example, judged as every store is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

#[allow(dead_code)]
#[path = "../examples/custom_store/store.rs"]
mod store;

use std::ops::Deref;

use conclave_core::store::{
    Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
};
use store::FileStore;
use tempfile::{TempDir, tempdir};

/// A store whose file goes with it.
struct Temporary {
    store: FileStore,
    folder: TempDir,
}

impl Temporary {
    fn open(folder: TempDir) -> std::io::Result<Self> {
        let store = FileStore::open(folder.path().join("store"))?;
        Ok(Self { store, folder })
    }
}

fn make() -> Temporary {
    Temporary::open(tempdir().unwrap()).unwrap()
}

fn reopen(Temporary { store, folder }: Temporary) -> Temporary {
    drop(store);
    Temporary::open(folder).unwrap()
}

/// One file has one owner: whoever opens it twice is refused.
fn open_again(temporary: &Temporary) -> Option<Temporary> {
    let store = FileStore::open(temporary.folder.path().join("store")).ok()?;
    Some(Temporary { store, folder: tempdir().ok()? })
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

/// An entry in the middle that is not what was written is damage; nothing is cut off for it. One at
/// the end that was cut short has never been.
#[test]
fn a_damaged_file_is_refused_and_a_torn_one_is_cut() {
    let Temporary { store, folder } = make();
    let file = folder.path().join("store");
    let scope = [7; 16];
    store.claim(Claim([1; 16])).unwrap();
    for number in 0..3 {
        let key = Key::from_parts(scope, &[number]);
        let write = Write::Put { table: Table::Meta, key, value: vec![number; 100] };
        store.commit(Claim([1; 16]), &[write]).unwrap();
    }
    drop(store);
    let good = std::fs::read(&file).unwrap();
    // In the length, in a checksum, in the bytes.
    for at in [40, 45, 55, 90] {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        assert!(FileStore::open(&file).is_err(), "{at}");
        assert_eq!(std::fs::read(&file).unwrap(), damaged);
    }
    // A loss of power may leave zeros where nothing was written.
    std::fs::write(&file, [&good[..], &[0; 50]].concat()).unwrap();
    let store = FileStore::open(&file).unwrap();
    assert!(store.get(Table::Meta, &Key::from_parts(scope, &[2])).unwrap().is_some());
    drop(store);
    std::fs::write(&file, &good[..good.len() - 1]).unwrap();
    let store = FileStore::open(&file).unwrap();
    assert!(store.get(Table::Meta, &Key::from_parts(scope, &[1])).unwrap().is_some());
    assert!(store.get(Table::Meta, &Key::from_parts(scope, &[2])).unwrap().is_none());
}

conclave_conformance::store_conformance!(file_store, super::make);
conclave_conformance::store_reopen_conformance!(file_store_again, super::make, super::reopen);
conclave_conformance::store_sharing_conformance!(file_store_shared, super::make, super::open_again);
