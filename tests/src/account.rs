//! The account keys of simulated people.

use conclave_core::identity::{Draft, WalletKey};
use conclave_proto::identity::Account;
use ed25519_dalek::SigningKey;

/// What a person founds an inbox with.
#[derive(Debug)]
pub enum AccountKey {
    /// An Ed25519 account key.
    Ed25519(SigningKey),
    /// A wallet.
    Wallet(WalletKey),
}

impl AccountKey {
    /// The account that it is.
    #[must_use]
    pub fn account(&self) -> Account {
        match self {
            Self::Ed25519(key) => Account::ed25519(key.verifying_key().to_bytes()),
            Self::Wallet(key) => key.account(),
        }
    }

    /// Signs an update.
    #[must_use]
    pub fn sign(&self, draft: Draft) -> Draft {
        match self {
            Self::Ed25519(key) => draft.sign_with_account(key),
            Self::Wallet(key) => draft.sign_with_wallet(key),
        }
    }
}
