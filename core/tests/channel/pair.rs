//! Two channels and the link between them, in virtual time.

use std::collections::VecDeque;

use conclave_core::link::{
    LinkInfo,
    channel::{Channel, ChannelFault, ChannelLimits},
};
use conclave_proto::Timestamp;

pub(super) const START: Timestamp = Timestamp(1_790_000_000_000);

/// One direction of a link: in percent, how many frames are lost, doubled and held back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) held: u64,
}

impl Weather {
    pub(super) const FINE: Self = Self { lost: 0, doubled: 0, held: 0 };
}

/// Two ends, and the frames between them with their times of arrival.
pub(super) struct Pair {
    pub(super) ends: [Channel; 2],
    air: [Vec<(u64, Vec<u8>)>; 2],
    pub(super) got: [VecDeque<Vec<u8>>; 2],
    weather: Weather,
    pub(super) delay_ms: u64,
    dice: u64,
    mtu: usize,
    /// Real time, which only goes forward, and what the clock tells beyond it.
    pub(super) time_ms: u64,
    pub(super) clock_off_ms: i128,
    pub(super) frames: usize,
    /// Those of them with a segment, over an unreliable link.
    pub(super) segments: usize,
}

impl Pair {
    pub(super) fn new(info: LinkInfo, weather: Weather, seed: u64) -> Self {
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
            segments: 0,
        }
    }

    pub(super) fn lossy(mtu: usize, weather: Weather, seed: u64) -> Self {
        Self::new(LinkInfo { mtu, reliable: false }, weather, seed)
    }

    pub(super) fn now(&self) -> Timestamp {
        let now = i128::from(START.0) + i128::from(self.time_ms) + self.clock_off_ms;
        Timestamp(u64::try_from(now.max(0)).unwrap_or(u64::MAX))
    }

    /// xorshift64*: enough for weather.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        (self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    pub(super) fn send_out(&mut self, from: usize) {
        while let Some(frame) = self.ends[from].poll_frame(self.now()) {
            assert!(frame.len() <= self.mtu && !frame.is_empty());
            self.frames += 1;
            self.segments += usize::from(frame[0] & 2 != 0);
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

    /// The next moment at which something is due, after everything was sent that can be.
    pub(super) fn next_ms(&mut self) -> Option<u64> {
        for from in [0, 1] {
            self.send_out(from);
        }
        let arrivals = self.air.iter().flatten().map(|(at_ms, _)| *at_ms);
        let timeouts = self.ends.iter().filter_map(Channel::next_timeout);
        arrivals.chain(timeouts.map(|at| self.time_ms + at.since_ms(self.now()))).min()
    }

    /// Passes everything that is due and moves on to the next moment at which something is.
    /// False once nothing will ever happen again.
    pub(super) fn turn(&mut self) -> Result<bool, ChannelFault> {
        let Some(next) = self.next_ms() else { return Ok(false) };
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

    pub(super) fn settle(&mut self) {
        while self.turn().unwrap() {}
        assert_eq!(self.ends[0].queued_bytes() + self.ends[1].queued_bytes(), 0);
    }

    /// Lets the second end echo messages, each sent by the first so many milliseconds after the
    /// one before, or, with 0, after its echo. The times from a message to its echo, sorted.
    pub(super) fn echo_times_ms(&mut self, messages: usize, every_ms: u64) -> Vec<u64> {
        let (mut sent_at_ms, mut times_ms) = (Vec::new(), Vec::new());
        while times_ms.len() < messages {
            let due_ms = match every_ms {
                0 if sent_at_ms.len() > times_ms.len() => u64::MAX,
                0 => self.time_ms,
                every_ms => every_ms * sent_at_ms.len() as u64,
            };
            if sent_at_ms.len() < messages && self.next_ms().is_none_or(|next| next >= due_ms) {
                self.time_ms = due_ms;
                self.ends[0].send(&[7; 200]);
                sent_at_ms.push(due_ms);
            } else {
                self.turn().unwrap();
            }
            for echo in self.got[1].drain(..) {
                self.ends[1].send(&echo);
            }
            let echoes = self.got[0].drain(..).count();
            for _ in 0..echoes {
                times_ms.push(self.time_ms - sent_at_ms[times_ms.len()]);
            }
        }
        times_ms.sort_unstable();
        times_ms
    }

    pub(super) fn carries(&mut self, there: &[Vec<u8>], back: &[Vec<u8>]) {
        there.iter().for_each(|message| self.ends[0].send(message));
        back.iter().for_each(|message| self.ends[1].send(message));
        self.settle();
        assert!(self.got[1].drain(..).eq(there.iter().cloned()));
        assert!(self.got[0].drain(..).eq(back.iter().cloned()));
    }
}
