//! What owners are given, and what is asked for them.

use conclave_core::{
    delivery::{Delivery, TransportError},
    session::{Action, SessionLimits},
};
use conclave_proto::{ChainHash, Cursor, Record, Seq};

use super::kit::{
    START, connected, delivered, drain, fetch_of, head, page, page_of, record, records, topic,
    unavailable,
};

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

/// A fetch that fails when everything has come without it leaves nothing to wait for.
#[test]
fn a_fetch_that_failed_and_is_not_needed_any_more_keeps_nobody_waiting() {
    let (mut session, log) = (connected(), records(1, 2));
    session.handle_delivery(record(&log[1]));
    let (call, _) = fetch_of(&drain(&mut session, START)).expect("record 1 is missing");
    for read in &log {
        session.handle_delivery(record(read));
        assert_eq!(delivered(&drain(&mut session, START)), [read.seq.0]);
        session.handled(START, &topic(1), read.cursor(), false);
    }
    assert!(!session.is_read(), "an answer is on its way");
    session.handle_pages(START, call, Err(unavailable(0)));
    assert_eq!(drain(&mut session, START), []);
    assert!(session.is_read());
}

/// Owners that are at work, and want nothing, do not make those that want something share a fetch.
#[test]
fn busy_owners_that_want_nothing_do_not_make_others_share_a_fetch() {
    let mut session = connected();
    for number in 2..40 {
        session.watch(topic(number), Cursor::START);
        let record = records(number, 1).remove(0);
        session.handle_delivery(Delivery::Record(topic(number), record));
    }
    session.handle_delivery(Delivery::Head { topic: topic(2), seq: Seq(2) });
    session.handle_delivery(Delivery::Head { topic: topic(3), seq: Seq(2) });
    let actions = drain(&mut session, START);
    let fetched = actions.iter().filter_map(|action| match action {
        Action::Fetch { after, .. } => Some(after.len()),
        _ => None,
    });
    assert_eq!(fetched.collect::<Vec<_>>(), [1, 1]);
}
