//! An unreliable link with a small MTU: a radio, as far as a test needs one.

use std::{
    future::{poll_fn, ready},
    sync::Arc,
};

use conclave_core::{
    bounds::BoxFuture,
    link::{Link, LinkError, LinkInfo},
};
use parking_lot::Mutex;

use crate::pipe::Pipe;

/// What becomes of frames, each decided for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossySettings {
    /// Longest frame, in bytes.
    pub mtu: usize,
    /// Percentage of frames that never arrive.
    pub lost: u8,
    /// Percentage of frames that arrive twice.
    pub doubled: u8,
    /// Percentage of frames that are held back until others have passed.
    pub held: u8,
    /// Frames that may pass one that is held back, at most.
    pub passing: u8,
}

impl Default for LossySettings {
    fn default() -> Self {
        Self { mtu: 64, lost: 10, doubled: 5, held: 10, passing: 4 }
    }
}

/// Two ends of an unreliable link. The same seed and the same frames have the same fate.
///
/// A frame that is held back while no other follows is as good as lost, and so is one that comes
/// while 256 are unread. Nothing waits for time.
#[must_use]
pub fn pair(settings: LossySettings, seed: u64) -> (LossyLink, LossyLink) {
    let (there, back) = (Arc::new(Pipe::new()), Arc::new(Pipe::new()));
    let end = |sends: &Arc<Pipe>, receives: &Arc<Pipe>, seed| LossyLink {
        mtu: settings.mtu,
        weather: Mutex::new(Weather { settings, dice: Dice(seed), held: Vec::new() }),
        sends: Arc::clone(sends),
        receives: Arc::clone(receives),
    };
    (end(&there, &back, seed), end(&back, &there, !seed))
}

/// One end of an unreliable link in memory, see [`pair`].
#[derive(Debug)]
pub struct LossyLink {
    mtu: usize,
    weather: Mutex<Weather>,
    sends: Arc<Pipe>,
    receives: Arc<Pipe>,
}

impl LossyLink {
    fn send_now(&self, frames: Vec<Vec<u8>>) -> Result<(), LinkError> {
        if frames.iter().any(|frame| frame.len() > self.mtu) {
            return Err(LinkError::TooLong { mtu: self.mtu });
        }
        if self.sends.is_closed() {
            return Err(LinkError::Closed);
        }
        // Not under the lock: what arrives wakes the reader, who may send over this end at once.
        let arriving = self.pass(frames);
        arriving.into_iter().try_for_each(|frame| self.sends.push_or_drop(frame))
    }

    fn pass(&self, frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut weather = self.weather.lock();
        frames.into_iter().flat_map(|frame| weather.pass(frame)).collect()
    }
}

impl Link for LossyLink {
    fn info(&self) -> LinkInfo {
        LinkInfo { mtu: self.mtu, reliable: false }
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(ready(self.send_now(frames)))
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>> {
        Box::pin(poll_fn(|context| self.receives.poll_pop(context)))
    }

    fn close(&self) {
        self.sends.close();
        self.receives.close();
    }
}

impl Drop for LossyLink {
    fn drop(&mut self) {
        self.close();
    }
}

/// Decides about the frames of one direction.
#[derive(Debug)]
struct Weather {
    settings: LossySettings,
    dice: Dice,
    /// How many frames still pass each.
    held: Vec<(u64, Vec<u8>)>,
}

impl Weather {
    /// The frames that arrive because this one was sent.
    fn pass(&mut self, frame: Vec<u8>) -> Vec<Vec<u8>> {
        let LossySettings { lost, doubled, held, passing, .. } = self.settings;
        let mut arriving = Vec::new();
        if self.dice.chance(doubled) {
            arriving.push(frame.clone());
        }
        if self.dice.chance(held) {
            self.held.push((1 + self.dice.below(u64::from(passing.max(1))), frame));
        } else if !self.dice.chance(lost) {
            arriving.push(frame);
        }
        for (passing, _) in &mut self.held {
            *passing = passing.saturating_sub(1);
        }
        arriving.extend(self.held.extract_if(.., |(passing, _)| *passing == 0).map(|held| held.1));
        arriving
    }
}

/// SplitMix64 (Steele et al., OOPSLA 2014): repeatable, and good enough for weather.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn chance(&mut self, percent: u8) -> bool {
        self.below(100) < u64::from(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::{Dice, LossySettings, Weather};

    fn fates(settings: LossySettings) -> Vec<u16> {
        let mut weather = Weather { settings, dice: Dice(7), held: Vec::new() };
        let frames = (0..1_000_u16).map(|number| number.to_be_bytes().to_vec());
        let arrived = frames.flat_map(|frame| weather.pass(frame)).collect::<Vec<_>>();
        arrived.iter().map(|frame| u16::from_be_bytes([frame[0], frame[1]])).collect()
    }

    #[test]
    fn the_weather_is_as_bad_as_the_settings_say() {
        let fine = LossySettings { lost: 0, doubled: 0, held: 0, ..LossySettings::default() };
        assert!(fates(fine).into_iter().eq(0..1_000));
        let lost = fates(LossySettings { lost: 20, ..fine }).len();
        assert!((750..850).contains(&lost), "{lost}");
        let doubled = fates(LossySettings { doubled: 20, ..fine }).len();
        assert!((1_150..1_250).contains(&doubled), "{doubled}");
        let held = fates(LossySettings { held: 20, ..fine });
        assert!(held.len() > 990 && !held.is_sorted());
        assert_eq!(fates(LossySettings::default()), fates(LossySettings::default()));
    }
}
