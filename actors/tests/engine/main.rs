//! The engine as applications use it, over a relay in this process: one suite for every driver.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod ending;
mod foreign;
mod obstacles;
mod services;
mod talk;
mod town;
mod trouble;

/// Every test of the suite, for each driver.
macro_rules! suite {
    ($driver:ident: $start:expr) => {
        mod $driver {
            suite! { @tests $start;
                talk: people_talk, events_go_on_where_they_were_left,
                    places_of_forgotten_events_are_not_used_again, a_key_is_for_one_message, calls_come_from_anywhere,
                    members_come_and_go, two_devices_of_one_person, many_groups_at_once,
                    a_group_that_sleeps_wakes_up, wallets_found_inboxes, the_view_needs_no_queue,
                    old_events_are_given_up;
                trouble: a_restart_loses_nothing, a_message_waits_for_the_relay,
                    a_store_that_fails_is_asked_again,
                    calls_at_once_over_a_store_that_keeps_failing,
                    an_engine_comes_up_over_a_store_that_fails,
                    an_engine_registers_over_a_store_that_fails,
                    an_engine_that_lost_its_store_ends, whether_the_relay_is_there_can_be_asked,
                    a_second_engine_fences_the_first,
                    a_full_group_pushes_back, nothing_works_before_registration_and_after_the_end,
                    the_store_is_free_when_the_engine_is_shut_down,
                    a_relay_that_restarts_loses_nothing, one_damaged_group_does_not_stop_others,
                    many_groups_finish_what_they_left_undone,
                    a_panic_loses_one_value_and_not_the_engine, a_panic_loses_no_invitation;
                ending: open_fails_inside_async_code_with_an_error,
                    a_waker_may_drop_the_last_engine, a_reader_of_events_may_hold_the_last_engine,
                    a_fenced_engine_tells_everyone_who_waits,
                    a_fenced_engine_notices_when_it_forgets_events,
                    a_store_that_panics_in_a_commit_ends_the_engine, an_engine_ends_while_it_joins,
                    a_store_that_panics_in_a_read_costs_one_answer,
                    calls_that_are_asked_while_the_engine_ends_are_answered,
                    a_call_that_is_dropped_is_withdrawn,
                    syncs_without_a_relay_leave_nothing_in_its_subscription,
                    removed_and_added_again_while_away_needs_one_sync;
                obstacles: a_relay_that_does_not_store_is_known, a_full_store_is_known,
                    a_registration_names_the_trouble_of_the_relay;
                foreign: a_signer_that_panics_costs_one_registration,
                    a_delivery_service_that_panics_is_asked_again,
                    a_subscription_that_breaks_off_is_made_again,
                    one_engine_does_not_starve_another,
            }
        }
    };
    (@tests $start:expr; $($module:ident: $($name:ident),* $(,)?);*) => { $( $(
        #[test]
        fn $name() {
            crate::engine::$module::$name(&|| std::sync::Arc::new($start));
        }
    )* )* };
}

suite! { threads: conclave::driver::Threads::start(Some(2)).unwrap() }
#[cfg(feature = "actix")]
suite! { actors: conclave::driver::Actors::start(Some(2)).unwrap() }
