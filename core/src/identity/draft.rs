//! Writing an identity update.

use alloc::{string::String, vec::Vec};

use conclave_proto::{
    InboxId, InstallationId, Timestamp,
    codec::Wire,
    identity::{Account, Action, IdentityState, IdentityUpdate, Member, Signature},
};
use ed25519_dalek::{Signer, SigningKey};

use super::{INSTALLATION_CONTEXT, challenge_text, normalise_wallet_signature};

/// An update that is being signed: actions first, then one signature for each signer over
/// [`Draft::text`].
#[derive(Clone, Debug)]
pub struct Draft(IdentityUpdate);

impl Draft {
    /// The founding update of an inbox, whose id follows from account and nonce (I1). Add the
    /// first installation to it with [`Draft::add_installation`].
    #[must_use]
    pub fn create(account: Account, nonce: u64, time: Timestamp) -> Self {
        let inbox = InboxId::derive(&account.identifier(), nonce);
        let actions = Vec::from([Action::Create { account, nonce }]);
        Self(IdentityUpdate { inbox, previous: [0; 32], time, actions, signatures: Vec::new() })
    }

    /// An update on top of what a log says.
    #[must_use]
    pub const fn following(state: &IdentityState, time: Timestamp) -> Self {
        Self(IdentityUpdate {
            inbox: state.inbox,
            previous: state.head,
            time,
            actions: Vec::new(),
            signatures: Vec::new(),
        })
    }

    /// Adds any action.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.0.actions.push(action);
        self
    }

    /// Adds an installation, vouched for by an account. Needs both signatures.
    #[must_use]
    pub fn add_installation(self, id: InstallationId, by: Account) -> Self {
        self.action(Action::Add { member: Member::Installation(id), by })
    }

    /// The inbox it is for.
    #[must_use]
    pub const fn inbox(&self) -> InboxId {
        self.0.inbox
    }

    /// The text to sign. Changes with every action, so add those first.
    #[must_use]
    pub fn text(&self) -> String {
        challenge_text(&self.0)
    }

    /// Adds a signature that was made elsewhere, in the normal form of its kind.
    #[must_use]
    pub fn signature(mut self, signature: Signature) -> Self {
        self.0.signatures.push(signature);
        self
    }

    /// Adds what a wallet returned for [`Draft::text`], in any of the forms that
    /// [`normalise_wallet_signature`] takes; `None` if it is none of them.
    ///
    /// Whether it is the signature of that wallet over that text, readers say.
    #[must_use]
    pub fn wallet_signature(self, address: [u8; 20], signature: &[u8]) -> Option<Self> {
        let bytes = normalise_wallet_signature(signature)?.to_vec();
        let signer = Member::Account(Account::wallet(address));
        Some(self.signature(Signature { signer, scheme: 0, bytes }))
    }

    /// Signs as a wallet.
    #[cfg(feature = "wallets")]
    #[must_use]
    pub fn sign_with_wallet(self, key: &super::WalletKey) -> Self {
        let bytes = key.sign(&self.text()).to_vec();
        self.signature(Signature { signer: Member::Account(key.account()), scheme: 0, bytes })
    }

    /// Signs with a P-256 account key.
    #[cfg(feature = "wallets")]
    #[must_use]
    pub fn sign_with_p256(self, key: &super::P256Key) -> Self {
        let bytes = key.sign(&self.text()).to_vec();
        self.signature(Signature { signer: Member::Account(key.account()), scheme: 0, bytes })
    }

    /// Signs with an Ed25519 account key.
    #[must_use]
    pub fn sign_with_account(self, key: &SigningKey) -> Self {
        let signer = Member::Account(Account::ed25519(key.verifying_key().to_bytes()));
        let bytes = key.sign(self.text().as_bytes()).to_bytes().to_vec();
        self.signature(Signature { signer, scheme: 0, bytes })
    }

    /// Signs with an installation key, under its own context.
    #[must_use]
    pub fn sign_with_installation(self, key: &SigningKey) -> Self {
        let signer = Member::Installation(InstallationId(key.verifying_key().to_bytes()));
        let mut message = Vec::from(INSTALLATION_CONTEXT);
        message.extend(self.text().as_bytes());
        let bytes = key.sign(&message).to_bytes().to_vec();
        self.signature(Signature { signer, scheme: 0, bytes })
    }

    /// The entry for the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.0.encode()
    }
}
