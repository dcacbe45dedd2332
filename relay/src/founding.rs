//! What makes one relay different from another: its key and its incarnation.

use core::fmt;

use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

/// What a relay's logs are founded with. Used once, when they are created.
#[derive(Clone)]
pub struct Founding {
    pub(crate) incarnation: [u8; 16],
    pub(crate) key: Zeroizing<[u8; 32]>,
}

impl Founding {
    /// From 48 bytes of good randomness, which nobody else may know: the incarnation, then the
    /// secret key that signs heads of identity logs.
    #[must_use]
    pub fn from_random(bytes: &[u8; 48]) -> Self {
        let mut incarnation = [0; 16];
        let mut key = Zeroizing::new([0; 32]);
        let (first, rest) = bytes.split_at(16);
        incarnation.copy_from_slice(first);
        key.copy_from_slice(rest);
        Self { incarnation, key }
    }
}

impl fmt::Debug for Founding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Founding").finish_non_exhaustive()
    }
}

/// What a relay says of itself in its hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayIdentity {
    /// Turns when the logs were restored from an older copy.
    pub incarnation: [u8; 16],
    /// The key that signs heads of identity logs (Ed25519).
    pub key: [u8; 32],
}

/// The identity with its secret.
pub(crate) struct Signer {
    pub(crate) identity: RelayIdentity,
    pub(crate) key: SigningKey,
}

impl Signer {
    pub(crate) fn new(incarnation: [u8; 16], secret: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(secret);
        let identity = RelayIdentity { incarnation, key: key.verifying_key().to_bytes() };
        Self { identity, key }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Founding, Signer};

    /// Secrets never show.
    #[test]
    fn neither_founding_nor_signer_prints_the_secret() {
        let printed = format!("{:?}", Founding::from_random(&[171; 48]));
        assert_eq!(printed, "Founding { .. }");
        let printed = format!("{:?}", Signer::new([1; 16], &[171; 32]));
        assert!(!printed.contains("171, 171"), "{printed}");
    }
}
