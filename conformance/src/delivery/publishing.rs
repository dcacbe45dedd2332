//! What a service promises of publishing.

use conclave_core::delivery::{DeliveryService, PageLimit, PublishOutcome, Transmit};
use conclave_proto::{InstallationId, Seq, Topic, limits};
use sha2::{Digest, Sha256};

use super::{
    directory::Person,
    kit::{accepted, everything, group, log, payloads, publish, several, transmit},
};
use crate::link::both;

/// R8: records come back in the order in which they were accepted, linked into a chain from the
/// start of their log, at the places that were said.
pub async fn what_is_published_can_be_fetched_as_a_chain<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topic = group(1);
    let mut places = accepted(&service, several(&topic, 0..5)).await;
    for number in 5..8 {
        places.extend(accepted(&service, several(&topic, number..number + 1)).await);
    }
    let records = log(&service, &topic).await;
    let stored: Vec<Seq> = records.iter().map(|record| record.seq).collect();
    assert_eq!(stored, places, "records are where they were said to be");
    let published: Vec<_> = several(&topic, 0..8).into_iter().map(|one| one.payload).collect();
    assert_eq!(payloads(&records), published, "what was published is what is fetched");
    assert!(log(&service, &group(2)).await.is_empty(), "other logs are not touched");
}

/// R8: one log has one order, however it is read and whoever publishes at the same time.
pub async fn every_reader_sees_the_same_order<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topic = group(1);
    let one = async {
        for number in 0..20 {
            accepted(&service, several(&topic, number..number + 1)).await;
        }
    };
    let other = async {
        for number in 100..105 {
            accepted(&service, several(&topic, number * 4..number * 4 + 4)).await;
        }
    };
    both(one, other).await;
    let whole = log(&service, &topic).await;
    assert_eq!(whole.len(), 40, "everything that was accepted is there");
    let limit = PageLimit { records: 3, ..PageLimit::default() };
    let again = everything(&service, std::slice::from_ref(&topic), limit).await;
    assert_eq!(again.get(&topic), Some(&whole), "every reader sees the same log");
    let numbers = payloads(&whole);
    for publisher in [several(&topic, 0..20), several(&topic, 400..420)] {
        let order: Vec<_> = publisher.iter().map(|one| place_in(&numbers, one)).collect();
        assert!(order.is_sorted(), "envelopes of one topic are stored in the order given");
    }
}

fn place_in(payloads: &[Vec<u8>], one: &Transmit) -> usize {
    payloads.iter().position(|payload| *payload == one.payload).expect("it is in the log")
}

/// Outcome `i` belongs to item `i`.
pub async fn each_outcome_belongs_to_its_item<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let person = Person::new(1);
    let wrong = Transmit { expect: Some(Seq(7)), ..person.founding() };
    let body = Topic::Blob([9; 32]);
    let batch = vec![
        transmit(&group(1), b"one"),
        wrong,
        transmit(&group(2), b"two"),
        transmit(&body, b"not its content"),
        transmit(&group(1), b"three"),
    ];
    let outcomes = publish(&service, batch).await;
    let is = |index: usize, expected: bool| {
        let found = outcomes[index].is_accepted();
        assert_eq!(found, expected, "outcome {index}: {:?}", outcomes[index]);
    };
    for (index, expected) in [true, false, true, false, true].into_iter().enumerate() {
        is(index, expected);
    }
    let conflict = PublishOutcome::Conflict { head: Seq(0) };
    assert_eq!(outcomes[1], conflict, "a conflict says what the head is");
    assert_eq!(outcomes[3], PublishOutcome::Invalid, "not its content");
    assert_eq!(payloads(&log(&service, &group(1)).await), [&b"one"[..], b"three"]);
    assert_eq!(payloads(&log(&service, &group(2)).await), [b"two"]);
}

/// Scenario 10, R4: a retry is accepted where the first attempt is, and nothing is stored twice.
pub async fn an_envelope_that_is_stored_is_accepted_again_in_its_place<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topic = group(1);
    let first = publish(&service, several(&topic, 0..3)).await;
    assert_eq!(publish(&service, several(&topic, 0..3)).await, first, "the whole call again");
    let between = accepted(&service, several(&topic, 10..11)).await;
    let mixed = [several(&topic, 11..12), several(&topic, 1..2)].concat();
    let outcomes = publish(&service, mixed).await;
    assert_eq!(outcomes[1], first[1], "a retry among others keeps its place");
    assert!(matches!(outcomes[0], PublishOutcome::Accepted { seq, .. } if seq > between[0]));
    let twice = [several(&topic, 12..13), several(&topic, 12..13)].concat();
    let outcomes = publish(&service, twice).await;
    assert_eq!(outcomes[0], outcomes[1], "twice in one call");
    let stored = payloads(&log(&service, &topic).await);
    let expected: Vec<_> = [0, 1, 2, 10, 11, 12].map(u32::to_be_bytes).into();
    assert_eq!(stored, expected, "each envelope is stored once");

    let person = Person::new(1);
    let founded = publish(&service, vec![person.founding()]).await;
    let again = publish(&service, vec![person.founding()]).await;
    assert!(founded[0].is_accepted(), "{founded:?}");
    assert_eq!(again, founded, "a retry counts although its expectation is no longer right");
}

/// R1: an identity log takes an entry only at the head that its writer knows.
pub async fn identity_logs_are_appended_to_only_at_the_expected_head<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let person = Person::new(1);
    let unconditional = Transmit { expect: None, ..person.founding() };
    let outcomes = publish(&service, vec![unconditional]).await;
    assert!(outcomes[0].is_refused(), "without an expectation");
    let head = accepted(&service, vec![person.founding()]).await[0];
    let stale = Transmit { expect: Some(Seq(0)), ..person.second(head) };
    let outcomes = publish(&service, vec![stale]).await;
    assert_eq!(outcomes, [PublishOutcome::Conflict { head }]);
    let second = accepted(&service, vec![person.second(head)]).await[0];
    let records = log(&service, &person.topic()).await;
    let places: Vec<Seq> = records.iter().map(|record| record.seq).collect();
    assert_eq!(places, [head, second], "refused entries are not stored");
}

/// Items of one topic are stored in the order given or not at all: behind one that is refused
/// the later ones of its topic are `Behind`, and those of other topics are not.
pub async fn behind_an_item_that_was_refused_its_topic_waits_and_no_other<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let person = Person::new(1);
    let head = accepted(&service, vec![person.founding()]).await[0];
    let wrong = Transmit { expect: Some(Seq(0)), ..person.second(head) };
    let batch = vec![
        transmit(&group(1), b"before"),
        wrong,
        transmit(&group(1), b"other topic"),
        person.second(head),
        transmit(&group(2), b"another topic"),
    ];
    let outcomes = publish(&service, batch).await;
    let behind = PublishOutcome::Behind;
    assert_eq!(outcomes[3], behind, "a later item of the topic waits");
    for index in [0, 2, 4] {
        let accepted = outcomes[index].is_accepted();
        assert!(accepted, "other topics do not wait: {:?}", outcomes[index]);
    }
    assert_eq!(log(&service, &person.topic()).await.len(), 1, "what is behind is not stored");
    accepted(&service, vec![person.second(head)]).await;
}

/// R3: what is too long is refused as such, with the limit, and what is short enough is not.
pub async fn an_envelope_that_is_too_long_is_refused<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topic = Topic::Welcome(InstallationId([1; 32]));
    let long = vec![1; 2 * limits::SEALED_WELCOME_BYTES];
    let outcomes = publish(&service, vec![transmit(&topic, long.clone())]).await;
    let PublishOutcome::TooLarge { max } = outcomes[0] else {
        panic!("too long for a Welcome: {:?}", outcomes[0]);
    };
    let max = usize::try_from(max).expect("a limit fits");
    assert!((limits::SEALED_WELCOME_BYTES..long.len()).contains(&max), "the limit is {max}");
    assert!(log(&service, &topic).await.is_empty(), "nothing of it is stored");
    accepted(&service, vec![transmit(&topic, vec![1; limits::SEALED_WELCOME_BYTES])]).await;
}

/// A body is stored under the SHA-256 of its bytes, once, and under nothing else.
pub async fn bodies_are_stored_under_their_own_hash_only<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let body = vec![5; 3_000];
    let topic = Topic::Blob(Sha256::digest(&body).into());
    let wrong = publish(&service, vec![transmit(&topic, vec![6; 3_000])]).await;
    assert_eq!(wrong, [PublishOutcome::Invalid], "another body");
    let first = publish(&service, vec![transmit(&topic, body.clone())]).await;
    assert!(first[0].is_accepted(), "{first:?}");
    assert_eq!(publish(&service, vec![transmit(&topic, body.clone())]).await, first);
    assert_eq!(payloads(&log(&service, &topic).await), [body]);
}
