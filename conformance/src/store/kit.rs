//! What the guarantees are told with.

use std::ops::ControlFlow;

use conclave_core::store::{
    Claim, Direction, Key, Range, Scope, Store, StoreError, StoreLimits, Table, Write,
};

/// One entry that a scan visited.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

pub(super) const OWNER: Claim = Claim(*b"the first owner.");
pub(super) const RIVAL: Claim = Claim(*b"the second owner");
pub(super) const SCOPE: Scope = [0x51; Key::SCOPE_LEN];

/// How large a test makes anything for which the store has no smaller limit.
pub(super) const ENOUGH: usize = 256 * 1024;

/// A store that [`OWNER`] has claimed.
pub(super) fn claimed<S: Store>(make: &impl Fn() -> S) -> S {
    let store = make();
    assert_eq!(store.claim(OWNER), Ok(()), "an empty store can be claimed");
    store
}

/// A claimed store that holds something.
pub(super) fn holding<S: Store>(make: &impl Fn() -> S, writes: &[Write]) -> S {
    let store = claimed(make);
    commit(&store, writes);
    store
}

/// Commits as [`OWNER`], which must succeed.
pub(super) fn commit(store: &impl Store, writes: &[Write]) {
    assert_eq!(store.commit(OWNER, writes), Ok(()), "a batch within the limits is stored");
}

pub(super) fn put(table: Table, scope: Scope, order: &[u8], value: impl Into<Vec<u8>>) -> Write {
    Write::Put { table, key: Key::from_parts(scope, order), value: value.into() }
}

pub(super) fn delete(table: Table, scope: Scope, order: &[u8]) -> Write {
    Write::Delete { table, key: Key::from_parts(scope, order) }
}

pub(super) fn delete_scope(table: Table, scope: Scope) -> Write {
    Write::DeleteScope { table, scope }
}

/// Ends a test: a guarantee is not kept.
#[allow(clippy::panic, reason = "a conformance suite speaks by panicking")]
pub(super) fn broken(guarantee: &str, found: &dyn std::fmt::Display) -> ! {
    panic!("{guarantee}: {found}")
}

/// The value under a key; reading must succeed.
pub(super) fn value(
    store: &impl Store,
    table: Table,
    scope: Scope,
    order: &[u8],
) -> Option<Vec<u8>> {
    let value = store.get(table, &Key::from_parts(scope, order));
    value.unwrap_or_else(|error| broken("a healthy store can be read", &error))
}

/// What a scan visits; it must succeed.
pub(super) fn entries(
    store: &impl Store,
    table: Table,
    range: Range<'_>,
    direction: Direction,
) -> Vec<Entry> {
    try_entries(store, table, range, direction)
        .unwrap_or_else(|error| broken("a healthy store can be scanned", &error))
}

/// What a scan visits.
pub(super) fn try_entries(
    store: &impl Store,
    table: Table,
    range: Range<'_>,
    direction: Direction,
) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    store.scan(table, range, direction, &mut |key, value| {
        entries.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(entries)
}

/// The orders that a scan of [`SCOPE`] in [`Table::Group`] visits.
pub(super) fn orders(store: &impl Store, range: Range<'_>, direction: Direction) -> Vec<Vec<u8>> {
    let entries = entries(store, Table::Group, range, direction);
    entries.into_iter().map(|(key, _)| order_of(&key)).collect()
}

/// The part of a visited key after its scope.
pub(super) fn order_of(key: &[u8]) -> Vec<u8> {
    assert!(key.len() >= Key::SCOPE_LEN, "a visited key begins with its scope: {key:?}");
    key.iter().skip(Key::SCOPE_LEN).copied().collect()
}

/// Everything, to compare before and after.
pub(super) fn picture(store: &impl Store) -> Vec<(Table, Entry)> {
    try_picture(store).unwrap_or_else(|error| broken("a healthy store can be scanned", &error))
}

/// Everything, if it can be read.
pub(super) fn try_picture(store: &impl Store) -> Result<Vec<(Table, Entry)>, StoreError> {
    let mut picture = Vec::new();
    for table in Table::ALL {
        let entries = try_entries(store, table, Range::default(), Direction::Forward)?;
        picture.extend(entries.into_iter().map(|entry| (table, entry)));
    }
    Ok(picture)
}

/// Bytes that no store compresses well or mistakes for others.
pub(super) fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) | 0x9E37_0100;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// A number of small writes that is large for this store, but not beyond it.
pub(super) fn many(limits: StoreLimits) -> u16 {
    let most = limits.batch_writes.min(limits.batch_bytes / 128).min(64);
    u16::try_from(most).unwrap_or(64)
}
