//! # A store over a smaller store
//!
//! [`ChunkedStore`] takes batches and values of any size and makes them atomic over a store that
//! takes only small ones. An engine puts it by itself over a store whose limits are too small for
//! it.
#![forbid(unsafe_code)]

mod batch;
mod journal;
mod order;
mod pages;

use std::ops::ControlFlow;

use conclave_core::store::{
    Claim, Direction, Key, RESERVED_SCOPE, Range, Scope, Store, StoreError, StoreLimits, Table,
    Visit, Write,
};
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::batch::Batch;
use self::journal::Journal;
use self::pages::{Assembly, Shape};

/// Makes large batches and large values atomic over a store that takes only small ones.
///
/// Wrap a backend whose [`StoreLimits`] are too small for the engine; nothing else changes for
/// the caller. The inner store holds keys and values in an encoding of this wrapper, so it is
/// read and written through the wrapper only, from its first commit on.
///
/// # How a batch becomes atomic
///
/// A batch that the inner store takes in one commit goes there in one commit. A larger one is
/// first written to a journal, in as many commits as needed; then one commit decides it; then the
/// journal is applied and removed. Before the decision nothing has changed, and what is left of
/// the journal is thrown away. After the decision the batch is stored: whoever claims the store
/// next applies what is missing, from the start, which gives the same result however often it is
/// done. Every one of these commits carries the claim, so a second owner stops the first at any
/// of them and finishes or discards its batch.
///
/// Readers of this handle wait while a decided batch is applied, and so see all or nothing of it.
/// If applying fails, the commit answers [`StoreError::Unknown`] and every call
/// [`StoreError::Unavailable`] until a later commit or claim has applied the rest. A second
/// handle over the same inner store refuses to read while it finds a decided batch, but only a
/// handle that owns the store can promise that none gets decided during the read.
///
/// # What it takes
///
/// * Keys: nine bytes for each eight of the order, and two more for pages. An inner limit of 64
///   bytes gives the 56 that an engine needs, one of 72 gives 64; no key is longer than 1024.
/// * Values: up to 65,535 pages of somewhat less than the inner limit.
/// * Batches: any. The inner store needs room for about twice the batch.
/// * [`RESERVED_SCOPE`] of [`Table::Meta`] holds the journal. It reads as empty, and a write to it
///   is refused as [`StoreError::TooLarge`] with `max: 0`: there, nothing fits.
///
/// Each write first reads the value that it replaces, to remove its pages.
///
/// # Examples
///
/// ```
/// use conclave_core::store::{Claim, Key, Store, StoreError, Table, Write};
/// use conclave_store_chunked::ChunkedStore;
///
/// fn store_a_large_value<S: Store>(small: S, value: Vec<u8>) -> Result<(), StoreError> {
///     let store = ChunkedStore::new(small);
///     let claim = Claim([7; 16]);
///     store.claim(claim)?;
///     let key = Key::from_parts([1; 16], b"picture");
///     store.commit(claim, &[Write::Put { table: Table::Group, key, value }])
/// }
/// ```
#[derive(Debug)]
pub struct ChunkedStore<S> {
    inner: S,
    /// Held by whoever writes to the inner store.
    turn: Mutex<()>,
    /// Read during a read, written while a decided batch is applied.
    standing: RwLock<Standing>,
}

/// What this handle knows of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is empty.
    Settled,
    /// It may hold something, even a decided batch.
    Unsettled,
}

/// A batch on its way into the inner store.
enum Staged<'a, S> {
    Direct(Batch),
    Journaled(Journal<'a, S>),
}

impl<S: Store> ChunkedStore<S> {
    /// Wraps a store. Nothing is read or written before the first call.
    pub fn new(inner: S) -> Self {
        Self { inner, turn: Mutex::new(()), standing: RwLock::new(Standing::Unsettled) }
    }

    /// Gives the inner store back.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn check(&self, writes: &[Write]) -> Result<(), StoreError> {
        if let Some(write) = writes.iter().position(is_reserved) {
            self.limits().check(writes.get(..write).unwrap_or_default())?;
            return Err(StoreError::TooLarge { write, max: 0 });
        }
        self.limits().check(writes)
    }

    /// Applies a decided batch, throws an undecided one away.
    fn settle(&self, claim: Claim) -> Result<(), StoreError> {
        let mut standing = self.standing_mut();
        if *standing == Standing::Settled {
            return Ok(());
        }
        match journal::decided(&self.inner)? {
            Some(records) => journal::apply(&self.inner, claim, records)?,
            None if journal::is_empty(&self.inner)? => {}
            None => journal::discard(&self.inner, claim)?,
        }
        *standing = Standing::Settled;
        Ok(())
    }

    fn stage(&self, claim: Claim, writes: &[Write]) -> Result<Staged<'_, S>, StoreError> {
        let shape = Shape::of(self.inner.limits());
        let mut staged = Staged::Direct(Batch::new(self.inner.limits()));
        for (origin, write) in batch::effective(writes) {
            let old_pages = self.old_pages(write)?;
            for piece in shape.pieces(write, old_pages) {
                staged = self.stage_piece(claim, staged, origin, piece)?;
            }
        }
        if let Staged::Journaled(journal) = &mut staged {
            journal.flush()?;
        }
        Ok(staged)
    }

    fn stage_piece<'a>(
        &'a self,
        claim: Claim,
        staged: Staged<'a, S>,
        origin: usize,
        piece: Write,
    ) -> Result<Staged<'a, S>, StoreError> {
        let mut journal = match staged {
            Staged::Direct(mut batch) if batch.fits(&piece) => {
                batch.push(origin, piece);
                return Ok(Staged::Direct(batch));
            }
            Staged::Direct(batch) => {
                // From here on a failure leaves records behind.
                *self.standing_mut() = Standing::Unsettled;
                Journal::of(&self.inner, claim, batch)?
            }
            Staged::Journaled(journal) => journal,
        };
        journal.append(origin, &piece)?;
        Ok(Staged::Journaled(journal))
    }

    fn decide(&self, claim: Claim, journal: &Journal<'_, S>) -> Result<(), StoreError> {
        // Readers wait from before the decision until the whole batch is there.
        let mut standing = self.standing_mut();
        journal.decide()?;
        journal::apply(&self.inner, claim, journal.records()).map_err(|_| StoreError::Unknown)?;
        *standing = Standing::Settled;
        Ok(())
    }

    fn old_pages(&self, write: &Write) -> Result<u16, StoreError> {
        let (Write::Put { table, key, .. } | Write::Delete { table, key }) = write else {
            return Ok(0); // its pages are in the same scope
        };
        match self.inner.get(*table, &pages::head_key(key))? {
            Some(head) => pages::page_count(&head),
            None => Ok(0),
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock()
    }

    fn standing_mut(&self) -> RwLockWriteGuard<'_, Standing> {
        self.standing.write()
    }

    /// No batch of this handle is decided while the guard lives.
    fn whole(&self) -> Result<RwLockReadGuard<'_, Standing>, StoreError> {
        let standing = self.standing.read();
        if *standing == Standing::Unsettled && journal::decided(&self.inner)?.is_some() {
            return Err(StoreError::Unavailable);
        }
        Ok(standing)
    }

    fn assemble(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let mut assembly = Assembly::default();
        self.inner.scan(table, range, direction, &mut |key, value| {
            if is_reserved_key(table, key) {
                return ControlFlow::Continue(());
            }
            assembly.add(key, value, visit)
        })?;
        assembly.finish()
    }
}

impl<S: Store> Store for ChunkedStore<S> {
    /// Sets the claim, then applies or discards what an earlier owner left in the journal.
    ///
    /// # Errors
    /// As [`Store::claim`]. After [`StoreError::Unknown`] the claim may stand with the journal not
    /// settled yet: claim again, or let the first commit settle it.
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        let _turn = self.turn();
        self.inner.claim(claim)?;
        *self.standing_mut() = Standing::Unsettled;
        self.settle(claim).map_err(|error| {
            let is_final = matches!(error, StoreError::Fenced | StoreError::Corrupt);
            if is_final { error } else { StoreError::Unknown }
        })
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        self.check(writes)?;
        let _turn = self.turn();
        self.settle(claim).map_err(nothing_decided)?;
        let staged = self.stage(claim, writes).map_err(nothing_decided);
        let outcome = staged.and_then(|staged| match staged {
            Staged::Direct(batch) => batch.commit(&self.inner, claim),
            Staged::Journaled(journal) => self.decide(claim, &journal),
        });
        if outcome.as_ref().is_err_and(|error| *error != StoreError::Unknown) {
            // Gives the room of the journal back. If that fails, the next commit tries again.
            let _ = self.settle(claim);
        }
        outcome
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        let _whole = self.whole()?;
        if is_reserved_key(table, key.as_bytes()) {
            return Ok(None);
        }
        let Some(head) = self.inner.get(table, &pages::head_key(key))? else {
            return Ok(None);
        };
        if let Some(value) = pages::whole_value(&head)? {
            return Ok(Some(value));
        }
        // Head and pages from one snapshot.
        let from = order::encode(key.order());
        let to = pages::after_pages(&from);
        let mut value = None;
        let range = Range::within(key.scope(), &from, &to);
        self.assemble(table, range, Direction::Forward, &mut |_, found| {
            value = Some(found.to_vec());
            ControlFlow::Continue(())
        })?;
        Ok(value)
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let _whole = self.whole()?;
        let from = range.from.map(order::encode);
        let to = range.to.map(order::encode);
        let inner = Range { scope: range.scope, from: from.as_deref(), to: to.as_deref() };
        self.assemble(table, inner, direction, visit)
    }

    fn limits(&self) -> StoreLimits {
        Shape::of(self.inner.limits()).limits()
    }
}

/// An error before the decision: whatever happened to the journal, the batch is not stored.
fn nothing_decided(error: StoreError) -> StoreError {
    if error == StoreError::Unknown { StoreError::Unavailable } else { error }
}

fn is_reserved(write: &Write) -> bool {
    let scope: Scope = match write {
        Write::Put { key, .. } | Write::Delete { key, .. } => key.scope(),
        Write::DeleteScope { scope, .. } => *scope,
    };
    write.table() == Table::Meta && scope == RESERVED_SCOPE
}

fn is_reserved_key(table: Table, key: &[u8]) -> bool {
    table == Table::Meta && key.starts_with(&RESERVED_SCOPE)
}
