//! Welcomes: one shared body, and one small sealed pointer for each invited installation.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Cursor, GroupId, InboxId, InstallationId, codec::Wire, limits};

/// A Welcome pointer sealed to one key package (HPKE base mode, RFC 9180).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedWelcome {
    /// How it is sealed, see [`crate::package::kem`].
    pub algorithm: u16,
    /// `KeyPackageRef` of the recipient's package (RFC 9420 §5.2).
    pub recipient: [u8; 32],
    /// The encapsulated key.
    pub encapsulated: Vec<u8>,
    /// The sealed [`WelcomePointer`].
    #[serde(with = "crate::bytes")]
    pub ciphertext: Vec<u8>,
}

impl Wire for SealedWelcome {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::SEALED_WELCOME_BYTES;
}

impl SealedWelcome {
    /// The HPKE `info`: format version, algorithm and recipient are bound in, so that none can be
    /// stripped or swapped.
    #[must_use]
    pub fn info(algorithm: u16, recipient: &[u8; 32]) -> Vec<u8> {
        let mut info = Vec::from(*b"conclave welcome");
        info.push(Self::VERSION);
        info.extend(algorithm.to_be_bytes());
        info.extend(recipient);
        info
    }
}

/// What one invited installation needs to find and open the shared body.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WelcomePointer {
    /// The group.
    pub group: GroupId,
    /// Address of the body, see [`body_address`].
    pub body: [u8; 32],
    /// Key of the body.
    pub body_key: [u8; 32],
    /// This installation's `EncryptedGroupSecrets` (RFC 9420 §12.4.3.1), TLS encoded.
    pub secrets: Vec<u8>,
    /// Where the commit that adds the installation stands in the group's log; reading starts
    /// after it.
    pub start: Cursor,
    /// SHA-256 of that commit's envelope.
    pub commit: [u8; 32],
    /// Who invites.
    pub inviter: InboxId,
    /// With which installation.
    pub inviter_installation: InstallationId,
    /// Ed25519 by that installation over [`WelcomePointer::signed_bytes`].
    pub signature: Vec<u8>,
}

impl core::fmt::Debug for WelcomePointer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WelcomePointer")
            .field("group", &self.group)
            .field("start", &self.start.seq)
            .field("inviter", &self.inviter)
            .finish_non_exhaustive()
    }
}

impl Wire for WelcomePointer {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::SEALED_WELCOME_BYTES;
}

impl WelcomePointer {
    /// What the inviter signs: everything but the signature, and the recipient's package.
    #[must_use]
    pub fn signed_bytes(&self, recipient: &[u8; 32]) -> Vec<u8> {
        let unsigned = Self { signature: Vec::new(), ..self.clone() };
        let mut bytes = Vec::from(*b"conclave invitation v1");
        bytes.extend(recipient);
        bytes.extend(unsigned.encode());
        bytes
    }
}

/// What everybody invited by one commit shares; stored sealed under [`WelcomePointer::body_key`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WelcomeBody {
    /// The MLS `encrypted_group_info` (RFC 9420 §12.4.3.1).
    #[serde(with = "crate::bytes")]
    pub group_info: Vec<u8>,
    /// The ratchet tree (RFC 9420 §7.8), TLS encoded.
    #[serde(with = "crate::bytes")]
    pub tree: Vec<u8>,
    /// The encoded [`crate::group::GroupState`], checked against the root in the group context.
    #[serde(with = "crate::bytes")]
    pub state: Vec<u8>,
}

impl Wire for WelcomeBody {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::WELCOME_BODY_BYTES;
}

/// Bodies are addressed by the SHA-256 of their sealed bytes.
#[must_use]
pub fn body_address(sealed: &[u8]) -> [u8; 32] {
    Sha256::digest(sealed).into()
}
