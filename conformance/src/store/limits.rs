//! What a store says it takes it takes, and it refuses the rest whole (E5).

use conclave_core::store::{Direction, Key, Range, Store, StoreError, Table, Write};

use super::kit::{
    ENOUGH, OWNER, SCOPE, claimed, commit, entries, holding, noise, picture, put, value,
};

const TABLE: Table = Table::Message;
/// Writes of a batch that is large for any purpose.
const MANY_WRITES: usize = 4096;

/// The limits are at least those that [`StoreLimits`](conclave_core::store::StoreLimits) states.
pub fn limits_reach_the_floor<S: Store>(make: impl Fn() -> S) {
    let limits = make().limits();
    assert!(limits.key_bytes >= 64, "{limits:?}");
    assert!(limits.value_bytes >= 4096, "{limits:?}");
    assert!(limits.batch_writes >= 16, "{limits:?}");
    assert!(limits.batch_bytes >= 16 * 1024, "{limits:?}");
}

/// A key, a value, a number of writes and a number of bytes just at the limit are stored; where
/// there is no limit within reason, large ones are.
pub fn everything_up_to_the_limits_is_stored<S: Store>(make: impl Fn() -> S) {
    the_longest_key_is_stored(&claimed(&make));
    the_longest_value_is_stored(&claimed(&make));
    the_most_writes_are_stored(&claimed(&make));
    the_most_bytes_are_stored(&claimed(&make));
}

/// One beyond any limit is refused as too large, the write named by its index and the limit by
/// its number, and nothing of the batch is stored (E5, scenario 50).
pub fn one_beyond_a_limit_is_named_and_nothing_is_stored<S: Store>(make: impl Fn() -> S) {
    let store = holding(&make, &[put(TABLE, SCOPE, b"old", "kept")]);
    let limits = store.limits();
    let small = put(TABLE, SCOPE, b"small", "1");
    if limits.key_bytes < ENOUGH {
        let order = vec![1; limits.key_bytes + 1 - Key::SCOPE_LEN];
        let batch = [small.clone(), small.clone(), put(TABLE, SCOPE, &order, ""), small.clone()];
        is_too_large(&store, &batch, 2, limits.key_bytes);
        let key = Key::from_parts(SCOPE, &order);
        is_too_large(&store, &[Write::Delete { table: TABLE, key }], 0, limits.key_bytes);
    }
    if limits.value_bytes < ENOUGH {
        let large = put(TABLE, SCOPE, b"large", vec![1; limits.value_bytes + 1]);
        is_too_large(&store, &[small.clone(), large], 1, limits.value_bytes);
    }
    if limits.batch_writes < ENOUGH {
        let batch: Vec<_> = numbered(limits.batch_writes + 2).collect();
        let bytes: usize = batch.iter().map(Write::size).sum();
        if bytes <= limits.batch_bytes {
            is_too_large(&store, &batch, limits.batch_writes, limits.batch_writes);
        }
    }
    if limits.batch_bytes < ENOUGH {
        let mut batch = full_batch(&store);
        batch.push(small.clone());
        let beyond = batch.len() - 1;
        if beyond < limits.batch_writes {
            batch.push(small);
            is_too_large(&store, &batch, beyond, limits.batch_bytes);
        }
    }
}

fn is_too_large(store: &impl Store, batch: &[Write], write: usize, max: usize) {
    let before = picture(store);
    assert_eq!(store.commit(OWNER, batch), Err(StoreError::TooLarge { write, max }));
    assert!(picture(store) == before, "a refused batch changes nothing");
}

fn the_longest_key_is_stored(store: &impl Store) {
    let order = noise(store.limits().key_bytes.min(16 * 1024) - Key::SCOPE_LEN, 3);
    commit(store, &[put(TABLE, SCOPE, &order, "value")]);
    assert_eq!(value(store, TABLE, SCOPE, &order), Some(b"value".to_vec()));
    let visited = entries(store, TABLE, Range::scope(SCOPE), Direction::Forward);
    assert_eq!(visited, [(Key::from_parts(SCOPE, &order).as_bytes().to_vec(), b"value".to_vec())]);
}

fn the_longest_value_is_stored(store: &impl Store) {
    let key_len = Key::SCOPE_LEN + 5;
    let limits = store.limits();
    let len = limits.value_bytes.min(limits.batch_bytes - key_len).min(ENOUGH);
    let large = noise(len, 4);
    commit(store, &[put(TABLE, SCOPE, b"large", large.clone())]);
    assert!(value(store, TABLE, SCOPE, b"large") == Some(large.clone()), "the value comes back");
    for direction in [Direction::Forward, Direction::Reverse] {
        let visited = entries(store, TABLE, Range::default(), direction);
        assert_eq!(visited.len(), 1);
        assert!(visited.into_iter().all(|(_, value)| value == large), "{direction:?}");
    }
}

fn the_most_writes_are_stored(store: &impl Store) {
    let limits = store.limits();
    let write_len = Key::SCOPE_LEN + 4;
    let count = limits.batch_writes.min(limits.batch_bytes / write_len).min(MANY_WRITES);
    let batch: Vec<_> = numbered(count).collect();
    commit(store, &batch);
    let visited = entries(store, TABLE, Range::scope(SCOPE), Direction::Forward);
    let keys: Vec<_> = visited.into_iter().map(|(key, _)| key).collect();
    let expected: Vec<_> = (0_u32..)
        .take(count)
        .map(|order| Key::from_parts(SCOPE, &order.to_be_bytes()).as_bytes().to_vec())
        .collect();
    assert_eq!(keys, expected);
}

fn the_most_bytes_are_stored(store: &impl Store) {
    let batch = full_batch(store);
    commit(store, &batch);
    let stored = entries(store, TABLE, Range::scope(SCOPE), Direction::Forward);
    let stored: usize = stored.into_iter().map(|(key, value)| key.len() + value.len()).sum();
    let sent: usize = batch.iter().map(Write::size).sum();
    assert_eq!(stored, sent);
}

/// Writes without a value.
fn numbered(count: usize) -> impl Iterator<Item = Write> {
    (0_u32..).take(count).map(|order| put(TABLE, SCOPE, &order.to_be_bytes(), ""))
}

/// As many bytes as the store takes, within reason, in as few writes as it can be.
fn full_batch(store: &impl Store) -> Vec<Write> {
    let limits = store.limits();
    let key_len = Key::SCOPE_LEN + 4;
    let mut room = limits.batch_bytes.min(2 * ENOUGH);
    let mut batch = Vec::new();
    for order in (0_u32..).take(limits.batch_writes) {
        if room < key_len {
            break;
        }
        let len = (room - key_len).min(limits.value_bytes).min(ENOUGH);
        room -= key_len + len;
        batch.push(put(TABLE, SCOPE, &order.to_be_bytes(), noise(len, 5)));
    }
    batch
}
