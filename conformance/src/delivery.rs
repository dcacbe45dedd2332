//! What every [`DeliveryService`](conclave_core::delivery::DeliveryService) has to promise, for
//! everyone who replaces the relay (E6).
//!
//! [`delivery_conformance!`](crate::delivery_conformance) expands to one test per guarantee; each
//! is also a function, to be called alone. A guarantee that is not kept is a panic that says which.
//! The service under test is healthy: a call that is answered with "try again" fails the test.

pub mod directory;
pub mod publishing;
pub mod reading;
pub mod subscribing;

mod kit;

pub use super::link::{Test, block_on};

/// Expands to a module of tests, one for each guarantee of a delivery service.
///
/// The second argument makes, in a future, a service that stores nothing yet, and whatever has to
/// live as long as it. The third, if there is one, runs a boxed future to its end, for services
/// that need a certain executor.
///
/// ```ignore
/// conclave_conformance::delivery_conformance!(mine, async || (MyService::start().await, ()));
/// ```
#[macro_export]
macro_rules! delivery_conformance {
    ($name:ident, $make:expr) => {
        $crate::delivery_conformance!($name, $make, $crate::delivery::block_on);
    };
    ($name:ident, $make:expr, $run:expr) => {
        $crate::__delivery_conformance! { $name, $make, $run,
            publishing {
                what_is_published_can_be_fetched_as_a_chain,
                every_reader_sees_the_same_order,
                each_outcome_belongs_to_its_item,
                an_envelope_that_is_stored_is_accepted_again_in_its_place,
                identity_logs_are_appended_to_only_at_the_expected_head,
                behind_an_item_that_was_refused_its_topic_waits_and_no_other,
                an_envelope_that_is_too_long_is_refused,
                bodies_are_stored_under_their_own_hash_only,
            }
            reading {
                a_fetch_keeps_to_its_limit_and_says_what_is_left,
                a_record_longer_than_the_limit_comes_all_the_same,
                a_reader_that_has_everything_gets_nothing,
                heads_say_only_what_differs,
            }
            subscribing {
                records_arrive_in_order_from_the_place_given,
                what_was_stored_before_is_delivered_or_said,
                topics_come_and_go,
                caught_up_comes_after_what_was_stored_before,
                a_subscriber_that_does_not_pull_blocks_nobody_and_misses_nothing_unsaid,
                a_new_subscription_ends_the_one_before_and_gets_nothing_of_it,
                a_subscription_ends_with_its_changes,
            }
            directory {
                an_upload_replaces_the_one_before,
                missing_packages_are_said_in_the_order_asked,
                an_upload_with_an_old_counter_is_refused,
                accounts_resolve_to_the_inbox_that_they_founded,
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __delivery_conformance {
    ($name:ident, $make:expr, $run:expr, $($module:ident { $($test:ident,)* })*) => {
        mod $name {
            #[allow(unused_imports, reason = "the arguments may need them")]
            use super::*;

            $($(
                #[test]
                fn $test() {
                    let run = $run;
                    let make = $make;
                    run(::std::boxed::Box::pin(async move {
                        $crate::delivery::$module::$test(make).await;
                    }));
                }
            )*)*
        }
    };
}
