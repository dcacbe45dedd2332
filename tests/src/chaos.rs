//! Random operations in a random network: one generator for property tests and fuzzing.

use conclave_core::store::StoreError;
use conclave_proto::GroupId;

use crate::{
    device::awake,
    faulty_store::Fault,
    sim_relay::Lie,
    world::{OddAnswer, World, is_member},
};

/// How rough the network and the disks are, in percent of steps.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// A publish meets a lie of the relay.
    pub lies: usize,
    /// A store commit fails.
    pub store_faults: usize,
    /// A process ends between two steps.
    pub crashes: usize,
    /// Time jumps by minutes to days.
    pub jumps: usize,
    /// An actor panics in the middle of an input.
    pub panics: usize,
    /// Answers of the relay come late, twice or never.
    pub odd_answers: usize,
    /// Whether groups leave the memory after two seconds without work.
    pub naps: bool,
}

impl Weather {
    /// Nothing goes wrong but timing.
    pub const CALM: Self = Self {
        lies: 0,
        store_faults: 0,
        crashes: 0,
        jumps: 0,
        panics: 0,
        odd_answers: 0,
        naps: false,
    };
    /// Network, disks and processes go wrong now and then.
    pub const ROUGH: Self = Self { lies: 10, store_faults: 3, crashes: 3, jumps: 2, ..Self::CALM };
    /// So do the engines themselves, and groups come and go in memory.
    pub const WILD: Self = Self { panics: 5, odd_answers: 5, naps: true, ..Self::ROUGH };
}

/// Random operations on one group of a world.
#[derive(Debug)]
pub struct Chaos {
    /// The group.
    pub group: GroupId,
    /// How rough it is.
    pub weather: Weather,
    sent: u64,
}

impl Chaos {
    /// A group of the first device, which everybody else is still to be added to.
    pub fn new(world: &mut World, weather: Weather) -> Self {
        let group = world.create_group(0);
        if weather.naps {
            for device in &mut world.devices {
                device.engine_limits.idle_ms = 2_000;
                device.crash();
            }
        }
        Self { group, weather, sent: 0 }
    }

    /// One random thing happens.
    pub fn step(&mut self, world: &mut World) {
        self.disturb(world);
        let device = world.dice.below(world.devices.len());
        match world.dice.below(100) {
            0..25 => self.publish(world, device),
            25..50 => self.read(world, device),
            50..55 => world.pass(500),
            55..80 => self.send(world, device),
            80..88 => self.add(world, device),
            88..92 => self.remove(world, device),
            92..97 => {
                world.update_keys(device, self.group);
            }
            _ => world.pass(30_000),
        }
    }

    fn disturb(&self, world: &mut World) {
        let weather = self.weather;
        if world.dice.chance(weather.jumps) {
            let ms = 1_000 << world.dice.below(20);
            world.pass(ms);
        }
        let device = world.dice.below(world.devices.len());
        if world.dice.chance(weather.crashes) {
            match world.dice.below(2) {
                0 => world.devices[device].crash(),
                _ => world.devices[device].crash_after_commit = true,
            }
        }
        if world.dice.chance(weather.store_faults) {
            let faults = [Fault::Refuse(StoreError::Unavailable), Fault::LoseAnswer];
            let fault = faults[world.dice.below(2)].clone();
            world.devices[device].fail_next_commit(fault);
        }
        if world.dice.chance(weather.panics) {
            let draws = 1 + u32::try_from(world.dice.below(6)).unwrap_or_default();
            world.devices[device].fuse.set(draws);
        }
        if world.dice.chance(weather.odd_answers) {
            let odd = [OddAnswer::Late, OddAnswer::Twice, OddAnswer::Never];
            world.odd_answers.push_back(odd[world.dice.below(3)]);
        }
        if world.dice.chance(weather.lies) {
            let lies = [
                Lie::LoseAnswer,
                Lie::LoseRequest,
                Lie::NotStored,
                Lie::StoredButRefused,
                Lie::DroppedButAccepted,
            ];
            let lie = lies[world.dice.below(lies.len())];
            world.relay.lie([lie]);
        }
    }

    fn publish(&self, world: &mut World, device: usize) {
        for _ in 0..1 + world.dice.below(3) {
            world.publish_one(device);
        }
    }

    fn read(&self, world: &mut World, device: usize) {
        for _ in 0..1 + world.dice.below(3) {
            let limit = 1 + world.dice.below(8);
            let overlap = world.dice.below(3);
            world.fetch_some(device, limit, overlap);
        }
    }

    fn send(&mut self, world: &mut World, device: usize) {
        self.sent += 1;
        let content = format!("message {} of device {device}", self.sent);
        world.send(device, self.group, content.as_bytes());
    }

    fn add(&self, world: &mut World, device: usize) {
        let person = world.dice.below(world.people.len());
        let there = |index: usize| is_member(&world.devices[index], self.group);
        // Somebody who still believes to be a member has not seen its removal; adding it again
        // before it has is refused by its own ring (G8), so a person waits for that.
        let mine: Vec<usize> =
            (0..world.devices.len()).filter(|d| world.person_of(*d) == person).collect();
        if mine.into_iter().any(there) {
            return;
        }
        world.add(device, self.group, &[person]);
    }

    fn remove(&self, world: &mut World, device: usize) {
        let person = world.dice.below(world.people.len());
        world.remove(device, self.group, &[person]);
    }
}

/// Makes the weather calm again, lets the world settle, and adds a last message of every member,
/// so that everybody has evidence of the last epoch.
pub fn calm_down(world: &mut World, group: GroupId) {
    for device in &mut world.devices {
        device.store.disarm();
        device.crash_after_commit = false;
        device.fuse.set(0);
        // From here on all groups are to be looked at.
        if device.engine_limits.idle_ms != awake().idle_ms {
            device.engine_limits.idle_ms = awake().idle_ms;
            device.crash();
        }
    }
    world.odd_answers.clear();
    world.relay.lie([]);
    for _ in 0..3 {
        world.settle();
        for device in 0..world.devices.len() {
            if is_member(&world.devices[device], group) {
                world.send(device, group, b"last words");
            }
        }
    }
    world.settle();
}
