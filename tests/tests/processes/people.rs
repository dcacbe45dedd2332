//! The people whose engines run: every process derives the same account keys.

use conclave::{Account, AccountKey, AccountSigner as _};

/// The account key of the person whose engine has this number.
pub(crate) fn account_key(number: usize) -> AccountKey {
    AccountKey::from_bytes(&[u8::try_from(number + 1).unwrap(); 32])
}

/// The account of the person whose engine has this number.
pub(crate) fn account(number: usize) -> Account {
    account_key(number).account()
}
