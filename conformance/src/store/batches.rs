//! A batch is stored whole and in order, or not at all (E5).

use conclave_core::store::{Direction, Key, Range, Scope, Store, StoreError, Table};

use super::kit::{
    ENOUGH, OWNER, SCOPE, claimed, commit, delete, delete_scope, entries, holding, picture, put,
    value,
};

const TABLE: Table = Table::Group;

/// A batch with one write that is too large changes nothing, wherever that write stands (E5,
/// scenario 50). Has nothing to try on a store whose keys and values have no limit.
pub fn a_batch_with_one_write_too_large_changes_nothing<S: Store>(make: impl Fn() -> S) {
    let store = holding(&make, &[put(TABLE, SCOPE, b"old", "kept")]);
    let before = picture(&store);
    let limits = store.limits();
    let mut too_large = Vec::new();
    if limits.key_bytes < ENOUGH {
        too_large.push(put(TABLE, SCOPE, &vec![7; limits.key_bytes], "key"));
    }
    if limits.value_bytes < ENOUGH {
        too_large.push(put(TABLE, SCOPE, b"value", vec![7; limits.value_bytes + 1]));
    }
    for write in too_large {
        for position in 0..4 {
            let mut batch = vec![
                put(TABLE, SCOPE, b"new", "1"),
                delete(TABLE, SCOPE, b"old"),
                delete_scope(TABLE, SCOPE),
            ];
            batch.insert(position, write.clone());
            let answer = store.commit(OWNER, &batch);
            assert!(matches!(answer, Err(StoreError::TooLarge { .. })), "answered {answer:?}");
            assert_eq!(picture(&store), before, "a refused batch changes nothing");
        }
    }
}

/// Of several writes to one key the last one stays (E5).
pub fn writes_of_a_batch_apply_in_order<S: Store>(make: impl Fn() -> S) {
    let store = claimed(&make);
    commit(
        &store,
        &[
            put(TABLE, SCOPE, b"twice", "first"),
            put(TABLE, SCOPE, b"twice", "second"),
            put(TABLE, SCOPE, b"gone", "1"),
            delete(TABLE, SCOPE, b"gone"),
            delete(TABLE, SCOPE, b"back"),
            put(TABLE, SCOPE, b"back", "1"),
        ],
    );
    assert_eq!(value(&store, TABLE, SCOPE, b"twice"), Some(b"second".to_vec()));
    assert_eq!(value(&store, TABLE, SCOPE, b"gone"), None);
    assert_eq!(value(&store, TABLE, SCOPE, b"back"), Some(b"1".to_vec()));
}

/// A put replaces the older value, be it longer or shorter.
pub fn a_put_replaces_the_older_value<S: Store>(make: impl Fn() -> S) {
    let store = claimed(&make);
    let large = store.limits().value_bytes.min(store.limits().batch_bytes / 2).min(ENOUGH);
    for len in [3, large, 0, large / 2, large, large / 3, 1] {
        let expected = super::kit::noise(len, 1);
        commit(&store, &[put(TABLE, SCOPE, b"order", expected.clone())]);
        assert!(value(&store, TABLE, SCOPE, b"order") == Some(expected), "at {len} bytes");
        assert_eq!(picture(&store).len(), 1, "one key, one record");
    }
}

/// Deleting removes exactly one key, and a missing one is no error.
pub fn deleting_removes_a_key_and_a_missing_one_is_no_error<S: Store>(make: impl Fn() -> S) {
    let kept = [put(TABLE, SCOPE, b"k", "1"), put(TABLE, SCOPE, b"key\0", "2")];
    let store = holding(&make, &kept);
    let before = picture(&store);
    commit(&store, &[put(TABLE, SCOPE, b"key", "3")]);

    commit(&store, &[delete(TABLE, SCOPE, b"key")]);
    assert_eq!(value(&store, TABLE, SCOPE, b"key"), None);
    assert_eq!(picture(&store), before, "only that key is removed");

    commit(&store, &[delete(TABLE, SCOPE, b"key"), delete(Table::Outbox, SCOPE, b"")]);
    assert_eq!(picture(&store), before, "deleting a missing key changes nothing");
}

/// Deleting a scope removes all of it and nothing of the scopes around it, at the end of the key
/// space too, and an empty scope is no error.
pub fn deleting_a_scope_leaves_its_neighbours<S: Store>(make: impl Fn() -> S) {
    for deleted in neighbours() {
        let store = claimed(&make);
        for scope in neighbours() {
            commit(&store, &filled(scope));
        }
        commit(&store, &[delete_scope(TABLE, deleted)]);
        for scope in neighbours() {
            let left = entries(&store, TABLE, Range::scope(scope), Direction::Forward).len();
            let expected = if scope == deleted { 0 } else { filled(scope).len() };
            assert_eq!(left, expected, "scope {scope:02x?} after deleting {deleted:02x?}");
        }
        let before = picture(&store);
        commit(&store, &[delete_scope(TABLE, deleted), delete_scope(Table::Event, deleted)]);
        assert_eq!(picture(&store), before, "deleting an empty scope changes nothing");
    }
}

/// What a batch writes into a scope after deleting it stays; what it wrote before does not.
pub fn a_scope_can_be_deleted_and_written_in_one_batch<S: Store>(make: impl Fn() -> S) {
    let store = holding(&make, &[put(TABLE, SCOPE, b"old", "1")]);
    commit(
        &store,
        &[
            put(TABLE, SCOPE, b"before", "2"),
            delete_scope(TABLE, SCOPE),
            put(TABLE, SCOPE, b"after", "3"),
        ],
    );
    let left = entries(&store, TABLE, Range::scope(SCOPE), Direction::Forward);
    let after = Key::from_parts(SCOPE, b"after").as_bytes().to_vec();
    assert_eq!(left, [(after, b"3".to_vec())]);
}

/// The same key in two tables is two records, for every kind of write.
pub fn scopes_are_separate_in_every_table<S: Store>(make: impl Fn() -> S) {
    let store = claimed(&make);
    for table in Table::ALL {
        commit(&store, &[put(table, SCOPE, b"order", table.name())]);
    }
    let found = |table: Table| value(&store, table, SCOPE, b"order");
    for table in Table::ALL {
        assert_eq!(found(table), Some(table.name().into()), "table {}", table.name());
    }
    commit(&store, &[delete(Table::Intent, SCOPE, b"order"), delete_scope(Table::Outbox, SCOPE)]);
    for table in Table::ALL {
        let is_deleted = table == Table::Intent || table == Table::Outbox;
        assert_eq!(found(table).is_none(), is_deleted, "table {}", table.name());
        let range = Range::scope(SCOPE);
        let left = entries(&store, table, range, Direction::Reverse).len();
        assert_eq!(left, usize::from(!is_deleted), "table {}", table.name());
    }
}

/// An empty value is there, and is not the same as no value.
pub fn empty_values_are_values<S: Store>(make: impl Fn() -> S) {
    let store = holding(&make, &[put(TABLE, SCOPE, b"order", "")]);
    assert_eq!(value(&store, TABLE, SCOPE, b"order"), Some(Vec::new()));
    let key = Key::from_parts(SCOPE, b"order").as_bytes().to_vec();
    let visited = entries(&store, TABLE, Range::scope(SCOPE), Direction::Forward);
    assert_eq!(visited, [(key, Vec::new())]);
}

/// A key may be a scope and nothing else; it is the first one of its scope.
pub fn keys_need_no_order<S: Store>(make: impl Fn() -> S) {
    let writes = [put(TABLE, SCOPE, b"\0", "order"), put(TABLE, SCOPE, b"", "none")];
    let store = holding(&make, &writes);
    assert_eq!(value(&store, TABLE, SCOPE, b""), Some(b"none".to_vec()));
    for range in [Range::scope(SCOPE), Range::within(SCOPE, b"", b"\xFF")] {
        let visited = entries(&store, TABLE, range, Direction::Forward);
        let values: Vec<_> = visited.into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [b"none".to_vec(), b"order".to_vec()]);
    }
    commit(&store, &[delete(TABLE, SCOPE, b"")]);
    assert_eq!(value(&store, TABLE, SCOPE, b""), None);
    assert_eq!(value(&store, TABLE, SCOPE, b"\0"), Some(b"order".to_vec()));
}

/// Reads see each commit that has returned, on the thread that committed and on others.
pub fn reads_see_every_commit_before_them<S: Store>(make: impl Fn() -> S) {
    let store = claimed(&make);
    for round in 0..50_u8 {
        commit(&store, &[put(TABLE, SCOPE, b"order", [round])]);
        assert_eq!(value(&store, TABLE, SCOPE, b"order"), Some(vec![round]));
        let elsewhere = std::thread::scope(|threads| {
            threads.spawn(|| value(&store, TABLE, SCOPE, b"order")).join().ok().flatten()
        });
        assert_eq!(elsewhere, Some(vec![round]), "another thread sees it too");
    }
}

/// Scopes that sort side by side or share all but one byte.
fn neighbours() -> Vec<Scope> {
    let last_byte = |mut scope: Scope, byte: u8| {
        scope[Key::SCOPE_LEN - 1] = byte;
        scope
    };
    let first_byte = |mut scope: Scope, byte: u8| {
        scope[0] = byte;
        scope
    };
    let mut carried = last_byte(SCOPE, 0);
    carried[Key::SCOPE_LEN - 2] += 1;
    vec![
        [0; Key::SCOPE_LEN],
        last_byte([0; Key::SCOPE_LEN], 1),
        last_byte(SCOPE, 0xFE),
        last_byte(SCOPE, 0xFF),
        carried,
        first_byte(SCOPE, 0x80),
        first_byte([0xFF; Key::SCOPE_LEN], 0xFE),
        last_byte([0xFF; Key::SCOPE_LEN], 0xFE),
        [0xFF; Key::SCOPE_LEN],
    ]
}

fn filled(scope: Scope) -> Vec<conclave_core::store::Write> {
    [&b""[..], b"\0", b"order", b"\xFF", &[0xFF; 24]]
        .into_iter()
        .map(|order| put(TABLE, scope, order, "value"))
        .collect()
}
