use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::{
    ChainHash, Cursor, Epoch, MessageId, Seq,
    codec::Wire,
    group::LeafCredential,
    message::{Payload, message_id},
};
use proptest::prelude::*;

use super::{Origin, OwnMessage, RECENTLY_SETTLED, SenderLog, Sent, TRAIL, Timeline};
use crate::{
    event::{Event, Rejection},
    group::{
        StoredMessage,
        fixture::{GROUP, NOW, Stored, draft, events, leaf, payload},
        place::Place,
    },
};

fn timeline(senders: BTreeMap<conclave_proto::InstallationId, SenderLog>) -> Timeline {
    Timeline::new(senders, Sent { count: 0, last: MessageId([0; 32]) })
}

fn origin(seq: u64, sender: LeafCredential) -> Origin {
    Origin { seq: Seq(seq), epoch: Epoch(2), sender }
}

fn id(sender: &LeafCredential, payload: &Payload) -> MessageId {
    message_id(&GROUP, &sender.installation, &payload.key, &payload.body)
}

#[test]
fn a_message_is_stored_at_its_position_and_under_its_id() {
    let (mut stored, mut draft, sender) = (Stored::default(), draft(), leaf(1));
    timeline(BTreeMap::new()).receive(&mut draft, origin(9, sender), payload(1));
    stored.apply(&draft);
    let id = id(&sender, &payload(1));
    let message = StoredMessage::decode(stored.get(Place::Message(Seq(9))).unwrap()).unwrap();
    assert_eq!((message.id, message.counter, message.epoch), (id, 1, Epoch(2)));
    assert_eq!((message.inbox, message.installation), (sender.inbox, sender.installation));
    assert_eq!(stored.get(Place::MessageId(&id)).unwrap(), &9_u64.to_be_bytes());
    assert_eq!(events(&draft), [Event::Message { group: GROUP, id, seq: Seq(9), own: false }]);
}

/// G14: a counter that was received is refused, also by an engine that was started again.
#[test]
fn a_received_counter_is_refused_after_a_restart() {
    let (mut stored, sender) = (Stored::default(), leaf(1));
    let mut before = timeline(BTreeMap::new());
    for counter in [1, 2, 5] {
        let mut draft = draft();
        before.receive(&mut draft, origin(counter, sender), payload(counter));
        stored.apply(&draft);
    }
    let log = stored.get(Place::Sender(&sender.installation)).unwrap();
    let log = SenderLog::decode(log).unwrap();
    let mut after = timeline(BTreeMap::from([(sender.installation, log)]));
    for counter in [1, 2, 5] {
        let mut draft = draft();
        after.receive(&mut draft, origin(9, sender), payload(counter));
        let rejected = Event::Rejected { group: GROUP, seq: Seq(9), reason: Rejection::Duplicate };
        assert_eq!(events(&draft), [rejected]);
        assert!(draft.writes.is_empty());
    }
    // The hole was told before the restart, and the messages in it still count.
    for counter in [3, 4, 6] {
        let mut draft = draft();
        after.receive(&mut draft, origin(9, sender), payload(counter));
        assert!(matches!(events(&draft), [Event::Message { .. }]), "{counter}");
    }
}

/// G14.
#[test]
fn a_gap_is_told_before_the_message_that_shows_it() {
    let (mut timeline, mut draft, sender) = (timeline(BTreeMap::new()), draft(), leaf(1));
    for (seq, counter) in [(1, 1), (2, 4)] {
        timeline.receive(&mut draft, origin(seq, sender), payload(counter));
    }
    let [_, gap, Event::Message { .. }] = events(&draft) else { panic!("{:?}", events(&draft)) };
    let sender = sender.installation;
    assert_eq!(*gap, Event::Gap { group: GROUP, sender, first: 2, last: 3 });
}

/// G17: counters belong to a leaf. One that has left, or was added again, starts over, in the store
/// as well; the others go on.
#[test]
fn counters_start_over_with_a_leaf() {
    let leaves = |seeds: &[u8]| -> BTreeMap<LeafCredential, u32> {
        seeds.iter().map(|n| (leaf(*n), 0)).collect()
    };
    for (before, after) in [(leaves(&[1, 2]), leaves(&[2])), (leaves(&[2]), leaves(&[1, 2]))] {
        let (mut timeline, mut draft) = (timeline(BTreeMap::new()), draft());
        for (seq, sender) in [(1, leaf(1)), (2, leaf(2))] {
            timeline.receive(&mut draft, origin(seq, sender), payload(7));
        }
        timeline.change_leaves(&mut draft, &before, &after);
        let mut stored = Stored::default();
        stored.apply(&draft);
        assert!(stored.get(Place::Sender(&leaf(1).installation)).is_none());
        assert!(stored.get(Place::Sender(&leaf(2).installation)).is_some());
        let told = |timeline: &mut Timeline, sender| {
            let mut draft = crate::group::fixture::draft();
            timeline.receive(&mut draft, origin(3, sender), payload(7));
            events(&draft).to_vec()
        };
        assert!(matches!(told(&mut timeline, leaf(1))[..], [Event::Message { .. }]));
        assert!(matches!(told(&mut timeline, leaf(2))[..], [Event::Rejected { .. }]));
    }
}

/// R8: a sender that had read another record at a position tells that the relay shows two logs.
#[test]
fn another_hash_where_a_sender_had_read_is_another_log() {
    let read = |seq: u64, hash: u8| Cursor { seq: Seq(seq), hash: ChainHash([hash; 32]) };
    for (read, differs) in [
        (read(3, 3), false),
        (read(3, 4), true),
        // Positions that were not seen since the load say nothing.
        (read(8, 9), false),
        (Cursor::START, false),
    ] {
        let (mut timeline, mut draft, sender) = (timeline(BTreeMap::new()), draft(), leaf(1));
        for n in 1..6 {
            timeline.extend_trail(Cursor { seq: Seq(n.into()), hash: ChainHash([n; 32]) });
        }
        timeline.receive(&mut draft, origin(6, sender), Payload { read, ..payload(1) });
        let sender = sender.installation;
        let told = Event::LogDiffers { group: GROUP, sender, seq: read.seq };
        assert_eq!(events(&draft).contains(&told), differs, "{read:?}");
        // It counts all the same.
        assert!(matches!(events(&draft).last(), Some(Event::Message { .. })));
    }
}

fn own(counter: u64) -> OwnMessage {
    OwnMessage { id: id(&leaf(1), &payload(counter)), payload: payload(counter).encode() }
}

/// G11: a retry of what was settled is recognised; the memory of that is bounded.
#[test]
fn settled_messages_are_known_for_a_while() {
    let (mut timeline, most) = (timeline(BTreeMap::new()), RECENTLY_SETTLED as u64);
    for counter in 0..=most {
        assert!(!timeline.has_settled(&own(counter).id));
        let mut draft = draft();
        timeline.settle(&mut draft, origin(counter, leaf(1)), &own(counter));
        let (id, seq) = (own(counter).id, Seq(counter));
        assert_eq!(events(&draft), [Event::Message { group: GROUP, id, seq, own: true }]);
    }
    assert!(!timeline.has_settled(&own(0).id));
    assert!((1..=most).all(|counter| timeline.has_settled(&own(counter).id)));
}

#[test]
fn the_trail_is_bounded() {
    let mut timeline = timeline(BTreeMap::new());
    for seq in 0..2 * TRAIL as u64 {
        timeline.extend_trail(Cursor { seq: Seq(seq), hash: ChainHash([1; 32]) });
    }
    assert_eq!(timeline.trail.len(), TRAIL);
    assert_eq!(timeline.trail.back().unwrap().0, Seq(2 * TRAIL as u64 - 1));
}

/// G14: own messages are counted from 1, and each names the one before it.
#[test]
fn own_messages_are_counted_and_chained() {
    let (mut timeline, mut draft, read) = (timeline(BTreeMap::new()), draft(), payload(0).read);
    for counter in 1..4 {
        let last = timeline.sent().last;
        let next = timeline.next_payload(NOW, [5; 16], read, payload(counter).body);
        assert_eq!((next.counter, next.previous, next.read), (counter, last, read));
        timeline.count(&mut draft, MessageId([u8::try_from(counter).unwrap(); 32]));
    }
    assert_eq!(timeline.sent(), Sent { count: 3, last: MessageId([3; 32]) });
    assert!(draft.meta_changed);
}

proptest! {
    /// G14: what was received is known exactly while the holes are few.
    #[test]
    fn received_counters_are_known(counters in prop::collection::vec(1_u64..100, 0..40)) {
        let (mut log, mut model) = (SenderLog::default(), BTreeSet::new());
        for counter in counters {
            prop_assert_eq!(log.has(counter), model.contains(&counter));
            if model.insert(counter) {
                log.note(counter);
            }
        }
        for counter in 0..101 {
            prop_assert_eq!(log.has(counter), model.contains(&counter));
        }
    }
}

/// G14.
#[test]
fn a_hole_is_reported_once_and_not_before_the_first_message() {
    let mut log = SenderLog::default();
    assert_eq!(log.note(5), None);
    assert_eq!(log.note(6), None);
    assert_eq!(log.note(9), Some((7, 8)));
    assert_eq!(log.note(8), None);
    assert_eq!(log.note(10), None);
    assert!(!log.has(7) && !log.has(4));
}

#[test]
fn the_memory_of_holes_is_bounded() {
    let mut log = SenderLog::default();
    for counter in 0..10_000 {
        log.note(counter * 2);
    }
    assert!(log.ranges.len() <= super::HOLES);
    assert!(log.has(1) && !log.has(19_997));
}
