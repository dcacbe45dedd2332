//! Randomness as an input.
//!
//! An [`EntropySource`] gives fresh bytes; an [`Entropy`] mixes them into a chain at every step
//! and hands each step its own generator. Nothing of this is ever stored: two engines on copies
//! of one store draw differently from their first step on, because their sources differ.

use alloc::boxed::Box;
use core::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The source of randomness failed; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no randomness available")]
pub struct EntropyError;

/// Where fresh bytes come from: the operating system, or a seed in a simulation.
pub trait EntropySource: Send + Sync + 'static {
    /// Fills `out` with bytes that nobody else gets. Called once per step.
    ///
    /// # Errors
    /// [`EntropyError`] if there are none; the step is then not made.
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError>;

    /// A source of its own for one value, so that values do not depend on each other's steps.
    /// A simulated source derives it from label and id; a real one may just be another handle.
    fn child(&self, label: &str, id: &[u8]) -> Box<dyn EntropySource>;
}

/// The generator of one value (a group, a key ring): draws fresh bytes for each step.
pub struct Entropy {
    source: Box<dyn EntropySource>,
    chain: [u8; 32],
}

impl Entropy {
    /// A generator over a source.
    #[must_use]
    pub fn new(source: Box<dyn EntropySource>) -> Self {
        Self { source, chain: [0; 32] }
    }

    /// A generator for another value.
    #[must_use]
    pub fn child(&self, label: &str, id: &[u8]) -> Self {
        Self::new(self.source.child(label, id))
    }

    /// The randomness of one step: fresh bytes mixed into the chain.
    ///
    /// # Errors
    /// [`EntropyError`] if the source fails; the chain is unchanged.
    pub fn step(&mut self) -> Result<StepRandom, EntropyError> {
        let mut fresh = [0; 32];
        self.source.fill(&mut fresh)?;
        let kdf = Hkdf::<Sha256>::new(Some(&self.chain), &fresh);
        fresh.zeroize();
        let mut stream = expand(&kdf, b"conclave step stream");
        let random = StepRandom {
            stream: ChaCha20Rng::from_seed(stream),
            sealing: expand(&kdf, b"conclave step sealing"),
        };
        stream.zeroize();
        self.chain = expand(&kdf, b"conclave step chain");
        Ok(random)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(..)")
    }
}

impl Drop for Entropy {
    fn drop(&mut self) {
        self.chain.zeroize();
    }
}

fn expand(kdf: &Hkdf<Sha256>, info: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // 32 bytes are one block of HKDF-SHA256 (RFC 5869 §2.3), which always fits.
    let _ = kdf.expand(info, &mut out);
    out
}

/// The randomness of one step.
pub struct StepRandom {
    stream: ChaCha20Rng,
    sealing: [u8; 32],
}

impl StepRandom {
    /// The next bytes of the stream.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.stream.fill_bytes(out);
    }

    /// The next `N` bytes of the stream.
    #[must_use]
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// The key that [`Sealing`] derives from.
    #[must_use]
    pub const fn sealing(&self) -> Sealing {
        Sealing(self.sealing)
    }
}

impl fmt::Debug for StepRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StepRandom(..)")
    }
}

impl Drop for StepRandom {
    fn drop(&mut self) {
        self.sealing.zeroize();
    }
}

/// Derives the randomness of HPKE sealings from everything that goes into them, the plaintext
/// included: two sealings share randomness only if they are the same sealing, in whatever order
/// or on whatever thread they are made.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Sealing([u8; 32]);

impl Sealing {
    /// The generator of one sealing.
    #[must_use]
    pub fn generator(&self, parts: &[&[u8]]) -> SealingRandom {
        let mut mac = keyed(&self.0);
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        SealingRandom(ChaCha20Rng::from_seed(mac.finalize().into_bytes().into()))
    }
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // 32 bytes are a valid HMAC-SHA256 key.
    <Hmac<Sha256> as KeyInit>::new(&hmac_key(key))
}

fn hmac_key(key: &[u8; 32]) -> hmac::digest::Key<Hmac<Sha256>> {
    let mut padded = hmac::digest::Key::<Hmac<Sha256>>::default();
    for (slot, byte) in padded.iter_mut().zip(key) {
        *slot = *byte;
    }
    padded
}

/// A pseudo-random function of some parts under a key: HMAC-SHA256 over length-prefixed parts.
#[must_use]
pub fn prf(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The generator of one sealing, as HPKE wants it.
pub struct SealingRandom(ChaCha20Rng);

impl SealingRandom {
    /// For calls that ask for a generator and draw nothing from it.
    pub(crate) fn unused() -> Self {
        Self(ChaCha20Rng::from_seed([0; 32]))
    }
}

impl fmt::Debug for SealingRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingRandom(..)")
    }
}

impl rand_core::TryRng for SealingRandom {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for SealingRandom {}

#[cfg(test)]
mod tests {
    use alloc::{boxed::Box, format};

    use super::{Entropy, EntropyError, EntropySource};

    struct Constant(u8);

    impl EntropySource for Constant {
        fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError> {
            *out = [self.0; 32];
            Ok(())
        }

        fn child(&self, _: &str, _: &[u8]) -> Box<dyn EntropySource> {
            Box::new(Self(self.0))
        }
    }

    /// E3: even a source that repeats itself gives no step the bytes of another.
    #[test]
    fn every_step_draws_other_bytes() {
        let mut entropy = Entropy::new(Box::new(Constant(1)));
        let first: [u8; 32] = entropy.step().unwrap().array();
        let second: [u8; 32] = entropy.step().unwrap().array();
        assert_ne!(first, second);
    }

    /// PROTOCOL 9: randomness of a sealing follows from what is sealed.
    #[test]
    fn different_sealings_never_share_randomness() {
        use rand_core::Rng;
        let random = Entropy::new(Box::new(Constant(1))).step().unwrap();
        let draw = |parts: &[&[u8]]| random.sealing().generator(parts).next_u64();
        assert_eq!(draw(&[b"a", b"b"]), draw(&[b"a", b"b"]));
        assert_ne!(draw(&[b"a", b"b"]), draw(&[b"a", b"c"]));
        assert_ne!(draw(&[b"ab", b""]), draw(&[b"a", b"b"]));
    }

    /// S18.
    #[test]
    fn debug_shows_no_secret() {
        let mut entropy = Entropy::new(Box::new(Constant(7)));
        let step = entropy.step().unwrap();
        assert_eq!(format!("{entropy:?} {step:?}"), "Entropy(..) StepRandom(..)");
    }
}
