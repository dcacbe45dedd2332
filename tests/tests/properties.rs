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

/// Property (c): the same seed gives the same bytes, on the wire and in the stores, with nothing
/// left out of the comparison (E3).
#[test]
fn the_same_seed_gives_the_same_bytes() {
    for_each_seed("the_same_seed_gives_the_same_bytes", 8, |seed| {
        let run = || chaotic(seed, Weather::ROUGH, people(seed), 120).fingerprint();
        assert!(run() == run(), "seed {seed} gives other bytes the second time");
    });
}
