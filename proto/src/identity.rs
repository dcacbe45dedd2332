//! Identity logs: what inboxes sign about themselves (I1–I3).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{InboxId, InstallationId, Timestamp, codec::Wire, limits};

/// What kind of key an account is. Open: a kind that a reader does not know still decodes, and
/// what it signed is skipped with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountKind(pub u16);

impl AccountKind {
    /// An Ed25519 account key; 32 bytes (RFC 8032).
    pub const ED25519: Self = Self(1);
    /// A P-256 account key; 33 bytes, compressed (SEC 1 §2.3.3).
    pub const P256: Self = Self(2);
    /// An externally owned wallet; the 20 bytes of its address.
    pub const WALLET: Self = Self(3);
    /// A smart-contract wallet; chain id (8 bytes big-endian), then the 20 bytes of its address.
    pub const CONTRACT: Self = Self(4);
    /// A passkey; its P-256 public key, 33 bytes, compressed.
    pub const PASSKEY: Self = Self(5);
}

/// A person's (or agent's) key outside any device: may found an inbox and add installations.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    /// What the key is.
    pub kind: AccountKind,
    /// The key or address, in the form that its kind says.
    pub key: Vec<u8>,
}

impl Account {
    /// An Ed25519 account key.
    #[must_use]
    pub fn ed25519(key: [u8; 32]) -> Self {
        Self { kind: AccountKind::ED25519, key: key.to_vec() }
    }

    /// A wallet, by its address.
    #[must_use]
    pub fn wallet(address: [u8; 20]) -> Self {
        Self { kind: AccountKind::WALLET, key: address.to_vec() }
    }

    /// The identifier that inbox ids are computed over (I1): `0x…` for wallets, hex of the public
    /// key for passkeys, and `kind:hex` for every other kind, so that kinds never collide.
    #[must_use]
    pub fn identifier(&self) -> String {
        match self.kind {
            AccountKind::WALLET => format!("0x{}", hex(&self.key)),
            AccountKind::PASSKEY => hex(&self.key),
            AccountKind(kind) => format!("{kind}:{}", hex(&self.key)),
        }
    }
}

impl InboxId {
    /// `SHA-256(identifier ‖ decimal(nonce))` (I1).
    #[must_use]
    pub fn derive(identifier: &str, nonce: u64) -> Self {
        let digest = Sha256::new()
            .chain_update(identifier.as_bytes())
            .chain_update(format!("{nonce}").as_bytes())
            .finalize();
        Self(digest.into())
    }

    /// The id in lower-case hex, as people and wallets see it.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Somebody who belongs to an inbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Member {
    /// An account.
    Account(Account),
    /// An installation.
    Installation(InstallationId),
}

/// One change of an inbox. Grows at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Founds the inbox: only on an empty log, only if the inbox id matches account and nonce.
    /// The account becomes the first member and the recovery account.
    Create {
        /// The founding account.
        account: Account,
        /// Lets one account found several inboxes.
        nonce: u64,
    },
    /// Adds a member: signed by it and by an account that already belongs to the inbox.
    Add {
        /// The new member.
        member: Member,
        /// The account that vouches for it.
        by: Account,
    },
    /// Removes a member and the installations it added: signed by the recovery account.
    Revoke {
        /// Who goes.
        member: Member,
    },
    /// Names another recovery account: signed by the present one.
    ChangeRecovery {
        /// The one from then on.
        account: Account,
    },
}

/// A signature over the challenge text of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Who signed.
    pub signer: Member,
    /// How: one account kind may have several ways to sign. 0 is the kind's own.
    pub scheme: u16,
    /// The signature, in the scheme's normal form.
    pub bytes: Vec<u8>,
}

/// One entry of an identity log. Applied as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityUpdate {
    /// The inbox it is for.
    pub inbox: InboxId,
    /// Digest of the log head that it builds on; zero for the first.
    pub previous: [u8; 32],
    /// When the signer's device made it, as the signer saw it in the challenge text.
    pub time: Timestamp,
    /// Applied in order.
    pub actions: Vec<Action>,
    /// One for each signer that the actions need.
    pub signatures: Vec<Signature>,
}

impl Wire for IdentityUpdate {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::IDENTITY_UPDATE_BYTES;
}

/// What an identity log says up to some entry: a pure fold of its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityState {
    /// Whose.
    pub inbox: InboxId,
    /// Entries read, skipped ones included. The first entry makes it 1.
    pub sequence: u64,
    /// Hash over the *accepted* entries.
    pub head: [u8; 32],
    /// The account that may revoke.
    pub recovery: Account,
    /// Accounts that belong to the inbox.
    pub accounts: BTreeSet<Account>,
    /// Active installations, and the account that added each.
    pub installations: BTreeMap<InstallationId, Account>,
    /// Digests of every signature that was ever accepted: none counts twice (S11).
    pub spent: BTreeSet<[u8; 16]>,
}

#[cfg(test)]
mod tests {
    use super::{Account, AccountKind};
    use crate::InboxId;

    /// I1: the published vector.
    #[test]
    fn an_inbox_id_is_the_hash_of_identifier_and_nonce() {
        let key = alloc::vec![
            0x12, 0x34, 0x56, 0x78, 0x90, 0xab, 0xcd, 0xef, 0x12, 0x34, 0x56, 0x78, 0x90, 0xab,
            0xcd, 0xef, 0x12, 0x34, 0x56, 0x78
        ];
        let wallet = Account { kind: AccountKind::WALLET, key };
        assert_eq!(wallet.identifier(), "0x1234567890abcdef1234567890abcdef12345678");
        assert_eq!(
            InboxId::derive(&wallet.identifier(), 0).to_hex(),
            "fcd18d86276d7a99fe522dba9660c420f03c8648785ada7c5daae232a3df77a9"
        );
    }
}
