//! Identity logs: what inboxes say about themselves, read by everybody the same way (I1–I7).
//!
//! [`fold`] is the whole of reading: a pure function of a state and an entry. [`Draft`] is the
//! whole of writing: build the actions, collect signatures over one challenge text, encode.
//!
//! Every signature kind is read in every build, for two builds have to fold a log alike. The
//! feature `wallets` adds keys that sign as wallets do (`WalletKey`, `P256Key`); whoever has a real
//! wallet sign does not need it.

mod challenge;
mod draft;
mod ecdsa;
mod fold;
#[cfg(feature = "wallets")]
mod keys;
#[cfg(test)]
pub(crate) mod people;
mod verify;

pub use challenge::challenge_text;
pub use draft::Draft;
pub use ecdsa::{normalise_p256_signature, normalise_wallet_signature};
pub use fold::{IdentityFault, Read, accepted, fold, read_log, read_strictly};
#[cfg(feature = "wallets")]
pub use keys::{P256Key, WalletKey};
pub use verify::INSTALLATION_CONTEXT;
#[cfg(feature = "std")]
pub(crate) use verify::ed25519;
