//! What the logs promise to one caller after another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::kit;

use std::sync::{Arc, Mutex};

use conclave_proto::{
    Cursor, InstallationId, Seq, Topic, TransmitId, limits,
    record::transmit_id,
    relay::{PageLimit, PublishOutcome},
    welcome::body_address,
};
use conclave_relay::{Append, Call, Done, Job, Logs, ReadError, RelayLimits};
use kit::{
    NOW, append, append_one, everything, follow, founding, group, in_memory, seq_of, stored,
};

/// R4, R8: places increase, and every record extends the one before.
#[test]
fn a_log_is_a_chain_in_the_order_of_appends() {
    let logs = in_memory();
    let (one, two) = (group(1), group(2));
    for number in 0..50_u8 {
        seq_of(append_one(&logs, append(&one, &[number])));
        seq_of(append_one(&logs, append(&two, &[number, 1])));
    }
    let records = everything(&logs, &one);
    assert_eq!(records.len(), 50);
    assert!(records.iter().zip(0..).all(|(record, number)| record.payload == [number]));
    assert_eq!(everything(&logs, &two).len(), 50);
}

/// R4, scenario 10: an answer was lost and the same bytes come again: one effect, the same place,
/// also if the log has moved on and whatever the expectation.
#[test]
fn the_same_bytes_again_are_found_in_their_place() {
    let logs = in_memory();
    let topic = group(1);
    let item = append(&topic, b"first").expecting(Seq(0));
    let first = append_one(&logs, item.clone());
    assert_eq!(seq_of(first), Seq(1));
    stored(&logs, append(&topic, b"second"));
    assert_eq!(append_one(&logs, item), first);
    assert_eq!(everything(&logs, &topic).len(), 2);
    let twice = append(&topic, b"third");
    let twice = logs.append(vec![twice.clone(), twice]);
    assert_eq!((seq_of(twice[0]), twice[0]), (Seq(3), twice[1]));
    assert_eq!(everything(&logs, &topic).len(), 3);
}

/// R8, scenario 104: an id that is not that of the bytes is refused, so nobody can take another's.
#[test]
fn an_id_with_other_bytes_is_refused() {
    let logs = in_memory();
    let topic = group(1);
    let wrong = Append { id: TransmitId([9; 16]), ..append(&topic, b"bytes") };
    assert_eq!(append_one(&logs, wrong), PublishOutcome::Invalid);
    let squatted = Append { id: transmit_id(&topic, b"victim"), ..append(&topic, b"bytes") };
    assert_eq!(append_one(&logs, squatted), PublishOutcome::Invalid);
    assert_eq!(stored(&logs, append(&topic, b"victim")), Seq(1));
}

/// R4: an expectation that does not hold is a conflict that names the head, and stores nothing.
#[test]
fn an_expectation_that_does_not_hold_is_a_conflict() {
    let logs = in_memory();
    let topic = group(1);
    let head = seq_of(append_one(&logs, append(&topic, b"a").expecting(Seq(0))));
    for expected in [Seq(0), Seq(7)] {
        let outcome = append_one(&logs, append(&topic, b"b").expecting(expected));
        assert_eq!(outcome, PublishOutcome::Conflict { head });
    }
    assert_eq!(everything(&logs, &topic).len(), 1);
    stored(&logs, append(&topic, b"b").expecting(head));
}

/// E6: after an item that is not accepted the later ones of its topic are behind, in its call
/// and in no other, also when both are in one commit.
#[test]
fn what_follows_a_refused_item_is_behind_in_its_own_call_only() {
    let logs = in_memory();
    let (one, two) = (group(1), group(2));
    let call = |tag: &[u8]| {
        Job::Append(Call::check(vec![
            append(&one, &[b"refused ", tag].concat()).expecting(Seq(99)),
            append(&two, &[b"other ", tag].concat()),
            append(&one, &[b"behind ", tag].concat()),
        ]))
    };
    let calm = Job::Append(Call::check(vec![append(&one, b"calm")]));
    let done = logs.commit(vec![call(b"a"), calm, call(b"b")]);
    let outcomes: Vec<_> = done
        .into_iter()
        .map(|done| match done {
            Done::Appended(outcomes) => outcomes,
            Done::Uploaded(_) | Done::Trimmed(_) => panic!("appends"),
        })
        .collect();
    assert_eq!(outcomes[0][0], PublishOutcome::Conflict { head: Seq(0) });
    assert!(outcomes[0][1].is_accepted());
    assert_eq!(outcomes[0][2], PublishOutcome::Behind);
    assert_eq!(seq_of(outcomes[1][0]), Seq(1));
    assert_eq!(outcomes[2][0], PublishOutcome::Conflict { head: Seq(1) });
    assert_eq!(outcomes[2][2], PublishOutcome::Behind);
    assert_eq!(everything(&logs, &one).len(), 1);
    assert_eq!(everything(&logs, &two).len(), 2);
    assert_eq!(logs.stats().unwrap().commits, 1);
}

/// R3: each topic takes what fits and says how much that is.
#[test]
fn what_is_longer_than_its_topic_takes_is_too_large() {
    let logs = in_memory();
    let installation = InstallationId([1; 32]);
    for topic in [group(1), Topic::Welcome(installation)] {
        let max = conclave_relay::record_bytes(&topic);
        stored(&logs, append(&topic, &vec![1; max]));
        let outcome = append_one(&logs, append(&topic, &vec![2; max + 1]));
        assert_eq!(outcome, PublishOutcome::TooLarge { max: u32::try_from(max).unwrap() });
    }
    assert_eq!(conclave_relay::record_bytes(&group(1)), limits::ENVELOPE_BYTES);
}

/// R3, R8: a body is one record whose hash is its address.
#[test]
fn a_body_is_stored_once_under_its_own_address() {
    let logs = in_memory();
    let body = vec![3; 300_000];
    let topic = Topic::Blob(body_address(&body));
    assert_eq!(append_one(&logs, append(&topic, b"other")), PublishOutcome::Invalid);
    let first = append_one(&logs, append(&topic, &body));
    assert_eq!(seq_of(first), Seq(1));
    assert_eq!(append_one(&logs, append(&topic, &body)), first);
    assert_eq!(everything(&logs, &topic)[0].payload, body);
    logs.trim(&topic, Seq(1)).unwrap();
    assert_eq!(append_one(&logs, append(&topic, &body)), PublishOutcome::Invalid);
}

/// E6: a page holds what the limits allow, earlier topics first, and says where more is.
#[test]
fn pages_keep_to_their_limits_and_say_what_is_left() {
    let logs = in_memory();
    let topics = [group(1), group(2), group(3)];
    for topic in &topics {
        for number in 0..4_u8 {
            stored(&logs, append(topic, &[number; 100]));
        }
    }
    let after: Vec<_> = topics.iter().map(|topic| (topic.clone(), Cursor::START)).collect();
    let counts = |limit| {
        let pages = logs.read(NOW, &after, limit).unwrap();
        assert!(pages.iter().all(|page| page.head.seq == Seq(4)));
        pages.iter().map(|page| (page.records.len(), page.more)).collect::<Vec<_>>()
    };
    let of = |records, bytes| PageLimit { records, bytes };
    assert_eq!(counts(of(5, 10_000)), [(4, false), (1, true), (0, true)]);
    assert_eq!(counts(of(100, 450)), [(4, false), (0, true), (0, true)]);
    assert_eq!(counts(of(0, 0)), [(1, true), (0, true), (0, true)], "at least one record");
    assert_eq!(counts(of(12, 1_200)), [(4, false), (4, false), (4, false)]);
    for limit in [of(1, 1), of(3, 250), of(5, 10_000)] {
        assert_eq!(follow(&logs, &topics[0], Cursor::START, limit).len(), 4);
    }
}

/// R3: the relay's own limit on a page holds whatever the caller asks for.
#[test]
fn a_page_is_never_longer_than_the_relay_allows() {
    let mut limits = RelayLimits::default();
    (limits.page_bytes, limits.page_records) = (1_000, 5);
    let logs = Logs::in_memory(&founding(), limits).unwrap();
    let topic = group(1);
    stored(&logs, append(&topic, &[9; 5_000]));
    for number in 0..20_u8 {
        stored(&logs, append(&topic, &[number; 300]));
    }
    let all = PageLimit { records: u32::MAX, bytes: u32::MAX };
    let page = |after| logs.read(NOW, &[(topic.clone(), after)], all).unwrap().remove(0);
    let first = page(Cursor::START);
    assert_eq!(first.records.len(), 1, "a long record comes alone");
    assert_eq!(page(first.records[0].cursor()).records.len(), 3);
    assert_eq!(follow(&logs, &topic, Cursor::START, all).len(), 21);
}

/// E6: of many logs only those come back that stand elsewhere; those without news have no page.
#[test]
fn heads_name_the_logs_that_moved() {
    let logs = in_memory();
    for number in 0..100_u8 {
        stored(&logs, append(&group(number), b"one"));
    }
    let known: Vec<_> =
        (0..=100_u8).map(|number| (group(number), Seq(u64::from(number % 10 != 0)))).collect();
    let moved = logs.heads(&known).unwrap();
    // Number 100 is a log that is empty, and the caller knows it as such.
    assert_eq!(moved.len(), 10);
    for (topic, head) in moved {
        assert_eq!(head, everything(&logs, &topic)[0].cursor());
        assert!(logs.read(NOW, &[(topic, head)], PageLimit::default()).unwrap().is_empty());
    }
}

/// R8: a trimmed log tells readers that stand before it; its chain goes on, and the ids of what
/// is gone go with it.
#[test]
fn a_trimmed_log_says_so_and_goes_on() {
    let mut limits = RelayLimits::default();
    limits.trim_records = 3;
    let logs = Logs::in_memory(&founding(), limits).unwrap();
    let topic = group(1);
    for number in 0..10_u8 {
        stored(&logs, append(&topic, &[number]));
    }
    let all = everything(&logs, &topic);
    assert_eq!(logs.trim(&topic, Seq(7)), Ok(Seq(8)));
    assert_eq!(logs.trim(&topic, Seq(2)), Ok(Seq(8)), "what is gone stays gone");
    assert_eq!(logs.stats().unwrap().records, 3);
    let read = |after| logs.read(NOW, &[(topic.clone(), after)], PageLimit::default());
    let truncated = Err(ReadError::Truncated { topic: topic.clone(), first: Seq(8) });
    assert_eq!(read(Cursor::START), truncated);
    assert_eq!(read(all[5].cursor()), truncated);
    assert_eq!(read(all[6].cursor()).unwrap()[0].records, all[7..]);

    assert_eq!(stored(&logs, append(&topic, &[9])), Seq(10));
    assert_eq!(stored(&logs, append(&topic, &[0])), Seq(11));
    assert_eq!(logs.trim(&topic, Seq(u64::MAX)), Ok(Seq(12)));
    assert!(read(Cursor { seq: Seq(10), hash: all[9].hash }).is_err());
    let next = stored(&logs, append(&topic, b"next").expecting(Seq(11)));
    assert_eq!(next, Seq(12), "the head outlives its record");
}

/// R4: the listener hears of every record once, in order, and of no duplicate.
#[test]
fn a_listener_hears_of_each_record_once() {
    let logs = in_memory();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = Arc::clone(&heard);
    logs.listen(Box::new(move |records| ear.lock().unwrap().extend_from_slice(records)));
    let topic = group(1);
    logs.append(vec![append(&topic, b"a"), append(&topic, b"b"), append(&topic, b"a")]);
    stored(&logs, append(&topic, b"b"));
    assert!(append_one(&logs, append(&topic, b"c").expecting(Seq(0))).is_refused());
    stored(&logs, append(&topic, b"d"));
    let heard: Vec<_> = heard.lock().unwrap().drain(..).map(|(_, record)| record).collect();
    assert_eq!(heard, everything(&logs, &topic));
}

/// R8: who reads a log that was restored shorter than it was hears of its head.
#[test]
fn a_reader_that_is_ahead_of_the_log_hears_its_head() {
    let logs = in_memory();
    let topic = group(1);
    stored(&logs, append(&topic, b"a"));
    let ahead = Cursor { seq: Seq(5), ..Cursor::START };
    let pages = logs.read(NOW, &[(topic, ahead)], PageLimit::default()).unwrap();
    assert_eq!((pages[0].head.seq, pages[0].records.len(), pages[0].more), (Seq(1), 0, false));
}
