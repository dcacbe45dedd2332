//! How fast simulations run.

use std::time::Duration;

use conclave_testkit::{
    chaos::{Chaos, Weather, calm_down},
    world::World,
};

use crate::measure::cpu;

/// Steps of simulated engines, and the processor time that they took.
#[derive(Clone, Copy, Debug)]
pub struct Simulated {
    /// Inputs that actors handled and commits that stores took, of all installations.
    pub steps: u64,
    /// Processor time of the whole world: its relay, faults and dice included.
    pub time: Duration,
}

impl Simulated {
    /// Steps per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.steps as f64 / self.time.as_secs_f64()
    }
}

/// Runs worlds of four people in rough weather, with the seeds from 0 on: so many random
/// operations on one group, and then whatever it takes until the world has settled. What a world
/// does follows from its seed, so `steps` is the same in every run.
///
/// # Panics
/// If a world does not settle.
#[must_use]
pub fn chaotic_worlds(worlds: u64, operations: usize) -> Vec<Simulated> {
    (0..worlds).map(|seed| chaotic_world(seed, operations)).collect()
}

fn chaotic_world(seed: u64, operations: usize) -> Simulated {
    let mut world = World::with_people(seed, 4);
    let before = steps(&world);
    let time = cpu(|| {
        let mut chaos = Chaos::new(&mut world, Weather::ROUGH);
        (0..operations).for_each(|_| chaos.step(&mut world));
        calm_down(&mut world, chaos.group);
    });
    Simulated { steps: steps(&world) - before, time }
}

fn steps(world: &World) -> u64 {
    world.devices.iter().map(|device| device.steps).sum()
}
