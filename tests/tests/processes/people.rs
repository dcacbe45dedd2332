//! Who the engines are: every process makes the same people.

use std::sync::Arc;

use conclave_core::{
    identity::{Draft, read_log},
    installation::Installation,
};
use conclave_proto::{Timestamp, identity::Account, identity::IdentityState};
use ed25519_dalek::SigningKey;

/// A person with one installation.
pub(crate) struct Person {
    pub(crate) installation: Arc<Installation>,
    /// The identity log.
    pub(crate) log: Vec<Vec<u8>>,
}

impl Person {
    pub(crate) fn new(number: usize) -> Self {
        let key = |what: u8| [16 * u8::try_from(number + 1).unwrap() + what; 32];
        let account = SigningKey::from_bytes(&key(0));
        let by = Account::ed25519(account.verifying_key().to_bytes());
        let draft = Draft::create(by.clone(), 0, Timestamp(1_800_000_000_000));
        let installation = Arc::new(Installation::new(draft.inbox(), key(1), key(2)));
        let draft = draft
            .add_installation(installation.id(), by)
            .sign_with_account(&account)
            .sign_with_installation(installation.signing_key());
        Self { installation, log: vec![draft.encode()] }
    }

    pub(crate) fn identity(&self) -> IdentityState {
        read_log(self.installation.inbox(), None, self.log.iter().map(Vec::as_slice)).unwrap()
    }
}
