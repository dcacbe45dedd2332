//! A store of which single methods can be replaced.

use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use conclave_core::store::{
    Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
};
use conclave_store_memory::MemoryStore;

pub(crate) const FLOOR: StoreLimits =
    StoreLimits { key_bytes: 64, value_bytes: 4096, batch_writes: 16, batch_bytes: 16 * 1024 };

pub(crate) type SetClaim = fn(&Broken, Claim) -> Result<(), StoreError>;
pub(crate) type Commit = fn(&Broken, Claim, &[Write]) -> Result<(), StoreError>;
pub(crate) type Get = fn(&Broken, Table, &Key) -> Result<Option<Vec<u8>>, StoreError>;
pub(crate) type Scan =
    fn(&Broken, Table, Range<'_>, Direction, Visit<'_>) -> Result<(), StoreError>;
pub(crate) type Rewrite = fn(&MemoryStore, Write) -> Vec<Write>;

/// A store of which single methods can be replaced.
pub(crate) struct Broken {
    pub(crate) inner: MemoryStore,
    pub(crate) limits: StoreLimits,
    pub(crate) claim: SetClaim,
    pub(crate) commit: Commit,
    pub(crate) get: Get,
    pub(crate) scan: Scan,
    pub(crate) rewrite: Rewrite,
    pub(crate) owner: Mutex<Option<Claim>>,
    pub(crate) older: Mutex<MemoryStore>,
    pub(crate) count: AtomicU32,
}

pub(crate) fn healthy() -> Broken {
    Broken {
        inner: MemoryStore::with_limits(FLOOR),
        limits: FLOOR,
        claim: |store, claim| {
            *store.owner.lock().unwrap() = Some(claim);
            store.inner.claim(claim)
        },
        commit: |store, claim, writes| store.inner.commit(claim, writes),
        get: |store, table, key| store.inner.get(table, key),
        scan: |store, table, range, direction, visit| {
            store.inner.scan(table, range, direction, visit)
        },
        rewrite: |_, write| vec![write],
        owner: Mutex::default(),
        older: Mutex::default(),
        count: AtomicU32::new(0),
    }
}

/// With another `commit`.
pub(crate) fn committing(commit: Commit) -> impl Fn() -> Broken + Copy {
    move || Broken { commit, ..healthy() }
}

/// With another `scan`.
pub(crate) fn scanning(scan: Scan) -> impl Fn() -> Broken + Copy {
    move || Broken { scan, ..healthy() }
}

/// With other writes for each write, one at a time, and no limits.
pub(crate) fn rewriting(rewrite: Rewrite) -> impl Fn() -> Broken + Copy {
    let commit: Commit = |store, claim, writes| {
        for write in writes.iter().cloned() {
            store.inner.commit(claim, &(store.rewrite)(&store.inner, write))?;
        }
        store.inner.commit(claim, &[])
    };
    move || Broken { rewrite, commit, inner: MemoryStore::new(), ..healthy() }
}

impl Broken {
    /// Commits past the fence.
    pub(crate) fn as_owner(&self, writes: &[Write]) -> Result<(), StoreError> {
        let owner = *self.owner.lock().unwrap();
        self.inner.commit(owner.ok_or(StoreError::Fenced)?, writes)
    }
}

impl Store for Broken {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        (self.claim)(self, claim)
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        (self.commit)(self, claim, writes)
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        (self.get)(self, table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        (self.scan)(self, table, range, direction, visit)
    }

    fn limits(&self) -> StoreLimits {
        self.limits
    }
}
