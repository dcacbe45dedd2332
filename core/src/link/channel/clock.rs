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

/// How long to wait for an acknowledgement (RFC 9002 §5 and §6.2).
///
/// An acknowledgement names segments and not transmissions. A segment that was sent twice
/// therefore measures nothing, except where nothing else is measured any more.
#[derive(Debug)]
pub(super) struct RoundTrip {
    known: Option<Known>,
    backoff: u32,
    /// Acknowledgements since the last measurement that measured nothing.
    unmeasured: u32,
}

/// In microseconds, so that averages of few milliseconds do not stick.
#[derive(Clone, Copy, Debug)]
struct Known {
    smoothed: u64,
    variation: u64,
    shortest: u64,
    /// Whether it is a bound and no measurement.
    guessed: bool,
}

impl RoundTrip {
    pub(super) const fn new() -> Self {
        Self { known: None, backoff: 0, unmeasured: 0 }
    }

    /// Takes a measurement: of a segment that was sent once. What a jump of the clock may have
    /// made is no measurement.
    pub(super) fn measured(&mut self, ms: u64) {
        if ms >= CEILING_MS {
            return;
        }
        self.known = Some(match self.known.filter(|known| !known.guessed) {
            None => self.fresh(ms, false),
            Some(Known { smoothed, variation, shortest, guessed }) => Known {
                smoothed: (7 * smoothed + ms * MICROS) / 8,
                variation: (3 * variation + smoothed.abs_diff(ms * MICROS)) / 4,
                shortest: shortest.min(ms * MICROS),
                guessed,
            },
        });
        self.unmeasured = 0;
    }

    /// Takes the time since the first transmission of a segment that was sent several times, the
    /// longest that its round trip can have been. It counts only after a row of such segments,
    /// for the round trip has grown beyond the wait then, and until the next measurement.
    pub(super) fn bounded(&mut self, ms: u64) {
        self.unmeasured = self.unmeasured.saturating_add(1);
        if self.unmeasured >= UNMEASURED_MAX && ms < CEILING_MS {
            self.known = Some(self.fresh(ms, true));
        }
    }

    fn fresh(&self, ms: u64, guessed: bool) -> Known {
        let smoothed = ms * MICROS;
        let shortest = self.known.map_or(smoothed, |known| known.shortest.min(smoothed));
        Known { smoothed, variation: smoothed / 2, shortest, guessed }
    }

    /// Doubles the wait.
    pub(super) const fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    /// Ends the doubling.
    pub(super) const fn start_over(&mut self) {
        self.backoff = 0;
    }

    /// Whether anything was measured.
    pub(super) const fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// The shortest round trip so far: an acknowledgement that comes sooner after a repeat is one
    /// of an earlier transmission.
    pub(super) fn shortest_ms(&self) -> u64 {
        self.known.map_or(0, |known| known.shortest / MICROS)
    }

    pub(super) fn timeout_ms(&self) -> u64 {
        let base = self.known.map_or(INITIAL_MS, |known| {
            // Measurements include what acknowledgements waited, some of them all of it.
            let usual = known.smoothed + (4 * known.variation).max(MARGIN_MS * MICROS);
            let delayed = known.shortest + (ACK_DELAY_MS + MARGIN_MS) * MICROS;
            usual.max(delayed).div_ceil(MICROS)
        });
        let factor = 1_u64.checked_shl(self.backoff).unwrap_or(u64::MAX);
        base.min(CEILING_MS).saturating_mul(factor).min(CEILING_MS)
    }
}

const MICROS: u64 = 1_000;

/// How long an acknowledgement waits for company: less than a person notices.
pub(super) const ACK_DELAY_MS: u64 = 20;
/// What the drivers of both ends may be late by before a segment is repeated for it.
const MARGIN_MS: u64 = 5;
/// No wait is longer: what a person waits for a radio that comes back.
pub(super) const CEILING_MS: u64 = 30_000;
/// Before anything is known (RFC 6298 §2.1).
const INITIAL_MS: u64 = 1_000;
/// Where a fifth of all frames is lost each way and the wait is right, one segment in three is
/// repeated, but this many in a row only one time in three thousand.
const UNMEASURED_MAX: u32 = 8;

#[cfg(test)]
mod tests {
    use super::{
        ACK_DELAY_MS, CEILING_MS, Elapsed, INITIAL_MS, MARGIN_MS, RoundTrip, UNMEASURED_MAX,
    };
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
        assert_eq!(trip.timeout_ms(), ACK_DELAY_MS + MARGIN_MS);
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
        trip.start_over();
        assert!((4_000..5_000).contains(&trip.timeout_ms()));
    }

    /// A round trip that has grown beyond the wait is measured in the end, although every segment
    /// is repeated.
    #[test]
    fn repeated_segments_measure_where_nothing_else_does() {
        for known_ms in [None, Some(10)] {
            let mut trip = RoundTrip::new();
            for ms in [known_ms; 100].into_iter().flatten() {
                trip.measured(ms);
            }
            let wait_ms = trip.timeout_ms();
            for _ in 1..UNMEASURED_MAX {
                trip.bounded(3_000);
                assert_eq!(trip.timeout_ms(), wait_ms);
            }
            trip.bounded(3_000);
            assert!(trip.timeout_ms() > 3_000);
            // A measurement ends the guess at once.
            trip.measured(10);
            assert_eq!(trip.timeout_ms(), 10 + ACK_DELAY_MS + MARGIN_MS);
        }
    }
}
