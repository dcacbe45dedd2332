//! Channels over simulated links, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod pair;

use conclave_core::link::{
    LinkInfo,
    channel::{
        Channel, ChannelFault, ChannelLimits, SEGMENT_FRAME_BYTES, STREAM_FRAME_BYTES,
        WINDOW_SEGMENTS,
    },
};
use conclave_proto::Timestamp;
use pair::{Pair, START, Weather};
use proptest::prelude::*;

const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;

fn messages(lengths: &[usize]) -> Vec<Vec<u8>> {
    let content = |(i, len): (usize, &usize)| (0..*len).map(|b| (b * 7 + i) as u8).collect();
    lengths.iter().enumerate().map(content).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// E6: whatever an unreliable link does, every message arrives once and in order, and no
    /// frame is longer than the link takes.
    #[test]
    fn messages_survive_bad_weather(
        seed: u64,
        mtu in prop_oneof![32_usize..200, Just(1_200)],
        lost in 0_u64..40,
        doubled in 0_u64..50,
        held in 0_u64..70,
        there in proptest::collection::vec(prop_oneof![0_usize..100, 0_usize..5_000], 0..30),
        back in proptest::collection::vec(0_usize..300, 0..30),
    ) {
        let mut pair = Pair::lossy(mtu, Weather { lost, doubled, held }, seed);
        pair.carries(&messages(&there), &messages(&back));
    }

    /// E6.
    #[test]
    fn reliable_links_carry_messages_of_any_length(
        mtu in prop_oneof![32_usize..2_000, Just(1 << 20)],
        there in proptest::collection::vec(prop_oneof![0_usize..100, 0_usize..200_000], 0..20),
        back in proptest::collection::vec(0_usize..3_000, 0..20),
    ) {
        let mut pair = Pair::new(LinkInfo { mtu, reliable: true }, Weather::FINE, 1);
        pair.carries(&messages(&there), &messages(&back));
        prop_assert!(pair.ends[0].next_timeout().is_none());
    }

    /// Scenario 18: frames that no channel made give a fault or nothing, and little is held.
    #[test]
    fn random_frames_do_no_harm(
        reliable: bool,
        frames in proptest::collection::vec(
            (0_u8..5, proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..64)),
            0..200,
        ),
    ) {
        let info = LinkInfo { mtu: 64, reliable };
        let mut end = Channel::new(info, ChannelLimits::default());
        for message in messages(&[10, 200, 3]) {
            end.send(&message);
        }
        let mut now = START;
        for (kind, rest) in frames {
            let frame = [&[kind][..], &rest].concat();
            let outcome = end.handle_frame(now, &frame);
            while end.poll_message().is_some() {}
            while end.poll_frame(now).is_some() {}
            prop_assert!(end.memory_bytes() < 200 * 1024);
            if outcome.is_err() {
                prop_assert_eq!(end.handle_frame(now, &frame), outcome);
                prop_assert_eq!(end.next_timeout(), None);
            }
            now = now.plus_ms(7);
        }
    }

    /// Scenario 18: frames of an honest peer, cut short or with one byte changed.
    #[test]
    fn damaged_frames_do_no_harm(seed: u64, reliable: bool, cut: bool, at in 0_usize..64) {
        let info = LinkInfo { mtu: 64, reliable };
        let mut pair = Pair::new(info, Weather::FINE, seed);
        messages(&[500, 0, 70]).iter().for_each(|message| pair.ends[0].send(message));
        while let Some(mut frame) = pair.ends[0].poll_frame(START) {
            if pair.roll(3) == 0 {
                let at = at % frame.len();
                if cut {
                    frame.truncate(at);
                } else {
                    frame[at] ^= 1 << (seed % 8);
                }
            }
            let _ = pair.ends[1].handle_frame(START, &frame);
            prop_assert!(pair.ends[1].memory_bytes() < 64 * 1024);
        }
    }

    /// Scenario 54: the clock jumps by years, forward and back, in the middle of everything.
    #[test]
    fn clock_jumps_cost_one_interval_at_most(
        seed: u64,
        jumps in proptest::collection::vec((0_usize..40, -40_i128..1_000), 1..12),
    ) {
        let weather = Weather { lost: 10, doubled: 10, held: 10 };
        let mut pair = Pair::lossy(64, weather, seed);
        let sent = messages(&[3_000, 5, 0, 2_000]);
        sent.iter().for_each(|message| pair.ends[0].send(message));
        let count = jumps.len() as u64;
        for (turns, years) in jumps {
            for _ in 0..turns {
                pair.turn().unwrap();
            }
            pair.clock_off_ms = years * i128::from(YEAR_MS);
        }
        pair.settle();
        prop_assert!(pair.got[1].iter().eq(&sent));
        // A driver that sleeps by real time loses at most one ceiling for each jump.
        prop_assert!(pair.time_ms < 600_000 + count * 30_000, "{}", pair.time_ms);
    }
}

/// Longest message of the relay protocol over the smallest frames that links usually have.
#[test]
fn sixteen_megabytes_pass_at_an_mtu_of_64() {
    let mut pair = Pair::lossy(64, Weather { lost: 5, doubled: 2, held: 5 }, 3);
    let sent = messages(&[ChannelLimits::default().message_bytes]);
    pair.ends[0].send(&sent[0]);
    assert!(!pair.ends[0].can_send());
    while pair.turn().unwrap() {
        assert!(pair.ends[0].memory_bytes() < 40 << 20);
        assert!(pair.ends[1].memory_bytes() < 40 << 20);
    }
    assert!(pair.got[1].iter().eq(&sent));
    assert!(pair.ends[0].memory_bytes() + pair.ends[1].memory_bytes() < 64 * 1024);
}

/// A silent peer is given up after as many repeats as configured, and no frame is sent after that.
#[test]
fn a_silent_peer_is_gone() {
    let info = LinkInfo { mtu: 64, reliable: false };
    let mut end = Channel::new(info, ChannelLimits { repeats: 4, ..ChannelLimits::default() });
    end.send(b"anybody?");
    let (mut now, mut frames) = (START, 0);
    loop {
        while end.poll_frame(now).is_some() {
            frames += 1;
        }
        now = end.next_timeout().unwrap();
        if let Err(fault) = end.handle_timeout(now) {
            assert_eq!(fault, ChannelFault::PeerGone);
            break;
        }
    }
    assert_eq!(frames, 5);
    assert_eq!(now.since_ms(START), 1_000 + 2_000 + 4_000 + 8_000 + 16_000);
    end.send(b"anybody?");
    assert_eq!((end.poll_frame(now), end.next_timeout(), end.queued_bytes()), (None, None, 0));
    assert_eq!(end.handle_timeout(now), Err(ChannelFault::PeerGone));
}

/// An end that has nothing to say is silent, and one that has received acknowledges.
#[test]
fn acknowledgements_end() {
    let mut pair = Pair::lossy(64, Weather::FINE, 1);
    pair.carries(&messages(&[5]), &[]);
    assert_eq!(pair.frames, 2);
    assert_eq!(pair.ends[0].next_timeout(), None);
    assert_eq!(pair.ends[1].next_timeout(), None);
}

/// Where nothing is lost nothing is repeated, however long the way is.
#[test]
fn a_fine_link_sees_few_repeats() {
    for delay_ms in [1, 30, 400] {
        let mut pair = Pair::lossy(64, Weather::FINE, 1);
        pair.delay_ms = delay_ms;
        pair.carries(&messages(&[100_000]), &[]);
        let needed = 100_000 / 60 + 1;
        assert!(pair.frames < needed * 13 / 10, "{} frames for {needed}", pair.frames);
    }
}

/// Scenario 18: frames of one byte, empty frames, and frames that are too long.
#[test]
fn frames_of_odd_lengths_are_faults() {
    for (reliable, longest) in [(true, STREAM_FRAME_BYTES), (false, SEGMENT_FRAME_BYTES)] {
        let new = |mtu| Channel::new(LinkInfo { mtu, reliable }, ChannelLimits::default());
        assert_eq!(new(64).handle_frame(START, &[]), Err(ChannelFault::Malformed));
        for byte in 0..=u8::MAX {
            assert_eq!(new(64).handle_frame(START, &[byte]), Err(ChannelFault::Malformed));
        }
        let too_long = new(64).handle_frame(START, &[0; 65]);
        assert_eq!(too_long, Err(ChannelFault::FrameTooLong { max: 64 }));
        let too_long = new(1 << 20).handle_frame(START, &vec![0; longest + 1]);
        assert_eq!(too_long, Err(ChannelFault::FrameTooLong { max: longest }));
    }
}

/// Scenario 18: a peer that lies about lengths, places and acknowledgements.
#[test]
fn lies_are_faults() {
    let limits = ChannelLimits { message_bytes: 1_000, ..ChannelLimits::default() };
    let new = |reliable| Channel::new(LinkInfo { mtu: 64, reliable }, limits);
    let long = ChannelFault::MessageTooLong { max: 1_000 };
    // 1,001 as a varint.
    assert_eq!(new(true).handle_frame(START, &[0, 0xE9, 0x07]), Err(long));
    assert_eq!(new(false).handle_frame(START, &[2, 0, 0xE9, 0x07]), Err(long));
    assert_eq!(new(true).handle_frame(START, &[0, 0xE8, 0x07, 1]), Ok(()));

    let window = u8::try_from(WINDOW_SEGMENTS - 1).unwrap();
    assert_eq!(new(false).handle_frame(START, &[2, window, 1]), Ok(()));
    let beyond = [2, 0x80 | (window + 1) & 0x7F, 1, 1];
    assert_eq!(new(false).handle_frame(START, &beyond), Err(ChannelFault::BeyondWindow));

    let mut end = new(false);
    end.send(b"one segment");
    assert!(end.poll_frame(START).is_some());
    assert_eq!(end.handle_frame(START, &[1, 0, 1, 1]), Err(ChannelFault::NeverSent));
    let mut end = new(false);
    end.send(b"one segment");
    assert!(end.poll_frame(START).is_some());
    assert_eq!(end.handle_frame(START, &[1, 1, 0]), Ok(()));
    assert_eq!(end.queued_bytes(), 0);
    assert_eq!(end.handle_frame(START, &[1, 2, 0]), Err(ChannelFault::NeverSent));
}

/// Scenario 18: what arrives too early is held up to the window and no further.
#[test]
fn early_segments_are_held_within_the_window() {
    let info = LinkInfo { mtu: SEGMENT_FRAME_BYTES, reliable: false };
    let mut end = Channel::new(info, ChannelLimits::default());
    for _ in 0..3 {
        for number in 1..WINDOW_SEGMENTS {
            let mut frame = vec![1; SEGMENT_FRAME_BYTES];
            frame[0] = 2;
            frame[1] = u8::try_from(number).unwrap();
            end.handle_frame(START, &frame).unwrap();
        }
    }
    assert!(end.memory_bytes() < SEGMENT_FRAME_BYTES * 130);
}

/// Messages that were complete before a fault are not lost by it.
#[test]
fn messages_before_a_fault_are_kept() {
    let mut end = Channel::new(LinkInfo { mtu: 64, reliable: true }, ChannelLimits::default());
    let cut = end.handle_frame(START, &[0, 2, 7, 7, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    let max = ChannelLimits::default().message_bytes;
    assert_eq!(cut, Err(ChannelFault::MessageTooLong { max }));
    assert_eq!(end.poll_message(), Some(vec![7, 7]));
    assert_eq!(end.poll_message(), None);
}

/// Scenario 146: the back-off starts over as soon as something new is acknowledged, also when
/// only repeats were sent and the acknowledgement measures nothing.
#[test]
fn the_back_off_starts_over_when_something_new_is_acknowledged() {
    let mut end = Channel::new(LinkInfo { mtu: 64, reliable: false }, ChannelLimits::default());
    let mut now = START;
    let send = |end: &mut Channel, now| {
        end.send(b"one segment");
        assert!(end.poll_frame(now).is_some());
        end.next_timeout().unwrap().since_ms(now)
    };
    for acknowledged in 1..=8 {
        send(&mut end, now);
        now = now.plus_ms(30);
        end.handle_frame(now, &[1, acknowledged, 0]).unwrap();
    }
    let wait_ms = send(&mut end, now);
    for _ in 0..5 {
        now = end.next_timeout().unwrap();
        end.handle_timeout(now).unwrap();
        while end.poll_frame(now).is_some() {}
    }
    assert!(end.next_timeout().unwrap().since_ms(now) >= 32 * wait_ms);
    end.handle_frame(now.plus_ms(30), &[1, 9, 0]).unwrap();
    assert_eq!(send(&mut end, now.plus_ms(30)), wait_ms);
}

/// Scenario 146: where a fifth of all frames is lost each way, 99 of 100 echoes are back within a
/// stated number of round trips of 40 ms, whether messages come steadily or one at a time.
#[test]
fn the_tail_at_20_percent_loss_is_a_few_round_trips() {
    for (every_ms, trips_max) in [(5, 12), (20, 12), (200, 12), (0, 12)] {
        let tails = (1..=20).map(|seed| {
            let weather = Weather { lost: 20, ..Weather::FINE };
            let mut pair = Pair::lossy(1_200, weather, seed * 0x9E37_79B9);
            pair.delay_ms = 20;
            let times_ms = pair.echo_times_ms(1_000, every_ms);
            times_ms[990]
        });
        let mut tails: Vec<u64> = tails.collect();
        tails.sort_unstable();
        assert!(tails[19] <= trips_max * 40, "every {every_ms} ms: {tails:?}");
    }
}

/// An end that knows its round trip, and the number of its next segment.
fn experienced(trip_ms: u64) -> (Channel, Timestamp, u8) {
    let mut end = Channel::new(LinkInfo { mtu: 64, reliable: false }, ChannelLimits::default());
    let mut now = START;
    for acknowledged in 1..=8 {
        end.send(b"one segment");
        assert!(end.poll_frame(now).is_some());
        now = now.plus_ms(trip_ms);
        end.handle_frame(now, &[1, acknowledged, 0]).unwrap();
    }
    (end, now, 8)
}

/// Scenario 146: what was sent a quarter of a round trip before something that arrived is sent
/// again at once; what was sent just before it gets that quarter.
#[test]
fn a_segment_is_repeated_when_a_later_one_has_arrived() {
    for (apart_ms, patience_ms) in [(20, 0), (4, 6), (0, 10)] {
        let (mut end, now, first) = experienced(40);
        end.send(b"lost");
        let lost = end.poll_frame(now).unwrap();
        end.send(b"arrives");
        end.poll_frame(now.plus_ms(apart_ms)).unwrap();
        let now = now.plus_ms(apart_ms + 40);
        end.handle_frame(now, &[1, first, 1, 1]).unwrap();
        if patience_ms > 0 {
            assert_eq!(end.poll_frame(now), None);
            assert_eq!(end.next_timeout(), Some(now.plus_ms(patience_ms)));
        }
        end.handle_timeout(now.plus_ms(patience_ms)).unwrap();
        assert_eq!(end.poll_frame(now.plus_ms(patience_ms)), Some(lost));
    }
}

/// Scenario 146: what was sent four transmissions before something that arrived is sent again at
/// once, however little time was between them.
#[test]
fn a_segment_is_repeated_when_the_fourth_after_it_has_arrived() {
    let (mut end, now, first) = experienced(40);
    let sent: Vec<Vec<u8>> = (0..5)
        .map(|_| {
            end.send(b"one segment");
            end.poll_frame(now).unwrap()
        })
        .collect();
    let now = now.plus_ms(40);
    end.handle_frame(now, &[1, first, 1, 0b1000]).unwrap();
    assert_eq!((end.poll_frame(now).as_ref(), end.poll_frame(now)), (Some(&sent[0]), None));
}

/// One wait in vain may be a loss; the second halves the window.
#[test]
fn silence_makes_the_window_smaller() {
    for (waits, later) in [(1, 48), (2, 36)] {
        let (mut end, mut now, first) = experienced(40);
        end.send(&[7; 10_000]);
        assert_eq!(std::iter::from_fn(|| end.poll_frame(now)).count(), 24);
        for _ in 0..waits {
            now = end.next_timeout().unwrap();
            end.handle_timeout(now).unwrap();
            assert_eq!(std::iter::from_fn(|| end.poll_frame(now)).count(), 2);
        }
        end.handle_frame(now.plus_ms(40), &[1, first + 24, 0]).unwrap();
        assert_eq!(std::iter::from_fn(|| end.poll_frame(now.plus_ms(40))).count(), later);
    }
}

/// Scenario 146: an acknowledgement that comes sooner after a repeat than any has come is one of
/// the first transmission, and no sign that what was sent in between is lost.
#[test]
fn a_late_acknowledgement_makes_nothing_be_repeated() {
    let (mut end, now, first) = experienced(100);
    for _ in 0..5 {
        end.send(b"one segment");
        end.poll_frame(now).unwrap();
    }
    let now = end.next_timeout().unwrap();
    end.handle_timeout(now).unwrap();
    let repeats: Vec<u8> = std::iter::from_fn(|| end.poll_frame(now)).map(|f| f[1]).collect();
    assert_eq!(repeats, [first, first]);
    let now = now.plus_ms(10);
    end.handle_frame(now, &[1, first + 1, 0]).unwrap();
    assert_eq!(end.poll_frame(now), None);
    end.handle_frame(now, &[1, first + 5, 0]).unwrap();
    assert_eq!((end.next_timeout(), end.queued_bytes()), (None, 0));
}

/// Scenario 146: an acknowledgement rides on every segment that has room for it, so that the loss
/// of one frame makes nobody repeat what has arrived.
#[test]
fn acknowledgements_are_repeated_where_there_is_room() {
    let mut end = Channel::new(LinkInfo { mtu: 64, reliable: false }, ChannelLimits::default());
    end.handle_frame(START, &[2, 0, 1, 7]).unwrap();
    for _ in 0..2 {
        end.send(b"answer");
        assert_eq!(end.poll_frame(START).unwrap()[..3], [3, 1, 0]);
    }
    end.send(&[7; 200]);
    assert_eq!(end.poll_frame(START).unwrap()[0], 2);
}

/// Where nothing is lost no message is sent twice, whatever acknowledgements wait for.
#[test]
fn a_fine_link_repeats_no_message() {
    for delay_ms in [1, 20, 200] {
        for every_ms in [0, 3, 15, 19, 50, 1_000] {
            let mut pair = Pair::lossy(1_200, Weather::FINE, 1);
            pair.delay_ms = delay_ms;
            pair.echo_times_ms(100, every_ms);
            // Messages that wait for the window share segments.
            assert!(pair.segments <= 200, "{} segments, every {every_ms} ms", pair.segments);
        }
    }
}

/// A round trip that is longer than the first wait is learned, although every segment is repeated
/// until then.
#[test]
fn a_long_way_is_learned() {
    let mut pair = Pair::lossy(1_200, Weather::FINE, 1);
    pair.delay_ms = 3_000;
    pair.echo_times_ms(30, 0);
    let frames = pair.frames;
    pair.echo_times_ms(30, 0);
    // A message and an echo, each with the acknowledgement of what came before.
    assert_eq!(pair.frames - frames, 30 * 2);
}

/// E6: the weather in which the property above once found a peer given up. The first seed is the
/// one that it found.
#[test]
fn a_peer_in_the_worst_weather_is_not_given_up() {
    let worst = Weather { lost: 36, doubled: 31, held: 65 };
    let there: Vec<usize> = (0..30).map(|n| (n * 997) % 5_000).collect();
    let back: Vec<usize> = (0..30).map(|n| (n * 31) % 300).collect();
    for seed in 10_097_827_510_004_416_772..10_097_827_510_004_416_792 {
        let mut pair = Pair::lossy(113, worst, seed);
        pair.carries(&messages(&there), &messages(&back));
    }
}
