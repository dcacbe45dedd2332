//! The HPKE backend: one suite of algorithms over the named crates, and nothing else.

use alloc::{string::String, vec::Vec};

use chacha20poly1305::{
    ChaCha20Poly1305, Key, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use hpke_rs_crypto::{
    HpkeCrypto,
    error::Error,
    types::{
        AeadAlgorithm, KdfAlgorithm, KemAlgorithm, SingleStageKdfAlgorithm, TwoStageKdfAlgorithm,
    },
};
use rand_core::{Rng, TryCryptoRng, TryRng};
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};

use super::xwing::{self, XWingSeed};
use crate::entropy::SealingRandom;

/// HPKE over `x-wing`, `x25519-dalek`, `hkdf` and `chacha20poly1305`.
#[derive(Debug)]
pub struct Suite;

/// A generator that repeats given bytes, for derandomised calls.
struct Replay<'a>(&'a [u8]);

impl TryRng for Replay<'_> {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        let (now, later) = self.0.split_at_checked(out.len()).unwrap_or((self.0, &[]));
        for (slot, byte) in out.iter_mut().zip(now) {
            *slot = *byte;
        }
        self.0 = later;
        Ok(())
    }
}

impl TryCryptoRng for Replay<'_> {}

fn x25519_secret(bytes: &[u8]) -> Result<StaticSecret, Error> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| Error::KemInvalidSecretKey)?;
    Ok(StaticSecret::from(bytes))
}

fn x25519_public(bytes: &[u8]) -> Result<PublicKey, Error> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| Error::KemInvalidPublicKey)?;
    Ok(PublicKey::from(bytes))
}

fn seed(bytes: &[u8]) -> Result<XWingSeed, Error> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| Error::KemInvalidSecretKey)?;
    Ok(XWingSeed::new(bytes))
}

fn cipher(alg: AeadAlgorithm, key: &[u8]) -> Result<ChaCha20Poly1305, Error> {
    if alg != AeadAlgorithm::ChaCha20Poly1305 {
        return Err(Error::UnknownAeadAlgorithm);
    }
    let key = Key::try_from(key).map_err(|_| Error::AeadOpenError)?;
    Ok(ChaCha20Poly1305::new(&key))
}

// The trait's enums name every algorithm there is; this suite has one.
#[allow(clippy::wildcard_enum_match_arm)]
impl HpkeCrypto for Suite {
    type HpkePrng = SealingRandom;

    fn name() -> String {
        String::from("conclave")
    }

    fn supports_kdf(alg: KdfAlgorithm) -> Result<(), Error> {
        if alg == KdfAlgorithm::HkdfSha256 { Ok(()) } else { Err(Error::UnknownKdfAlgorithm) }
    }

    fn supports_kem(alg: KemAlgorithm) -> Result<(), Error> {
        match alg {
            KemAlgorithm::XWingDraft06 | KemAlgorithm::DhKem25519 => Ok(()),
            _ => Err(Error::UnknownKemAlgorithm),
        }
    }

    fn supports_aead(alg: AeadAlgorithm) -> Result<(), Error> {
        if alg == AeadAlgorithm::ChaCha20Poly1305 {
            Ok(())
        } else {
            Err(Error::UnknownAeadAlgorithm)
        }
    }

    fn kdf_extract(alg: TwoStageKdfAlgorithm, salt: &[u8], ikm: &[u8]) -> Result<Vec<u8>, Error> {
        if alg != TwoStageKdfAlgorithm::HkdfSha256 {
            return Err(Error::UnknownKdfAlgorithm);
        }
        Ok(Hkdf::<Sha256>::extract(Some(salt), ikm).0.to_vec())
    }

    fn kdf_expand(
        alg: TwoStageKdfAlgorithm,
        prk: &[u8],
        info: &[u8],
        output_size: usize,
    ) -> Result<Vec<u8>, Error> {
        if alg != TwoStageKdfAlgorithm::HkdfSha256 {
            return Err(Error::UnknownKdfAlgorithm);
        }
        let kdf = Hkdf::<Sha256>::from_prk(prk).map_err(|_| Error::HpkeInvalidOutputLength)?;
        let mut out = alloc::vec![0; output_size];
        kdf.expand(info, &mut out).map_err(|_| Error::HpkeInvalidOutputLength)?;
        Ok(out)
    }

    fn kdf_derive(_: SingleStageKdfAlgorithm, _: &[u8], _: usize) -> Result<Vec<u8>, Error> {
        Err(Error::UnknownKdfAlgorithm)
    }

    fn dh(alg: KemAlgorithm, pk: &[u8], sk: &[u8]) -> Result<Vec<u8>, Error> {
        if alg != KemAlgorithm::DhKem25519 {
            return Err(Error::UnsupportedKemOperation);
        }
        let shared = x25519_secret(sk)?.diffie_hellman(&x25519_public(pk)?);
        // RFC 9180 §7.1.4: the all-zero value is refused.
        if shared.was_contributory() {
            Ok(shared.as_bytes().to_vec())
        } else {
            Err(Error::KemInvalidPublicKey)
        }
    }

    fn secret_to_public(alg: KemAlgorithm, sk: &[u8]) -> Result<Vec<u8>, Error> {
        match alg {
            KemAlgorithm::DhKem25519 => {
                Ok(PublicKey::from(&x25519_secret(sk)?).as_bytes().to_vec())
            }
            KemAlgorithm::XWingDraft06 => Ok(seed(sk)?.public_key()),
            _ => Err(Error::UnknownKemAlgorithm),
        }
    }

    fn kem_key_gen(
        alg: KemAlgorithm,
        prng: &mut Self::HpkePrng,
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let mut secret = [0; 32];
        prng.fill_bytes(&mut secret);
        Self::kem_key_gen_derand(alg, &secret)
    }

    fn kem_key_gen_derand(alg: KemAlgorithm, seed: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Error> {
        Ok((Self::secret_to_public(alg, seed)?, seed.to_vec()))
    }

    fn kem_encaps(
        alg: KemAlgorithm,
        pk_r: &[u8],
        prng: &mut Self::HpkePrng,
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        Self::supports_kem(alg)?;
        xwing::encapsulate(pk_r, prng).ok_or(Error::KemInvalidPublicKey)
    }

    fn kem_encaps_derand(
        alg: KemAlgorithm,
        pk_r: &[u8],
        randomness: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        if alg != KemAlgorithm::XWingDraft06 || randomness.len() != 64 {
            return Err(Error::UnsupportedKemOperation);
        }
        xwing::encapsulate(pk_r, &mut Replay(randomness)).ok_or(Error::KemInvalidPublicKey)
    }

    fn kem_decaps(alg: KemAlgorithm, ct: &[u8], sk_r: &[u8]) -> Result<Vec<u8>, Error> {
        if alg != KemAlgorithm::XWingDraft06 {
            return Err(Error::UnsupportedKemOperation);
        }
        seed(sk_r)?.decapsulate(ct).ok_or(Error::KemInvalidCiphertext)
    }

    fn dh_validate_sk(alg: KemAlgorithm, sk: &[u8]) -> Result<Vec<u8>, Error> {
        if alg == KemAlgorithm::DhKem25519 && sk.len() == 32 {
            Ok(sk.to_vec())
        } else {
            Err(Error::KemInvalidSecretKey)
        }
    }

    fn aead_seal(
        alg: AeadAlgorithm,
        key: &[u8],
        nonce: &[u8],
        aad: &[u8],
        msg: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let nonce = Nonce::try_from(nonce).map_err(|_| Error::AeadInvalidNonce)?;
        cipher(alg, key)?.encrypt(&nonce, Payload { msg, aad }).map_err(|_| Error::AeadOpenError)
    }

    fn aead_open(
        alg: AeadAlgorithm,
        key: &[u8],
        nonce: &[u8],
        aad: &[u8],
        msg: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let nonce = Nonce::try_from(nonce).map_err(|_| Error::AeadInvalidNonce)?;
        cipher(alg, key)?.decrypt(&nonce, Payload { msg, aad }).map_err(|_| Error::AeadOpenError)
    }
}
