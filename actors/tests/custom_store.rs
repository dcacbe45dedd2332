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

/// An entry in the middle that is not what was written is damage; nothing is cut off for it. One at
/// the end that was cut short has never been.
#[test]
fn a_damaged_file_is_refused_and_a_torn_one_is_cut() {
    let Temporary { store, file } = make();
    let scope = [7; 16];
    store.claim(Claim([1; 16])).unwrap();
    for number in 0..3 {
        let key = Key::from_parts(scope, &[number]);
        let write = Write::Put { table: Table::Meta, key, value: vec![number; 100] };
        store.commit(Claim([1; 16]), &[write]).unwrap();
    }
    drop(store);
    let good = std::fs::read(&file.0).unwrap();
    // In the length, in a checksum, in the bytes.
    for at in [40, 45, 55, 90] {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        std::fs::write(&file.0, &damaged).unwrap();
        assert!(FileStore::open(&file.0).is_err(), "{at}");
        assert_eq!(std::fs::read(&file.0).unwrap(), damaged);
    }
    // A loss of power may leave zeros where nothing was written.
    std::fs::write(&file.0, [&good[..], &[0; 50]].concat()).unwrap();
    let store = FileStore::open(&file.0).unwrap();
    assert!(store.get(Table::Meta, &Key::from_parts(scope, &[2])).unwrap().is_some());
    drop(store);
    std::fs::write(&file.0, &good[..good.len() - 1]).unwrap();
    let store = FileStore::open(&file.0).unwrap();
    assert!(store.get(Table::Meta, &Key::from_parts(scope, &[1])).unwrap().is_some());
    assert!(store.get(Table::Meta, &Key::from_parts(scope, &[2])).unwrap().is_none());
}

conclave_conformance::store_conformance!(file_store, super::make);
conclave_conformance::store_reopen_conformance!(file_store_again, super::make, super::reopen);
conclave_conformance::store_sharing_conformance!(file_store_shared, super::make, super::open_again);
