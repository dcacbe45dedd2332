//! Time and randomness from the system.

use std::time::{SystemTime, UNIX_EPOCH};

use conclave_core::entropy::{EntropyError, EntropySource};
use conclave_proto::Timestamp;

/// Tells the time. It may jump; everything that depends on it is bounded.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The system's randomness, asked anew at every step: a cloned machine or a forked process parts
/// from its twin at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl EntropySource for OsEntropy {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|_| EntropyError)
    }

    fn child(&self, _label: &str, _id: &[u8]) -> Box<dyn EntropySource> {
        Box::new(Self)
    }
}
