//! Two handles on one medium: two processes with one file, or one process that opened it twice
//! (E9, scenarios 53 and 105).

use conclave_core::store::{Store, StoreError, Table};

use super::kit::{OWNER, RIVAL, SCOPE, claimed, commit, put, value};

const TABLE: Table = Table::Intent;

/// Whoever opens a medium that is open already is refused, or fences off whoever had it, who is
/// told so and destroys nothing (E9).
pub fn a_second_handle_is_refused_or_fences_the_first<S: Store>(
    make: impl Fn() -> S,
    open_again: impl Fn(&S) -> Option<S>,
) {
    let first = claimed(&make);
    commit(&first, &[put(TABLE, SCOPE, b"kept", "by the first")]);
    let Some(second) = open_again(&first) else {
        // Then the first goes on undisturbed.
        commit(&first, &[put(TABLE, SCOPE, b"kept", "undisturbed")]);
        return;
    };
    assert_eq!(second.claim(RIVAL), Ok(()), "the second handle takes the store over");
    let late = first.commit(OWNER, &[put(TABLE, SCOPE, b"kept", "too late")]);
    assert_eq!(late, Err(StoreError::Fenced), "a commit through the handle that was taken over");
    let written = second.commit(RIVAL, &[put(TABLE, SCOPE, b"new", "by the second")]);
    assert_eq!(written, Ok(()), "a commit through the handle that took over");
    assert_eq!(value(&second, TABLE, SCOPE, b"kept"), Some(b"by the first".to_vec()));
    drop(first);
    assert_eq!(value(&second, TABLE, SCOPE, b"new"), Some(b"by the second".to_vec()));
    assert_eq!(second.commit(RIVAL, &[]), Ok(()), "the end of the first changes nothing");
}

/// What one handle stored before another one was opened is what that one sees.
pub fn a_second_handle_sees_what_the_first_has_stored<S: Store>(
    make: impl Fn() -> S,
    open_again: impl Fn(&S) -> Option<S>,
) {
    let first = claimed(&make);
    for round in 0..10_u8 {
        commit(&first, &[put(TABLE, SCOPE, &[round], vec![round])]);
        let Some(second) = open_again(&first) else { continue };
        for earlier in 0..=round {
            let seen = value(&second, TABLE, SCOPE, &[earlier]);
            assert_eq!(seen, Some(vec![earlier]), "stored before the second handle was opened");
        }
    }
}
