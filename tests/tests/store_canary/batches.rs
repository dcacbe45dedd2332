//! Stores that do not keep their batches.

use std::slice::from_ref;

use conclave_core::store::{Key, Scope, Store, StoreError, Table, Write};
use conclave_store_memory::MemoryStore;
use conclave_testkit::conformance::store::{batches, model};

use super::broken::{Broken, Commit, committing, healthy, rewriting};
use super::must_catch;

#[test]
fn a_torn_batch_is_caught() {
    let torn: Commit = |store, claim, writes| {
        writes.iter().try_for_each(|write| store.inner.commit(claim, from_ref(write)))?;
        store.inner.commit(claim, &[])
    };
    let make = committing(torn);
    must_catch(|| batches::a_batch_with_one_write_too_large_changes_nothing(make));
}

#[test]
fn writes_in_reverse_are_caught() {
    let reverse: Commit = |store, claim, writes| {
        store.inner.commit(claim, &writes.iter().rev().cloned().collect::<Vec<_>>())
    };
    let make = committing(reverse);
    must_catch(|| batches::writes_of_a_batch_apply_in_order(make));
    must_catch(|| model::random_histories_match_an_ordered_map(make));
}

#[test]
fn a_put_that_keeps_the_older_value_is_caught() {
    let keep = rewriting(|store, write| match write {
        Write::Put { table, ref key, .. } if store.get(table, key) != Ok(None) => vec![],
        Write::Put { .. } | Write::Delete { .. } | Write::DeleteScope { .. } => vec![write],
    });
    must_catch(|| batches::a_put_replaces_the_older_value(keep));
}

#[test]
fn a_missing_key_that_is_an_error_is_caught() {
    let strict: Commit = |store, claim, writes| {
        let is_missing = |write: &Write| match write {
            Write::Delete { table, key } => store.inner.get(*table, key) == Ok(None),
            Write::Put { .. } | Write::DeleteScope { .. } => false,
        };
        if writes.iter().any(is_missing) {
            return Err(StoreError::Corrupt);
        }
        store.inner.commit(claim, writes)
    };
    let make = committing(strict);
    must_catch(|| batches::deleting_removes_a_key_and_a_missing_one_is_no_error(make));
}

#[test]
fn deleting_by_prefix_is_caught() {
    let by_prefix = rewriting(|store, write| match write {
        Write::Delete { table, ref key } => keys_with_prefix(store, table, key.as_bytes()),
        Write::Put { .. } | Write::DeleteScope { .. } => vec![write],
    });
    must_catch(|| batches::deleting_removes_a_key_and_a_missing_one_is_no_error(by_prefix));
}

#[test]
fn deleting_too_much_or_too_little_of_scopes_is_caught() {
    let too_much = rewriting(|store, write| match write {
        Write::DeleteScope { table, scope } => keys_with_prefix(store, table, &scope[..15]),
        Write::Put { .. } | Write::Delete { .. } => vec![write],
    });
    let not_the_last = rewriting(|_, write| match write {
        Write::DeleteScope { scope: LAST_SCOPE, .. } => vec![],
        Write::Put { .. } | Write::Delete { .. } | Write::DeleteScope { .. } => vec![write],
    });
    must_catch(|| batches::deleting_a_scope_leaves_its_neighbours(too_much));
    must_catch(|| batches::deleting_a_scope_leaves_its_neighbours(not_the_last));
}

#[test]
fn scopes_that_are_deleted_last_are_caught() {
    let last: Commit = |store, claim, writes| {
        let mut writes = writes.to_vec();
        writes.sort_by_key(|write| matches!(write, Write::DeleteScope { .. }));
        store.inner.commit(claim, &writes)
    };
    let make = committing(last);
    must_catch(|| batches::a_scope_can_be_deleted_and_written_in_one_batch(make));
}

#[test]
fn tables_that_are_one_are_caught() {
    let put_into_one = rewriting(|_, write| match write {
        Write::Put { key, value, .. } => {
            vec![Write::Put { table: Table::Group, key, value }]
        }
        Write::Delete { .. } | Write::DeleteScope { .. } => vec![write],
    });
    let one_table =
        || Broken { get: |store, _, key| store.inner.get(Table::Group, key), ..put_into_one() };
    must_catch(|| batches::scopes_are_separate_in_every_table(one_table));
}

#[test]
fn lost_empty_values_and_lost_keys_without_order_are_caught() {
    let no_empty_values = rewriting(|_, write| match write {
        Write::Put { ref value, .. } if value.is_empty() => vec![],
        Write::Put { .. } | Write::Delete { .. } | Write::DeleteScope { .. } => vec![write],
    });
    let no_empty_orders = rewriting(|_, write| match write {
        Write::Put { ref key, .. } if key.order().is_empty() => vec![],
        Write::Put { .. } | Write::Delete { .. } | Write::DeleteScope { .. } => vec![write],
    });
    must_catch(|| batches::empty_values_are_values(no_empty_values));
    must_catch(|| batches::keys_need_no_order(no_empty_orders));
}

#[test]
fn reads_that_lag_behind_are_caught() {
    let make = || Broken {
        commit: |store, claim, writes| {
            *store.older.lock().unwrap() = store.inner.snapshot();
            store.inner.commit(claim, writes)
        },
        get: |store, table, key| store.older.lock().unwrap().get(table, key),
        ..healthy()
    };
    must_catch(|| batches::reads_see_every_commit_before_them(make));
}

const LAST_SCOPE: Scope = [0xFF; Key::SCOPE_LEN];

fn keys_with_prefix(store: &MemoryStore, table: Table, prefix: &[u8]) -> Vec<Write> {
    let records = store.digest_input().into_iter();
    records
        .filter(|(other, key, _)| *other == table && key.starts_with(prefix))
        .filter_map(|(table, key, _)| Some(Write::Delete { table, key: Key::from_stored(&key)? }))
        .collect()
}
