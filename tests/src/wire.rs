//! Simulated links: what happens to frames between a device and the relay.
//!
//! A [`Wire`] is one direction of a link. It is a value: frames go in with the time, and come out
//! when they have arrived. Delay, jitter, bandwidth, loss, doubling, reordering and the longest
//! frame are its [`WireSettings`], which may change over time; outages are planned. Everything
//! random comes from the dice of the caller.
//!
//! ```
//! use conclave_proto::Timestamp;
//! use conclave_testkit::{dice::Dice, wire::{Wire, WireSettings}};
//!
//! let settings = WireSettings { delay_ms: 40, ..WireSettings::PERFECT };
//! let mut wire = Wire::unreliable(settings);
//! let start = Timestamp(1_700_000_000_000);
//! wire.send(start, b"frame".to_vec(), &mut Dice::new(1));
//! assert_eq!(wire.poll(start.plus_ms(39)), None);
//! assert_eq!(wire.next_timeout(), Some(start.plus_ms(40)));
//! assert_eq!(wire.poll(start.plus_ms(40)), Some(b"frame".to_vec()));
//! ```
//!
//! [`Paths`] holds the wires of a whole [`Net`](crate::net::Net); [`Carrier`] is for models of
//! one's own.

use std::collections::BTreeMap;

use conclave_core::link::LinkInfo;
use conclave_proto::Timestamp;

use crate::dice::Dice;

mod carrier;
mod paths;
mod sightings;

pub use carrier::{Carrier, over_links};
pub use paths::{End, Paths, Way};
pub use sightings::Sightings;

/// What one direction of a link does to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireSettings {
    /// Milliseconds that each frame takes.
    pub delay_ms: u64,
    /// Milliseconds that a frame takes in addition, at most; each number is equally likely. Frames
    /// of an unreliable wire overtake each other by it.
    pub jitter_ms: u64,
    /// How much passes in a second; everything at once if there is none.
    pub bandwidth: Option<Bandwidth>,
    /// Which frames get lost.
    pub loss: Loss,
    /// Percent of frames that arrive twice.
    pub doubled: usize,
    /// Percent of frames that arrive in the place of the last one on the wire, and it in theirs.
    pub overtaken: usize,
    /// Longest frame that passes, whatever the link promises.
    pub mtu: usize,
}

/// How much a wire carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bytes that pass in a second.
    pub bytes_per_second: u64,
    /// Bytes that wait for their turn; a frame that does not fit is lost. A reliable wire takes no
    /// frame then.
    pub queue_bytes: u64,
}

/// Which frames get lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Each one with this probability, in percent.
    Even(usize),
    /// In bursts, by the model of Gilbert and Elliott: two states, left with a probability per
    /// frame. All numbers are percent.
    Bursts {
        /// From the good state to the bad one.
        enter: usize,
        /// From the bad state to the good one.
        leave: usize,
        /// Loss in the good state.
        good: usize,
        /// Loss in the bad state.
        bad: usize,
    },
}

impl WireSettings {
    /// Everything arrives at once.
    pub const PERFECT: Self = Self {
        delay_ms: 0,
        jitter_ms: 0,
        bandwidth: None,
        loss: Loss::Even(0),
        doubled: 0,
        overtaken: 0,
        mtu: usize::MAX,
    };
}

/// A link: what it promises, and what it does each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wires {
    /// What it promises.
    pub info: LinkInfo,
    /// What it does to frames for the relay.
    pub up: WireSettings,
    /// What it does to frames from the relay.
    pub down: WireSettings,
}

impl Wires {
    /// As good as a QUIC stream.
    pub const GOOD: Self =
        Self::both(LinkInfo { mtu: 64 * 1024, reliable: true }, WireSettings::PERFECT);
    /// A radio: 64 bytes at a time, and one frame in ten goes wrong.
    pub const RADIO: Self = Self::both(
        LinkInfo { mtu: 64, reliable: false },
        WireSettings { loss: Loss::Even(5), doubled: 3, overtaken: 5, ..WireSettings::PERFECT },
    );
    /// A telephone on the move: datagrams, 64 KB per second with half a second of queue, and
    /// losses that come together.
    pub const MOBILE: Self = Self::both(
        LinkInfo { mtu: 1_200, reliable: false },
        WireSettings {
            delay_ms: 40,
            jitter_ms: 20,
            bandwidth: Some(Bandwidth { bytes_per_second: 64_000, queue_bytes: 32_000 }),
            loss: Loss::Bursts { enter: 2, leave: 20, good: 1, bad: 60 },
            ..WireSettings::PERFECT
        },
    );

    /// A link that does the same both ways.
    #[must_use]
    pub const fn both(info: LinkInfo, settings: WireSettings) -> Self {
        Self { info, up: settings, down: settings }
    }
}

/// What became of the frames of a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that were handed over.
    pub sent: u64,
    /// Frames that arrived, doubles included.
    pub arrived: u64,
    /// Frames that [`Loss`] took.
    pub lost: u64,
    /// Frames for which the queue had no room.
    pub overflowed: u64,
    /// Frames longer than the MTU.
    pub too_long: u64,
    /// Frames sent during an outage.
    pub during_outages: u64,
}

/// One direction of a link.
///
/// A reliable wire loses, doubles and reorders nothing, whatever its settings say: its frames
/// keep their order, and it takes none while its queue is full or during an outage, see
/// [`can_send`](Self::can_send).
///
/// A clock that is set back takes no time: what is on the wire still needs as long as before.
#[derive(Clone, Debug)]
pub struct Wire {
    reliable: bool,
    settings: WireSettings,
    /// By time and number.
    planned: BTreeMap<(u64, u64), Change>,
    outages: u32,
    /// Of the model of Gilbert and Elliott.
    in_bad_state: bool,
    /// By arrival and number.
    frames: BTreeMap<(u64, u64), Vec<u8>>,
    numbers: u64,
    /// When everything that was sent has left.
    sent_at_us: u64,
    last_arrival_ms: u64,
    elapsed_ms: u64,
    clock: Option<Timestamp>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Settings(WireSettings),
    OutageBegins,
    OutageEnds,
}

impl Wire {
    /// A wire that may lose, double and reorder frames.
    #[must_use]
    pub const fn unreliable(settings: WireSettings) -> Self {
        Self::new(settings, false)
    }

    /// A wire that only takes its time.
    #[must_use]
    pub const fn reliable(settings: WireSettings) -> Self {
        Self::new(settings, true)
    }

    const fn new(settings: WireSettings, reliable: bool) -> Self {
        Self {
            reliable,
            settings,
            planned: BTreeMap::new(),
            outages: 0,
            in_bad_state: false,
            frames: BTreeMap::new(),
            numbers: 0,
            sent_at_us: 0,
            last_arrival_ms: 0,
            elapsed_ms: 0,
            clock: None,
            counts: Counts {
                sent: 0,
                arrived: 0,
                lost: 0,
                overflowed: 0,
                too_long: 0,
                during_outages: 0,
            },
        }
    }

    /// What it does to the next frame.
    #[must_use]
    pub const fn settings(&self) -> WireSettings {
        self.settings
    }

    /// What became of its frames so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Changes what it does from the next frame on.
    pub const fn change(&mut self, settings: WireSettings) {
        self.settings = settings;
    }

    /// Changes what it does after so many milliseconds.
    pub fn change_in(&mut self, now: Timestamp, ms: u64, settings: WireSettings) {
        self.plan(now, ms, Change::Settings(settings));
    }

    /// Plans an outage: it begins after `in_ms` milliseconds and lasts for `for_ms`. Frames that
    /// were sent before it still arrive.
    pub fn outage(&mut self, now: Timestamp, in_ms: u64, for_ms: u64) {
        self.plan(now, in_ms, Change::OutageBegins);
        self.plan(now, in_ms.saturating_add(for_ms), Change::OutageEnds);
    }

    fn plan(&mut self, now: Timestamp, in_ms: u64, change: Change) {
        self.advance(now);
        let number = self.number();
        self.planned.insert((self.elapsed_ms.saturating_add(in_ms), number), change);
        self.advance(now);
    }

    /// Whether a frame is to be handed over; an unreliable wire always takes one.
    #[must_use]
    pub fn can_send(&self) -> bool {
        !self.reliable || (self.outages == 0 && self.room_in_us() == 0)
    }

    /// Takes a frame.
    pub fn send(&mut self, now: Timestamp, frame: Vec<u8>, dice: &mut Dice) {
        self.advance(now);
        self.counts.sent += 1;
        if self.reliable {
            self.leave(frame.len());
            self.arrive(frame, dice);
            return;
        }
        if self.outages > 0 {
            self.counts.during_outages += 1;
        } else if frame.len() > self.settings.mtu {
            self.counts.too_long += 1;
        } else if !self.has_room(frame.len()) {
            self.counts.overflowed += 1;
        } else {
            self.leave(frame.len());
            if self.loses(dice) {
                self.counts.lost += 1;
                return;
            }
            if dice.chance(self.settings.doubled) {
                self.arrive(frame.clone(), dice);
            }
            self.arrive(frame, dice);
        }
    }

    /// The next frame that has arrived.
    pub fn poll(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        self.advance(now);
        let first = self.frames.first_entry()?;
        if first.key().0 > self.elapsed_ms {
            return None;
        }
        self.counts.arrived += 1;
        Some(first.remove())
    }

    /// When the next frame arrives, something planned happens, or a reliable wire takes frames
    /// again; by the clock of the last call that took a time.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let arrival_ms = self.frames.keys().next().map(|(at_ms, _)| *at_ms);
        let change_ms = self.planned.keys().next().map(|(at_ms, _)| *at_ms);
        let room_us = Some(self.room_in_us()).filter(|us| self.reliable && *us > 0);
        let room_ms = room_us.map(|us| self.elapsed_ms.saturating_add(us.div_ceil(MICROS)));
        let at_ms = [arrival_ms, change_ms, room_ms].into_iter().flatten().min()?;
        Some(self.clock.unwrap_or_default().plus_ms(at_ms.saturating_sub(self.elapsed_ms)))
    }

    /// Does what is planned until now; too early is fine.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.advance(now);
    }

    /// Whether no frame is on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Loses what is on it.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.sent_at_us = 0;
    }

    fn advance(&mut self, now: Timestamp) {
        let passed_ms = self.clock.map_or(0, |clock| now.since_ms(clock));
        self.clock = Some(now);
        self.elapsed_ms = self.elapsed_ms.saturating_add(passed_ms);
        while let Some(next) = self.planned.first_entry().filter(|e| e.key().0 <= self.elapsed_ms) {
            match next.remove() {
                Change::Settings(settings) => self.settings = settings,
                Change::OutageBegins => self.outages += 1,
                Change::OutageEnds => self.outages = self.outages.saturating_sub(1),
            }
        }
    }

    /// Microseconds until the queue is no longer full.
    fn room_in_us(&self) -> u64 {
        let Some(bandwidth) = self.settings.bandwidth else { return 0 };
        let full_us = bandwidth.micros(bandwidth.queue_bytes);
        self.backlog_us().saturating_sub(full_us.saturating_sub(1))
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.settings.bandwidth.is_none_or(|bandwidth| {
            let waits_us = self.backlog_us().saturating_add(bandwidth.micros(bytes as u64));
            self.backlog_us() == 0 || waits_us <= bandwidth.micros(bandwidth.queue_bytes)
        })
    }

    const fn backlog_us(&self) -> u64 {
        self.sent_at_us.saturating_sub(self.elapsed_ms.saturating_mul(MICROS))
    }

    /// Lets a frame leave behind those that wait.
    fn leave(&mut self, bytes: usize) {
        let takes_us = self.settings.bandwidth.map_or(0, |width| width.micros(bytes as u64));
        let from_us = self.sent_at_us.max(self.elapsed_ms.saturating_mul(MICROS));
        self.sent_at_us = from_us.saturating_add(takes_us);
    }

    fn loses(&mut self, dice: &mut Dice) -> bool {
        match self.settings.loss {
            Loss::Even(percent) => dice.chance(percent),
            Loss::Bursts { enter, leave, good, bad } => {
                if dice.chance(if self.in_bad_state { leave } else { enter }) {
                    self.in_bad_state = !self.in_bad_state;
                }
                dice.chance(if self.in_bad_state { bad } else { good })
            }
        }
    }

    fn arrive(&mut self, frame: Vec<u8>, dice: &mut Dice) {
        let WireSettings { delay_ms, jitter_ms, overtaken, .. } = self.settings;
        let jitter = usize::try_from(jitter_ms).unwrap_or(usize::MAX).saturating_add(1);
        let jitter_ms = dice.below(jitter) as u64;
        let mut at_ms = self.sent_at_us.div_ceil(MICROS) + delay_ms + jitter_ms;
        let number = self.number();
        if self.reliable {
            at_ms = at_ms.max(self.last_arrival_ms);
            self.last_arrival_ms = at_ms;
            self.frames.insert((at_ms, number), frame);
            return;
        }
        let last = self.frames.last_entry().filter(|_| dice.chance(overtaken));
        match last {
            Some(mut last) => {
                let before = std::mem::replace(last.get_mut(), frame);
                self.frames.insert((at_ms.max(last_key_ms(&self.frames)), number), before);
            }
            None => drop(self.frames.insert((at_ms, number), frame)),
        }
    }

    const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl Bandwidth {
    /// How long so many bytes take.
    fn micros(self, bytes: u64) -> u64 {
        bytes.saturating_mul(1_000_000).div_ceil(self.bytes_per_second.max(1))
    }
}

fn last_key_ms(frames: &BTreeMap<(u64, u64), Vec<u8>>) -> u64 {
    frames.keys().next_back().map_or(0, |(at_ms, _)| *at_ms)
}

const MICROS: u64 = 1_000;

#[cfg(test)]
mod tests;
