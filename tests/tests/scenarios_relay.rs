//! What a malicious or broken relay does (scenarios 1–10, 22, 23, 62, 92, 99).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use conclave_core::{
    event::{Event, Parked, Rejection, WelcomeRejection},
    group::{Standing, Taken},
};
use conclave_proto::{Cursor, Record, Topic};
use conclave_testkit::{
    sim_relay::Lie,
    world::{World, is_member},
};

/// Three people in one group who have all sent, so that all have renewed their keys.
fn trio(seed: u64) -> (World, conclave_proto::GroupId) {
    let mut world = World::with_people(seed, 3);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1, 2]));
    world.settle();
    for device in 0..3 {
        world.send(device, group, b"here").unwrap();
        world.settle();
    }
    (world, group)
}

/// What follows a record, linked into the log in another order.
fn relink(topic: &Topic, start: Cursor, payloads: Vec<Vec<u8>>) -> Vec<Record> {
    let mut head = start;
    let link = |payload| {
        let seq = conclave_proto::Seq(head.seq.0 + 1);
        let record = Record::chained(topic, seq, head.seq, &head.hash, payload);
        head = record.cursor();
        record
    };
    payloads.into_iter().map(link).collect()
}

/// Cuts the log behind `keep` records and appends it again in another order.
fn reorder(world: &mut World, topic: &Topic, keep: usize, order: &[usize]) {
    let cut = world.relay.cut(topic, 0, keep);
    for index in order {
        world.relay.append(topic, 0, cut[*index].payload.clone());
    }
}

/// Scenario 1: the relay reorders messages of one epoch before anybody has read them. Everybody
/// shows all of them, in the order that the relay gave.
#[test]
fn messages_reordered_within_an_epoch_are_all_delivered() {
    let (mut world, group) = trio(1);
    let topic = Topic::Group(group);
    let keep = world.relay.log(0, &topic).len();
    for text in ["one", "two", "three", "four"] {
        world.send(0, group, text.as_bytes()).unwrap();
    }
    world.publish(0);
    reorder(&mut world, &topic, keep, &[3, 1, 0, 2]);
    world.settle();
    world.check();
    assert_eq!(world.timeline(1, group).len(), 3 + 4);
    assert_eq!(world.events(1, |event| matches!(event, Event::Gap { .. })), 1);
}

/// Scenario 2: a message of the epoch before lands behind the commit.
#[test]
fn a_message_moved_behind_a_commit_still_counts() {
    let (mut world, group) = trio(2);
    let topic = Topic::Group(group);
    let keep = world.relay.log(0, &topic).len();
    world.send(0, group, b"before the commit").unwrap();
    world.publish(0);
    world.update_keys(1, group);
    world.publish(1);
    reorder(&mut world, &topic, keep, &[1, 0]);
    world.settle();
    world.check();
    assert_eq!(world.timeline(2, group).len(), 3 + 1);
}

/// Scenario 3: the relay drops a commit and goes on. The committer publishes it again until the
/// log has it; what others commit in between wins instead.
#[test]
fn a_dropped_commit_holds_nobody_up() {
    let (mut world, group) = trio(3);
    world.update_keys(0, group);
    world.relay.lie([Lie::DroppedButAccepted]);
    world.publish(0);
    world.update_keys(1, group);
    world.settle();
    world.check();
    assert_eq!(world.devices[0].group(group).pending_intents().count(), 0);
}

/// Scenarios 4 and 5: every envelope of an epoch is stored twice, and the whole epoch once more.
#[test]
fn duplicates_and_a_replayed_epoch_change_nothing() {
    let (mut world, group) = trio(4);
    let topic = Topic::Group(group);
    world.update_keys(0, group);
    world.settle();
    let keep = world.relay.log(0, &topic).len();
    for device in 0..3 {
        world.send(device, group, b"once").unwrap();
    }
    for device in 0..3 {
        world.publish(device);
    }
    let epoch: Vec<Vec<u8>> =
        world.relay.log(0, &topic)[keep - 1..].iter().map(|r| r.payload.clone()).collect();
    for payload in epoch.iter().chain(&epoch) {
        world.relay.inject(&topic, payload.clone());
    }
    world.settle();
    world.check();
    assert_eq!(world.timeline(2, group).len(), 3 + 3);
    assert!(world.rejections(2, Rejection::KeysGone) >= 4, "others' messages");
    assert_eq!(world.rejections(2, Rejection::LostRace), 2, "the commit of the epoch");
    assert!(world.rejections(0, Rejection::Replayed) >= 2, "own messages");
}

/// Scenario 4: the same records handed in again are passed over.
#[test]
fn records_that_were_handled_before_are_passed_over() {
    let (mut world, group) = trio(5);
    let log = world.relay.log(1, &Topic::Group(group)).to_vec();
    let now = world.now;
    let device = &mut world.devices[1];
    let before = device.events().len();
    assert_eq!(device.handle_batch(now, group, &log), log.len());
    assert_eq!(device.events().len(), before);
    world.check();
}

/// Scenario 6: a Welcome replayed as it is, after leaving, and after joining again.
#[test]
fn a_replayed_welcome_never_makes_a_member() {
    let (mut world, group) = trio(6);
    let topic = world.devices[2].ring().topic();
    let welcome = world.relay.log(2, &topic)[0].payload.clone();
    let rejected =
        |world: &World| world.events(2, |event| matches!(event, Event::WelcomeRejected { .. }));
    world.relay.inject(&topic, welcome.clone());
    world.settle();
    assert_eq!(rejected(&world), 1, "as it is");

    assert!(world.remove(0, group, &[2]));
    world.settle();
    world.send(0, group, b"without you").unwrap();
    world.settle();
    assert!(world.devices[2].group(group).standing().is_removed());
    world.relay.inject(&topic, welcome.clone());
    world.settle();
    assert!(world.devices[2].group(group).standing().is_removed(), "after leaving");
    assert_eq!(rejected(&world), 2);

    assert!(world.add(0, group, &[2]));
    world.settle();
    assert!(is_member(&world.devices[2], group));
    world.relay.inject(&topic, welcome);
    world.settle();
    world.check();
    assert_eq!(rejected(&world), 3, "after joining again");
}

/// Scenario 7: two commits of one epoch, each shown to one half; later the halves are shown each
/// other's records. Both halves go on alone, and a record of another history is never taken.
#[test]
fn two_histories_are_never_mixed() {
    let (mut world, group) = trio(7);
    let topic = Topic::Group(group);
    world.relay.fork(1, &topic, 1);
    world.update_keys(0, group);
    world.update_keys(1, group);
    world.run();
    let epoch = |world: &World, device: usize| world.devices[device].group(group).epoch();
    assert_eq!(epoch(&world, 0), epoch(&world, 1));
    let authenticator =
        |world: &World, device: usize| world.devices[device].group(group).epoch_authenticator();
    assert_ne!(authenticator(&world, 0), authenticator(&world, 1));
    assert_eq!(authenticator(&world, 0), authenticator(&world, 2));

    world.send(0, group, b"to our half").unwrap();
    world.run();
    let crossed: Vec<Record> = world.relay.log(0, &topic).to_vec();
    let now = world.now;
    let group_of_1 = world.devices[1].group_mut(group);
    let cursor = group_of_1.cursor();
    let behind: Vec<Record> = crossed.into_iter().filter(|r| r.seq > cursor.seq).collect();
    let step = group_of_1.handle_records(now, &behind);
    let taken = world.devices[1].drive(step).unwrap();
    let Taken { count: 0, parked: Some(Parked::OtherHistory { at }), broken: false } = taken else {
        panic!("a record of another history was taken: {taken:?}");
    };
    assert_eq!(at, behind[0].seq);
    // It waits, says so once, and sends nothing into a log that others may not see.
    let forked = |world: &World| {
        let told = world.devices[1].events().into_iter().filter(|event| {
            matches!(event, Event::Parked { reason: Parked::OtherHistory { .. }, .. })
        });
        told.count()
    };
    assert_eq!(world.devices[1].group(group).standing(), Standing::Forked { at });
    assert_eq!(forked(&world), 1);
    let step = world.devices[1].group_mut(group).handle_records(now, &behind);
    world.devices[1].drive(step).unwrap();
    assert_eq!(forked(&world), 1);
    assert_eq!(world.send(1, group, b"to whom?"), None);
    world.devices[1].reload(group);
    assert_eq!(world.devices[1].group(group).standing(), Standing::Forked { at });
    // That nothing stands behind its cursor any more is enough to go on.
    let step = world.devices[1].group_mut(group).handle_records(now, &[]);
    world.devices[1].drive(step).unwrap();
    assert_eq!(world.devices[1].group(group).standing(), Standing::Member);
    let step = world.devices[1].group_mut(group).handle_records(now, &behind);
    world.devices[1].drive(step).unwrap();
    assert_eq!(forked(&world), 2);
    // Relinked to fit this half's chain, its content still belongs to the other history.
    let forged = relink(&topic, cursor, behind.into_iter().map(|r| r.payload).collect());
    assert_eq!(world.devices[1].handle_batch(now, group, &forged), forged.len());
    assert_eq!(world.rejections(1, Rejection::Undecryptable), 1);
    assert_eq!(world.timeline(1, group).len(), 3, "nothing of it is shown");
    assert_eq!(world.devices[1].group(group).standing(), Standing::Member, "it goes on");
}

/// Scenarios 8 and 99: stored, but the relay says that it never will be. The log decides.
#[test]
fn a_refused_commit_that_the_log_shows_is_applied() {
    let (mut world, group) = trio(8);
    let before = world.devices[0].group(group).epoch();
    world.update_keys(0, group);
    world.relay.lie([Lie::StoredButRefused]);
    world.settle();
    world.check();
    assert_eq!(world.devices[2].group(group).epoch(), before.next());
}

/// Scenario 8: the same for a message.
#[test]
fn a_refused_message_that_the_log_shows_is_shown_once() {
    let (mut world, group) = trio(9);
    world.send(0, group, b"refused?").unwrap();
    world.relay.lie([Lie::StoredButRefused]);
    world.settle();
    world.check();
    assert_eq!(world.timeline(1, group).len(), 3 + 1);
}

/// Scenario 9: accepted, says the relay, and drops it. It is published again.
#[test]
fn what_was_accepted_and_dropped_arrives_all_the_same() {
    let (mut world, group) = trio(10);
    world.send(0, group, b"dropped?").unwrap();
    world.relay.lie([Lie::DroppedButAccepted; 2]);
    world.settle();
    world.check();
    assert_eq!(world.timeline(1, group).len(), 3 + 1);
}

/// Scenario 10: the answer is lost, the client retries: same bytes, one effect.
#[test]
fn a_retry_after_a_lost_answer_has_one_effect() {
    let (mut world, group) = trio(11);
    let topic = Topic::Group(group);
    let before = world.relay.log(0, &topic).len();
    world.send(0, group, b"once").unwrap();
    world.relay.lie([Lie::LoseAnswer]);
    world.publish(0);
    let again = world.devices[0].group(group).unsettled();
    assert_eq!(again.len(), 1);
    world.devices[0].transmits().extend(again);
    world.settle();
    world.check();
    assert_eq!(world.relay.log(0, &topic).len(), before + 1);
}

/// Scenario 62: an own commit comes back before, after and without its acknowledgement.
#[test]
fn an_own_commit_is_applied_once_whenever_its_answer_comes() {
    for (seed, lie) in [(12, Lie::Honest), (13, Lie::LoseAnswer), (14, Lie::StoredButRefused)] {
        let (mut world, group) = trio(seed);
        let before = world.devices[0].group(group).epoch();
        world.update_keys(0, group);
        let commit = world.devices[0].transmits().pop_front().unwrap();
        world.relay.lie([lie]);
        let outcome = world.relay.publish(0, &commit);
        // Before its answer: the log first.
        world.fetch(0);
        assert_eq!(world.devices[0].group(group).epoch(), before.next());
        world.devices[0].settle_publish(commit.id, outcome);
        world.settle();
        world.check();
        assert_eq!(world.devices[1].group(group).epoch(), before.next());
    }
}

/// Scenario 22: a commit before the proposals it refers to. There are none to refer to: a
/// standalone proposal is refused for itself, and nothing waits for one.
#[test]
fn records_that_are_missing_are_waited_for_and_never_skipped() {
    let (mut world, group) = trio(15);
    let topic = Topic::Group(group);
    world.send(0, group, b"one").unwrap();
    world.send(0, group, b"two").unwrap();
    world.publish(0);
    let log = world.relay.log(1, &topic).to_vec();
    let now = world.now;
    let value = world.devices[1].group_mut(group);
    let before = value.cursor();
    let step = value.handle_records(now, &log[log.len() - 1..]);
    let taken = world.devices[1].drive(step).unwrap();
    assert!(matches!(taken.parked, Some(Parked::MissingRecords { .. })));
    assert_eq!(world.devices[1].group(group).cursor(), before);
    world.settle();
    world.check();
}

/// Scenario 23: junk in a group's topic is not taken for a fork, or for anything else.
#[test]
fn junk_is_rejected_and_traffic_goes_on() {
    let (mut world, group) = trio(16);
    let mut foreign = World::with_people(99, 2);
    let other = foreign.create_group(0);
    foreign.add(0, other, &[1]);
    foreign.settle();
    let stray = foreign.relay.log(0, &Topic::Group(other))[0].payload.clone();
    for junk in [vec![], vec![1], vec![0; 300], b"\x01hello".to_vec(), stray] {
        world.inject(group, junk);
    }
    world.send(1, group, b"after the junk").unwrap();
    world.settle();
    world.check();
    assert_eq!(world.rejections(0, Rejection::Malformed), 4);
    assert_eq!(world.rejections(0, Rejection::OtherGroup), 1);
    assert_eq!(world.timeline(0, group).len(), 3 + 1);
}

/// Scenario 92, G17: a removed member posts in an old epoch, and the relay delays on purpose.
#[test]
fn a_removed_member_cannot_post_into_old_epochs() {
    let (mut world, group) = trio(17);
    let topic = Topic::Group(group);
    world.send(2, group, b"from the past").unwrap();
    let held = world.devices[2].take_released().remove(0);
    assert!(world.remove(0, group, &[2]));
    world.settle();
    world.relay.inject(&topic, held.payload);
    world.settle();
    for device in 0..2 {
        assert_eq!(world.rejections(device, Rejection::NotAMember), 1);
        assert_eq!(world.timeline(device, group).len(), 3);
    }
    // Added again, it is another incarnation: the old message still does not count.
    world.send(0, group, b"gone").unwrap();
    world.settle();
    assert!(world.add(0, group, &[2]));
    world.settle();
    world.check();
}

/// R8, E9: bytes that the chain does not hold are not taken, whatever their place.
#[test]
fn an_altered_record_is_of_another_history() {
    let (mut world, group) = trio(18);
    world.send(0, group, b"true").unwrap();
    world.publish(0);
    let mut record = world.relay.log(1, &Topic::Group(group)).last().unwrap().clone();
    *record.payload.last_mut().unwrap() ^= 1;
    let now = world.now;
    assert_eq!(world.devices[1].handle_batch(now, group, &[record]), 0);
    world.settle();
    world.check();
    assert_eq!(world.timeline(1, group).len(), 3 + 1);
}

/// G8: a Welcome whose commit the log does not hold leads nowhere.
#[test]
fn a_welcome_whose_commit_is_not_in_the_log_is_rejected() {
    let mut world = World::with_people(19, 2);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1]));
    world.publish(0);
    world.fetch(0);
    world.publish(0);
    // The relay takes the commit back before the invited one looks.
    world.relay.cut(&Topic::Group(group), 0, 0);
    world.inject(group, b"another log".to_vec());
    world.fetch(1);
    assert_eq!(world.devices[1].groups().count(), 0);
    let reasons = [WelcomeRejection::NotInLog];
    let seen = |reason: &WelcomeRejection| {
        world.events(1, |event| {
            matches!(event, Event::WelcomeRejected { reason: given, .. } if given == reason)
        })
    };
    assert_eq!(reasons.iter().map(seen).sum::<usize>(), 1);
}
