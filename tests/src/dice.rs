//! Seeds: everything random in a simulation comes from one number.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    thread,
};

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
    let one = env::var("CONCLAVE_SEED").ok().and_then(|seed| seed.parse().ok());
    let full = env::var("CONCLAVE_EFFORT").is_ok_and(|effort| effort == "full");
    let seeds = match one {
        Some(seed) => seed..seed + 1,
        None => 0..if full { count * 10 } else { count },
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!(
                "\nseed {seed} fails; replay it with\n\n    {}\n",
                replay_command(test, seed)
            );
            resume_unwind(panic);
        }
    }
}

/// The command that runs one seed of the calling test alone, whichever crate the test is in: cargo
/// and the test harness say at run time which package, program and test that is.
#[must_use]
pub fn replay_command(test: &str, seed: u64) -> String {
    let program = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    // The harness names the thread of a test by the test's path.
    let path = thread::current().name().map(str::to_owned);
    let path = path.filter(|path| path.rsplit("::").next() == Some(test));
    let filter = path.map_or_else(|| test.to_owned(), |path| format!("{path} --exact"));
    match env::var("CARGO_PKG_NAME") {
        Ok(package) => {
            let target = test_target(&program).unwrap_or_default();
            format!("CONCLAVE_SEED={seed} cargo test -p {package}{target} -- {filter}")
        }
        // The program was started by hand.
        Err(_) => format!("CONCLAVE_SEED={seed} {} {filter}", program.display()),
    }
}

/// ` --test NAME` for the program of an integration test, which cargo calls `NAME-HASH`; `None`
/// for tests inside a crate, which their path tells apart.
fn test_target(program: &Path) -> Option<String> {
    let (name, _hash) = program.file_stem()?.to_str()?.rsplit_once('-')?;
    let tests = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join("tests");
    let is_there = tests.join(name).join("main.rs").exists();
    (is_there || tests.join(name).with_extension("rs").exists()).then(|| format!(" --test {name}"))
}
