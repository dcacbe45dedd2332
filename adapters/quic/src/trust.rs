//! Whom a client takes for its relay.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use crate::certificate::fingerprint;

/// How a client knows its relay.
#[derive(Clone, Debug)]
pub enum Trust {
    /// By the SHA-256 of its certificate (DER). Nothing else of the certificate counts: neither
    /// its names nor its dates.
    Fingerprint([u8; 32]),
    /// By authorities that vouch for its name.
    Roots(Arc<RootCertStore>),
}

impl Trust {
    /// The authorities that browsers trust.
    #[cfg(feature = "webpki-roots")]
    #[must_use]
    pub fn web() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self::Roots(Arc::new(RootCertStore { roots }))
    }

    /// `None` if no authority is trusted, so that nobody could be.
    pub(crate) fn verifier(self, provider: &Arc<CryptoProvider>) -> Option<Arc<Verifier>> {
        let known = match self {
            Self::Fingerprint(expected) => Known::Fingerprint(expected),
            Self::Roots(roots) => {
                let provider = Arc::clone(provider);
                let built = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
                Known::Named(built.ok()?)
            }
        };
        let provider = Arc::clone(provider);
        Some(Arc::new(Verifier { known, provider, refused: AtomicBool::new(false) }))
    }
}

/// Decides about a certificate and remembers that it refused one: what the handshake reports is
/// only an alert, and which one depends on the reason.
#[derive(Debug)]
pub(crate) struct Verifier {
    known: Known,
    provider: Arc<CryptoProvider>,
    refused: AtomicBool,
}

#[derive(Debug)]
enum Known {
    Fingerprint([u8; 32]),
    Named(Arc<WebPkiServerVerifier>),
}

impl Verifier {
    pub(crate) fn refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.refused.store(true, Ordering::Release);
        }
        result
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.note(match &self.known {
            Known::Fingerprint(expected) if fingerprint(end_entity) == *expected => {
                Ok(ServerCertVerified::assertion())
            }
            Known::Fingerprint(_) => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            Known::Named(named) => {
                named.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note(Err(Error::General("QUIC has no TLS 1.2".into())))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.note(verify_tls13_signature(message, certificate, signature, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
