//! Ids and numbers with a meaning. Nothing is passed around as a bare integer or array.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Writes the first four bytes as hex: enough to tell ids apart in a log, too little to use one.
fn short(f: &mut fmt::Formatter<'_>, name: &str, bytes: &[u8]) -> fmt::Result {
    write!(f, "{name}(")?;
    for byte in bytes.iter().take(4) {
        write!(f, "{byte:02x}")?;
    }
    f.write_str("…)")
}

macro_rules! byte_id {
    ($($(#[$doc:meta])* $name:ident $len:literal),* $(,)?) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                short(f, stringify!($name), &self.0)
            }
        }
    )* };
}

byte_id! {
    /// A group, for ever: chosen at random by its creator.
    GroupId 16,
    /// One app on one device: its Ed25519 public key, which is also its MLS signature key.
    InstallationId 32,
    /// A person's identity: a hash of its first account and a nonce.
    InboxId 32,
    /// The id of an envelope: the first 16 bytes of SHA-256 over topic and payload.
    ///
    /// The relay and every reader compute it themselves, so nobody can squat an id, and a retry
    /// is recognised.
    TransmitId 16,
    /// A message, bound to its group, its sender, the sender's idempotency key and its content.
    MessageId 32,
    /// The head of a topic's hash chain.
    ChainHash 32,
}

impl ChainHash {
    /// The head of an empty topic.
    pub const GENESIS: Self = Self([0; 32]);
}

macro_rules! number {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => { $(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(pub u64);
    )* };
}

number! {
    /// Place of a record in its topic: strictly increasing, not dense, not comparable across
    /// topics. 0 is the place before the first record.
    Seq,
    /// An MLS epoch (RFC 9420 §2).
    Epoch,
    /// A stored wish of this installation; counts up, never used twice by one store.
    IntentId,
    /// Milliseconds since 1970-01-01 UTC, as the embedder's clock tells them.
    Timestamp,
}

impl Timestamp {
    /// This time plus some milliseconds; stops at the end of time instead of wrapping.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; 0 if the clock went back.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Epoch {
    /// The epoch that a commit of this one leads to.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
