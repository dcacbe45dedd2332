//! The bodies of the fuzz targets, as plain tests over seeds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use conclave_core::{
    event::{Event, Rejection},
    store::StoreError,
};
use conclave_proto::{Envelope, EnvelopeKind, Mark, codec::Wire, limits};
use conclave_testkit::{
    dice::{Dice, for_each_seed},
    faulty_store::Fault,
    fuzz::{decode, group_inbound},
    fuzz_relay::relay_protocol,
    world::World,
};

fn bytes(dice: &mut Dice, len: usize) -> Vec<u8> {
    (0..len).map(|_| u8::try_from(dice.below(256)).unwrap()).collect()
}

/// R3: whatever the bytes, decoding ends with a typed outcome.
#[test]
fn any_bytes_decode_to_a_typed_outcome() {
    for_each_seed("any_bytes_decode_to_a_typed_outcome", 3_000, |seed| {
        let mut dice = Dice::new(seed);
        let len = dice.below(300);
        let mut data = bytes(&mut dice, len);
        decode(&data);
        // Most types are of version 1: look behind that door too.
        if let Some(first) = data.first_mut() {
            *first = 1;
        }
        decode(&data);
    });
}

/// Bad input into a live group: typed outcomes, and honest traffic behind it works.
#[test]
fn any_records_leave_a_live_group_alive() {
    for_each_seed("any_records_leave_a_live_group_alive", 400, |seed| {
        let mut dice = Dice::new(seed);
        let len = 5 + dice.below(120);
        group_inbound(&bytes(&mut dice, len));
    });
}

/// R3, R6, scenarios 18, 82, 84: whatever clients send, the relay stands, stays small, and serves
/// honest ones.
#[test]
fn any_clients_leave_a_relay_alive() {
    for_each_seed("any_clients_leave_a_relay_alive", 300, |seed| {
        let mut dice = Dice::new(seed);
        let len = 10 + dice.below(400);
        relay_protocol(&bytes(&mut dice, len));
    });
}

/// Too long, truncated, of an unknown version, of an unknown kind: refused when they are decoded.
#[test]
fn records_that_are_no_envelopes_are_malformed() {
    let mut world = World::with_people(1, 2);
    let group = world.create_group(0);
    world.add(0, group, &[1]);
    world.settle();
    let kind = EnvelopeKind::Mls(vec![0, 1, 0, 2, 0]);
    let good = Envelope { mark: Mark([3; 16]), beacon: None, kind }.encode();
    let mut unknown_version = good.clone();
    unknown_version[0] = 2;
    let mut unknown_kind = good.clone();
    unknown_kind[18] = 9;
    let truncated = good[..good.len() - 1].to_vec();
    let trailing = [&good[..], &[0]].concat();
    let too_long = [&good[..], &vec![0; limits::ENVELOPE_BYTES]].concat();
    let bad = [unknown_version, unknown_kind, truncated, trailing, too_long];
    let count = bad.len();
    for payload in bad {
        world.inject(group, payload);
    }
    world.send(1, group, b"still here").unwrap();
    world.settle();
    world.check();
    let malformed =
        |event: &Event| matches!(event, Event::Rejected { reason: Rejection::Malformed, .. });
    assert_eq!(world.events(0, malformed), count);
}

/// E2, E4: a step that is dropped unreleased has changed nothing; a step that could not be stored
/// neither. Loaded again, the group is what it was, and the same input has the same effect.
#[test]
fn a_step_that_is_dropped_has_never_been() {
    for_each_seed("a_step_that_is_dropped_has_never_been", 20, |seed| {
        let mut world = World::with_people(seed, 2);
        let group = world.create_group(0);
        world.add(0, group, &[1]);
        world.settle();
        world.send(0, group, b"one").unwrap();
        world.update_keys(0, group);
        world.publish(0);
        world.fetch(0);
        world.publish(0);
        let before = world.devices[1].store.inner().digest_input();
        let topic = world.devices[1].group(group).topic().clone();
        let cursor = world.devices[1].group(group).cursor();
        let batch = world.relay.after(1, &topic, cursor.seq);
        let now = world.now;
        {
            let value = world.devices[1].group_mut(group);
            let epoch = value.epoch();
            let preview = value.handle_records(now, &batch);
            assert!(!preview.writes().is_empty());
            assert_ne!(value.epoch(), epoch, "the preview went all the way");
            drop(preview);
            let sent = value.send(now, [1; 16], b"never".to_vec()).unwrap();
            drop(sent);
        }
        assert_eq!(world.devices[1].store.inner().digest_input(), before);
        world.devices[1].reload(group);
        assert_eq!(world.devices[1].group(group).cursor(), cursor);
        world.devices[1].fail_next_commit(Fault::Refuse(StoreError::Full));
        world.fetch(1);
        world.settle();
        world.check();
        assert_eq!(world.timeline(1, group).len(), 1);
    });
}

/// Runs a body over a kept corpus; how many inputs there were.
fn over_corpus(name: &str, body: fn(&[u8])) -> usize {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/");
    let mut inputs: Vec<_> = std::fs::read_dir(format!("{folder}{name}"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    for input in &inputs {
        body(&std::fs::read(input).unwrap());
    }
    inputs.len()
}

/// Every input that the fuzz targets keep passes as a plain test: whatever was found once stays
/// found.
#[test]
fn every_kept_input_of_the_fuzz_targets_passes() {
    assert!(over_corpus("decode", conclave_testkit::fuzz::decode) >= 20);
    assert!(over_corpus("group_inbound", conclave_testkit::fuzz::group_inbound) >= 20);
    assert!(over_corpus("relay_protocol", conclave_testkit::fuzz_relay::relay_protocol) >= 20);
}
