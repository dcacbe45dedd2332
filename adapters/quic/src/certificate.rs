//! A server's certificate and its private key.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a server shows to its clients, and the key to it.
pub struct ServerCertificate {
    /// Its own certificate and those above it.
    chain: Vec<CertificateDer<'static>>,
    /// Certificates and key as PEM; the only form in which the key is kept.
    pem: Zeroizing<Vec<u8>>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The PEM text has no certificate, no private key, or something that is neither.
    #[error("not a certificate and its private key in PEM")]
    Malformed,
    /// The names are none that a certificate can have.
    #[error("no certificate can have these names")]
    Names,
    /// The file was not read or written.
    #[error("the certificate's file was not read or written")]
    File(#[source] io::Error),
}

impl ServerCertificate {
    /// Makes a key and a certificate that vouches for itself. Clients know it by its
    /// [`fingerprint`](Self::fingerprint), so [`save`](Self::save) it.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Names`].
    pub fn self_signed(names: &[&str]) -> Result<Self, CertificateError> {
        let names = names.iter().map(|name| String::from(*name)).collect::<Vec<_>>();
        let made =
            rcgen::generate_simple_self_signed(names).map_err(|_| CertificateError::Names)?;
        let key = Zeroizing::new(made.signing_key.serialize_pem());
        Self::from_pem(made.cert.pem().as_bytes(), key.as_bytes())
    }

    /// A certificate by others: the chain, the server's own certificate first, and its key.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Malformed`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let mut pem = Zeroizing::new(Vec::with_capacity(chain.len() + key.len() + 1));
        pem.extend_from_slice(chain);
        pem.push(b'\n');
        pem.extend_from_slice(key);
        Self::parse(pem)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    ///
    /// [`CertificateError::File`], [`CertificateError::Malformed`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, CertificateError> {
        let file = File::open(path).map_err(CertificateError::File)?;
        let mut pem = Zeroizing::new(Vec::with_capacity(FILE_BYTES));
        file.take(FILE_BYTES as u64).read_to_end(&mut pem).map_err(CertificateError::File)?;
        Self::parse(pem)
    }

    /// Writes certificate and key to a file that does not exist yet and that only its owner may
    /// read (on Unix; elsewhere the folder's rights hold).
    ///
    /// # Errors
    ///
    /// [`CertificateError::File`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), CertificateError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(CertificateError::File)?;
        file.write_all(&self.pem).and_then(|()| file.sync_all()).map_err(CertificateError::File)
    }

    /// SHA-256 of the server's own certificate (DER), for `Trust::Fingerprint`.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.chain.first().map_or([0; 32], fingerprint)
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, CertificateError> {
        PrivateKeyDer::from_pem_slice(&self.pem).map_err(|_| CertificateError::Malformed)
    }

    /// A secret for one purpose, that lasts as long as the private key.
    pub(crate) fn derived(&self, purpose: &[u8]) -> Result<Zeroizing<[u8; 32]>, CertificateError> {
        let key = self.key()?;
        let digest = Sha256::new().chain_update(purpose).chain_update(key.secret_der()).finalize();
        Ok(Zeroizing::new(digest.into()))
    }

    fn parse(pem: Zeroizing<Vec<u8>>) -> Result<Self, CertificateError> {
        let chain = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CertificateError::Malformed)?;
        let certificate = Self { chain, pem };
        if certificate.chain.is_empty() {
            return Err(CertificateError::Malformed);
        }
        certificate.key()?;
        Ok(certificate)
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.fingerprint();
        f.debug_struct("ServerCertificate")
            .field("fingerprint", &fingerprint)
            .finish_non_exhaustive()
    }
}

pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// Longest file that is read: a few long chains.
const FILE_BYTES: usize = 256 * 1024;
