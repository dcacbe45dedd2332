//! What every [`Store`](conclave_core::store::Store) has to promise (E5, E9).
//!
//! [`store_conformance!`](crate::store_conformance) expands to one test per guarantee,
//! [`store_reopen_conformance!`](crate::store_reopen_conformance) does for a store that can be
//! closed and opened again, [`store_sharing_conformance!`](crate::store_sharing_conformance) for
//! one that can be opened twice, and [`store_fault_conformance!`](crate::store_fault_conformance) for a
//! store that lies on top of another one: there, each call of the lower store fails in turn.
//! A guarantee that is not kept is a panic that says which.

pub mod batches;
pub mod faults;
pub mod fences;
pub mod limits;
pub mod model;
pub mod reopening;
pub mod scans;
pub mod sharing;

mod kit;

/// Expands to a module of tests, one for each guarantee of a store.
///
/// The second argument makes an empty store that nobody has claimed; it is called once or more
/// in each test, possibly at the same time in several.
///
/// ```
/// use conclave_store_memory::MemoryStore;
///
/// conclave_conformance::store_conformance!(memory, MemoryStore::new);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $make:expr) => {
        $crate::__store_conformance! { $name, ($make),
            batches {
                a_batch_with_one_write_too_large_changes_nothing,
                writes_of_a_batch_apply_in_order,
                a_put_replaces_the_older_value,
                deleting_removes_a_key_and_a_missing_one_is_no_error,
                deleting_a_scope_leaves_its_neighbours,
                a_scope_can_be_deleted_and_written_in_one_batch,
                scopes_are_separate_in_every_table,
                empty_values_are_values,
                keys_need_no_order,
                reads_see_every_commit_before_them,
            }
            scans {
                scans_go_forward_and_in_reverse,
                scans_start_inclusive_and_end_exclusive,
                a_scan_of_a_whole_table_ignores_the_bounds,
                a_scan_of_an_empty_range_visits_nothing,
                a_scan_stops_when_told,
                keys_sort_as_unsigned_bytes,
                a_scan_never_sees_half_a_batch,
            }
            fences {
                a_commit_before_any_claim_is_fenced,
                a_second_claim_fences_the_first,
                a_fenced_commit_changes_nothing,
                an_empty_commit_checks_the_claim,
                the_same_claim_can_be_set_again,
                a_claim_changes_no_record_and_shows_in_no_scan,
                a_second_owner_stops_a_first_that_is_writing,
            }
            limits {
                limits_reach_the_floor,
                everything_up_to_the_limits_is_stored,
                one_beyond_a_limit_is_named_and_nothing_is_stored,
            }
            model {
                random_histories_match_an_ordered_map,
            }
        }
    };
}

/// Expands to a module of tests for a store that can be closed and opened again.
///
/// The second argument is as in [`store_conformance!`](crate::store_conformance); the third takes
/// the store, closes it and opens it again, as after the end of the process.
///
/// ```
/// use conclave_store_memory::MemoryStore;
///
/// conclave_conformance::store_reopen_conformance!(memory, MemoryStore::new, |store| store);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_reopen_conformance {
    ($name:ident, $make:expr, $reopen:expr) => {
        $crate::__store_conformance! { $name, ($make, $reopen),
            reopening {
                what_was_committed_is_there_after_reopening,
                the_claim_stands_after_reopening,
            }
        }
    };
}

/// Expands to a module of tests for a store whose medium somebody could open twice: a file, a
/// database on a server.
///
/// The second argument is as in [`store_conformance!`](crate::store_conformance); the third opens
/// the medium of a store that is open, as another process would, and gives `None` if that is
/// refused.
///
/// ```
/// use conclave_store_memory::MemoryStore;
///
/// conclave_conformance::store_sharing_conformance!(memory, MemoryStore::new, |store: &MemoryStore| {
///     Some(store.clone())
/// });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_sharing_conformance {
    ($name:ident, $make:expr, $open_again:expr) => {
        $crate::__store_conformance! { $name, ($make, $open_again),
            sharing {
                a_second_handle_is_refused_or_fences_the_first,
                a_second_handle_sees_what_the_first_has_stored,
            }
        }
    };
}

/// Expands to a module of tests for a store that lies on top of another one.
///
/// The second argument puts the layer over a lower store; it is called again for the same lower
/// store, to open it anew. The lower store takes small batches and fails at one call after the
/// other.
///
/// ```
/// // No layer at all keeps what it has to promise as well.
/// conclave_conformance::store_fault_conformance!(no_layer, |lower| lower);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_fault_conformance {
    ($name:ident, $layer:expr) => {
        $crate::__store_conformance! { $name, ($layer),
            faults {
                a_failed_call_leaves_all_or_nothing,
                a_lost_answer_leaves_all_or_nothing,
                a_crash_leaves_all_or_nothing,
                a_crash_during_recovery_leaves_all_or_nothing,
                the_same_handle_goes_on_after_a_failed_call,
                a_second_owner_gets_all_or_nothing,
                a_failed_claim_can_be_repeated,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __store_conformance {
    ($name:ident, $args:tt, $($module:ident { $($test:ident,)* })*) => {
        mod $name {
            #[allow(unused_imports, reason = "the arguments may need them")]
            use super::*;

            $($(
                #[test]
                fn $test() {
                    $crate::store::$module::$test $args;
                }
            )*)*
        }
    };
}
