//! The cryptography that the MLS library uses: the named crates, and no randomness but the
//! step's.

use std::sync::Mutex;

use chacha20poly1305::{
    ChaCha20Poly1305, Key, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use ed25519_dalek::{Signer as _, SigningKey};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use openmls_traits::{
    crypto::OpenMlsCrypto,
    random::OpenMlsRand,
    types::{
        AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeAeadType, HpkeCiphertext,
        HpkeConfig, HpkeKdfType, HpkeKemType, HpkeKeyPair, KemOutput, SignatureScheme,
    },
};
use sha2::{Digest, Sha256};
use tls_codec::SecretVLBytes;
use zeroize::Zeroizing;

use crate::{
    entropy::{Sealing, StepRandom},
    seal::{self, Kem, Sealed},
};

/// The one ciphersuite (S2).
pub(crate) const SUITE: Ciphersuite =
    Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

/// Cryptography with the randomness of the present step.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub))]
pub struct Crypto(Mutex<Option<StepRandom>>);

/// The library asked for randomness outside a step: a bug of the engine.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub))]
#[error("no step to draw randomness from")]
pub struct NoStep;

impl Crypto {
    /// Gives the step's randomness; the one before is gone.
    pub(crate) fn begin(&self, random: StepRandom) {
        *self.lock() = Some(random);
    }

    /// Some bytes of the step, for the engine's own use.
    pub(crate) fn array<const N: usize>(&self) -> Result<[u8; N], NoStep> {
        self.lock().as_mut().map(StepRandom::array).ok_or(NoStep)
    }

    /// What sealings of this step derive from.
    pub(crate) fn sealing(&self) -> Result<Sealing, NoStep> {
        self.lock().as_ref().map(StepRandom::sealing).ok_or(NoStep)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<StepRandom>> {
        // Nothing panics while it is held, so it is never poisoned.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl OpenMlsRand for Crypto {
    type Error = NoStep;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], NoStep> {
        self.array()
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, NoStep> {
        let mut out = vec![0; len];
        self.lock().as_mut().ok_or(NoStep)?.fill(&mut out);
        Ok(out)
    }
}

fn sha256(hash: HashType) -> Result<(), CryptoError> {
    match hash {
        HashType::Sha2_256 => Ok(()),
        HashType::Sha2_384 | HashType::Sha2_512 => Err(CryptoError::UnsupportedHashAlgorithm),
    }
}

fn ed25519(scheme: SignatureScheme) -> Result<(), CryptoError> {
    if scheme == SignatureScheme::ED25519 {
        Ok(())
    } else {
        Err(CryptoError::UnsupportedSignatureScheme)
    }
}

fn cipher(alg: AeadType, key: &[u8]) -> Result<ChaCha20Poly1305, CryptoError> {
    if alg != AeadType::ChaCha20Poly1305 {
        return Err(CryptoError::UnsupportedAeadAlgorithm);
    }
    let key = Key::try_from(key).map_err(|_| CryptoError::InvalidLength)?;
    Ok(ChaCha20Poly1305::new(&key))
}

fn kem(config: &HpkeConfig) -> Result<Kem, CryptoError> {
    let HpkeConfig(kem, kdf, aead) = config;
    match (kem, kdf, aead) {
        (HpkeKemType::DhKem25519, HpkeKdfType::HkdfSha256, HpkeAeadType::ChaCha20Poly1305) => {
            Ok(Kem::X25519)
        }
        _ => Err(CryptoError::UnsupportedCiphersuite),
    }
}

fn expand(prk: &[u8], info: &[u8], len: usize) -> Result<Vec<u8>, CryptoError> {
    let kdf = Hkdf::<Sha256>::from_prk(prk).map_err(|_| CryptoError::InvalidLength)?;
    let mut out = vec![0; len];
    kdf.expand(info, &mut out).map_err(|_| CryptoError::HkdfOutputLengthInvalid)?;
    Ok(out)
}

/// `DeriveKeyPair` of DHKEM(X25519, HKDF-SHA256), RFC 9180 §7.1.3.
fn derive_x25519(ikm: &[u8]) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
    const SUITE_ID: &[u8] = b"KEM\x00\x20";
    let labeled_ikm = Zeroizing::new([b"HPKE-v1", SUITE_ID, b"dkp_prk", ikm].concat());
    let prk = Zeroizing::new(Hkdf::<Sha256>::extract(Some(&[]), &labeled_ikm).0.to_vec());
    let info = [&32_u16.to_be_bytes()[..], b"HPKE-v1", SUITE_ID, b"sk"].concat();
    let secret = Zeroizing::new(expand(&prk, &info, 32)?);
    let secret: [u8; 32] = secret[..].try_into().map_err(|_| CryptoError::InvalidLength)?;
    Ok(Zeroizing::new(secret))
}

impl OpenMlsCrypto for Crypto {
    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        if ciphersuite == SUITE { Ok(()) } else { Err(CryptoError::UnsupportedCiphersuite) }
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        vec![SUITE]
    }

    fn hkdf_extract(
        &self,
        hash_type: HashType,
        salt: &[u8],
        ikm: &[u8],
    ) -> Result<SecretVLBytes, CryptoError> {
        sha256(hash_type)?;
        Ok(Hkdf::<Sha256>::extract(Some(salt), ikm).0.to_vec().into())
    }

    fn hmac(
        &self,
        hash_type: HashType,
        key: &[u8],
        message: &[u8],
    ) -> Result<SecretVLBytes, CryptoError> {
        sha256(hash_type)?;
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key);
        let mut mac = mac.map_err(|_| CryptoError::InvalidLength)?;
        mac.update(message);
        Ok(mac.finalize().into_bytes().to_vec().into())
    }

    fn hkdf_expand(
        &self,
        hash_type: HashType,
        prk: &[u8],
        info: &[u8],
        okm_len: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        sha256(hash_type)?;
        Ok(expand(prk, info, okm_len)?.into())
    }

    fn hash(&self, hash_type: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        sha256(hash_type)?;
        Ok(Sha256::digest(data).to_vec())
    }

    fn aead_encrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let nonce = Nonce::try_from(nonce).map_err(|_| CryptoError::InvalidLength)?;
        cipher(alg, key)?
            .encrypt(&nonce, Payload { msg: data, aad })
            .map_err(|_| CryptoError::CryptoLibraryError)
    }

    fn aead_decrypt(
        &self,
        alg: AeadType,
        key: &[u8],
        ct_tag: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let nonce = Nonce::try_from(nonce).map_err(|_| CryptoError::InvalidLength)?;
        cipher(alg, key)?
            .decrypt(&nonce, Payload { msg: ct_tag, aad })
            .map_err(|_| CryptoError::AeadDecryptionError)
    }

    fn signature_key_gen(&self, alg: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        ed25519(alg)?;
        let seed: [u8; 32] = self.array().map_err(|_| CryptoError::InsufficientRandomness)?;
        let key = SigningKey::from_bytes(&seed);
        Ok((key.to_bytes().to_vec(), key.verifying_key().to_bytes().to_vec()))
    }

    fn verify_signature(
        &self,
        alg: SignatureScheme,
        data: &[u8],
        pk: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        ed25519(alg)?;
        if crate::identity::ed25519(pk, data, signature) {
            Ok(())
        } else {
            Err(CryptoError::InvalidSignature)
        }
    }

    fn sign(&self, alg: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        ed25519(alg)?;
        let key: [u8; 32] = key.try_into().map_err(|_| CryptoError::SigningError)?;
        Ok(SigningKey::from_bytes(&key).sign(data).to_bytes().to_vec())
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        pk_r: &[u8],
        info: &[u8],
        aad: &[u8],
        ptxt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        let sealing = self.sealing().map_err(|_| CryptoError::InsufficientRandomness)?;
        let sealed = seal::seal(kem(&config)?, &sealing, pk_r, info, aad, ptxt)
            .map_err(|_| CryptoError::HpkeEncryptionError)?;
        Ok(HpkeCiphertext {
            kem_output: sealed.encapsulated.into(),
            ciphertext: sealed.ciphertext.into(),
        })
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        sk_r: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let sealed = Sealed {
            encapsulated: input.kem_output.as_slice().to_vec(),
            ciphertext: input.ciphertext.as_slice().to_vec(),
        };
        seal::open(kem(&config)?, sk_r, &sealed, info, aad)
            .map_err(|_| CryptoError::HpkeDecryptionError)
    }

    // Only external commits export from HPKE, and there are none (S1).
    fn hpke_setup_sender_and_export(
        &self,
        _: HpkeConfig,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        Err(CryptoError::SenderSetupError)
    }

    fn hpke_setup_receiver_and_export(
        &self,
        _: HpkeConfig,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        Err(CryptoError::ReceiverSetupError)
    }

    fn derive_hpke_keypair(
        &self,
        config: HpkeConfig,
        ikm: &[u8],
    ) -> Result<HpkeKeyPair, CryptoError> {
        kem(&config)?;
        let secret = derive_x25519(ikm)?;
        let public = x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(*secret));
        Ok(HpkeKeyPair { private: secret.to_vec().into(), public: public.as_bytes().to_vec() })
    }
}
