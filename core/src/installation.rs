//! An installation: one app on one device, with its own keys.

use conclave_proto::{InboxId, InstallationId, Mark, Topic};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroize;

use crate::entropy::prf;

/// The keys of this installation. The application keeps the 64 secret bytes in its store; the
/// Ed25519 key is also the MLS signature key and is not rotated (S6).
pub struct Installation {
    inbox: InboxId,
    key: SigningKey,
    mark_key: [u8; 32],
}

impl Installation {
    /// An installation of an inbox, from 32 random bytes for the signature key and 32 for marks.
    #[must_use]
    pub fn new(inbox: InboxId, key: [u8; 32], mark_key: [u8; 32]) -> Self {
        Self { inbox, key: SigningKey::from_bytes(&key), mark_key }
    }

    /// Whose.
    #[must_use]
    pub const fn inbox(&self) -> InboxId {
        self.inbox
    }

    /// Its id: the public key.
    #[must_use]
    pub fn id(&self) -> InstallationId {
        InstallationId(self.key.verifying_key().to_bytes())
    }

    /// The 64 secret bytes: those of the signature key, and those of the key of marks.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn secrets(&self) -> ([u8; 32], [u8; 32]) {
        (self.key.to_bytes(), self.mark_key)
    }

    /// The signature key, for identity updates.
    #[must_use]
    pub const fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// The mark of an own envelope. `life` tells memberships of one group apart: counters start
    /// over with each, and marks of an earlier one are known to everybody who was there.
    #[must_use]
    pub fn mark(&self, topic: &Topic, life: u64, counter: u64) -> Mark {
        let (life, counter) = (life.to_be_bytes(), counter.to_be_bytes());
        let full = prf(&self.mark_key, &[&topic.to_bytes(), &life, &counter]);
        Mark(*full.first_chunk::<16>().unwrap_or(&[0; 16]))
    }

    /// Signs bytes that start with a context of their own.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl core::fmt::Debug for Installation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Installation({:?}, ..)", self.id())
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        // The signing key erases itself.
        self.mark_key.zeroize();
    }
}
