//! Time that only goes forward, and how long an answer takes.

use conclave_proto::Timestamp;

/// Milliseconds of waiting, made of a clock that may jump (scenario 54).
///
/// A jump back counts as no time and a jump forward as at most [`CEILING_MS`], so the worst that
/// follows is one repeat too early or one interval too late.
#[derive(Debug, Default)]
pub(super) struct Elapsed {
    total_ms: u64,
    last: Option<Timestamp>,
}

impl Elapsed {
    /// Moves on to `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let passed_ms = self.last.map_or(0, |last| now.since_ms(last));
        self.total_ms = self.total_ms.saturating_add(passed_ms.min(CEILING_MS));
        self.last = Some(now);
    }

    pub(super) const fn ms(&self) -> u64 {
        self.total_ms
    }

    /// A moment of this time by the clock of the last call.
    pub(super) fn timestamp(&self, at_ms: u64) -> Timestamp {
        self.last.unwrap_or_default().plus_ms(at_ms.saturating_sub(self.total_ms))
    }
}

/// How long to wait for an acknowledgement (RFC 6298, in whole milliseconds).
#[derive(Debug)]
pub(super) struct RoundTrip {
    /// Smoothed, and its variation; none before the first sample.
    smoothed: Option<(u64, u64)>,
    backoff: u32,
}

impl RoundTrip {
    pub(super) const fn new() -> Self {
        Self { smoothed: None, backoff: 0 }
    }

    /// Takes a measurement: of a segment that was sent once, as nobody knows which of two was
    /// acknowledged. What a jump of the clock may have made is no measurement.
    pub(super) fn measured(&mut self, ms: u64) {
        if ms >= CEILING_MS {
            return;
        }
        let (smoothed, variation) = self.smoothed.map_or((ms, ms / 2), |(smoothed, variation)| {
            ((7 * smoothed + ms) / 8, (3 * variation + smoothed.abs_diff(ms)) / 4)
        });
        self.smoothed = Some((smoothed, variation));
        self.backoff = 0;
    }

    /// Doubles the wait until the next measurement.
    pub(super) const fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    pub(super) fn timeout_ms(&self) -> u64 {
        let base = self.smoothed.map_or(INITIAL_MS, |(smoothed, variation)| {
            smoothed + (4 * variation).max(ACK_DELAY_MS)
        });
        let factor = 1_u64.checked_shl(self.backoff).unwrap_or(u64::MAX);
        base.clamp(FLOOR_MS, CEILING_MS).saturating_mul(factor).min(CEILING_MS)
    }
}

/// How long an acknowledgement waits for company: less than a person notices.
pub(super) const ACK_DELAY_MS: u64 = 20;
/// No wait is shorter: a few times [`ACK_DELAY_MS`], and what a busy peer may need.
const FLOOR_MS: u64 = 100;
/// No wait is longer: what a person waits for a radio that comes back.
pub(super) const CEILING_MS: u64 = 30_000;
/// Before anything is known (RFC 6298 §2.1).
const INITIAL_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::{CEILING_MS, Elapsed, FLOOR_MS, INITIAL_MS, RoundTrip};
    use conclave_proto::Timestamp;

    /// Scenario 54.
    #[test]
    fn jumps_of_the_clock_count_as_one_interval_at_most() {
        let mut elapsed = Elapsed::default();
        elapsed.advance(Timestamp(1_700_000_000_000));
        elapsed.advance(Timestamp(u64::MAX));
        assert_eq!(elapsed.ms(), CEILING_MS);
        elapsed.advance(Timestamp(5));
        assert_eq!(elapsed.ms(), CEILING_MS);
        assert_eq!(elapsed.timestamp(CEILING_MS + 10), Timestamp(15));
    }

    #[test]
    fn the_wait_follows_the_round_trip_within_its_bounds() {
        let mut trip = RoundTrip::new();
        assert_eq!(trip.timeout_ms(), INITIAL_MS);
        for _ in 0..100 {
            trip.measured(0);
        }
        assert_eq!(trip.timeout_ms(), FLOOR_MS);
        for _ in 0..100 {
            trip.measured(4_000);
        }
        assert!((4_000..5_000).contains(&trip.timeout_ms()));
        trip.measured(u64::MAX);
        assert!((4_000..5_000).contains(&trip.timeout_ms()));
        for _ in 0..100 {
            trip.back_off();
        }
        assert_eq!(trip.timeout_ms(), CEILING_MS);
        trip.measured(4_000);
        assert!((4_000..5_000).contains(&trip.timeout_ms()));
    }
}
