//! What was stored is there when the store is opened again (E5, E9).

use conclave_core::store::{Store, StoreError, Table, Write};

use super::kit::{OWNER, RIVAL, SCOPE, claimed, commit, delete, many, noise, picture, put};

/// Every commit that returned is there after closing and opening (E5, scenario 48).
pub fn what_was_committed_is_there_after_reopening<S: Store>(
    make: impl Fn() -> S,
    reopen: impl Fn(S) -> S,
) {
    let mut store = claimed(&make);
    for (round, table) in (0..).zip(Table::ALL) {
        let count = many(store.limits());
        let batch: Vec<Write> = (1..count)
            .map(|order| put(table, SCOPE, &order.to_be_bytes(), noise(40, round)))
            .chain([delete(table, SCOPE, &7_u16.to_be_bytes())])
            .collect();
        commit(&store, &batch);
        let before = picture(&store);
        store = reopen(store);
        assert_eq!(store.claim(OWNER), Ok(()));
        assert_eq!(picture(&store), before);
    }
}

/// Closing a store does not give it up: the claim that stood still stands (E9, scenario 53).
pub fn the_claim_stands_after_reopening<S: Store>(make: impl Fn() -> S, reopen: impl Fn(S) -> S) {
    let store = reopen(claimed(&make));
    assert_eq!(store.commit(RIVAL, &[]), Err(StoreError::Fenced));
    assert_eq!(store.commit(OWNER, &[]), Ok(()));
    assert_eq!(store.claim(RIVAL), Ok(()));
    let store = reopen(store);
    assert_eq!(store.commit(OWNER, &[]), Err(StoreError::Fenced));
    assert_eq!(store.commit(RIVAL, &[]), Ok(()));
}
