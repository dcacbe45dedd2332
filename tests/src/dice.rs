//! Seeds: everything random in a simulation comes from one number.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// The decisions of a simulation.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// Dice that fall the same way for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `bound`; 0 if there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        let number = self.0.next_u64().checked_rem(bound).unwrap_or_default();
        usize::try_from(number).unwrap_or_default()
    }

    /// Whether something that happens `percent` times in a hundred happens.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of some things.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        things.get(self.below(things.len()))
    }
}

/// Runs a simulation for many seeds. A failing seed prints the one command that replays it alone.
///
/// `CONCLAVE_SEED` runs one seed; `CONCLAVE_EFFORT=full` runs ten times as many.
///
/// # Panics
/// As `run` does.
pub fn for_each_seed(test: &str, count: u64, mut run: impl FnMut(u64)) {
    let one = std::env::var("CONCLAVE_SEED").ok().and_then(|seed| seed.parse().ok());
    let full = std::env::var("CONCLAVE_EFFORT").is_ok_and(|effort| effort == "full");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..if full { count * 10 } else { count },
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("\nseed {seed} fails; replay it with\n");
            eprintln!("    CONCLAVE_SEED={seed} cargo test -p conclave-testkit {test}\n");
            resume_unwind(panic);
        }
    }
}
