//! Sessions against a scripted service, in virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

use std::time::Duration;

use conclave_core::{
    delivery::{
        Delivery, PublishOutcome, Refusal, TopicPage, Transmit, TransportError, Uploaded, Watch,
    },
    session::{Action, CallId, Session, SessionLimits},
    step::Upload,
};
use conclave_proto::{
    ChainHash, Cursor, GroupId, Record, Seq, Timestamp, Topic, record::transmit_id,
};

const START: Timestamp = Timestamp(1_790_000_000_000);
const HOUR_MS: u64 = 3_600_000;
const OWNER: GroupId = GroupId([7; 16]);

/// R8, scenario 84: what is missing or comes too early is fetched from where the owner stands.
#[test]
fn a_hole_in_what_arrives_is_fetched() {
    let (mut session, log) = (connected(), records(1, 5));
    session.handle_delivery(record(&log[0]));
    assert_eq!(delivered(&drain(&mut session, START)), [1]);
    session.handle_delivery(record(&log[3]));
    let actions = drain(&mut session, START);
    session.handle_delivery(record(&log[1]));
    assert!(delivered(&actions).is_empty(), "the owner is still busy");
    let (call, after) = fetch_of(&actions).expect("record 3 is missing");
    assert_eq!(after, [(topic(1), log[0].cursor())], "asked when the hole was seen");
    session.handle_pages(START, call, Ok(vec![page(&log[1..4], &log[4], true)]));
    session.handled(START, &topic(1), log[0].cursor(), false);
    let actions = drain(&mut session, START);
    assert_eq!(delivered(&actions), [2, 3, 4], "each once, in order");
    let (call, _) = fetch_of(&actions).expect("the page said that there is more");
    session.handle_pages(START, call, Ok(vec![page(&log[4..], &log[4], false)]));
    session.handled(START, &topic(1), log[3].cursor(), false);
    assert_eq!(delivered(&drain(&mut session, START)), [5]);
    session.handled(START, &topic(1), log[4].cursor(), false);
    assert_eq!(drain(&mut session, START), []);
    assert!(session.is_idle());
}

/// R8: a record of another history reaches the owner only when the relay, asked from where the
/// owner stands, shows it again.
#[test]
fn a_record_that_does_not_extend_the_chain_is_shown_once_it_is_confirmed() {
    let (mut session, log) = (connected(), records(1, 2));
    let forged = Record::chained(&topic(1), Seq(2), Seq(1), &ChainHash([9; 32]), vec![9]);
    session.handle_delivery(record(&log[0]));
    drain(&mut session, START);
    session.handled(START, &topic(1), log[0].cursor(), false);
    session.handle_delivery(record(&forged));
    let actions = drain(&mut session, START);
    assert!(delivered(&actions).is_empty(), "it may only have been damaged on the way");
    let (call, after) = fetch_of(&actions).expect("the relay is asked");
    assert_eq!(after[0].1, log[0].cursor());
    session.handle_pages(
        START,
        call,
        Ok(vec![page(std::slice::from_ref(&forged), &forged, false)]),
    );
    assert_eq!(delivered(&drain(&mut session, START)), [2], "the owner decides what it means");

    let mut session = connected();
    session.handle_delivery(record(&forged));
    let (call, _) = fetch_of(&drain(&mut session, START)).expect("the relay is asked");
    session.handle_pages(START, call, Ok(vec![page(&log, &log[1], false)]));
    let actions = drain(&mut session, START);
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Deliver { records, .. } if *records == log)),
        "what the relay shows when asked is what counts: {actions:?}"
    );
}

/// R8: an answer to a question from another place confirms nothing.
#[test]
fn a_page_from_where_the_owner_no_longer_stands_is_not_shown() {
    let (mut session, log) = (connected(), records(1, 6));
    session.handle_delivery(record(&log[0]));
    session.handle_delivery(record(&log[1]));
    assert_eq!(delivered(&drain(&mut session, START)), [1]);
    session.handle_delivery(head(6));
    let (call, after) = fetch_of(&drain(&mut session, START)).expect("3 to 6 are missing");
    assert_eq!(after[0].1, log[1].cursor());
    // The owner was loaded again, from before what it was given.
    session.handled(START, &topic(1), Cursor::START, true);
    session.handle_pages(START, call, Ok(vec![page(&log[2..], &log[5], false)]));
    let actions = drain(&mut session, START);
    assert!(delivered(&actions).is_empty(), "{actions:?}");
    let (call, after) = fetch_of(&actions).expect("from where the owner stands");
    assert_eq!(after[0].1, Cursor::START);
    session.handle_pages(START, call, Ok(vec![page(&log, &log[5], false)]));
    assert_eq!(delivered(&drain(&mut session, START)), [1, 2, 3, 4, 5, 6]);
}

/// R8: a parked owner whose log forks behind what was collected gets to see that, and the relay
/// is not asked the same thing for ever.
#[test]
fn a_fork_behind_a_parked_owner_is_shown_and_not_asked_for_ever() {
    let (mut session, log) = (connected(), records(1, 3));
    session.handle_delivery(record(&log[0]));
    drain(&mut session, START);
    session.handled(START, &topic(1), Cursor::START, true);
    session.handle_delivery(head(3));
    let forged = Record::chained(&topic(1), Seq(3), Seq(2), &ChainHash([9; 32]), vec![9]);
    for _ in 0..3 {
        let actions = drain(&mut session, START);
        let Some((call, after)) = fetch_of(&actions) else {
            assert_eq!(delivered(&actions), [1, 2, 3]);
            return;
        };
        let shown = [log[0].clone(), log[1].clone(), forged.clone()];
        let behind = shown.iter().filter(|record| record.seq > after[0].1.seq).cloned();
        let behind: Vec<_> = behind.collect();
        session.handle_pages(START, call, Ok(vec![page(&behind, &forged, false)]));
    }
    let actions = drain(&mut session, START);
    assert_eq!(delivered(&actions), [1, 2, 3]);
}

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
    let not_stored = PublishOutcome::NotStored { retry_after: Duration::from_millis(5) };
    let behind = PublishOutcome::Refused(Refusal::Behind);
    let outcomes = vec![at(1), not_stored, behind.clone(), PublishOutcome::Unknown, behind];
    session.handle_published(START, call, outcomes);
    let actions = drain(&mut session, START);
    assert_eq!(settled(&actions), [sent[0].id]);
    assert_eq!(publish_of(&actions), None, "not at once");
    let due = session.next_timeout().unwrap();
    let (call, batch) = publish_of(&drain(&mut session, due)).expect("it is due");
    assert_eq!(batch, [&sent[1..], &envelopes(1, 6)[5..]].concat(), "in the order given");
    let refused = PublishOutcome::Refused(Refusal::Invalid);
    let behind = PublishOutcome::Refused(Refusal::Behind);
    let outcomes = vec![at(2), refused, behind.clone(), behind.clone(), behind];
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
    let behind = vec![PublishOutcome::Refused(Refusal::Behind); 2];
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

/// Scenario 54, R5: waits double up to a bound, with jitter, and are the same for the same seed.
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

/// R5: what a relay asks for is granted, within reason.
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

/// A parked owner gets everything behind its cursor when another record has come, and after a
/// while in any case; not before.
#[test]
fn a_parked_owner_gets_everything_again_when_more_comes() {
    let (mut session, log) = (connected(), records(1, 4));
    session.handle_delivery(record(&log[0]));
    drain(&mut session, START);
    session.handle_delivery(record(&log[1]));
    session.handled(START, &topic(1), Cursor::START, true);
    let fetch = fetch_of(&drain(&mut session, START));
    let (call, after) = fetch.expect("record 2 has come meanwhile");
    assert_eq!(after[0].1, Cursor::START);
    session.handle_pages(START, call, Ok(vec![page(&log[..2], &log[1], false)]));
    assert_eq!(delivered(&drain(&mut session, START)), [1, 2]);
    session.handled(START, &topic(1), Cursor::START, true);
    assert_eq!(drain(&mut session, START), [], "nothing came");
    let again = session.next_timeout().unwrap();
    assert_eq!(again, START.plus_ms(60_000));
    let (call, _) = fetch_of(&drain(&mut session, again)).expect("in any case after a while");
    session.handle_pages(again, call, Ok(vec![page(&log[..2], &log[1], false)]));
    assert_eq!(delivered(&drain(&mut session, again)), [1, 2]);
    session.handled(again, &topic(1), log[1].cursor(), false);
    assert_eq!(drain(&mut session, again), []);
    assert_eq!(session.next_timeout(), None);
}

/// A parked owner behind whom nothing waits costs one look a minute, not a busy loop.
#[test]
fn a_parked_owner_at_the_end_of_its_log_does_not_spin() {
    let (mut session, log) = (connected(), records(1, 1));
    session.handle_delivery(record(&log[0]));
    drain(&mut session, START);
    session.handled(START, &topic(1), log[0].cursor(), true);
    let mut now = START;
    for _ in 0..3 {
        assert_eq!(drain(&mut session, now), []);
        let due = session.next_timeout().expect("it is looked after");
        assert!(due > now, "time goes on");
        now = due;
    }
}

/// An owner that does not move without being parked had trouble: it is given its records again
/// later, not at once.
#[test]
fn an_owner_in_trouble_is_tried_again_later() {
    let (mut session, log) = (connected(), records(1, 2));
    session.handle_delivery(record(&log[0]));
    drain(&mut session, START);
    session.handled(START, &topic(1), Cursor::START, false);
    assert_eq!(drain(&mut session, START), [], "not at once");
    assert!(!session.is_idle(), "it still has something to read");
    let due = session.next_timeout().unwrap();
    assert_eq!(due, START.plus_ms(1_000));
    let (call, after) = fetch_of(&drain(&mut session, due)).unwrap();
    assert_eq!(after[0].1, Cursor::START);
    session.handle_pages(due, call, Ok(vec![page(&log[..1], &log[0], false)]));
    assert_eq!(delivered(&drain(&mut session, due)), [1]);
    session.handled(due, &topic(1), log[0].cursor(), false);
    assert!(drain(&mut session, due).is_empty() && session.is_idle());
}

/// Look-ups read page by page to what was asked for, over failures.
#[test]
fn a_look_up_reads_until_it_has_what_was_asked_for() {
    let (mut session, log) = (connected(), records(3, 10));
    let all = session.look_up(topic(3), Cursor::START, None);
    let some = session.look_up(topic(3), log[1].cursor(), Some(3));
    let none = session.look_up(topic(4), Cursor::START, None);
    let mut found = std::collections::BTreeMap::new();
    let mut now = START;
    let mut failures = 2;
    for _ in 0..50 {
        for action in drain(&mut session, now) {
            match action {
                Action::Fetch { call, after, limit } => {
                    if failures > 0 {
                        failures -= 1;
                        session.handle_pages(now, call, Err(unavailable(0)));
                        continue;
                    }
                    let behind = log.iter().filter(|record| record.seq > after[0].1.seq);
                    let behind: Vec<_> =
                        behind.take((limit.records as usize).min(4)).cloned().collect();
                    let more = behind.last().is_some_and(|last| last.seq < log[9].seq);
                    let pages = vec![page_of(&topic(3), &behind, &log[9], more)];
                    let pages = if after[0].0 == topic(3) { pages } else { Vec::new() };
                    session.handle_pages(now, call, Ok(pages));
                }
                Action::Found { look_up, records } => {
                    assert_eq!(found.insert(look_up, records), None, "found once");
                }
                other => panic!("{other:?}"),
            }
        }
        now = session.next_timeout().unwrap_or(now);
    }
    assert_eq!(found[&all], log);
    assert_eq!(found[&some], log[2..5]);
    assert_eq!(found[&none], []);
    assert!(session.is_idle());
}

/// R8: whoever stands before the first record that is left is told, others are not, and nobody
/// asks for ever.
#[test]
fn a_trimmed_log_is_said_to_those_it_concerns() {
    let (mut session, log) = (connected(), records(1, 3));
    session.handle_delivery(head(3));
    let (call, _) = fetch_of(&drain(&mut session, START)).unwrap();
    let truncated = |first| TransportError::Truncated { topic: topic(1), first: Seq(first) };
    session.handle_pages(START, call, Err(truncated(3)));
    let actions = drain(&mut session, START);
    assert!(actions.contains(&Action::Truncated { topic: topic(1), first: Seq(3) }));
    assert!(!session.is_watched(&topic(1)));
    assert_eq!(fetch_of(&actions), None);

    // A question about what is gone has no answer; the owner behind it goes on.
    session.watch(topic(1), log[1].cursor());
    let look_up = session.look_up(topic(1), Cursor::START, None);
    let (call, _) = fetch_of(&drain(&mut session, START)).unwrap();
    session.handle_pages(START, call, Err(truncated(3)));
    let actions = drain(&mut session, START);
    assert_eq!(actions, [Action::Found { look_up, records: vec![] }]);
    assert!(session.is_watched(&topic(1)));

    // A relay that says so of something else is a relay that fails.
    session.handle_delivery(head(3));
    let (call, _) = fetch_of(&drain(&mut session, START)).unwrap();
    let other = TransportError::Truncated { topic: topic(9), first: Seq(3) };
    session.handle_pages(START, call, Err(other));
    assert_eq!(drain(&mut session, START), []);
    assert!(session.next_timeout().unwrap() > START);
}

/// R6: more that never comes is not asked for at full speed.
#[test]
fn a_relay_that_promises_more_and_gives_nothing_is_asked_slowly() {
    let (mut session, log) = (connected(), records(1, 3));
    session.handle_delivery(head(3));
    let (call, _) = fetch_of(&drain(&mut session, START)).unwrap();
    session.handle_pages(START, call, Ok(vec![page(&[], &log[2], true)]));
    assert_eq!(drain(&mut session, START), []);
    let due = session.next_timeout().unwrap();
    assert!(due > START);
    assert!(fetch_of(&drain(&mut session, due)).is_some());
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

/// E7: two logs with news are asked for at the same time and by themselves, so that the page of
/// one does not fill what the other could have had; a long page is given in parts.
#[test]
fn two_owners_are_served_at_the_same_time_and_in_parts() {
    let mut session = connected();
    session.watch(topic(2), Cursor::START);
    session.handle_delivery(Delivery::Head { topic: topic(1), seq: Seq(1_000) });
    session.handle_delivery(Delivery::Head { topic: topic(2), seq: Seq(1_000) });
    let actions = drain(&mut session, START);
    let fetches: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Fetch { call, after, .. } => Some((*call, after.clone())),
            _ => None,
        })
        .collect();
    let asked: Vec<_> = fetches.iter().map(|(_, after)| after.len()).collect();
    assert_eq!(asked, [1, 1]);
    let log = records(1, 1_000);
    session.handle_pages(START, fetches[0].0, Ok(vec![page(&log, &log[999], false)]));
    let (most, mut given) = (SessionLimits::default().given_records, 0);
    while given < 1_000 {
        let part = delivered(&drain(&mut session, START));
        assert!((1..=most).contains(&part.len()) && part[0] == given + 1, "{part:?}");
        given += part.len() as u64;
        let last = usize::try_from(given).unwrap() - 1;
        session.handled(START, &topic(1), log[last].cursor(), false);
    }
    assert_eq!(given, 1_000);
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

fn topic(number: u8) -> Topic {
    Topic::Group(GroupId([number; 16]))
}

/// A log of so many records.
fn records(number: u8, count: u64) -> Vec<Record> {
    let mut cursor = Cursor::START;
    let record = |seq: u64| {
        let payload = [&[number][..], &seq.to_be_bytes()].concat();
        let record = Record::chained(&topic(number), Seq(seq), cursor.seq, &cursor.hash, payload);
        cursor = record.cursor();
        record
    };
    (1..=count).map(record).collect()
}

fn record(record: &Record) -> Delivery {
    Delivery::Record(topic(1), record.clone())
}

fn head(seq: u64) -> Delivery {
    Delivery::Head { topic: topic(1), seq: Seq(seq) }
}

fn page(records: &[Record], last: &Record, more: bool) -> TopicPage {
    page_of(&topic(1), records, last, more)
}

fn page_of(topic: &Topic, records: &[Record], last: &Record, more: bool) -> TopicPage {
    let (topic, records, head) = (topic.clone(), records.to_vec(), last.cursor());
    TopicPage { topic, records, head, more, signed: None }
}

fn envelopes(number: u8, count: u8) -> Vec<Transmit> {
    let one = |n| {
        let (topic, payload) = (topic(number), vec![n]);
        Transmit { id: transmit_id(&topic, &payload), topic, expect: None, payload }
    };
    (0..count).map(one).collect()
}

fn at(seq: u64) -> PublishOutcome {
    PublishOutcome::Accepted { seq: Seq(seq), prev: Seq(seq - 1) }
}

fn unavailable(ms: u64) -> TransportError {
    TransportError::Unavailable { retry_after: Duration::from_millis(ms) }
}

/// A session that watches topic 1 and has caught up.
fn connected() -> Session {
    let mut session = Session::new(SessionLimits::default(), [1; 32]);
    session.watch(topic(1), Cursor::START);
    let actions = drain(&mut session, START);
    assert!(subscribes(&actions));
    session.handle_delivery(Delivery::CaughtUp(1));
    assert_eq!(drain(&mut session, START), [Action::CaughtUp]);
    session
}

fn drain(session: &mut Session, now: Timestamp) -> Vec<Action> {
    std::iter::from_fn(|| session.poll(now)).take(100_000).collect()
}

fn subscribes(actions: &[Action]) -> bool {
    actions.contains(&Action::Subscribe)
}

/// The places of the records that owners are given.
fn delivered(actions: &[Action]) -> Vec<u64> {
    let records = actions.iter().flat_map(|action| match action {
        Action::Deliver { records, .. } => records.clone(),
        _ => Vec::new(),
    });
    records.map(|record| record.seq.0).collect()
}

fn settled(actions: &[Action]) -> Vec<conclave_proto::TransmitId> {
    let ids = actions.iter().filter_map(|action| match action {
        Action::Outcome { id, .. } => Some(*id),
        _ => None,
    });
    ids.collect()
}

fn fetch_of(actions: &[Action]) -> Option<(CallId, Vec<(Topic, Cursor)>)> {
    actions.iter().find_map(|action| match action {
        Action::Fetch { call, after, .. } => Some((*call, after.clone())),
        _ => None,
    })
}

fn publish_of(actions: &[Action]) -> Option<(CallId, Vec<Transmit>)> {
    actions.iter().find_map(|action| match action {
        Action::Publish { call, batch } => Some((*call, batch.clone())),
        _ => None,
    })
}
