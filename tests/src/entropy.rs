//! Randomness of a simulation.

use conclave_core::entropy::{EntropyError, EntropySource, prf};

/// Randomness that follows from a seed: for simulations only.
///
/// Each opening of an engine gets its own, as the system would give it, so that two engines on
/// copies of one store draw differently.
#[derive(Clone)]
pub struct SimEntropy {
    key: [u8; 32],
    drawn: u64,
}

impl SimEntropy {
    /// The source of one engine's opening in a world.
    #[must_use]
    pub fn new(world: u64, installation: u64, opening: u64) -> Self {
        let parts = [world, installation, opening].map(u64::to_be_bytes);
        Self { key: prf(&[0; 32], &[&parts[0], &parts[1], &parts[2]]), drawn: 0 }
    }

    /// A source of its own for one value.
    #[must_use]
    pub fn derive(&self, label: &str, id: &[u8]) -> Self {
        Self { key: prf(&self.key, &[b"child", label.as_bytes(), id]), drawn: 0 }
    }
}

impl EntropySource for SimEntropy {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError> {
        self.drawn += 1;
        *out = prf(&self.key, &[b"draw", &self.drawn.to_be_bytes()]);
        Ok(())
    }

    fn child(&self, label: &str, id: &[u8]) -> Box<dyn EntropySource> {
        Box::new(self.derive(label, id))
    }
}

impl std::fmt::Debug for SimEntropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimEntropy(..)")
    }
}
