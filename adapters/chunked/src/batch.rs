//! A batch that the inner store takes in one commit, and which writes are worth one.

use std::collections::BTreeSet;

use conclave_core::store::{Claim, Key, Scope, Store, StoreError, StoreLimits, Table, Write};

/// Writes for the inner store, with the index of the caller's write that each one came from.
#[derive(Debug)]
pub(super) struct Batch {
    limits: StoreLimits,
    writes: Vec<Write>,
    origins: Vec<usize>,
    bytes: usize,
}

impl Batch {
    pub(super) const fn new(limits: StoreLimits) -> Self {
        Self { limits, writes: Vec::new(), origins: Vec::new(), bytes: 0 }
    }

    /// The first write always fits: no smaller batch could take it.
    pub(super) fn fits(&self, write: &Write) -> bool {
        self.writes.is_empty()
            || (self.writes.len() < self.limits.batch_writes
                && self.bytes.saturating_add(write.size()) <= self.limits.batch_bytes)
    }

    pub(super) fn push(&mut self, origin: usize, write: Write) {
        debug_assert!(self.fits(&write));
        self.bytes = self.bytes.saturating_add(write.size());
        self.writes.push(write);
        self.origins.push(origin);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(super) fn writes(&self) -> impl Iterator<Item = (usize, &Write)> {
        self.origins.iter().copied().zip(&self.writes)
    }

    /// Stores the batch; a write that is too large is named by its origin.
    pub(super) fn commit(&self, inner: &impl Store, claim: Claim) -> Result<(), StoreError> {
        inner.commit(claim, &self.writes).map_err(|error| {
            let StoreError::TooLarge { write, max } = error else { return error };
            let write = self.origins.get(write).copied().unwrap_or(write);
            StoreError::TooLarge { write, max }
        })
    }
}

/// The writes that no later write of the batch undoes, with their indices.
///
/// Each key is then written at most once, so what it replaces is what the store held before.
pub(super) fn effective(writes: &[Write]) -> Vec<(usize, &Write)> {
    let mut keys: BTreeSet<(Table, &Key)> = BTreeSet::new();
    let mut scopes: BTreeSet<(Table, Scope)> = BTreeSet::new();
    let mut kept: Vec<_> = writes
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, write)| match write {
            Write::Put { table, key, .. } | Write::Delete { table, key } => {
                !scopes.contains(&(*table, key.scope())) && keys.insert((*table, key))
            }
            Write::DeleteScope { table, scope } => scopes.insert((*table, *scope)),
        })
        .collect();
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table::Group;

    #[test]
    fn only_the_last_write_of_a_key_counts() {
        let writes = [put(1, b"a"), put(1, b"b"), delete(1, b"a"), put(1, b"a")];
        assert_eq!(indices(&writes), [1, 3]);
    }

    #[test]
    fn a_deleted_scope_hides_what_came_before_it_there() {
        let scope = Write::DeleteScope { table: TABLE, scope: [1; 16] };
        let writes = [scope.clone(), put(1, b"a"), put(2, b"a"), scope, put(1, b"b")];
        assert_eq!(indices(&writes), [2, 3, 4]);
    }

    #[test]
    fn a_batch_is_full_at_either_limit() {
        let limits = StoreLimits { batch_writes: 2, batch_bytes: 40, ..StoreLimits::UNLIMITED };
        let mut batch = Batch::new(limits);
        batch.push(0, put(1, b"a"));
        assert!(batch.fits(&put(1, b"1234567")));
        assert!(!batch.fits(&put(1, b"12345678")));
        batch.push(1, delete(1, b""));
        assert!(!batch.fits(&delete(1, b"")));
    }

    fn indices(writes: &[Write]) -> Vec<usize> {
        effective(writes).into_iter().map(|(index, _)| index).collect()
    }

    fn put(scope: u8, order: &[u8]) -> Write {
        Write::Put { table: TABLE, key: Key::from_parts([scope; 16], order), value: Vec::new() }
    }

    fn delete(scope: u8, order: &[u8]) -> Write {
        Write::Delete { table: TABLE, key: Key::from_parts([scope; 16], order) }
    }
}
