//! Races, windows and rejoining (scenarios 36, 62–67, 71, 88, 91, 98, 100).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use conclave_core::{
    config::{FORWARD_GENERATIONS, Limits},
    entropy::Entropy,
    event::{Event, IntentOutcome, Rejection},
    group::{Group, GroupRecords},
    installation::Installation,
    step::Committer,
    store::{Claim, Store},
};
use conclave_proto::{GroupId, Topic, codec::Wire};
use conclave_testkit::{
    entropy::SimEntropy,
    world::{World, is_member},
};

/// Scenario 63: two installations of one inbox commit at once; all members commit at once.
#[test]
fn everybody_commits_at_once_and_nobody_loses_a_wish() {
    let mut world = World::with_people(1, 3);
    let second = world.add_device(0);
    world.run_uploads();
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1, 2]));
    world.settle();
    assert!(world.add(0, group, &[0]), "the own inbox's other installation follows its log");
    world.settle();
    assert!(is_member(&world.devices[second], group));
    for device in 0..4 {
        assert!(world.update_keys(device, group));
    }
    world.settle();
    world.check();
    for device in 0..4 {
        assert!(world.devices[device].group(group).last_path_update().is_some());
        assert!(world.events(device, done) > 0, "device {device} reports its wish");
    }
}

fn done(event: &Event) -> bool {
    matches!(event, Event::IntentSettled { outcome: IntentOutcome::Done, .. })
}

/// Scenario 64: two members add the same person at once. One commit wins; the other wish was
/// true already.
#[test]
fn a_person_added_twice_at_once_is_there_once() {
    let (mut world, group) = World::of_talkers(2, 2);
    let newcomer = world.add_person();
    world.run_uploads();
    assert!(world.add(0, group, &[newcomer]));
    assert!(world.add(1, group, &[newcomer]));
    world.settle();
    world.check();
    assert_eq!(world.devices[0].group(group).members().count(), 3);
    let already = |event: &Event| {
        matches!(event, Event::IntentSettled { outcome: IntentOutcome::AlreadySo, .. })
    };
    assert_eq!(world.events(0, already) + world.events(1, already), 1);
}

/// Scenarios 65 and 100: removed while an own commit (that adds somebody) is out. The commit
/// loses, its Welcome is never sent.
#[test]
fn a_member_removed_while_its_commit_is_out_is_removed() {
    let (mut world, group) = World::of_talkers(3, 3);
    let newcomer = world.add_person();
    world.run_uploads();
    assert!(world.remove(0, group, &[2]));
    assert!(world.add(2, group, &[newcomer]));
    world.publish(0);
    world.publish(2);
    world.settle();
    world.send(0, group, b"evidence").unwrap();
    world.settle();
    world.check();
    assert!(world.devices[2].group(group).standing().is_removed());
    assert!(world.devices[2].group(group).unsettled().is_empty());
    let topic = world.devices[newcomer].ring().topic();
    assert!(world.relay.log(newcomer, &topic).is_empty(), "no Welcome of a losing commit");
}

/// Scenario 66: messages of the next epoch stand behind the removal; they are its evidence, not
/// an obstacle.
#[test]
fn messages_of_the_next_epoch_settle_a_removal() {
    let (mut world, group) = World::of_talkers(4, 3);
    assert!(world.remove(0, group, &[2]));
    world.publish(0);
    world.fetch(2);
    let parked = |event: &Event| matches!(event, Event::Parked { .. });
    assert_eq!(world.events(2, parked), 1, "not final without evidence");
    assert!(!world.devices[2].group(group).standing().is_removed());
    assert!(world.send(2, group, b"am I there?").is_none(), "nothing is sent meanwhile");
    world.fetch(0);
    world.send(0, group, b"one").unwrap();
    world.send(0, group, b"two").unwrap();
    world.publish(0);
    world.fetch(2);
    assert!(world.devices[2].group(group).standing().is_removed());
    world.settle();
    world.check();
}

/// Scenario 67, S4: after rejoining, the epochs in between stay unreadable and new ones are
/// readable; a Welcome of the membership before is no way back.
#[test]
fn rejoining_reads_new_epochs_only() {
    let (mut world, group) = World::of_talkers(5, 3);
    assert!(world.remove(0, group, &[2]));
    world.settle();
    let secret = world.send(0, group, b"while you were away").unwrap();
    world.settle();
    assert!(world.devices[2].group(group).standing().is_removed());
    assert!(world.add(1, group, &[2]));
    world.settle();
    let back = world.send(0, group, b"welcome back").unwrap();
    world.settle();
    world.check();
    let ids: Vec<_> = world.timeline(2, group).iter().map(|(_, m)| m.id).collect();
    assert!(ids.contains(&back) && !ids.contains(&secret));
    assert_eq!(ids.len(), 3 + 1, "the history before stays");
}

/// Scenario 71, S4: a message three epochs late is read, one four epochs late is not; its sender
/// encrypts it again, and it arrives once.
#[test]
fn the_window_of_past_epochs_is_three() {
    for (late, shown_at_once) in [(3, true), (4, false)] {
        let (mut world, group) = World::of_talkers(6, 3);
        world.send(2, group, b"late").unwrap();
        let held = world.devices[2].take_released().remove(0);
        for _ in 0..late {
            world.update_keys(0, group);
            world.publish(0);
            world.fetch(0);
        }
        world.relay.inject(&Topic::Group(group), held.payload);
        world.fetch(1);
        let shown = world.timeline(1, group).len() == 3 + 1;
        assert_eq!(shown, shown_at_once, "{late} epochs late");
        assert_eq!(world.rejections(1, Rejection::TooOld), usize::from(!shown_at_once));
        world.settle();
        world.check();
        assert_eq!(world.timeline(1, group).len(), 3 + 1);
    }
}

/// Scenarios 36 and 71: a sender may run ahead by exactly the maximum of generations.
#[test]
fn the_window_of_generations_is_a_thousand() {
    for (skipped, read) in [(FORWARD_GENERATIONS, true), (FORWARD_GENERATIONS + 1, false)] {
        let (mut world, group) = World::of_talkers(7, 2);
        world.devices[0].limits.unsettled = 2_000;
        world.devices[0].crash();
        for _ in 0..skipped {
            world.send(0, group, b"x").unwrap();
        }
        world.send(0, group, b"the last one").unwrap();
        let last = world.devices[0].take_released().pop().unwrap();
        world.relay.inject(&Topic::Group(group), last.payload);
        world.fetch(1);
        let far = world.rejections(1, Rejection::TooFarAhead);
        assert_eq!((world.timeline(1, group).len(), far), if read { (3, 0) } else { (2, 1) });
        let gaps = world.events(1, |event| matches!(event, Event::Gap { .. }));
        assert_eq!(gaps, usize::from(read), "what is missing is said");
    }
}

/// Scenario 88: a package expires after it was added and before a member reads the commit: MLS
/// lifetimes are unlimited by rule, so everybody judges alike, whenever they read.
#[test]
fn a_package_that_expires_before_its_commit_is_read_locks_nobody_out() {
    let (mut world, group) = World::of_talkers(8, 2);
    let newcomer = world.add_person();
    world.run_uploads();
    assert!(world.add(0, group, &[newcomer]));
    world.publish(0);
    world.pass(400 * 24 * 60 * 60 * 1_000);
    world.settle();
    world.check();
    assert!(is_member(&world.devices[newcomer], group));
}

/// S9 and the sender's side of scenario 88: nobody adds with a package past its own expiry.
#[test]
fn an_expired_package_is_refused_by_the_sender() {
    use conclave_core::keyring::{PackageError, VerifiedPackage};
    let world = World::with_people(9, 1);
    let installation = &world.devices[0].installation;
    let upload = world.relay.package(&installation.id()).unwrap();
    let later = world.now.plus_ms(Limits::default().package_ms + 1);
    let checked = VerifiedPackage::check(later, installation.inbox(), installation.id(), &upload);
    assert!(matches!(checked, Err(PackageError::Expired { .. })));
}

/// The engine of another opening, on a copy of a device's store.
fn copy_of(world: &World, device: usize, group: GroupId, marks: Option<[u8; 32]>) -> Group {
    let device = &world.devices[device];
    let store = device.store.inner().snapshot();
    let records = GroupRecords::read(&store, group).unwrap().unwrap();
    let installation = match marks {
        None => Arc::clone(&device.installation),
        Some(marks) => {
            let key = device.installation.signing_key().to_bytes();
            Arc::new(Installation::new(device.installation.inbox(), key, marks))
        }
    };
    let entropy = Entropy::new(Box::new(SimEntropy::new(world.seed, 77, 99)));
    Group::load(&records, group, installation, Limits::default(), entropy, 0).unwrap()
}

fn send_from(copy: &mut Group, world: &World, device: usize, text: &[u8]) -> Vec<u8> {
    let store = world.devices[device].store.inner().snapshot();
    store.claim(Claim([9; 16])).unwrap();
    let step = copy.send(world.now, [5; 16], text.to_vec()).unwrap();
    let mut released = Committer::new(Claim([9; 16])).drive(&store, step).unwrap();
    released.effects.transmits.remove(0).payload
}

/// Scenario 91: a message on the victim's own leaf that the victim did not make. Others cannot
/// know; the victim says so, and shows nothing.
#[test]
fn a_forged_message_on_the_own_leaf_is_named_as_forged() {
    let (mut world, group) = World::of_talkers(10, 2);
    // Only who has the leaf's keys gets so far: here a thief of the store, without the marks.
    let mut thief = copy_of(&world, 1, group, Some([66; 32]));
    let forged = send_from(&mut thief, &world, 1, b"not me");
    world.inject(group, forged);
    world.fetch(1);
    assert_eq!(world.rejections(1, Rejection::Forged), 1);
    assert_eq!(world.events(1, |event| matches!(event, Event::CopyDetected { .. })), 0);
    assert_eq!(world.timeline(1, group).len(), 2);
}

/// E9: a message of another engine on a copy of this store is told apart from a forgery.
#[test]
fn a_message_of_a_copied_store_is_named_as_a_copy() {
    let (mut world, group) = World::of_talkers(11, 2);
    let mut copy = copy_of(&world, 1, group, None);
    let payload = send_from(&mut copy, &world, 1, b"from the copy");
    world.inject(group, payload);
    world.fetch(1);
    assert_eq!(world.events(1, |event| matches!(event, Event::CopyDetected { .. })), 1);
}

/// Property (d), E3, scenario 52: two engines on copies of one store use the same generation of
/// the ratchet, and never the same nonce with it. Under one key and nonce, equal plaintexts
/// would begin with equal ciphertexts.
#[test]
fn two_engines_on_copies_of_a_store_never_share_a_key_and_nonce() {
    use conclave_proto::Envelope;
    let (world, group) = World::of_talkers(12, 2);
    let mut seen = Vec::new();
    for opening in 0..200 {
        let store = world.devices[1].store.inner().snapshot();
        let records = GroupRecords::read(&store, group).unwrap().unwrap();
        let entropy = Entropy::new(Box::new(SimEntropy::new(world.seed, 1, 1_000 + opening)));
        let installation = Arc::clone(&world.devices[1].installation);
        let mut copy =
            Group::load(&records, group, installation, Limits::default(), entropy, 0).unwrap();
        let payload = send_from(&mut copy, &world, 1, b"the same words");
        let (_, message) = Envelope::decode_group(&payload).unwrap();
        let ciphertext = content_ciphertext(&message);
        seen.push(ciphertext[..16].to_vec());
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

/// The last field of a `PrivateMessage` (RFC 9420 §6.3): everything but the content ciphertext is
/// of known length here.
fn content_ciphertext(message: &[u8]) -> &[u8] {
    // version, wire format, group id with its length, epoch, content type, empty AAD
    let mut at = 2 + 2 + (1 + 16) + 8 + 1 + 1;
    let sender_data = usize::from(message[at]);
    at += 1 + sender_data;
    // A length of two bytes: the padded message is longer than 63 bytes.
    assert_eq!(message[at] >> 6, 1);
    &message[at + 2..]
}

/// Scenario 98: the last, the only, the middle record of a batch fails; the others count, and the
/// group can be loaded again.
#[test]
fn a_failing_record_of_a_batch_takes_no_other_with_it() {
    for junk_at in [vec![0], vec![1], vec![2], vec![0, 1, 2], vec![3]] {
        let (mut world, group) = World::of_talkers(13, 2);
        let mut expected = 2;
        for place in 0..4 {
            if junk_at.contains(&place) {
                let mut payload = world.relay.log(0, &Topic::Group(group))[2].payload.clone();
                *payload.last_mut().unwrap() ^= 1;
                world.inject(group, payload);
            } else {
                world.send(0, group, b"good").unwrap();
                world.publish(0);
                expected += 1;
            }
        }
        world.fetch(1);
        assert_eq!(world.timeline(1, group).len(), expected);
        world.devices[1].reload(group);
        world.send(1, group, b"answer").unwrap();
        world.settle();
        world.check();
    }
}

/// S5: nothing is sent before the own path update is in the log, and the clock of three months
/// restarts only there (scenario 70).
#[test]
fn a_path_update_comes_before_the_first_message_and_after_three_months() {
    let mut world = World::with_people(14, 2);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1]));
    world.settle();
    let updates =
        |world: &World, device: usize| world.devices[device].group(group).last_path_update();
    assert_eq!(updates(&world, 1), None);
    world.send(1, group, b"first").unwrap();
    let first = world.devices[1].transmits().front().unwrap().payload.clone();
    let (_, message) = conclave_proto::Envelope::decode_group(&first).unwrap();
    assert_eq!(message[4 + 17 + 8], 3, "the first thing that goes out is a commit");
    assert_eq!(updates(&world, 1), None, "and staging it is not yet an update");
    world.settle();
    let last = updates(&world, 1).expect("its own commit is applied");
    world.pass(Limits::default().path_update_ms);
    assert!(world.devices[1].group(group).is_path_update_due(world.now));
    world.send(1, group, b"after three months").unwrap();
    world.settle();
    assert!(updates(&world, 1).unwrap() > last);
    world.check();
}

/// S5: a reader renews its keys within a day of joining, without sending anything.
#[test]
fn a_silent_member_renews_its_keys_within_a_day() {
    let mut world = World::with_people(15, 2);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1]));
    world.settle();
    assert_eq!(world.devices[1].group(group).last_path_update(), None);
    world.pass(Limits::default().join_update_ms);
    world.settle();
    assert!(world.devices[1].group(group).last_path_update().is_some());
    world.check();
}

/// S4: seven days after an epoch has ended its secrets are gone, whoever is late.
#[test]
fn secrets_of_past_epochs_are_erased_after_seven_days() {
    let (mut world, group) = World::of_talkers(16, 3);
    world.send(2, group, b"a week late").unwrap();
    let held = world.devices[2].take_released().remove(0);
    world.update_keys(0, group);
    world.publish(0);
    world.fetch(1);
    world.pass(Limits::default().past_epoch_ms);
    world.relay.inject(&Topic::Group(group), held.payload);
    world.fetch(1);
    assert_eq!(world.rejections(1, Rejection::TooOld), 1);
}

/// The MLS records of a message stay readable from the store alone (E10: the message type).
#[test]
fn stored_messages_decode_from_their_bytes() {
    let (world, group) = World::of_talkers(17, 2);
    for (_, message) in world.timeline(1, group) {
        let again = conclave_core::group::StoredMessage::decode(&message.encode()).unwrap();
        assert_eq!(again, message);
    }
}
