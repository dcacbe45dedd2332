//! Channels over simulated links, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;

use conclave_core::link::{
    LinkInfo,
    channel::{
        Channel, ChannelFault, ChannelLimits, SEGMENT_FRAME_BYTES, STREAM_FRAME_BYTES,
        WINDOW_SEGMENTS,
    },
};
use conclave_proto::Timestamp;
use proptest::prelude::*;

const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;
const START: Timestamp = Timestamp(1_790_000_000_000);

/// One direction of a link: in percent, how many frames are lost, doubled and held back.
#[derive(Clone, Copy, Debug)]
struct Weather {
    lost: u64,
    doubled: u64,
    held: u64,
}

impl Weather {
    const FINE: Self = Self { lost: 0, doubled: 0, held: 0 };
}

/// Two ends, and the frames between them with their times of arrival.
struct Pair {
    ends: [Channel; 2],
    air: [Vec<(u64, Vec<u8>)>; 2],
    got: [VecDeque<Vec<u8>>; 2],
    weather: Weather,
    delay_ms: u64,
    dice: u64,
    mtu: usize,
    /// Real time, which only goes forward, and what the clock tells beyond it.
    time_ms: u64,
    clock_off_ms: i128,
    frames: usize,
}

impl Pair {
    fn new(info: LinkInfo, weather: Weather, seed: u64) -> Self {
        let end = || Channel::new(info, ChannelLimits::default());
        Self {
            ends: [end(), end()],
            air: Default::default(),
            got: Default::default(),
            weather,
            delay_ms: 30,
            dice: seed | 1,
            mtu: info.mtu,
            time_ms: 0,
            clock_off_ms: 0,
            frames: 0,
        }
    }

    fn lossy(mtu: usize, weather: Weather, seed: u64) -> Self {
        Self::new(LinkInfo { mtu, reliable: false }, weather, seed)
    }

    fn now(&self) -> Timestamp {
        let now = i128::from(START.0) + i128::from(self.time_ms) + self.clock_off_ms;
        Timestamp(u64::try_from(now.max(0)).unwrap_or(u64::MAX))
    }

    /// xorshift64*: enough for weather.
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        (self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    fn send_out(&mut self, from: usize) {
        while let Some(frame) = self.ends[from].poll_frame(self.now()) {
            assert!(frame.len() <= self.mtu && !frame.is_empty());
            self.frames += 1;
            let copies = 1 + usize::from(self.roll(100) < self.weather.doubled);
            for _ in 0..copies {
                if self.roll(100) < self.weather.lost {
                    continue;
                }
                let held = self.roll(100) < self.weather.held;
                let held_ms = if held { self.roll(200) } else { 0 };
                self.air[from].push((self.time_ms + self.delay_ms + held_ms, frame.clone()));
            }
        }
    }

    /// Passes everything that is due and moves on to the next moment at which something is.
    /// False once nothing will ever happen again.
    fn turn(&mut self) -> Result<bool, ChannelFault> {
        for from in [0, 1] {
            self.send_out(from);
        }
        let mut next = None::<u64>;
        for (at_ms, _) in self.air.iter().flatten() {
            next = Some(next.map_or(*at_ms, |next| next.min(*at_ms)));
        }
        for end in &self.ends {
            if let Some(timeout) = end.next_timeout() {
                let at_ms = self.time_ms + timeout.since_ms(self.now());
                next = Some(next.map_or(at_ms, |next| next.min(at_ms)));
            }
        }
        let Some(next) = next else { return Ok(false) };
        self.time_ms = self.time_ms.max(next);
        for from in [0, 1] {
            let (due, later) =
                self.air[from].drain(..).partition::<Vec<_>, _>(|(at, _)| *at <= self.time_ms);
            self.air[from] = later;
            let to = 1 - from;
            for (_, frame) in due {
                let now = self.now();
                self.ends[to].handle_frame(now, &frame)?;
                self.got[to].extend(std::iter::from_fn(|| self.ends[to].poll_message()));
            }
            let now = self.now();
            self.ends[from].handle_timeout(now)?;
        }
        Ok(true)
    }

    fn settle(&mut self) {
        while self.turn().unwrap() {}
        assert_eq!(self.ends[0].queued_bytes() + self.ends[1].queued_bytes(), 0);
    }

    fn carries(&mut self, there: &[Vec<u8>], back: &[Vec<u8>]) {
        there.iter().for_each(|message| self.ends[0].send(message));
        back.iter().for_each(|message| self.ends[1].send(message));
        self.settle();
        assert!(self.got[1].drain(..).eq(there.iter().cloned()));
        assert!(self.got[0].drain(..).eq(back.iter().cloned()));
    }
}

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
