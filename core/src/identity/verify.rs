//! Signatures over challenge texts.

use alloc::vec::Vec;

use conclave_proto::identity::{Account, AccountKind, Member, Signature};
use ed25519_dalek::VerifyingKey;

use super::ecdsa;

/// Installation keys are MLS signature keys too; this prefix keeps the two uses apart.
pub const INSTALLATION_CONTEXT: &[u8] = b"conclave installation signature v1\n";

/// Whether a signature over a challenge text holds. Pure: kinds that need a look outside
/// (contract wallets) do not count here.
///
/// Every kind is judged in every build: an engine that left one out would skip an entry that others
/// take, and its groups would fork.
pub(super) fn holds(signature: &Signature, text: &str) -> bool {
    match &signature.signer {
        Member::Installation(id) => {
            let mut bytes = Vec::from(INSTALLATION_CONTEXT);
            bytes.extend(text.as_bytes());
            signature.scheme == 0 && ed25519(&id.0, &bytes, &signature.bytes)
        }
        Member::Account(Account { kind: AccountKind::ED25519, key }) => {
            signature.scheme == 0 && ed25519(key, text.as_bytes(), &signature.bytes)
        }
        Member::Account(Account { kind: AccountKind::WALLET, key }) => {
            signature.scheme == 0 && ecdsa::wallet_holds(key, text, &signature.bytes)
        }
        Member::Account(Account { kind: AccountKind::P256, key }) => {
            signature.scheme == 0 && ecdsa::p256_holds(key, text, &signature.bytes)
        }
        Member::Account(_) => false,
    }
}

/// Ed25519 with the strict checks: no small-order keys, no second form of a signature, so that
/// raw signatures can be told apart by their bytes (S11).
pub(crate) fn ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = <[u8; 32]>::try_from(key) else { return false };
    let Ok(signature) = <[u8; 64]>::try_from(signature) else { return false };
    let signature = ed25519_dalek::Signature::from_bytes(&signature);
    VerifyingKey::from_bytes(&key).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}
