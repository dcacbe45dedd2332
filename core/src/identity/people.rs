//! People for the tests of this crate, by small numbers.

use alloc::vec::Vec;

use conclave_proto::{
    InstallationId, Timestamp,
    identity::{Account, IdentityState},
};
use ed25519_dalek::SigningKey;

use super::{Draft, read_log};

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn installation(seed: u8) -> InstallationId {
    InstallationId(key(seed).verifying_key().to_bytes())
}

pub(crate) fn account(seed: u8) -> Account {
    Account::ed25519(key(seed).verifying_key().to_bytes())
}

/// A person's inbox with one installation (of `seed + 100`): its founding entry and its state.
pub(crate) fn person(seed: u8) -> (Vec<u8>, IdentityState) {
    let draft = Draft::create(account(seed), 0, Timestamp(1))
        .add_installation(installation(seed + 100), account(seed))
        .sign_with_account(&key(seed))
        .sign_with_installation(&key(seed + 100));
    let entry = draft.encode();
    let state = read_log(draft.inbox(), None, [&entry[..]]).unwrap();
    (entry, state)
}
