//! The suite for delivery services can fail: each guarantee catches a service that breaks it (E6).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

use crate::delivery_kit as kit;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use conclave_core::{
    bounds::{BoxFuture, BoxStream},
    delivery::{
        Delivery, DeliveryService, PageLimit, PublishOutcome, TopicPage, Transmit, TransportError,
        Uploaded, Watch,
    },
    step::Upload,
};
use conclave_proto::{Cursor, InboxId, InstallationId, Seq, Topic, identity::Account};
use conclave_remote::Remote;
use conclave_testkit::conformance::delivery::{Test, directory, publishing, reading, subscribing};
use futures_util::{StreamExt, stream};
use kit::{TheHost, over_memory, run};

#[test]
fn a_healthy_service_is_not_caught() {
    run(Box::pin(async {
        publishing::each_outcome_belongs_to_its_item(make(Fault::None)).await;
        reading::a_fetch_keeps_to_its_limit_and_says_what_is_left(make(Fault::None)).await;
        subscribing::caught_up_comes_after_what_was_stored_before(make(Fault::None)).await;
        directory::missing_packages_are_said_in_the_order_asked(make(Fault::None)).await;
    }));
}

#[test]
fn outcomes_in_another_order_are_caught() {
    must_catch(publishing::each_outcome_belongs_to_its_item(make(Fault::OtherOrder)));
}

#[test]
fn a_retry_with_another_place_is_caught() {
    must_catch(publishing::an_envelope_that_is_stored_is_accepted_again_in_its_place(make(
        Fault::OtherPlace,
    )));
}

#[test]
fn a_service_that_goes_on_behind_a_refusal_is_caught() {
    must_catch(publishing::behind_an_item_that_was_refused_its_topic_waits_and_no_other(make(
        Fault::NeverBehind,
    )));
}

#[test]
fn a_fetch_that_takes_no_limit_is_caught() {
    must_catch(reading::a_fetch_keeps_to_its_limit_and_says_what_is_left(make(Fault::NoLimit)));
}

#[test]
fn a_page_that_hides_what_is_left_is_caught() {
    must_catch(reading::a_fetch_keeps_to_its_limit_and_says_what_is_left(make(Fault::NoMore)));
}

#[test]
fn heads_of_everything_are_caught() {
    must_catch(reading::heads_say_only_what_differs(make(Fault::AllHeads)));
}

#[test]
fn a_record_that_is_dropped_unsaid_is_caught() {
    must_catch(subscribing::caught_up_comes_after_what_was_stored_before(make(Fault::Drops)));
}

#[test]
fn a_mark_that_is_echoed_too_early_is_caught() {
    must_catch(subscribing::caught_up_comes_after_what_was_stored_before(make(Fault::EarlyMark)));
}

#[test]
fn packages_that_are_left_out_are_caught() {
    must_catch(directory::missing_packages_are_said_in_the_order_asked(make(Fault::LeavesOut)));
}

/// Expects that a guarantee is found broken.
fn must_catch(guarantee: impl Future<Output = ()>) {
    let caught = catch_unwind(AssertUnwindSafe(|| run(Box::pin(guarantee) as Test<'_>)));
    assert!(caught.is_err(), "the suite did not notice");
}

fn make(fault: Fault) -> impl AsyncFn() -> (Broken, Arc<TheHost>) {
    async move || {
        let (inner, host) = over_memory().await;
        (Broken { inner, fault }, host)
    }
}

/// A service that breaks one promise.
struct Broken {
    inner: Remote,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    OtherOrder,
    OtherPlace,
    NeverBehind,
    NoLimit,
    NoMore,
    AllHeads,
    Drops,
    EarlyMark,
    LeavesOut,
}

impl DeliveryService for Broken {
    fn publish(&self, batch: Vec<Transmit>) -> BoxFuture<'_, Vec<PublishOutcome>> {
        Box::pin(async move {
            let mut outcomes = Vec::new();
            if self.fault == Fault::NeverBehind {
                for item in batch {
                    outcomes.extend(self.inner.publish(vec![item]).await);
                }
                return outcomes;
            }
            let known: Vec<(Topic, Seq)> =
                batch.iter().map(|item| (item.topic.clone(), Seq(0))).collect();
            let before = self.inner.heads(known).await.unwrap();
            outcomes = self.inner.publish(batch).await;
            if self.fault == Fault::OtherOrder {
                outcomes.reverse();
            }
            for outcome in &mut outcomes {
                if let PublishOutcome::Accepted { seq, .. } = outcome
                    && self.fault == Fault::OtherPlace
                    && before.iter().any(|(_, head)| *seq <= head.seq)
                {
                    seq.0 += 100;
                }
            }
            outcomes
        })
    }

    fn fetch(
        &self,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, TransportError>> {
        Box::pin(async move {
            let most = PageLimit::default();
            let limit = if self.fault == Fault::NoLimit { most } else { limit };
            let mut pages = self.inner.fetch(after, limit).await?;
            if self.fault == Fault::NoMore {
                pages.iter_mut().for_each(|page| page.more = false);
            }
            Ok(pages)
        })
    }

    fn heads(
        &self,
        mut known: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, TransportError>> {
        if self.fault == Fault::AllHeads {
            known.iter_mut().for_each(|(_, seq)| *seq = Seq(u64::MAX));
        }
        self.inner.heads(known)
    }

    fn subscribe(
        &self,
        changes: BoxStream<'static, Watch>,
    ) -> BoxStream<'static, Result<Delivery, TransportError>> {
        let fault = self.fault;
        let mut records = 0;
        let mut held = VecDeque::new();
        let deliveries = self.inner.subscribe(changes).flat_map(move |delivery| {
            let mut out = Vec::new();
            match (&delivery, fault) {
                (Ok(Delivery::Record(..)), Fault::Drops) => {
                    records += 1;
                    if records % 7 != 0 {
                        out.push(delivery);
                    }
                }
                // The last thing that came before a mark is said after its echo.
                (Ok(Delivery::Record(..) | Delivery::Head { .. }), Fault::EarlyMark) => {
                    out.extend(held.pop_front());
                    held.push_back(delivery);
                }
                (Ok(Delivery::CaughtUp(_)), Fault::EarlyMark) => {
                    out.push(delivery);
                    out.extend(held.pop_front());
                }
                _ => out.push(delivery),
            }
            stream::iter(out)
        });
        Box::pin(deliveries)
    }

    fn key_packages(
        &self,
        of: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, TransportError>> {
        Box::pin(async move {
            let mut found = self.inner.key_packages(of).await?;
            if self.fault == Fault::LeavesOut {
                found.retain(Option::is_some);
            }
            Ok(found)
        })
    }

    fn upload(&self, upload: Upload) -> BoxFuture<'_, Uploaded> {
        self.inner.upload(upload)
    }

    fn resolve(
        &self,
        accounts: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, TransportError>> {
        self.inner.resolve(accounts)
    }
}
