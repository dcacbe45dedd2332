//! The order of one sender's messages: what is late, what waits, and what it waits for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use conclave_core::{
    config::Limits,
    delivery::{PublishOutcome, Transmit},
    entropy::Entropy,
    event::Rejection,
    group::{Group, GroupRecords},
    step::Committer,
    store::{Claim, Store},
};
use conclave_proto::{GroupId, MessageId, Seq};
use conclave_testkit::{entropy::SimEntropy, world::World};

/// The messages of a timeline behind those that talkers begin with.
fn shown(world: &World, device: usize, group: GroupId, talkers: usize) -> Vec<MessageId> {
    world.timeline(device, group).iter().skip(talkers).map(|(_, message)| message.id).collect()
}

/// Somebody else renews keys, so often, and the log says so.
fn epochs(world: &mut World, group: GroupId, count: usize) {
    for _ in 0..count {
        world.update_keys(0, group);
        world.publish(0);
        world.fetch(0);
    }
}

/// Scenario 103, G14: of two messages on their way, the first comes too late and the second, of a
/// later epoch, just in time. They are shown in the order of sending all the same.
#[test]
fn messages_of_one_sender_keep_their_order_when_the_first_comes_too_late() {
    let (mut world, group) = World::of_talkers(18, 3);
    let mut sent = vec![world.send(2, group, b"first").unwrap()];
    for epoch in 0..4 {
        world.update_keys(0, group);
        world.publish(0);
        world.fetch(0);
        if epoch == 0 {
            world.fetch(2);
            sent.push(world.send(2, group, b"second").unwrap());
        }
    }
    world.settle();
    sent.push(world.send(2, group, b"third").unwrap());
    world.settle();
    world.check();
    world.check_order_of_senders();
    for device in 0..3 {
        let timeline = world.timeline(device, group);
        let shown: Vec<_> = timeline.iter().skip(3).map(|(_, message)| message.id).collect();
        assert_eq!(shown, sent, "device {device}");
    }
    assert_eq!(world.rejections(1, Rejection::TooOld), 1, "the first came too late once");
}

/// Scenario 9: a message that the relay will not take does not hold up those of later epochs, nor
/// is it forgotten.
#[test]
fn a_message_that_is_refused_holds_up_no_other() {
    let (mut world, group) = World::of_talkers(19, 3);
    let refused = world.send(2, group, b"refused").unwrap();
    let transmit = world.devices[2].transmits().pop_front().unwrap();
    world.update_keys(0, group);
    world.publish(0);
    world.fetch(2);
    let second = world.send(2, group, b"second").unwrap();
    assert!(world.devices[2].transmits().is_empty(), "it waits for the first one's place");
    world.devices[2].settle_publish(transmit.id, PublishOutcome::Invalid);
    assert_eq!(world.devices[2].transmits().len(), 1, "the second goes out");
    world.publish(2);
    world.fetch(1);
    assert_eq!(world.timeline(1, group).last().unwrap().1.id, second);
    // It goes out again and again; this relay takes it in the end.
    world.pass(Limits::default().republish_ms);
    world.settle();
    world.check();
    assert_eq!(world.timeline(1, group).last().unwrap().1.id, refused);
}

/// Scenario 103: of several messages of one epoch the later ones come too late. All go out again,
/// none before the last of them has come.
#[test]
fn messages_that_come_too_late_go_out_again_in_their_order() {
    let (mut world, group) = World::of_talkers(20, 3);
    let sent: Vec<MessageId> =
        (0..6_u8).map(|number| world.send(2, group, &[number]).unwrap()).collect();
    let transmits: Vec<Transmit> = world.devices[2].take_released();
    let early = transmits.len() / 3;
    for transmit in &transmits[..early] {
        world.inject(group, transmit.payload.clone());
    }
    epochs(&mut world, group, 4);
    for transmit in &transmits[early..5] {
        world.inject(group, transmit.payload.clone());
    }
    world.fetch(2);
    assert!(world.devices[2].transmits().is_empty(), "the last one is still on its way");
    world.inject(group, transmits[5].payload.clone());
    world.settle();
    world.check();
    world.check_order_of_senders();
    assert_eq!(shown(&world, 1, group, 3), sent);
    assert_eq!(world.rejections(1, Rejection::TooOld), 4);
}

/// E4, scenario 103: messages that wait for others survive a restart, and wish for no keys.
#[test]
fn what_waits_for_others_outlives_a_restart() {
    let (mut world, group) = World::of_talkers(21, 3);
    let first = world.send(2, group, b"first").unwrap();
    epochs(&mut world, group, 1);
    world.fetch(2);
    let second = world.send(2, group, b"second").unwrap();
    world.devices[2].reload(group);
    assert_eq!(world.devices[2].transmits().len(), 1, "only the first is encrypted");
    assert_eq!(world.devices[2].group(group).pending_intents().count(), 0);
    let epoch = world.devices[2].group(group).epoch();
    world.settle();
    world.check();
    assert_eq!(shown(&world, 1, group, 3), [first, second]);
    assert_eq!(world.devices[2].group(group).epoch(), epoch, "nobody has renewed keys");
}

/// E5: what has waited is encrypted in parts that any store takes, one after the other without
/// anything coming, also by a process that finds it stored.
#[test]
fn what_has_waited_goes_out_in_parts() {
    let (mut world, group) = World::of_talkers(22, 3);
    let mut sent = vec![world.send(2, group, b"first").unwrap()];
    epochs(&mut world, group, 1);
    world.fetch(2);
    sent.extend((0..9_u8).map(|number| world.send(2, group, &[number]).unwrap()));
    world.publish(2);
    // From here on by hand, on a copy of the store.
    let store = world.devices[2].store.inner().snapshot();
    let claim = Claim([9; 16]);
    store.claim(claim).unwrap();
    let mut committer = Committer::new(claim);
    let load = |number: u64| {
        let records = GroupRecords::read(&store, group).unwrap().unwrap();
        let entropy = Entropy::new(Box::new(SimEntropy::new(world.seed, 77, number)));
        let installation = Arc::clone(&world.devices[2].installation);
        let mut limits = Limits::default();
        limits.flush_bytes = 1;
        Group::load(&records, group, installation, limits, entropy, number).unwrap()
    };
    let mut copy = load(1);
    let topic = copy.topic().clone();
    let echo = world.relay.after(2, &topic, copy.cursor().seq);
    let released = committer.drive(&store, copy.handle_records(world.now, &echo)).unwrap();
    let count = released.effects.transmits.len();
    assert_eq!(count, 1, "one in the step of the first one's echo");
    let mut copy = load(2);
    assert_eq!(copy.unsettled().len(), 1);
    for count in 2..=9 {
        let due = copy.next_timeout().unwrap();
        assert!(due <= world.now, "at once");
        let step = copy.handle_timeout(world.now);
        assert_eq!(committer.drive(&store, step).unwrap().effects.transmits.len(), 1);
        assert_eq!(copy.unsettled().len(), count);
    }
    // An engine goes on by itself.
    world.devices[2].limits.flush_bytes = 1;
    world.devices[2].crash();
    world.settle();
    world.check();
    assert_eq!(shown(&world, 1, group, 3), sent);
}

/// Scenario 9: a relay says that it has stored a message and has not. What is sent after the next
/// commit waits until the log is read as far as that place, and goes out then.
#[test]
fn a_message_that_was_accepted_and_lost_holds_up_no_other() {
    let (mut world, group) = World::of_talkers(23, 3);
    let lost = world.send(2, group, b"lost").unwrap();
    let transmit = world.devices[2].transmits().pop_front().unwrap();
    let place = Seq(world.devices[2].group(group).cursor().seq.0 + 2);
    let accepted = PublishOutcome::Accepted { seq: place, prev: Seq(0) };
    world.devices[2].settle_publish(transmit.id, accepted);
    epochs(&mut world, group, 1);
    world.fetch(2);
    let second = world.send(2, group, b"second").unwrap();
    assert!(world.devices[2].transmits().is_empty(), "its place is still to come");
    epochs(&mut world, group, 1);
    world.fetch(2);
    assert_eq!(world.devices[2].transmits().len(), 1, "something else is in its place");
    world.publish(2);
    world.fetch(1);
    assert_eq!(shown(&world, 1, group, 3), [second]);
    world.pass(Limits::default().republish_ms);
    world.settle();
    world.check();
    assert_eq!(shown(&world, 1, group, 3), [second, lost]);
}

/// Scenario 8: the commit before a first message is refused. The message waits for another one, and
/// does not need to be asked for it.
#[test]
fn a_first_message_goes_out_although_its_commit_was_refused() {
    let mut world = World::with_people(24, 2);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1]));
    world.settle();
    let first = world.send(1, group, b"first").unwrap();
    let commit = world.devices[1].transmits().pop_front().unwrap();
    let refused = PublishOutcome::Invalid;
    world.devices[1].settle_publish(commit.id, refused);
    assert_eq!(world.devices[1].transmits().len(), 1, "another commit");
    world.settle();
    world.check();
    assert_eq!(shown(&world, 0, group, 0), [first]);
}
