//! Telling clients of an earlier process that their connections are gone (RFC 9000 §10.3).

use std::sync::Arc;

use conclave_core::entropy::prf;
use quinn::{
    EndpointConfig,
    crypto::{CryptoError, HmacKey},
};
use quinn_proto::HashedConnectionIdGenerator;
use zeroize::Zeroizing;

use crate::{ServerCertificate, certificate::CertificateError};

/// An endpoint that takes the connections of earlier processes with the same private key for what
/// they are, and says that they are over. A client of a server that was killed hears so with its
/// next packet, instead of waiting until the silence is too long.
pub(crate) fn endpoint(
    certificate: &ServerCertificate,
) -> Result<EndpointConfig, CertificateError> {
    let secret = certificate.derived(b"conclave quic resets v1")?;
    let ids = prf(&secret, &[b"connection ids"]);
    let ids = u64::from_be_bytes(*ids.first_chunk().unwrap_or(&[0; 8]));
    let key = ResetKey(Zeroizing::new(prf(&secret, &[b"tokens"])));
    let mut config = EndpointConfig::new(Arc::new(key));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    Ok(config)
}

/// Makes the token of each connection that only its client and this server know.
struct ResetKey(Zeroizing<[u8; 32]>);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        for (out, byte) in signature_out.iter_mut().zip(prf(&self.0, &[data])) {
            *out = byte;
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Tokens are compared by clients; nothing asks a server this.
        if prf(&self.0, &[data]) == signature { Ok(()) } else { Err(CryptoError) }
    }
}
