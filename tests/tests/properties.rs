//! What holds in every world, whatever happens in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use conclave_testkit::{
    chaos::{Chaos, Weather, calm_down},
    dice::for_each_seed,
    world::World,
};

fn chaotic(seed: u64, weather: Weather, people: usize, steps: usize) -> World {
    let mut world = World::with_people(seed, people);
    let mut chaos = Chaos::new(&mut world, weather);
    for _ in 0..steps {
        chaos.step(&mut world);
    }
    calm_down(&mut world, chaos.group);
    world
}

fn people(seed: u64) -> usize {
    2 + usize::try_from(seed % 5).unwrap()
}

/// Property (a), in a network that only delays: rosters, epochs and timelines converge (G5, G6,
/// G7, S3, S5; scenarios 62–67).
#[test]
fn random_operations_converge_in_calm_weather() {
    for_each_seed("random_operations_converge_in_calm_weather", 40, |seed| {
        let world = chaotic(seed, Weather::CALM, people(seed), 150);
        world.check();
        world.check_order_of_senders();
    });
}

/// Property (a), with lies of the relay, failing stores and crashes between any two steps (E2,
/// E4; scenarios 8, 9, 10, 48, 50).
#[test]
fn random_operations_converge_in_rough_weather() {
    for_each_seed("random_operations_converge_in_rough_weather", 60, |seed| {
        chaotic(seed, Weather::ROUGH, people(seed), 200).check();
    });
}

/// Property (a) over the whole engine: groups come and go in memory, actors panic in the middle of
/// an input, answers of the relay come late, twice or never, besides all of the above (E13, E14;
/// scenarios 10, 48, 50, 59, 64, 67).
#[test]
fn random_operations_converge_although_engines_panic_and_answers_are_odd() {
    let mut panics = 0;
    for_each_seed(
        "random_operations_converge_although_engines_panic_and_answers_are_odd",
        60,
        |seed| {
            let world = chaotic(seed, Weather::WILD, people(seed), 250);
            world.check();
            panics += world.devices.iter().map(|device| device.fuse.count()).sum::<u32>();
        },
    );
    assert!(panics > 0, "no fuse has burnt");
}

/// E3, E13: the same seed gives the same course of events, input by input and effect by effect.
#[test]
fn the_same_seed_gives_the_same_course_of_events() {
    for_each_seed("the_same_seed_gives_the_same_course_of_events", 4, |seed| {
        let run = || {
            let mut world = World::with_people(seed, people(seed));
            world.devices.iter_mut().for_each(|device| device.trace = Some(Vec::new()));
            let mut chaos = Chaos::new(&mut world, Weather::WILD);
            for _ in 0..120 {
                chaos.step(&mut world);
            }
            let lines = world.devices.iter_mut().filter_map(|device| device.trace.take());
            lines.flatten().collect::<Vec<String>>()
        };
        let (first, second) = (run(), run());
        for (number, (one, other)) in first.iter().zip(&second).enumerate() {
            assert_eq!(one, other, "the first difference, at line {number} of seed {seed}");
        }
        assert_eq!(first.len(), second.len(), "one course of events goes on");
        assert!(first.len() > 200, "{} lines", first.len());
    });
}

/// Property (c): the same seed gives the same bytes, on the wire and in the stores, with nothing
/// left out of the comparison (E3).
#[test]
fn the_same_seed_gives_the_same_bytes() {
    for_each_seed("the_same_seed_gives_the_same_bytes", 8, |seed| {
        let run = || chaotic(seed, Weather::ROUGH, people(seed), 120).fingerprint();
        assert!(run() == run(), "seed {seed} gives other bytes the second time");
    });
}
