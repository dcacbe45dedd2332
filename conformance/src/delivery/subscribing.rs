//! What a service promises of its subscription.

use conclave_core::delivery::{DeliveryService, PageLimit};
use conclave_proto::{Seq, Topic};

use super::kit::{Subscriber, accepted, everything, group, log, payloads, several};
use crate::link::both;

async fn last(service: &impl DeliveryService, topic: &Topic, numbers: std::ops::Range<u32>) -> Seq {
    *accepted(service, several(topic, numbers)).await.last().expect("something was published")
}

/// Records that are appended while somebody watches arrive in order, each once.
pub async fn records_arrive_in_order_from_the_place_given<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let (one, two) = (group(1), group(2));
    let from = last(&service, &one, 0..3).await;
    let mut subscriber = Subscriber::new(&service);
    subscriber.add(&[(one.clone(), from), (two.clone(), Seq(0))]);
    subscriber.catch_up().await;
    assert!(subscriber.records.is_empty(), "nothing lies behind the places given");
    let mut reached = Vec::new();
    for number in 10..20 {
        let end = last(&service, &one, number..number + 1).await;
        let other = last(&service, &two, number..number + 1).await;
        reached = vec![(one.clone(), end), (two.clone(), other)];
    }
    subscriber.until(&reached).await;
    assert!(
        subscriber.heads == 0 || !subscriber.records.is_empty(),
        "somebody who pulls gets records, not only heads"
    );
    let stored = [&log(&service, &one).await[3..], &log(&service, &two).await[..]].concat();
    assert!(subscriber.records.iter().all(|record| stored.contains(record)), "as stored");
    subscriber.catch_up().await;
}

/// What lies behind the place given and was stored before the subscription came is delivered, or
/// said by a head.
pub async fn what_was_stored_before_is_delivered_or_said<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topic = group(1);
    let places = accepted(&service, several(&topic, 0..10)).await;
    let mut subscriber = Subscriber::new(&service);
    subscriber.add(&[(topic.clone(), places[4])]);
    subscriber.until(&[(topic.clone(), places[9])]).await;
    // Starting over brings it again.
    subscriber.add(&[(topic.clone(), places[7])]);
    subscriber.until(&[(topic.clone(), places[9])]).await;
    // And what comes afterwards comes by itself.
    let before = subscriber.records.len();
    let next = last(&service, &topic, 10..11).await;
    subscriber.until(&[(topic, next)]).await;
    assert!(subscriber.records.len() > before || subscriber.heads > 0);
}

/// Topics can be added and removed at any time; a removed one is silent, and can come back.
pub async fn topics_come_and_go<S: DeliveryService, K>(make: impl AsyncFn() -> (S, K)) {
    let (service, _kept) = make().await;
    let (one, two) = (group(1), group(2));
    let mut subscriber = Subscriber::new(&service);
    subscriber.add(&[(one.clone(), Seq(0))]);
    subscriber.catch_up().await;
    let end = last(&service, &one, 0..1).await;
    subscriber.until(&[(one.clone(), end)]).await;
    subscriber.add(&[(two.clone(), Seq(0))]);
    subscriber.remove(&one);
    subscriber.catch_up().await;
    subscriber.places.remove(&one);
    let missed = last(&service, &one, 1..5).await;
    let end = last(&service, &two, 0..1).await;
    // Anything of the removed topic fails here.
    subscriber.until(&[(two.clone(), end)]).await;
    subscriber.catch_up().await;
    subscriber.add(&[(one.clone(), end_of_first(&service, &one).await)]);
    subscriber.until(&[(one, missed)]).await;
}

async fn end_of_first(service: &impl DeliveryService, topic: &Topic) -> Seq {
    log(service, topic).await.first().expect("a record").seq
}

/// The echo of a mark comes only after everything that was stored before it.
pub async fn caught_up_comes_after_what_was_stored_before<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topics: Vec<Topic> = (1..=5).map(group).collect();
    for topic in &topics {
        last(&service, topic, 0..3).await;
    }
    let mut subscriber = Subscriber::new(&service);
    let places: Vec<_> = topics.iter().map(|topic| (topic.clone(), Seq(0))).collect();
    subscriber.add(&places);
    for round in 1..30 {
        let mut stored = Vec::new();
        for topic in &topics {
            stored.push((topic.clone(), last(&service, topic, round * 10..round * 10 + 2).await));
        }
        subscriber.catch_up().await;
        for (topic, seq) in stored {
            assert!(subscriber.places[&topic] >= seq, "caught up without {topic:?} at {seq:?}");
        }
    }
}

/// Scenario 84: publishing goes on while nobody pulls the subscription, and whoever pulls it later
/// hears of everything: as a record or by a head.
pub async fn a_subscriber_that_does_not_pull_blocks_nobody_and_misses_nothing_unsaid<
    S: DeliveryService,
    K,
>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topics: Vec<Topic> = (1..=3).map(group).collect();
    let mut subscriber = Subscriber::new(&service);
    let places: Vec<_> = topics.iter().map(|topic| (topic.clone(), Seq(0))).collect();
    subscriber.add(&places);
    subscriber.catch_up().await;
    let mut reached = Vec::new();
    for topic in &topics {
        let mut end = Seq(0);
        for call in 0..20 {
            end = last(&service, topic, call * 50..call * 50 + 50).await;
        }
        reached.push((topic.clone(), end));
    }
    subscriber.until(&reached).await;
    subscriber.catch_up().await;
    let all = everything(&service, &topics, PageLimit::default()).await;
    assert!(all.values().all(|records| records.len() == 1_000), "everything was stored");
    // From here on it is like any other subscriber again.
    let end = last(&service, &topics[0], 5_000..5_001).await;
    subscriber.until(&[(topics[0].clone(), end)]).await;
}

/// There is one subscription at a time. A new one ends the one before, and starts from its own
/// places: nothing of the other's comes with it.
pub async fn a_new_subscription_ends_the_one_before_and_gets_nothing_of_it<
    S: DeliveryService,
    K,
>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let (one, two) = (group(1), group(2));
    for round in 0..10 {
        let mut first = Subscriber::new(&service);
        first.add(&[(one.clone(), Seq(0)), (two.clone(), Seq(0))]);
        first.catch_up().await;
        // Records are on their way to the first while the second comes.
        let numbers = several(&one, round * 100..round * 100 + 20);
        let mut second = None;
        both(accepted(&service, numbers), async {
            let mut subscriber = Subscriber::new(&service);
            subscriber.add(&[(one.clone(), Seq(0))]);
            second = Some(subscriber);
        })
        .await;
        let mut second = second.expect("it subscribed");
        let end = last(&service, &one, round * 100 + 20..round * 100 + 30).await;
        second.until(&[(one.clone(), end)]).await;
        second.catch_up().await;
        let stored = payloads(&log(&service, &one).await);
        assert!(second.records.iter().all(|record| stored.contains(&record.payload)));
        // The first has ended, after whatever was on its way.
        while let Some(delivery) = first.next().await {
            if delivery.is_err() {
                assert!(first.next().await.is_none(), "a subscription ends after an error");
                break;
            }
        }
    }
}

/// A subscription whose changes end ends too, and the service is there for the next.
pub async fn a_subscription_ends_with_its_changes<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topic = group(1);
    let mut subscriber = Subscriber::new(&service);
    subscriber.add(&[(topic.clone(), Seq(0))]);
    subscriber.catch_up().await;
    subscriber.finish();
    while let Some(Ok(_)) = subscriber.next().await {}
    let mut subscriber = Subscriber::new(&service);
    subscriber.add(&[(topic.clone(), Seq(0))]);
    let end = last(&service, &topic, 0..3).await;
    subscriber.until(&[(topic, end)]).await;
}
