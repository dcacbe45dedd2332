//! What holds when devices talk to the relay's own code over links that fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;

use conclave_core::{link::LinkInfo, store::StoreError};
use conclave_links::{lossy, memory};
use conclave_proto::{GroupId, MessageId, Timestamp};
use conclave_testkit::{
    dice::{Dice, for_each_seed},
    faulty_store::Fault,
    net::{Net, Way, Wires},
    wire::{Carrier, End, WireSettings, over_links},
    world::is_member,
};

/// How rough it is, in percent of steps.
#[derive(Clone, Copy)]
struct Weather {
    cuts: usize,
    crashes: usize,
    store_faults: usize,
    outages: usize,
    jumps: usize,
}

const CALM: Weather = Weather { cuts: 0, crashes: 0, store_faults: 0, outages: 0, jumps: 0 };
const ROUGH: Weather = Weather { cuts: 4, crashes: 2, store_faults: 3, outages: 2, jumps: 2 };

fn disturb(net: &mut Net, weather: Weather) {
    let device = net.world.dice.below(net.world.devices.len());
    if net.world.dice.chance(weather.cuts) {
        net.cut(device);
    }
    if net.world.dice.chance(weather.crashes) {
        match net.world.dice.below(2) {
            0 => net.crash(device),
            _ => net.world.devices[device].crash_after_commit = true,
        }
    }
    if net.world.dice.chance(weather.store_faults) {
        let faults = [Fault::Refuse(StoreError::Unavailable), Fault::LoseAnswer];
        let fault = faults[net.world.dice.below(2)].clone();
        net.world.devices[device].fail_next_commit(fault);
    }
    if net.world.dice.chance(weather.outages) {
        net.reachable = !net.reachable;
    }
    if net.world.dice.chance(weather.jumps) {
        let ms = 1_000 << net.world.dice.below(20);
        if net.world.dice.chance(50) {
            net.pass(ms);
        } else {
            net.world.now = Timestamp(net.world.now.0 - ms);
        }
    }
}

fn step(net: &mut Net, group: GroupId, weather: Weather, number: usize) {
    disturb(net, weather);
    let device = net.world.dice.below(net.world.devices.len());
    match net.world.dice.below(100) {
        0..20 => net.pump(device),
        20..60 => {
            let way = if net.world.dice.chance(50) { Way::Up } else { Way::Down };
            let most = 1 << net.world.dice.below(6);
            net.carry(device, way, most);
        }
        60..75 => {
            net.send(device, group, format!("message {number} of device {device}").as_bytes());
        }
        75..80 => add_somebody(net, group, device),
        80..82 => {
            let person = net.world.dice.below(net.world.people.len());
            net.world.remove(device, group, &[person]);
        }
        82..85 => {
            net.world.update_keys(device, group);
        }
        _ => net.pass(200),
    }
}

fn add_somebody(net: &mut Net, group: GroupId, device: usize) {
    let person = net.world.dice.below(net.world.people.len());
    let there = |index: usize| is_member(&net.world.devices[index], group);
    let devices = 0..net.world.devices.len();
    let mut of_person = devices.filter(|index| net.world.person_of(*index) == person);
    if !of_person.any(there) {
        net.add(device, group, &[person]);
    }
}

fn chaotic(seed: u64, wires: Wires, weather: Weather, people: usize, steps: usize) -> Net {
    let mut net = Net::with_people(seed, people, wires);
    let group = net.world.create_group(0);
    for number in 0..steps {
        step(&mut net, group, weather, number);
    }
    calm_down(&mut net, group);
    net
}

/// Everything works again; everybody says a last word, so that all have evidence of the last
/// epoch.
fn calm_down(net: &mut Net, group: GroupId) {
    net.reachable = true;
    for device in &mut net.world.devices {
        device.store.disarm();
        device.crash_after_commit = false;
    }
    for _ in 0..3 {
        net.settle();
        for device in 0..net.world.devices.len() {
            if is_member(&net.world.devices[device], group) {
                net.send(device, group, b"last words");
            }
        }
    }
    net.settle();
}

fn people(seed: u64) -> usize {
    2 + usize::try_from(seed % 4).unwrap()
}

/// G5, G6: over links that only take their time, everybody ends with the same.
#[test]
fn sessions_bring_everything_to_everybody_over_good_links() {
    for_each_seed("sessions_bring_everything_to_everybody_over_good_links", 20, |seed| {
        chaotic(seed, Wires::GOOD, CALM, people(seed), 300).check();
    });
}

/// R4, E4, scenarios 10, 48, 50, 54: links break in the middle of publishes, devices crash, stores
/// fail, the relay is gone for a while, clocks jump both ways.
#[test]
fn sessions_bring_everything_to_everybody_over_links_that_break() {
    for_each_seed("sessions_bring_everything_to_everybody_over_links_that_break", 40, |seed| {
        chaotic(seed, Wires::GOOD, ROUGH, people(seed), 400).check();
    });
}

/// E6: the same over a radio that carries 64 bytes at a time, loses, doubles and reorders.
#[test]
fn sessions_bring_everything_to_everybody_over_a_radio() {
    for_each_seed("sessions_bring_everything_to_everybody_over_a_radio", 8, |seed| {
        chaotic(seed, Wires::RADIO, ROUGH, 3, 300).check();
    });
}

/// E3: the same seed gives the same bytes on every link and in every store.
#[test]
fn the_same_seed_gives_the_same_frames() {
    for_each_seed("the_same_seed_gives_the_same_frames", 3, |seed| {
        let run = || chaotic(seed, Wires::GOOD, ROUGH, people(seed), 200).fingerprint();
        assert!(run() == run(), "seed {seed} gives other bytes the second time");
    });
}

/// One hello, one look, nothing to fetch: coming back to nothing new takes a handful of frames.
#[test]
fn a_device_that_comes_back_to_nothing_new_asks_for_nothing() {
    let mut net = Net::with_people(1, 2, Wires::GOOD);
    let group = net.world.create_group(0);
    net.add(0, group, &[1]);
    net.settle();
    let before = net.carried;
    net.cut(1);
    net.settle();
    assert!(net.has_read(1));
    assert!(net.carried.0 - before.0 <= 6, "{:?} frames after {before:?}", net.carried);
    net.check();
}

/// E6: over a telephone on the move, whose losses come together and whose queue overflows.
#[test]
fn sessions_bring_everything_to_everybody_over_a_telephone() {
    for_each_seed("sessions_bring_everything_to_everybody_over_a_telephone", 8, |seed| {
        chaotic(seed, Wires::MOBILE, ROUGH, 3, 300).check();
    });
}

/// E3: also where time, queues and bursts decide.
#[test]
fn the_same_seed_gives_the_same_frames_over_a_telephone() {
    for_each_seed("the_same_seed_gives_the_same_frames_over_a_telephone", 2, |seed| {
        let run = || {
            let net = chaotic(seed, Wires::MOBILE, ROUGH, people(seed), 100);
            (net.fingerprint(), net.sightings)
        };
        assert!(run() == run(), "seed {seed} gives something else the second time");
    });
}

/// People in one group who have all come to rest.
fn acquainted(people: usize, wires: Wires) -> (Net, GroupId) {
    let mut net = Net::with_people(1, people, wires);
    let group = net.world.create_group(0);
    net.add(0, group, &(1..people).collect::<Vec<_>>());
    net.settle();
    for device in 0..people {
        net.send(device, group, b"hello").expect("a member sends");
        net.settle();
    }
    (net, group)
}

/// Milliseconds from sending to seeing.
fn seen_after_ms(net: &Net, device: usize, message: MessageId) -> Option<u64> {
    let sent = net.sightings.sent(message).expect("it was sent");
    net.sightings.seen(device, message).map(|seen| seen.since_ms(sent))
}

/// E6: each direction between a device and the relay has its own wire, and a message is seen when
/// it has passed those on its way, to the millisecond.
#[test]
fn a_message_is_seen_after_the_delays_on_its_way() {
    let (mut net, group) = acquainted(3, Wires::GOOD);
    let delays_ms = [(0, Way::Up, 30), (0, Way::Down, 5), (1, Way::Down, 70), (2, Way::Down, 400)];
    for (device, way, delay_ms) in delays_ms {
        net.paths.wire(device, way).change(WireSettings { delay_ms, ..WireSettings::PERFECT });
    }
    let message = net.send(0, group, b"slowly").unwrap();
    net.live(99);
    assert_eq!(
        [0, 1, 2].map(|device| seen_after_ms(&net, device, message)),
        [Some(35), None, None]
    );
    net.live(1_000);
    assert_eq!(seen_after_ms(&net, 1, message), Some(100));
    assert_eq!(seen_after_ms(&net, 2, message), Some(430));
    net.settle();
    net.check();
}

/// E6: an outage that was planned ends by itself, and what was sent meanwhile is seen after it.
#[test]
fn an_outage_holds_a_message_up_until_it_ends() {
    for wires in [Wires::GOOD, Wires::RADIO] {
        let (mut net, group) = acquainted(2, wires);
        let now = net.world.now;
        net.paths.wire(1, Way::Down).outage(now, 100, 2_000);
        net.live(200);
        let message = net.send(0, group, b"are you there?").unwrap();
        net.live(1_899);
        assert_eq!(seen_after_ms(&net, 1, message), None);
        net.live(10_000);
        let seen_ms = seen_after_ms(&net, 1, message).expect("it is seen in the end");
        assert!((1_900..5_900).contains(&seen_ms), "{seen_ms}");
        net.settle();
        net.check();
    }
}

/// E6: ends of different sets do not reach each other, the others do, and in the end everybody
/// has everything.
#[test]
fn a_partition_sets_ends_apart_until_it_is_healed() {
    for wires in [Wires::GOOD, Wires::RADIO, Wires::MOBILE] {
        let (mut net, group) = acquainted(4, wires);
        let (here, there) = ([End::Relay, End::Device(0)], [End::Device(2), End::Device(3)]);
        net.paths.partition(&[&here, &there]);
        assert_eq!(
            [0, 1, 2, 3].map(|device| net.paths.is_apart(device)),
            [false, false, true, true]
        );
        let messages = [0, 2].map(|device| net.send(device, group, b"anybody?").unwrap());
        net.live(120_000);
        let seen = |net: &Net, message| {
            [0, 1, 2, 3].map(|device| net.sightings.seen(device, message).is_some())
        };
        assert_eq!(seen(&net, messages[0]), [true, true, false, false]);
        assert_eq!(seen(&net, messages[1]), [false; 4]);
        net.paths.heal();
        net.settle();
        net.check();
        assert!(messages.into_iter().all(|message| seen(&net, message) == [true; 4]));
    }
}

/// E6: a reliable link loses nothing by a partition that is over before anybody gives it up.
#[test]
fn a_short_partition_only_delays_what_a_reliable_link_carries() {
    let (mut net, group) = acquainted(2, Wires::GOOD);
    net.paths.partition(&[&[End::Relay], &[End::Device(1)]]);
    let message = net.send(0, group, b"just a moment").unwrap();
    net.live(1_000);
    net.paths.heal();
    net.live(0);
    assert_eq!(seen_after_ms(&net, 1, message), Some(1_000));
}

/// E6: a net runs over any pair of `Link`s, reliable or not.
#[test]
fn a_net_runs_over_links_of_ones_own() {
    let (mut net, group) = acquainted(3, Wires::GOOD);
    net.paths.carry_with(0, LinkInfo { mtu: 100, reliable: true }, || {
        let (device, relay) = memory::pair(100);
        over_links(device, relay)
    });
    let settings = lossy::LossySettings::default();
    let mut seed = 0;
    net.paths.carry_with(1, LinkInfo { mtu: settings.mtu, reliable: false }, move || {
        seed += 1;
        let (device, relay) = lossy::pair(settings, seed);
        over_links(device, relay)
    });
    net.cut(0);
    net.cut(1);
    let before = net.carried.0;
    let content = [7; 20_000];
    let message = net.send(0, group, &content).unwrap();
    net.settle();
    net.check();
    assert!([0, 1, 2].into_iter().all(|device| net.sightings.seen(device, message).is_some()));
    assert!(net.carried.0 - before > 20_000 / 100 + 20_000 / 64, "the links have short frames");
}

/// One pigeon: a frame at a time, some seconds each way.
#[derive(Debug, Default)]
struct Pigeon {
    waiting: VecDeque<Vec<u8>>,
    /// When it lands with the first one.
    lands: Option<Timestamp>,
}

const FLIGHT_MS: u64 = 3_000;

impl Carrier for Pigeon {
    fn send(&mut self, now: Timestamp, frame: Vec<u8>, _: &mut Dice) {
        self.waiting.push_back(frame);
        self.lands.get_or_insert(now.plus_ms(FLIGHT_MS));
    }

    fn poll(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        self.lands.filter(|lands| *lands <= now)?;
        let frame = self.waiting.pop_front();
        self.lands = (!self.waiting.is_empty()).then(|| now.plus_ms(FLIGHT_MS));
        frame
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        self.lands
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// E6: a model of one's own decides in virtual time.
#[test]
fn a_net_runs_over_a_carrier_of_ones_own() {
    let (mut net, group) = acquainted(2, Wires::GOOD);
    let info = LinkInfo { mtu: 64 * 1024, reliable: true };
    net.paths.carry_with(1, info, || [Box::new(Pigeon::default()), Box::new(Pigeon::default())]);
    net.cut(1);
    net.settle();
    let message = net.send(0, group, b"by air").unwrap();
    net.settle();
    net.check();
    assert_eq!(seen_after_ms(&net, 1, message), Some(FLIGHT_MS));
}
