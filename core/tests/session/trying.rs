//! What is tried again, when, and in which order.

use std::time::Duration;

use conclave_core::{
    delivery::{Delivery, PublishOutcome, Uploaded, Watch},
    session::{Action, CallId, Session, SessionLimits},
    step::Upload,
};
use conclave_proto::{ChainHash, Cursor, GroupId, Record, Seq, Timestamp, Topic};

use super::kit::{
    HOUR_MS, OWNER, START, at, connected, drain, envelopes, publish_of, settled, subscribes, topic,
    unavailable,
};

/// R4: envelopes of a topic are stored in the order given, whatever fails in between, and what
/// is refused is not tried again.
#[test]
fn a_topic_keeps_its_order_through_failures() {
    let mut session = connected();
    let sent = envelopes(1, 5);
    session.publish(OWNER, sent.clone());
    // Those that wait already are not queued twice.
    session.publish(OWNER, sent[1..3].to_vec());
    let (call, batch) = publish_of(&drain(&mut session, START)).expect("something to publish");
    assert_eq!(batch, sent);
    session.publish(OWNER, envelopes(1, 6)[5..].to_vec());
    assert_eq!(publish_of(&drain(&mut session, START)), None, "one call of a topic at a time");
    let not_stored = PublishOutcome::not_stored(Duration::from_millis(5));
    let behind = PublishOutcome::Behind;
    let outcomes = vec![at(1), not_stored, behind, PublishOutcome::Unknown, behind];
    session.handle_published(START, call, outcomes);
    let actions = drain(&mut session, START);
    assert_eq!(settled(&actions), [sent[0].id]);
    assert_eq!(publish_of(&actions), None, "not at once");
    let due = session.next_timeout().unwrap();
    let (call, batch) = publish_of(&drain(&mut session, due)).expect("it is due");
    assert_eq!(batch, [&sent[1..], &envelopes(1, 6)[5..]].concat(), "in the order given");
    let refused = PublishOutcome::Invalid;
    let behind = PublishOutcome::Behind;
    let outcomes = vec![at(2), refused, behind, behind, behind];
    session.handle_published(due, call, outcomes);
    let actions = drain(&mut session, due);
    assert_eq!(settled(&actions), [sent[1].id, sent[2].id]);
    let (call, batch) = publish_of(&actions).expect("what stood in the way is settled");
    assert_eq!(batch, [&sent[3..], &envelopes(1, 6)[5..]].concat(), "the refused one is gone");
    session.handle_published(due, call, vec![at(3), at(4), at(5)]);
    assert_eq!(settled(&drain(&mut session, due)).len(), 3);
    assert!(session.is_idle());
}

/// R6: a service that answers too little has said nothing about the rest; one that answers `Behind`
/// without a reason is asked slowly.
#[test]
fn answers_that_do_not_keep_their_word_settle_nothing() {
    let mut session = connected();
    session.publish(OWNER, envelopes(1, 3));
    let (call, _) = publish_of(&drain(&mut session, START)).unwrap();
    session.handle_published(START, call, vec![at(1)]);
    let actions = drain(&mut session, START);
    assert_eq!((settled(&actions).len(), publish_of(&actions)), (1, None));
    let due = session.next_timeout().unwrap();
    let (call, batch) = publish_of(&drain(&mut session, due)).unwrap();
    assert_eq!(batch, envelopes(1, 3)[1..]);
    let behind = vec![PublishOutcome::Behind; 2];
    session.handle_published(due, call, behind);
    assert_eq!(publish_of(&drain(&mut session, due)), None);
    assert!(session.next_timeout().unwrap() > due);
    session.handle_published(due, CallId(999), vec![at(9)]);
    assert_eq!(drain(&mut session, due), [], "an answer to no call");
}

/// Scenario 84: topics do not wait for each other, and calls are bounded.
#[test]
fn other_topics_go_on_while_one_waits() {
    let mut session = connected();
    session.publish(OWNER, envelopes(1, 1));
    let (stuck, _) = publish_of(&drain(&mut session, START)).unwrap();
    for number in 2..=8 {
        session.publish(OWNER, envelopes(number, 1));
        drain(&mut session, START);
    }
    session.publish(OWNER, envelopes(9, 1));
    assert_eq!(publish_of(&drain(&mut session, START)), None, "so many calls at once");
    assert_eq!(session.next_timeout(), None, "nothing waits for time");
    session.handle_published(START, stuck, vec![PublishOutcome::Unknown]);
    let (_, batch) = publish_of(&drain(&mut session, START)).expect("there is room again");
    assert!(batch.iter().all(|transmit| transmit.topic != topic(1)), "others come first");
}

/// Scenario 54: waits double up to a bound, with jitter, and are the same for the same seed.
#[test]
fn waits_grow_to_a_bound_with_jitter_by_seed() {
    let waits = |seed: u8| {
        let mut session = Session::new(SessionLimits::default(), [seed; 32]);
        let mut now = START;
        let mut waits = Vec::new();
        drain(&mut session, now);
        for _ in 0..40 {
            session.handle_unsubscribed(now, &unavailable(0));
            assert!(!subscribes(&drain(&mut session, now)), "never at once");
            let due = session.next_timeout().unwrap();
            assert!(!subscribes(&drain(&mut session, Timestamp(due.0 - 1))), "not too early");
            assert!(subscribes(&drain(&mut session, due)), "in time");
            waits.push(due.since_ms(now));
            now = due;
        }
        waits
    };
    let one = waits(1);
    assert_eq!(one, waits(1), "deterministic");
    assert_ne!(one, waits(2), "jittered");
    for (attempt, wait) in one.iter().enumerate() {
        let own = (250_u64 << attempt.min(20)).min(60_000);
        assert!((own / 2..=own * 3 / 2).contains(wait), "attempt {attempt}: {wait} ms");
    }
}

/// R6: what a relay asks for is granted, within reason.
#[test]
fn a_relay_cannot_make_a_client_wait_for_ever() {
    let mut session = connected();
    session.handle_unsubscribed(START, &unavailable(20_000));
    drain(&mut session, START);
    assert!(session.next_timeout().unwrap() >= START.plus_ms(20_000));
    drain(&mut session, START.plus_ms(HOUR_MS));
    session.handle_unsubscribed(START, &unavailable(u64::MAX));
    drain(&mut session, START);
    assert!(session.next_timeout().unwrap() <= START.plus_ms(HOUR_MS));
}

/// Scenario 54: a clock that jumps, either way, makes no wait longer than it was.
#[test]
fn clock_jumps_stall_nothing() {
    for jump in [HOUR_MS, 10 * 365 * 24 * HOUR_MS] {
        for back in [false, true] {
            let mut session = connected();
            session.publish(OWNER, envelopes(1, 1));
            let (call, _) = publish_of(&drain(&mut session, START)).unwrap();
            session.handle_published(START, call, vec![PublishOutcome::Unknown]);
            session.handle_unsubscribed(START, &unavailable(0));
            drain(&mut session, START);
            let now =
                if back { Timestamp(START.0 - jump.min(START.0)) } else { START.plus_ms(jump) };
            let mut actions = drain(&mut session, now);
            actions.extend(drain(&mut session, now.plus_ms(400)));
            assert!(subscribes(&actions), "after a jump of {jump} ms, back {back}");
            assert!(publish_of(&actions).is_some(), "after a jump of {jump} ms, back {back}");
        }
    }
}

/// Scenarios 82, 83: with 10,000 topics a break costs a handful of actions, from where everybody
/// stood.
#[test]
fn a_break_with_10000_topics_costs_a_handful_of_actions() {
    let mut session = Session::new(SessionLimits::default(), [1; 32]);
    let many = |n: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        Topic::Group(GroupId(id))
    };
    for n in 0..10_000 {
        session.watch(many(n), Cursor::START);
    }
    drain(&mut session, START);
    let record = Record::chained(&many(77), Seq(4), Seq(0), &ChainHash::GENESIS, vec![1]);
    session.handle_delivery(Delivery::Record(many(77), record.clone()));
    drain(&mut session, START);
    session.handle_unsubscribed(START, &unavailable(0));
    session.handled(START, &many(77), record.cursor(), false);
    let mut actions = drain(&mut session, START);
    let due = session.next_timeout().unwrap();
    actions.extend(drain(&mut session, due));
    assert_eq!(actions.len(), 5, "unreachable, subscribe, two lists, a mark");
    let added: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Watch(Watch::Add(topics)) => Some(topics),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(added.len(), 10_000);
    assert!(added.contains(&&(many(77), Seq(4))), "from where it stood");
}

/// Uploads: one at a time, the newest only, until it is settled.
#[test]
fn an_upload_is_tried_until_it_is_settled() {
    let mut session = connected();
    let upload = |counter: u8| Upload { counter: counter.into(), bytes: vec![counter] };
    let uploads = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Upload { call, upload } => Some((*call, upload.counter)),
            _ => None,
        })
    };
    let answer = |outcome| Uploaded { outcome, welcome_head: Seq(0) };
    session.upload(upload(1));
    let (call, counter) = uploads(&drain(&mut session, START)).unwrap();
    assert_eq!(counter, 1);
    session.upload(upload(2));
    assert_eq!(uploads(&drain(&mut session, START)), None, "one at a time");
    session.handle_uploaded(START, call, answer(PublishOutcome::Unknown));
    assert_eq!(uploads(&drain(&mut session, START)), None, "not at once");
    let due = session.next_timeout().unwrap();
    let (call, counter) = uploads(&drain(&mut session, due)).unwrap();
    assert_eq!(counter, 2, "in place of the one before");
    session.handle_uploaded(due, call, answer(at(2)));
    let actions = drain(&mut session, due);
    assert!(matches!(actions[..], [Action::Uploaded { counter: 2, .. }]), "{actions:?}");
    assert!(session.is_idle());
}
