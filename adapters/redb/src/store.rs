//! The store itself.

use std::ops::ControlFlow;
use std::path::Path;

use conclave_core::config::STORE_NEEDS;
use conclave_core::store::{
    Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
};
use conclave_redb_file::{Failure, OpenError, OpenFile, begin, checked, guarded};
use redb::{
    AccessGuard, ReadOnlyTable, ReadableDatabase, StorageBackend, StorageError, WriteTransaction,
};

use crate::failure::{of_read, of_write};
use crate::format::{self, KIND, found};
use crate::range::Bounds;

/// A store in one file, or on a device of yours.
///
/// A file is open once at a time, across all processes; closing is dropping. All methods can be
/// called from any thread.
#[derive(Debug)]
pub struct RedbStore {
    db: OpenFile,
}

/// The hot pages of an engine are a few MB; the database's own default of 1 GiB is for servers.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

impl RedbStore {
    /// What every [`RedbStore`] takes.
    ///
    /// The database itself would take 3 GiB per key and value. Keys are short because inner pages
    /// hold them: at 1 KiB a page of 4 KiB still branches. The other numbers bound what one commit
    /// holds in memory, and are what an engine needs.
    pub const LIMITS: StoreLimits = StoreLimits { key_bytes: 1024, ..STORE_NEEDS };

    /// Opens the store in a file that [`create_or_open`](Self::create_or_open) has made.
    ///
    /// After a crash the last commit is recovered here.
    ///
    /// # Errors
    /// [`OpenError`]. A file that is no store keeps its bytes, except that a database of another
    /// program that had crashed gets recovered, as its own program would do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Ok(Self { db: KIND.open(path.as_ref(), CACHE_BYTES)? })
    }

    /// Opens the store in a file, or creates it if there is no file at all.
    ///
    /// An empty file is refused: it may be what a failing medium has left of a store. The folder
    /// has to exist. The file is readable for its owner only, where files have owners.
    ///
    /// # Errors
    /// [`OpenError`], as for [`open`](Self::open).
    pub fn create_or_open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Ok(Self { db: KIND.create_or_open(path.as_ref(), CACHE_BYTES, found)? })
    }

    /// Opens the store on a device of yours, or creates it if nothing was ever stored there.
    ///
    /// For tests that need a medium that fails, and for systems without files. Keeping two
    /// handles off one device is up to the device.
    ///
    /// # Errors
    /// [`OpenError`]. If creating was interrupted, the device may be left as one that is no store;
    /// files do not have that problem.
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, OpenError> {
        Ok(Self { db: KIND.open_backend(backend, CACHE_BYTES, found)? })
    }

    fn table(&self, table: Table) -> Result<Records, Failure> {
        Ok(self.db.begin_read()?.open_table(format::records(table))?)
    }

    fn stored_claim(&self) -> Result<Option<Claim>, Failure> {
        format::claim_seen(&self.db.begin_read()?)
    }

    /// Prepares writes; no failure up to here stores anything.
    fn prepare(
        &self,
        prepare: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<WriteTransaction, StoreError> {
        let transaction = checked(|| begin(&self.db, true)).map_err(of_write)?;
        // Dropping the transaction aborts it.
        guarded(|| prepare(&transaction)).unwrap_or(Err(StoreError::Corrupt))?;
        Ok(transaction)
    }
}

impl Store for RedbStore {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        let transaction =
            self.prepare(|transaction| format::set_claim(transaction, claim).map_err(of_write))?;
        finish(transaction)
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        Self::LIMITS.check(writes)?;
        if writes.is_empty() {
            let stored = checked(|| self.stored_claim()).map_err(of_read)?;
            return same(stored, claim);
        }
        let transaction = self.prepare(|transaction| {
            same(format::claim_in(transaction).map_err(of_write)?, claim)?;
            apply(transaction, writes).map_err(of_write)
        })?;
        finish(transaction)
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        checked(|| -> Result<_, Failure> {
            let found = self.table(table)?.get(key.as_bytes())?;
            Ok(found.map(|value| value.value().to_vec()))
        })
        .map_err(of_read)
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let Some(bounds) = Bounds::of(range) else {
            return Ok(());
        };
        let found = checked(|| -> Result<_, Failure> {
            Ok(self.table(table)?.range::<&[u8]>(bounds.as_slices())?)
        });
        let mut found = found.map_err(of_read)?;
        match direction {
            Direction::Forward => visit_all(|| found.next(), visit),
            Direction::Reverse => visit_all(|| found.next_back(), visit),
        }
        .map_err(of_read)
    }

    fn limits(&self) -> StoreLimits {
        Self::LIMITS
    }
}

type Records = ReadOnlyTable<&'static [u8], &'static [u8]>;
type Bytes<'a> = AccessGuard<'a, &'static [u8]>;

fn same(stored: Option<Claim>, claim: Claim) -> Result<(), StoreError> {
    if stored == Some(claim) { Ok(()) } else { Err(StoreError::Fenced) }
}

/// Commits. From the first byte that goes to the medium nobody knows, until it has returned.
fn finish(transaction: WriteTransaction) -> Result<(), StoreError> {
    match guarded(|| transaction.commit()) {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) | None => Err(StoreError::Unknown),
    }
}

/// Applies all writes in order, opening a table once for each run of writes to it.
fn apply(transaction: &WriteTransaction, writes: &[Write]) -> Result<(), Failure> {
    for run in writes.chunk_by(|one, next| one.table() == next.table()) {
        let Some(first) = run.first() else {
            continue;
        };
        let mut records = transaction.open_table(format::records(first.table()))?;
        for write in run {
            apply_one(&mut records, write)?;
        }
    }
    Ok(())
}

fn apply_one(
    records: &mut redb::Table<'_, &'static [u8], &'static [u8]>,
    write: &Write,
) -> Result<(), StorageError> {
    match write {
        Write::Put { key, value, .. } => {
            records.insert(key.as_bytes(), value.as_slice())?;
        }
        Write::Delete { key, .. } => {
            records.remove(key.as_bytes())?;
        }
        Write::DeleteScope { scope, .. } => {
            if let Some(bounds) = Bounds::of(Range::scope(*scope)) {
                records.retain_in::<&[u8], _>(bounds.as_slices(), |_, _| false)?;
            }
        }
    }
    Ok(())
}

/// Visits until there is no more or the visitor stops. A panic of the visitor is its own.
fn visit_all<'a>(
    mut next: impl FnMut() -> Option<Result<(Bytes<'a>, Bytes<'a>), StorageError>>,
    visit: Visit<'_>,
) -> Result<(), Failure> {
    while let Some((key, value)) = checked(|| next().transpose())? {
        if let ControlFlow::Break(()) = visit(key.value(), value.value()) {
            break;
        }
    }
    Ok(())
}
