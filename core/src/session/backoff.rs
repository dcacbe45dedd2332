//! When to try again: twice as long each time, with jitter, up to a limit.

use core::time::Duration;

use conclave_proto::Timestamp;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::SessionLimits;
use crate::entropy::prf;

/// The waits of one kind of call.
#[derive(Debug)]
pub(super) struct Backoff {
    dice: Dice,
    wait: Wait,
}

/// Draws how long waits are.
#[derive(Debug)]
pub(super) struct Dice {
    first_ms: u64,
    max_ms: u64,
    generator: ChaCha20Rng,
}

/// One wait.
#[derive(Debug, Default)]
pub(super) struct Wait {
    failures: u32,
    due: Option<Due>,
}

/// The end of a wait, and the time that it was last seen to have begun by.
#[derive(Clone, Copy, Debug)]
struct Due {
    seen: Timestamp,
    at: Timestamp,
}

impl Dice {
    /// `label` keeps the jitter of different kinds of calls apart.
    pub(super) fn new(limits: &SessionLimits, seed: &[u8; 32], label: u8) -> Self {
        let generator = ChaCha20Rng::from_seed(prf(seed, &[b"backoff", &[label]]));
        Self { first_ms: limits.retry_ms.max(1), max_ms: limits.retry_max_ms.max(1), generator }
    }

    /// Milliseconds after so many failures: from half to one and a half times what they ask for,
    /// and at least what the other side asked for, within reason.
    fn wait_ms(&mut self, failures: u32, least: Duration) -> u64 {
        let own = self.first_ms.saturating_mul(1 << failures.min(20)).min(self.max_ms);
        let jitter = self.generator.next_u64().checked_rem(own).unwrap_or_default();
        let least = u64::try_from(least.as_millis()).unwrap_or(u64::MAX);
        (own / 2).saturating_add(jitter).max(1).max(least.min(self.longest()))
    }

    /// A relay that asks for more than this is asked again all the same.
    const fn longest(&self) -> u64 {
        self.max_ms.saturating_mul(10)
    }
}

impl Wait {
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
        self.due = None;
    }

    /// Something failed: not again before this.
    pub(super) fn fail(&mut self, now: Timestamp, least: Duration, dice: &mut Dice) {
        self.due = Some(Due { seen: now, at: now.plus_ms(dice.wait_ms(self.failures, least)) });
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_none_or(|due| due.at <= now)
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due.map(|due| due.at)
    }

    /// A clock that went back must not turn a short wait into a long one: it starts over.
    pub(super) fn tame(&mut self, now: Timestamp) {
        self.due = self.due.map(|due| {
            let left = due.at.since_ms(due.seen);
            let at = if now < due.seen { now.plus_ms(left) } else { due.at };
            Due { seen: now.min(due.seen), at }
        });
    }
}

impl Backoff {
    pub(super) fn new(limits: &SessionLimits, seed: &[u8; 32], label: u8) -> Self {
        Self { dice: Dice::new(limits, seed, label), wait: Wait::default() }
    }

    pub(super) const fn reset(&mut self) {
        self.wait.reset();
    }

    pub(super) fn fail(&mut self, now: Timestamp, least: Duration) {
        self.wait.fail(now, least, &mut self.dice);
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.wait.is_due(now)
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        self.wait.due()
    }

    pub(super) fn tame(&mut self, now: Timestamp) {
        self.wait.tame(now);
    }
}
