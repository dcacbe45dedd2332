//! Key packages as they are published.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{InboxId, InstallationId, Timestamp, codec::Wire, limits};

/// HPKE KEM ids (IANA registry): how Welcomes to a package are sealed.
pub mod kem {
    /// DHKEM(X25519, HKDF-SHA256), RFC 9180.
    pub const X25519: u16 = 0x0020;
    /// X-Wing draft-06: X25519 with ML-KEM-768.
    pub const X_WING: u16 = 0x647A;
}

/// Length of an X-Wing public key, in bytes.
pub const X_WING_KEY_BYTES: usize = 1_216;

/// Conclave's extension of a key package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageExtension {
    /// How Welcomes are sealed, see [`kem`].
    pub algorithm: u16,
    /// The public key for it.
    pub key: Vec<u8>,
    /// When senders should stop using the package. MLS lifetimes are unlimited by rule, because
    /// they would be compared with each reader's clock; only the sender looks at this one.
    pub expires: Timestamp,
}

impl Wire for PackageExtension {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = 2 * 1_024;
}

/// A key package on its way to the relay's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageUpload {
    /// Whose inbox.
    pub inbox: InboxId,
    /// Whose package.
    pub installation: InstallationId,
    /// Higher than in every upload before: an old upload cannot be replayed.
    pub counter: u64,
    /// The MLS `KeyPackage` (RFC 9420 §10).
    pub package: Vec<u8>,
    /// Ed25519 by the installation key over [`PackageUpload::signed_bytes`].
    pub signature: Vec<u8>,
}

impl Wire for PackageUpload {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::KEY_PACKAGE_BYTES;
}

impl PackageUpload {
    /// What the installation signs.
    #[must_use]
    pub fn signed_bytes(
        inbox: &InboxId,
        installation: &InstallationId,
        counter: u64,
        package: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::from(*b"conclave package upload v1");
        bytes.extend(inbox.0);
        bytes.extend(installation.0);
        bytes.extend(counter.to_be_bytes());
        bytes.extend(package);
        bytes
    }
}
