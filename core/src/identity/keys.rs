//! Account keys that sign ECDSA themselves: for tests, agents and command-line programs, which
//! have no wallet to ask.

use core::fmt;

use conclave_proto::identity::{Account, AccountKind};
use p256::ecdsa::signature::Signer;

use super::ecdsa::{wallet_address, wallet_digest, with_recovery};

/// A key that signs as a wallet does. Erased on drop.
pub struct WalletKey(k256::ecdsa::SigningKey);

impl WalletKey {
    /// The wallet with this private key; `None` for zero and for numbers beyond the curve's order.
    #[must_use]
    pub fn from_bytes(key: &[u8; 32]) -> Option<Self> {
        k256::ecdsa::SigningKey::from_slice(key).ok().map(Self)
    }

    /// The account that it is.
    #[must_use]
    pub fn account(&self) -> Account {
        Account::wallet(wallet_address(self.0.verifying_key()))
    }

    /// Signs a text after EIP-191, in the form that readers take. The same text gives the same
    /// signature (RFC 6979).
    #[must_use]
    pub fn sign(&self, text: &str) -> [u8; 65] {
        let (signature, id) = self.0.sign_prehash_recoverable(&wallet_digest(text));
        with_recovery(&signature, id)
    }
}

/// A P-256 account key. Erased on drop.
pub struct P256Key(p256::ecdsa::SigningKey);

impl P256Key {
    /// The account key with this private key; `None` for zero and for numbers beyond the curve's
    /// order.
    #[must_use]
    pub fn from_bytes(key: &[u8; 32]) -> Option<Self> {
        p256::ecdsa::SigningKey::from_slice(key).ok().map(Self)
    }

    /// The account that it is.
    #[must_use]
    pub fn account(&self) -> Account {
        let key = self.0.verifying_key().to_sec1_point(true).as_bytes().to_vec();
        Account { kind: AccountKind::P256, key }
    }

    /// Signs a text, in the form that readers take. The same text gives the same signature
    /// (RFC 6979).
    #[must_use]
    pub fn sign(&self, text: &str) -> [u8; 64] {
        let signature: p256::ecdsa::Signature = self.0.sign(text.as_bytes());
        signature.normalize_s().to_bytes().into()
    }
}

impl fmt::Debug for WalletKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WalletKey(..)")
    }
}

impl fmt::Debug for P256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P256Key(..)")
    }
}
