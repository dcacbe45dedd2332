//! Measuring: processor time, two sides in turn, a median and its spread.
//!
//! Processor time of the process instead of time on the wall: what other processes do then shows
//! as a wider spread and not as a shifted median.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Processor time that some work took.
pub fn cpu(work: impl FnOnce()) -> Duration {
    let start = process_time();
    work();
    process_time().saturating_sub(start)
}

/// Time on the wall that some work took, waiting included.
pub fn wall(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Processor time of the whole process so far.
#[must_use]
pub fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// A ratio of two sides that did the same work in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The median over the repetitions.
    pub median: f64,
    /// The lowest ratio of one repetition.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// Median of the first side, per unit of work, in microseconds.
    pub first_us: f64,
    /// Median of the second side.
    pub second_us: f64,
    /// How many repetitions.
    pub repetitions: usize,
}

impl Ratio {
    /// Times two sides in turn. Each call of a side gives the processor time of `units` units of
    /// work; what it does to prepare is not in it.
    ///
    /// # Panics
    /// Without repetitions.
    pub fn interleaved(
        repetitions: usize,
        units: usize,
        mut first: impl FnMut() -> Duration,
        mut second: impl FnMut() -> Duration,
    ) -> Self {
        let times: Vec<(f64, f64)> =
            (0..repetitions).map(|_| (micros(first(), units), micros(second(), units))).collect();
        Self::of(&times)
    }

    /// Of pairs of times in microseconds, one of each repetition.
    ///
    /// # Panics
    /// Without repetitions.
    #[must_use]
    pub fn of(times: &[(f64, f64)]) -> Self {
        let ratios = sorted(times.iter().map(|(first, second)| first / second));
        Self {
            median: median(&ratios),
            low: ratios[0],
            high: ratios[ratios.len() - 1],
            first_us: median(&sorted(times.iter().map(|(first, _)| *first))),
            second_us: median(&sorted(times.iter().map(|(_, second)| *second))),
            repetitions: times.len(),
        }
    }

    /// The same comparison the other way round: a ratio of rates instead of times.
    #[must_use]
    pub fn of_rates(self) -> Self {
        Self { median: 1.0 / self.median, low: 1.0 / self.high, high: 1.0 / self.low, ..self }
    }
}

pub(crate) fn micros(time: Duration, units: usize) -> f64 {
    time.as_secs_f64() * 1e6 / units as f64
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Ratio;

    #[test]
    fn the_median_of_the_pairs_counts_and_not_the_pair_of_the_medians() {
        let mut first = [2, 9, 4].map(Duration::from_micros).into_iter();
        let mut second = [1, 3, 4].map(Duration::from_micros).into_iter();
        let ratio = Ratio::interleaved(3, 1, || first.next().unwrap(), || second.next().unwrap());
        assert_eq!((ratio.low, ratio.median, ratio.high), (1.0, 2.0, 3.0));
        let rates = ratio.of_rates();
        assert_eq!((rates.low, rates.median, rates.high), (1.0 / 3.0, 0.5, 1.0));
    }
}
