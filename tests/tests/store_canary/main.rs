//! The suite for stores can fail: each guarantee catches a store that breaks it (E5, E9).
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod batches;
mod broken;
mod fences;
mod layers;
mod limits;
mod scans;

use std::panic::{AssertUnwindSafe, catch_unwind};

use conclave_testkit::conformance::store as suite;

use broken::{healthy, rewriting};

#[test]
fn a_healthy_store_is_not_caught() {
    suite::batches::writes_of_a_batch_apply_in_order(healthy);
    suite::model::random_histories_match_an_ordered_map(healthy);
    suite::limits::one_beyond_a_limit_is_named_and_nothing_is_stored(healthy);
    let rewritten = rewriting(|_, write| vec![write]);
    suite::batches::a_put_replaces_the_older_value(rewritten);
    suite::batches::deleting_removes_a_key_and_a_missing_one_is_no_error(rewritten);
    suite::batches::deleting_a_scope_leaves_its_neighbours(rewritten);
    suite::batches::scopes_are_separate_in_every_table(rewritten);
    suite::batches::empty_values_are_values(rewritten);
    suite::batches::keys_need_no_order(rewritten);
    suite::faults::a_crash_leaves_all_or_nothing(|lower| lower);
}

/// Expects that a guarantee is found broken.
fn must_catch(guarantee: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(guarantee)).is_err(), "the suite did not notice");
}
