//! Owners that wait before a record, or had trouble.

use conclave_core::session::{Action, Session, SessionLimits};
use conclave_proto::{ChainHash, Cursor, Record, Seq, Timestamp};

use super::kit::{
    HOUR_MS, START, connected, connected_with, delivered, drain, fetch_of, head, page, record,
    records, topic, unavailable,
};

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
        for action in drain(&mut session, now) {
            // Once a minute it hears that nothing is behind it.
            assert_eq!(action, Action::Deliver { topic: topic(1), records: vec![] });
            session.handled(now, &topic(1), log[0].cursor(), true);
        }
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

/// Lets the relay answer every fetch from this log, page by page, until nothing is asked at this
/// time; gives what the owner got.
fn answered(session: &mut Session, log: &[Record], now: Timestamp) -> Vec<u64> {
    let mut given = Vec::new();
    for _ in 0..1_000 {
        let actions = drain(session, now);
        given.extend(delivered(&actions));
        let mut asked = false;
        for action in actions {
            let Action::Fetch { call, after, .. } = action else { continue };
            asked = true;
            let behind = log.iter().filter(|record| record.seq > after[0].1.seq);
            let behind: Vec<_> = behind.take(100).cloned().collect();
            let last = log.last().unwrap();
            let more = behind.last().is_some_and(|record| record.seq < last.seq);
            session.handle_pages(now, call, Ok(vec![page(&behind, last, more)]));
        }
        if !asked {
            return given;
        }
    }
    panic!("it asks for ever");
}

/// Scenario 24: whoever waits before a long stretch of log is shown it again at a pace, however
/// much comes, and nobody else waits for that.
#[test]
fn much_behind_a_parked_owner_is_shown_at_a_pace() {
    let (mut session, log) = (connected(), records(1, 1_010));
    session.handle_delivery(head(1_000));
    answered(&mut session, &log[..1_000], START);
    session.handled(START, &topic(1), Cursor::START, true);
    let given = answered(&mut session, &log[..1_000], START);
    assert_eq!(given.len(), 1_000, "all that has come meanwhile, at once");
    session.handled(START, &topic(1), Cursor::START, true);
    let mut shown = 0;
    for n in 1_000..1_010 {
        session.handle_delivery(record(&log[n]));
        shown += answered(&mut session, &log[..=n], START).len();
        assert!(session.is_idle(), "others do not wait for it");
    }
    assert_eq!(shown, 0, "a thousand records are not read again for each that comes");
    let due = session.next_timeout().unwrap();
    assert_eq!(due, START.plus_ms(1_000), "a millisecond for each");
    assert_eq!(answered(&mut session, &log, due).len(), 1_010);
}

/// Scenario 24: an owner that waits before more than it may be shown at once is not shown the same
/// over and over, and whoever asks whether everything is read has an answer.
#[test]
fn more_than_a_parked_owner_may_see_is_not_read_over_and_over() {
    let mut limits = SessionLimits::default();
    limits.parked_records = 150;
    let (mut session, log) = (connected_with(limits), records(1, 400));
    session.handle_delivery(head(400));
    answered(&mut session, &log, START);
    session.handled(START, &topic(1), Cursor::START, true);
    let given = answered(&mut session, &log, START);
    assert!((150..=250).contains(&given.len()), "{}", given.len());
    session.handled(START, &topic(1), Cursor::START, true);
    assert_eq!(answered(&mut session, &log, START), [0_u64; 0]);
    assert!(session.is_idle());
    assert_eq!(session.next_timeout(), Some(START.plus_ms(60_000)), "only in case time decides");
}

/// Scenario 82: long records count as well: an owner that is busy has no hundreds of them kept, and
/// gets the rest when it is not.
#[test]
fn what_is_kept_for_a_busy_owner_is_bounded_in_bytes() {
    let mut limits = SessionLimits::default();
    limits.held_bytes = 10_000;
    let mut session = connected_with(limits);
    let mut cursor = Cursor::START;
    let long = |seq| {
        let payload = vec![1; 3_000];
        let long = Record::chained(&topic(1), Seq(seq), cursor.seq, &cursor.hash, payload);
        cursor = long.cursor();
        long
    };
    let log: Vec<Record> = (1..=20).map(long).collect();
    for long in &log {
        session.handle_delivery(record(long));
        // The first goes to its owner, which is busy with it.
        drain(&mut session, START);
    }
    session.handled(START, &topic(1), log[0].cursor(), false);
    let kept = answered(&mut session, &log, START).len();
    assert!((1..=4).contains(&kept), "{kept}");
    let mut read = 1 + kept;
    while read < 20 {
        session.handled(START, &topic(1), log[read - 1].cursor(), false);
        let given = answered(&mut session, &log, START);
        assert_eq!(given.first(), Some(&(read as u64 + 1)), "it goes on");
        read += given.len();
    }
}

/// Scenario 7: an owner that was shown another history hears when the relay shows nothing of it any
/// more, although no other record comes.
#[test]
fn an_owner_hears_when_what_it_was_shown_is_gone() {
    let (mut session, log) = (connected(), records(1, 1));
    let forged = Record::chained(&topic(1), Seq(2), Seq(1), &ChainHash([9; 32]), vec![9]);
    session.handle_delivery(record(&log[0]));
    drain(&mut session, START);
    session.handled(START, &topic(1), log[0].cursor(), false);
    session.handle_delivery(head(2));
    let both = [log[0].clone(), forged];
    assert_eq!(answered(&mut session, &both, START), [2]);
    session.handled(START, &topic(1), log[0].cursor(), true);
    let due = session.next_timeout().unwrap();
    let mut heard = 0;
    for _ in 0..3 {
        for action in drain(&mut session, due) {
            match action {
                Action::Fetch { call, .. } => {
                    session.handle_pages(due, call, Ok(vec![page(&[], &log[0], false)]));
                }
                Action::Deliver { records, .. } => {
                    assert_eq!(records, []);
                    heard += 1;
                    session.handled(due, &topic(1), log[0].cursor(), false);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(heard, 1);
    assert!(session.is_idle());
    assert_eq!(session.next_timeout(), None);
}

/// A parked owner that is due while an older fetch of its log is on its way hears of the end of the
/// log when that fetch fails, although it is not made again.
#[test]
fn a_parked_owner_does_not_wait_for_a_fetch_that_failed() {
    let (mut session, log) = (connected(), records(1, 2));
    session.handle_delivery(record(&log[1]));
    let (call, _) = fetch_of(&drain(&mut session, START)).expect("record 1 is missing");
    session.handle_delivery(record(&log[0]));
    session.handle_delivery(record(&log[1]));
    assert_eq!(delivered(&drain(&mut session, START)), [1]);
    session.handled(START, &topic(1), log[0].cursor(), false);
    assert_eq!(delivered(&drain(&mut session, START)), [2]);
    session.handled(START, &topic(1), log[1].cursor(), true);
    let due = session.next_timeout().unwrap();
    assert_eq!(drain(&mut session, due), [], "the answer may bring something");
    session.handle_pages(due, call, Err(unavailable(0)));
    let nothing = Action::Deliver { topic: topic(1), records: vec![] };
    assert_eq!(drain(&mut session, due), [nothing]);
}

/// Owners that are due at the same time are looked at in the order of their topics, whichever has
/// waited longest: the same seed gives the same course of events.
#[test]
fn parked_owners_have_their_turns_in_the_order_of_topics() {
    let mut session = connected();
    for number in [3, 1, 2] {
        session.watch(topic(number), Cursor::START);
        session.handled(START.plus_ms(10 - u64::from(number)), &topic(number), Cursor::START, true);
    }
    drain(&mut session, START.plus_ms(10));
    let order =
        drain(&mut session, START.plus_ms(HOUR_MS)).into_iter().map(|action| match action {
            Action::Deliver { topic, .. } => topic,
            other => panic!("{other:?}"),
        });
    assert_eq!(order.collect::<Vec<_>>(), [topic(1), topic(2), topic(3)]);
}

/// Scenario 54: a clock that goes back makes no parked owner wait longer, also if it was ahead only
/// when the owner parked.
#[test]
fn a_clock_that_goes_back_keeps_no_parked_owner_waiting() {
    let back = Timestamp(START.0 - HOUR_MS);
    for seen in [true, false] {
        let mut session = connected();
        session.handled(START.plus_ms(HOUR_MS), &topic(1), Cursor::START, true);
        if seen {
            drain(&mut session, START.plus_ms(HOUR_MS));
        }
        for now in [START, back] {
            drain(&mut session, now);
            assert_eq!(session.next_timeout(), Some(now.plus_ms(60_000)));
        }
    }
}

/// An owner that has been shown that nothing is there is waited for as long as it takes: no time
/// makes a difference before its answer.
#[test]
fn a_parked_owner_that_has_something_to_answer_needs_no_time() {
    let (mut session, log) = (connected(), records(1, 1));
    session.handle_delivery(record(&log[0]));
    drain(&mut session, START);
    session.handled(START, &topic(1), log[0].cursor(), true);
    session.handle_delivery(head(2));
    let (call, _) = fetch_of(&drain(&mut session, START)).expect("news");
    session.handle_pages(START, call, Ok(vec![]));
    let nothing = Action::Deliver { topic: topic(1), records: vec![] };
    assert_eq!(drain(&mut session, START), [nothing]);
    assert_eq!(session.next_timeout(), None);
    session.handled(START, &topic(1), log[0].cursor(), true);
    assert_eq!(session.next_timeout(), Some(START.plus_ms(60_000)));
}
