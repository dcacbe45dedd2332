//! Property (b), *the* test of the project: the same log gives the same verdicts and the same
//! state, whatever the clock, the local limits, the sizes of batches and the engine's openings
//! (scenario 87).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;

use conclave_core::{
    config::Limits,
    entropy::Entropy,
    event::{Event, Rejection},
    group::{Group, GroupRecords},
    step::Committer,
    store::{Claim, Direction, Range, Store, Table},
};
use conclave_proto::{Envelope, EnvelopeKind, GroupId, Mark, Record, Seq, Timestamp, codec::Wire};
use conclave_store_memory::MemoryStore;
use conclave_testkit::{
    chaos::{Chaos, Weather, calm_down},
    dice::for_each_seed,
    entropy::SimEntropy,
    world::{World, is_member},
};

/// One way to read a log.
#[derive(Clone, Copy)]
struct Reading {
    start: u64,
    per_batch_ms: u64,
    batch: usize,
    opening: u64,
    /// The engine is loaded anew after each batch.
    reloads: bool,
    tight: bool,
}

/// What a reading came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    epoch: u64,
    authenticator: [u8; 32],
    root: [u8; 32],
    verdicts: Vec<(Seq, Option<Rejection>)>,
    timeline: Vec<(Vec<u8>, Vec<u8>)>,
    standing: String,
}

fn read(
    world: &World,
    reader: usize,
    before: &MemoryStore,
    group: GroupId,
    how: Reading,
) -> Outcome {
    let store = before.snapshot();
    let claim = Claim([8; 16]);
    store.claim(claim).unwrap();
    let mut committer = Committer::new(claim);
    let mut limits = Limits::default();
    if how.tight {
        limits.content_bytes = 1;
        limits.leaves = 1;
        limits.intents = 1;
        limits.unsettled = 1;
        limits.past_epoch_ms = limits.past_epoch_ms.saturating_mul(1_000);
    }
    let mut loads = 0;
    let mut load = || {
        loads += 1;
        let records = GroupRecords::read(&store, group).unwrap().unwrap();
        let source = SimEntropy::new(world.seed, 500 + how.opening, loads);
        let installation = Arc::clone(&world.devices[reader].installation);
        let entropy = Entropy::new(Box::new(source));
        Group::load(&records, group, installation, limits, entropy, loads).unwrap()
    };
    let mut value = load();
    let topic = value.topic().clone();
    let (mut now, mut verdicts) = (how.start, Vec::new());
    loop {
        let batch: Vec<Record> =
            world.relay.after(reader, &topic, value.cursor().seq).into_iter().collect();
        // A parked group looks at everything that is behind it.
        let was_parked = value.standing().parked().is_some();
        let size = if was_parked { batch.len() } else { how.batch };
        let batch = &batch[..batch.len().min(size)];
        let step = value.handle_records(Timestamp(now), batch);
        let released = committer.drive(&store, step).unwrap();
        verdicts.extend(released.effects.events.iter().filter_map(verdict));
        // One that has just parked has not looked at everything behind it yet.
        if released.reply.count == 0 && released.reply.parked.is_some() && was_parked
            || batch.is_empty()
        {
            break;
        }
        now += how.per_batch_ms;
        if how.reloads {
            value = load();
        }
    }
    Outcome {
        epoch: value.epoch().0,
        authenticator: value.epoch_authenticator(),
        root: value.state().root(),
        verdicts,
        timeline: timeline(&store, group),
        standing: match value.standing() {
            conclave_core::group::Standing::Stuck { at, removal, .. } => {
                format!("{at:?} {removal}")
            }
            other => format!("{other:?}"),
        },
    }
}

fn verdict(event: &Event) -> Option<(Seq, Option<Rejection>)> {
    match event {
        Event::Rejected { seq, reason, .. } => Some((*seq, Some(*reason))),
        Event::Message { seq, .. } => Some((*seq, None)),
        _ => None,
    }
}

fn timeline(store: &MemoryStore, group: GroupId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let range = Range::within(group.0, &[0], &[1]);
    store
        .scan(Table::Message, range, Direction::Forward, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    found
}

/// A world with junk and lost races in its log, and a reader in it that only reads.
fn world_with_reader(seed: u64) -> Option<(World, usize, MemoryStore, GroupId)> {
    let mut world = World::with_people(seed, 4);
    let mut chaos = Chaos::new(&mut world, Weather::ROUGH);
    world.add(0, chaos.group, &[3]);
    world.settle();
    let reader = 3;
    let before = world.devices[reader].store.inner().snapshot();
    for _ in 0..120 {
        // The reader does nothing: its own envelopes are known to one store only.
        let held = world.devices.pop()?;
        chaos.step(&mut world);
        world.devices.push(held);
        if world.dice.chance(10) {
            let kind = EnvelopeKind::Mls(vec![0, 1, 0, 2, 9, 9]);
            let junk = Envelope { mark: Mark([1; 16]), beacon: None, kind }.encode();
            world.inject(chaos.group, junk);
        }
    }
    let held = world.devices.pop()?;
    if is_member(&world.devices[0], chaos.group) {
        calm_down(&mut world, chaos.group);
    }
    world.devices.push(held);
    Some((world, reader, before, chaos.group))
}

/// Scenario 87.
#[test]
fn the_same_log_gives_the_same_verdicts_and_the_same_state() {
    const DAY: u64 = 86_400_000;
    for_each_seed("the_same_log_gives_the_same_verdicts_and_the_same_state", 20, |seed| {
        let (world, reader, before, group) = world_with_reader(seed).unwrap();
        let plain = Reading {
            start: 0,
            per_batch_ms: 0,
            batch: 256,
            opening: 1,
            reloads: false,
            tight: false,
        };
        let first = read(&world, reader, &before, group, plain);
        assert!(!first.verdicts.is_empty());
        let readings = [
            Reading { start: 1_900_000_000_000, opening: 2, ..plain },
            Reading { batch: 1, per_batch_ms: 60_000, opening: 3, ..plain },
            Reading { batch: 3, per_batch_ms: DAY, reloads: true, opening: 4, ..plain },
            Reading { batch: 7, tight: true, opening: 5, ..plain },
            Reading {
                batch: 1,
                tight: true,
                reloads: true,
                start: u64::MAX - 9,
                opening: 6,
                ..plain
            },
        ];
        for reading in readings {
            let other = read(&world, reader, &before, group, reading);
            assert_eq!(other, first, "seed {seed}, opening {}", reading.opening);
        }
    });
}
