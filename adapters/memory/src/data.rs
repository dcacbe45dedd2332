//! What the handles of one store share.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, RangeBounds};

use conclave_core::store::{Claim, Direction, Key, Range, Scope, Table, Visit, Write};

use crate::Counters;

/// The records of one table, by key.
type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Everything that a store knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    pub(crate) claim: Option<Claim>,
    pub(crate) counters: Counters,
    tables: BTreeMap<Table, Records>,
}

impl Data {
    /// Applies a batch that was checked; cannot fail.
    pub(crate) fn apply(&mut self, writes: &[Write]) {
        for write in writes {
            self.apply_one(write);
            self.counters.writes += 1;
            self.counters.bytes += write.size() as u64;
        }
        self.counters.commits += 1;
    }

    pub(crate) fn value(&self, table: Table, key: &Key) -> Option<Vec<u8>> {
        self.tables.get(&table)?.get(key.as_bytes()).cloned()
    }

    pub(crate) fn visit(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> ControlFlow<()> {
        let (Some(records), Some(bounds)) = (self.tables.get(&table), bounds(range)) else {
            return ControlFlow::Continue(());
        };
        let mut found = records.range(bounds);
        match direction {
            Direction::Forward => found.try_for_each(|(key, value)| visit(key, value)),
            Direction::Reverse => found.rev().try_for_each(|(key, value)| visit(key, value)),
        }
    }

    pub(crate) fn records(&self) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        self.tables
            .iter()
            .flat_map(|(table, records)| {
                records.iter().map(|(key, value)| (*table, key.clone(), value.clone()))
            })
            .collect()
    }

    fn apply_one(&mut self, write: &Write) {
        let records = self.tables.entry(write.table()).or_default();
        match write {
            Write::Put { key, value, .. } => {
                records.insert(key.as_bytes().to_vec(), value.clone());
            }
            Write::Delete { key, .. } => {
                records.remove(key.as_bytes());
            }
            Write::DeleteScope { scope, .. } => delete_scope(records, *scope),
        }
    }
}

fn delete_scope(records: &mut Records, scope: Scope) {
    let Some(bounds) = bounds(Range::scope(scope)) else {
        return;
    };
    let keys: Vec<Vec<u8>> = records.range(bounds).map(|(key, _)| key.clone()).collect();
    for key in keys {
        records.remove(&key);
    }
}

/// The bounds of a range, in keys; `None` if nothing is between them.
fn bounds(range: Range<'_>) -> Option<impl RangeBounds<Vec<u8>> + use<>> {
    let Some(scope) = range.scope else {
        return Some((Bound::Unbounded, Bound::Unbounded));
    };
    let from = key_bytes(scope, range.from.unwrap_or_default());
    let to = match range.to {
        Some(to) => Some(key_bytes(scope, to)),
        None => next_scope(scope).map(|next| next.to_vec()),
    };
    // An ordered map panics when asked for a range that ends before it starts.
    if to.as_ref().is_some_and(|to| *to < from) {
        return None;
    }
    Some((Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded)))
}

fn key_bytes(scope: Scope, order: &[u8]) -> Vec<u8> {
    [&scope[..], order].concat()
}

/// The scope that sorts directly behind; the last one has none.
fn next_scope(scope: Scope) -> Option<Scope> {
    u128::from_be_bytes(scope).checked_add(1).map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_scope_carries_and_the_last_one_has_none() {
        let mut scope = [0; 16];
        scope[15] = 0xFF;
        let mut next = [0; 16];
        next[14] = 1;
        assert_eq!(next_scope(scope), Some(next));
        assert_eq!(next_scope([0xFF; 16]), None);
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_empty() {
        assert!(bounds(Range::within([1; 16], b"b", b"a")).is_none());
        assert!(bounds(Range::within([1; 16], b"a", b"a")).is_some());
    }
}
