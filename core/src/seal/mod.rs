//! Sealing to a key package: HPKE base mode (RFC 9180) under X-Wing draft-06 or X25519, with
//! HKDF-SHA256 and ChaCha20Poly1305 (S7).

mod suite;
mod xwing;

use alloc::vec::Vec;

use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce, aead::Aead};
use hpke_rs::{
    Hpke, HpkePrivateKey, HpkePublicKey, Mode,
    hpke_types::{AeadAlgorithm, KdfAlgorithm, KemAlgorithm},
};

pub use suite::Suite;
pub use xwing::XWingSeed;

use crate::entropy::{Sealing, SealingRandom};

/// Why something could not be sealed or opened. Says nothing about the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The public key is of a wrong length or a non-contributory one.
    #[error("unusable public key")]
    BadKey,
    /// The sealed bytes are not what was sealed to this key with this context.
    #[error("does not open")]
    DoesNotOpen,
}

/// Which KEM a sealing uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kem {
    /// X-Wing draft-06, post-quantum.
    XWing,
    /// DHKEM(X25519, HKDF-SHA256), classical.
    X25519,
}

impl Kem {
    const fn algorithm(self) -> KemAlgorithm {
        match self {
            Self::XWing => KemAlgorithm::XWingDraft06,
            Self::X25519 => KemAlgorithm::DhKem25519,
        }
    }

    /// The HPKE id of the KEM, as the wire carries it.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::XWing => conclave_proto::package::kem::X_WING,
            Self::X25519 => conclave_proto::package::kem::X25519,
        }
    }

    /// The KEM of an id from the wire.
    #[must_use]
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            conclave_proto::package::kem::X_WING => Some(Self::XWing),
            conclave_proto::package::kem::X25519 => Some(Self::X25519),
            _ => None,
        }
    }
}

/// What HPKE gives the sender: the encapsulated key and the ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The encapsulated key.
    pub encapsulated: Vec<u8>,
    /// The ciphertext with its tag.
    pub ciphertext: Vec<u8>,
}

fn hpke(kem: Kem, random: SealingRandom) -> Hpke<Suite> {
    Hpke::new_with_rng(
        Mode::Base,
        kem.algorithm(),
        KdfAlgorithm::HkdfSha256,
        AeadAlgorithm::ChaCha20Poly1305,
        random,
    )
}

/// Seals a plaintext to a public key. The randomness follows from the step and from everything
/// that is sealed, so two different sealings never share any.
///
/// # Errors
/// [`SealError::BadKey`].
pub fn seal(
    kem: Kem,
    sealing: &Sealing,
    public_key: &[u8],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Sealed, SealError> {
    let random = sealing.generator(&[&kem.id().to_be_bytes(), public_key, info, aad, plaintext]);
    let key = HpkePublicKey::new(public_key.to_vec());
    hpke(kem, random)
        .seal(&key, info, aad, plaintext, None, None, None)
        .map(|(encapsulated, ciphertext)| Sealed { encapsulated, ciphertext })
        .map_err(|_| SealError::BadKey)
}

/// Opens what was sealed to a private key.
///
/// # Errors
/// [`SealError::DoesNotOpen`], whatever the reason.
pub fn open(
    kem: Kem,
    private_key: &[u8],
    sealed: &Sealed,
    info: &[u8],
    aad: &[u8],
) -> Result<Vec<u8>, SealError> {
    let key = HpkePrivateKey::new(private_key.to_vec());
    // Opening draws nothing; the generator is there because the type asks for one.
    hpke(kem, no_randomness())
        .open(&sealed.encapsulated, &key, info, aad, &sealed.ciphertext, None, None, None)
        .map_err(|_| SealError::DoesNotOpen)
}

/// Seals a Welcome body under a key that is used for nothing else, so that the nonce can be zero.
#[must_use]
pub fn seal_body(key: &[u8; 32], body: &[u8]) -> Vec<u8> {
    let cipher = ChaCha20Poly1305::new(&body_key(key));
    // Encrypting into a new vector fails only for more than 256 GiB.
    cipher.encrypt(&Nonce::default(), body).unwrap_or_default()
}

/// Opens a Welcome body; `None` if it is not what was sealed under this key.
#[must_use]
pub fn open_body(key: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
    ChaCha20Poly1305::new(&body_key(key)).decrypt(&Nonce::default(), sealed).ok()
}

fn body_key(key: &[u8; 32]) -> Key {
    let mut out = Key::default();
    for (slot, byte) in out.iter_mut().zip(key) {
        *slot = *byte;
    }
    out
}

/// A generator for calls that draw nothing.
pub(crate) fn no_randomness() -> SealingRandom {
    SealingRandom::unused()
}

#[cfg(test)]
mod tests {
    use alloc::{boxed::Box, format, vec};

    use super::{Kem, SealError, Sealed, XWingSeed, open, seal};
    use crate::entropy::{Entropy, EntropyError, EntropySource, Sealing};

    struct Zeros;

    impl EntropySource for Zeros {
        fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError> {
            *out = [0; 32];
            Ok(())
        }

        fn child(&self, _: &str, _: &[u8]) -> Box<dyn EntropySource> {
            Box::new(Self)
        }
    }

    fn sealing() -> Sealing {
        Entropy::new(Box::new(Zeros)).step().unwrap().sealing()
    }

    /// S7: sealed under X-Wing, opened with the seed.
    #[test]
    fn what_was_sealed_opens_with_its_context_only() {
        let seed = XWingSeed::new([5; 32]);
        let sealed = seal(Kem::XWing, &sealing(), &seed.public_key(), b"i", b"a", b"text").unwrap();
        assert_eq!(sealed.encapsulated.len(), 1_120);
        let opened = open(Kem::XWing, seed.as_bytes(), &sealed, b"i", b"a");
        assert_eq!(opened.unwrap(), b"text");
        for (info, aad) in [(&b"j"[..], &b"a"[..]), (b"i", b"b")] {
            let opened = open(Kem::XWing, seed.as_bytes(), &sealed, info, aad);
            assert_eq!(opened, Err(SealError::DoesNotOpen));
        }
        let classical = open(Kem::X25519, seed.as_bytes(), &sealed, b"i", b"a");
        assert_eq!(classical, Err(SealError::DoesNotOpen));
    }

    /// S7: keys and ciphertexts with a non-contributory X25519 half are refused on both sides.
    #[test]
    fn non_contributory_shares_are_refused() {
        let seed = XWingSeed::new([5; 32]);
        let mut key = seed.public_key();
        key[1_184..].fill(0);
        let refused = seal(Kem::XWing, &sealing(), &key, b"", b"", b"text");
        assert_eq!(refused, Err(SealError::BadKey));
        assert_eq!(
            seal(Kem::XWing, &sealing(), &key[1..], b"", b"", b"text"),
            Err(SealError::BadKey)
        );

        let good = seal(Kem::XWing, &sealing(), &seed.public_key(), b"", b"", b"text").unwrap();
        let mut encapsulated = good.encapsulated.clone();
        encapsulated[1_088..].fill(0);
        let low_order = Sealed { encapsulated, ..good };
        let opened = open(Kem::XWing, seed.as_bytes(), &low_order, b"", b"");
        assert_eq!(opened, Err(SealError::DoesNotOpen));
    }

    /// E10: the public key of a stored seed never changes. The value was computed by this code
    /// and is frozen; the X-Wing vectors prove it right.
    #[test]
    fn the_public_key_of_a_seed_is_frozen() {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(XWingSeed::new([1; 32]).public_key());
        let hex = conclave_proto::identity::hex(&digest);
        assert_eq!(hex, "f37b99b2db732a7df55f61fa442606133b1aeea462df9f8225fb5c82674523db");
    }

    /// S18.
    #[test]
    fn debug_shows_no_seed() {
        assert_eq!(format!("{:?}", vec![XWingSeed::new([1; 32])]), "[XWingSeed(..)]");
    }
}
