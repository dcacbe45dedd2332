//! Each setting of a wire, over a fixed seed in virtual time.

use conclave_proto::Timestamp;

use super::{Bandwidth, Counts, Loss, Wire, WireSettings};
use crate::dice::Dice;

const START: Timestamp = Timestamp(1_790_000_000_000);

/// Sends a numbered frame in each of some milliseconds; what arrives, in its order, with the
/// millisecond.
fn carried(wire: &mut Wire, frames: u64) -> Vec<(u64, u64)> {
    let mut dice = Dice::new(7);
    let mut arrived = Vec::new();
    for ms in 0..frames + 10_000 {
        let now = START.plus_ms(ms);
        if ms < frames {
            wire.send(now, ms.to_be_bytes().to_vec(), &mut dice);
        }
        while let Some(frame) = wire.poll(now) {
            arrived.push((u64::from_be_bytes(frame.try_into().expect("8 bytes")), ms));
        }
    }
    assert!(wire.is_empty() && wire.next_timeout().is_none());
    arrived
}

fn unreliable(settings: WireSettings) -> Vec<(u64, u64)> {
    carried(&mut Wire::unreliable(settings), 1_000)
}

fn is_sorted(arrived: &[(u64, u64)]) -> bool {
    arrived.is_sorted_by_key(|(number, _)| *number)
}

/// E6.
#[test]
fn a_perfect_wire_does_nothing_to_frames() {
    assert!(unreliable(WireSettings::PERFECT).into_iter().eq((0..1_000).map(|ms| (ms, ms))));
}

/// E6.
#[test]
fn a_delay_is_the_same_for_each_frame() {
    let arrived = unreliable(WireSettings { delay_ms: 40, ..WireSettings::PERFECT });
    assert!(arrived.into_iter().eq((0..1_000).map(|ms| (ms, ms + 40))));
}

/// E6.
#[test]
fn jitter_adds_up_to_its_bound_and_lets_frames_overtake() {
    let settings = WireSettings { delay_ms: 40, jitter_ms: 20, ..WireSettings::PERFECT };
    let arrived = unreliable(settings);
    let added: Vec<u64> = arrived.iter().map(|(sent, ms)| ms - sent - 40).collect();
    assert_eq!((added.iter().min(), added.iter().max()), (Some(&0), Some(&20)));
    let mean = added.iter().sum::<u64>() / 1_000;
    assert!((9..=11).contains(&mean), "{mean}");
    assert!(!is_sorted(&arrived));
    // A reliable wire delays what would overtake.
    let reliable = carried(&mut Wire::reliable(settings), 1_000);
    assert!(reliable.len() == 1_000 && is_sorted(&reliable));
    assert!(reliable.iter().any(|(sent, ms)| ms - sent > 40));
}

/// E6: 8 bytes a millisecond through 4 bytes a millisecond.
#[test]
fn bandwidth_makes_frames_wait_and_its_queue_is_bounded() {
    let bandwidth = Bandwidth { bytes_per_second: 4_000, queue_bytes: 400 };
    let settings = WireSettings { bandwidth: Some(bandwidth), ..WireSettings::PERFECT };
    let mut wire = Wire::unreliable(settings);
    let arrived = carried(&mut wire, 1_000);
    assert_eq!(arrived.first(), Some(&(0, 2)));
    // What arrives in the second while frames are sent is what the wire carries.
    let in_time = arrived.iter().filter(|(_, ms)| *ms < 1_000).count();
    assert_eq!(in_time, 499);
    // A full queue takes 100 ms; half of the frames find no room once it is full.
    let longest = arrived.iter().map(|(sent, ms)| ms - sent).max();
    assert_eq!(longest, Some(100));
    let Counts { sent, arrived, overflowed, .. } = wire.counts();
    assert_eq!((sent, arrived + overflowed), (1_000, 1_000));
    assert!((440..460).contains(&overflowed), "{overflowed}");
}

/// E6: a reliable wire that is full takes no frame instead of losing one.
#[test]
fn a_full_reliable_wire_says_so_and_when_it_has_room() {
    let bandwidth = Bandwidth { bytes_per_second: 1_000, queue_bytes: 100 };
    let settings =
        WireSettings { bandwidth: Some(bandwidth), delay_ms: 500, ..WireSettings::PERFECT };
    let mut wire = Wire::reliable(settings);
    let mut dice = Dice::new(1);
    for _ in 0..2 {
        assert!(wire.can_send());
        wire.send(START, vec![0; 75], &mut dice);
    }
    assert!(!wire.can_send());
    let room = wire.next_timeout().expect("it will have room");
    assert_eq!(room, START.plus_ms(51));
    wire.handle_timeout(room);
    assert!(wire.can_send());
    assert_eq!(wire.poll(START.plus_ms(574)), None);
    assert!(wire.poll(START.plus_ms(575)).is_some());
    assert!(wire.poll(START.plus_ms(650)).is_some() && wire.is_empty());
}

/// E6.
#[test]
fn even_losses_are_as_many_as_the_settings_say() {
    let mut wire = Wire::unreliable(WireSettings { loss: Loss::Even(20), ..WireSettings::PERFECT });
    let arrived = carried(&mut wire, 10_000);
    assert!((7_850..8_150).contains(&arrived.len()), "{}", arrived.len());
    assert_eq!(wire.counts().lost + wire.counts().arrived, 10_000);
    let (runs, longest) = losses(&arrived, 10_000);
    // One loss alone in four of five cases.
    assert!((1_500..1_700).contains(&runs) && longest < 10, "{runs} runs, {longest}");
}

/// E6: one state in nine frames is the bad one, and it lasts for ten frames.
#[test]
fn losses_of_gilbert_and_elliott_come_in_bursts() {
    let loss = Loss::Bursts { enter: 1, leave: 10, good: 0, bad: 100 };
    let arrived =
        carried(&mut Wire::unreliable(WireSettings { loss, ..WireSettings::PERFECT }), 50_000);
    let lost = 50_000 - arrived.len();
    let (runs, longest) = losses(&arrived, 50_000);
    let mean = lost as f64 / runs as f64;
    assert!((3_800..5_300).contains(&lost), "{lost}");
    assert!((8.5..11.5).contains(&mean) && longest > 30, "{mean} {longest}");
    // The good state loses frames too, and the bad one lets some pass, if they are told to.
    let loss = Loss::Bursts { enter: 1, leave: 10, good: 5, bad: 50 };
    let arrived =
        carried(&mut Wire::unreliable(WireSettings { loss, ..WireSettings::PERFECT }), 50_000);
    let (lost, expected) = (50_000 - arrived.len(), 50_000 * (10 * 5 + 50) / 11 / 100);
    assert!(lost.abs_diff(expected) < expected / 8, "{lost} of {expected}");
}

/// How often something was lost, and how many frames in a row at most.
fn losses(arrived: &[(u64, u64)], frames: u64) -> (usize, u64) {
    let numbers = arrived.iter().map(|(number, _)| *number).chain([frames]);
    let gaps = numbers.scan(0, |next, number| {
        let gap = number - *next;
        *next = number + 1;
        Some(gap)
    });
    let gaps: Vec<u64> = gaps.filter(|gap| *gap > 0).collect();
    (gaps.len(), gaps.iter().copied().max().unwrap_or_default())
}

/// E6.
#[test]
fn doubled_frames_arrive_twice() {
    let arrived = unreliable(WireSettings { doubled: 20, ..WireSettings::PERFECT });
    assert!((1_150..1_250).contains(&arrived.len()), "{}", arrived.len());
    assert!(is_sorted(&arrived));
}

/// E6: a frame changes places with the one before; everything arrives, none sooner than the delay.
#[test]
fn overtaking_frames_change_places() {
    let settings = WireSettings { delay_ms: 10, overtaken: 20, ..WireSettings::PERFECT };
    let arrived = unreliable(settings);
    let places = arrived.iter().zip(0..);
    let moved = places.filter(|((number, _), place)| number != place).count();
    assert!(arrived.len() == 1_000 && (250..450).contains(&moved), "{moved}");
    assert!(arrived.iter().all(|(sent, ms)| ms + 1 >= sent + 10));
}

/// E6.
#[test]
fn frames_beyond_the_mtu_are_lost() {
    let mut wire = Wire::unreliable(WireSettings { mtu: 100, ..WireSettings::PERFECT });
    let mut dice = Dice::new(1);
    for length in [100, 101] {
        wire.send(START, vec![0; length], &mut dice);
    }
    assert_eq!(wire.poll(START).map(|frame| frame.len()), Some(100));
    assert_eq!((wire.poll(START), wire.counts().too_long), (None, 1));
}

/// E6: what is sent during an outage is lost, and what was sent before it arrives.
#[test]
fn nothing_is_sent_during_an_outage() {
    let mut wire = Wire::unreliable(WireSettings { delay_ms: 5, ..WireSettings::PERFECT });
    wire.outage(START, 100, 50);
    wire.outage(START, 120, 60);
    assert_eq!(wire.next_timeout(), Some(START.plus_ms(100)));
    let numbers = carried(&mut wire, 1_000).into_iter().map(|(number, _)| number);
    assert!(numbers.eq((0..100).chain(180..1_000)));
    assert_eq!(wire.counts().during_outages, 80);

    let mut wire = Wire::reliable(WireSettings::PERFECT);
    wire.outage(START, 0, 50);
    assert!(!wire.can_send());
    wire.handle_timeout(wire.next_timeout().expect("the end of the outage"));
    assert!(wire.can_send());
}

/// E6.
#[test]
fn settings_change_at_their_time() {
    let mut wire = Wire::unreliable(WireSettings::PERFECT);
    let slow = WireSettings { delay_ms: 30, ..WireSettings::PERFECT };
    wire.change_in(START, 500, slow);
    let arrived = carried(&mut wire, 1_000);
    assert!(arrived.iter().all(|(sent, ms)| ms - sent == if *sent < 500 { 0 } else { 30 }));
    assert_eq!(wire.settings(), slow);
    wire.change(WireSettings::PERFECT);
    assert_eq!(wire.settings(), WireSettings::PERFECT);
}

/// Scenario 54: a clock that is set back by a year takes no time and holds up nothing.
#[test]
fn a_clock_set_back_holds_up_no_frame() {
    let mut wire = Wire::unreliable(WireSettings { delay_ms: 30, ..WireSettings::PERFECT });
    wire.send(START, vec![1], &mut Dice::new(1));
    let back = Timestamp(START.0 - 365 * 24 * 3_600 * 1_000);
    assert_eq!(wire.poll(back), None);
    assert_eq!(wire.next_timeout(), Some(back.plus_ms(30)));
    assert!(wire.poll(back.plus_ms(30)).is_some());
}

/// E3: the same dice give the same fates.
#[test]
fn the_same_seed_gives_the_same_fates() {
    let settings = super::Wires::MOBILE.up;
    assert_eq!(unreliable(settings), unreliable(settings));
    assert!(unreliable(settings).len() < 1_000);
}
