//! X-Wing draft-06 (X25519 with ML-KEM-768), refusing non-contributory X25519 shares on both
//! sides.

use alloc::vec::Vec;

use rand_core::CryptoRng;
use x_wing::{
    Ciphertext, DecapsulationKeyRejectNonContrib, Decapsulator, Encapsulate, EncapsulationKey,
    KeyExport, TryDecapsulate,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Where the X25519 half of a public key starts.
const X25519_OFFSET: usize = 1_184;

/// The private key: the 32-byte seed of the draft, from which everything else follows.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct XWingSeed([u8; 32]);

impl XWingSeed {
    /// A seed of 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The seed, for storing.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key, 1,216 bytes.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.expand().encapsulation_key().to_bytes().to_vec()
    }

    fn expand(&self) -> DecapsulationKeyRejectNonContrib {
        DecapsulationKeyRejectNonContrib::from(self.0)
    }

    /// The shared secret of an encapsulation; `None` if it is of a wrong length or its X25519
    /// share is non-contributory.
    pub(super) fn decapsulate(&self, encapsulated: &[u8]) -> Option<Vec<u8>> {
        let ciphertext = Ciphertext::try_from(encapsulated).ok()?;
        self.expand().try_decapsulate(&ciphertext).ok().map(|secret| secret.to_vec())
    }
}

impl core::fmt::Debug for XWingSeed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("XWingSeed(..)")
    }
}

/// Encapsulates to a public key: shared secret and ciphertext. `None` if the key is of a wrong
/// length or non-contributory.
pub(super) fn encapsulate(
    public_key: &[u8],
    random: &mut impl CryptoRng,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let key = EncapsulationKey::try_from(public_key).ok()?;
    let half: [u8; 32] = public_key.get(X25519_OFFSET..)?.try_into().ok()?;
    if !is_contributory(half) {
        return None;
    }
    let (ciphertext, secret) = key.encapsulate_with_rng(random);
    Some((secret.to_vec(), ciphertext.to_vec()))
}

/// Whether a Diffie-Hellman with this X25519 key can give anything but zero: low-order points
/// give zero with every scalar (RFC 7748 §6.1), so any scalar will do for the test.
fn is_contributory(public_key: [u8; 32]) -> bool {
    let scalar = x25519_dalek::StaticSecret::from([1; 32]);
    scalar.diffie_hellman(&x25519_dalek::PublicKey::from(public_key)).was_contributory()
}
