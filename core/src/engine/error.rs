//! Why a call of the engine failed, sorted by who can do something about it.

use std::fmt;

use conclave_proto::InboxId;

use super::Ended;
use crate::{
    BlockedOn, Class,
    delivery::TransportError,
    group::{ChangeError, LoadError, SendError},
    store::StoreError,
};

/// Why a call of the engine failed. Nothing has changed then, unless a variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// This installation belongs to no inbox yet: register it first.
    NotRegistered,
    /// This installation belongs to another inbox already.
    RegisteredElsewhere,
    /// The store holds no such group.
    UnknownGroup,
    /// The message cannot be sent.
    Send(SendError),
    /// The group cannot be changed like that.
    Change(ChangeError),
    /// What is stored of the group does not load; other groups are not affected.
    Load(LoadError),
    /// The store failed. With [`StoreError::Unknown`] the call may have taken effect.
    Store(StoreError),
    /// The relay did not answer.
    Transport(TransportError),
    /// The relay knows no such inbox, or its log says nothing that counts.
    UnknownInbox(InboxId),
    /// No installation of this inbox has a usable key package at the relay.
    NoPackages(InboxId),
    /// The account does not belong to the inbox.
    NotAMember,
    /// The account's signature was refused or could not be made.
    Signature(&'static str),
    /// The relay refused the identity update.
    Refused,
    /// No randomness.
    Entropy,
    /// Too much waits already: try again when some of it is done.
    Busy,
    /// The engine has been shut down, or the call's value was lost to a bug and is being loaded
    /// again; the call may have taken effect.
    Closed,
    /// The answer has not come, and waiting for it on this thread would keep it from coming: await
    /// it. Only simulations say so.
    WouldBlock,
    /// The store panicked, so the engine has ended. Open it again; the call may have taken effect.
    StoreLost,
}

impl Error {
    /// What a caller does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Send(error) => error.class(),
            Self::Change(error) => error.class(),
            Self::Load(error) => error.class(),
            Self::Store(error) => error.class(),
            Self::Transport(error) => error.class(),
            Self::Busy => Class::Transient,
            Self::Entropy => Class::Blocked(BlockedOn::Entropy),
            Self::UnknownInbox(_) | Self::NoPackages(_) => Class::Blocked(BlockedOn::Arrival),
            Self::NotRegistered
            | Self::RegisteredElsewhere
            | Self::UnknownGroup
            | Self::NotAMember
            | Self::Signature(_)
            | Self::Refused
            | Self::WouldBlock
            | Self::Closed => Class::Permanent,
            Self::StoreLost => Class::Blocked(BlockedOn::Ownership),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRegistered => f.write_str("this installation is not registered"),
            Self::RegisteredElsewhere => {
                f.write_str("this installation belongs to another inbox already")
            }
            Self::UnknownGroup => f.write_str("no such group"),
            Self::Send(error) => error.fmt(f),
            Self::Change(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Transport(error) => error.fmt(f),
            Self::UnknownInbox(inbox) => write!(f, "the relay knows no inbox {}", inbox.to_hex()),
            Self::NoPackages(inbox) => {
                write!(f, "no device of inbox {} can be added now", inbox.to_hex())
            }
            Self::NotAMember => f.write_str("the account does not belong to the inbox"),
            Self::Signature(why) => write!(f, "no usable signature: {why}"),
            Self::Refused => f.write_str("the relay refused the identity update"),
            Self::Entropy => f.write_str("no randomness available"),
            Self::Busy => f.write_str("too much is waiting already"),
            Self::Closed => f.write_str("the engine is closed"),
            Self::WouldBlock => f.write_str("the answer has to be awaited in a simulation"),
            Self::StoreLost => f.write_str("the store failed for good: open the engine again"),
        }
    }
}

impl std::error::Error for Error {}

macro_rules! from {
    ($($type:ident => $variant:ident),* $(,)?) => { $(
        impl From<$type> for Error {
            fn from(error: $type) -> Self {
                Self::$variant(error)
            }
        }
    )* };
}

from! {
    SendError => Send,
    ChangeError => Change,
    StoreError => Store,
    TransportError => Transport,
}

impl From<crate::entropy::EntropyError> for Error {
    fn from(_: crate::entropy::EntropyError) -> Self {
        Self::Entropy
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        if let LoadError::Store(error) = error { Self::Store(error) } else { Self::Load(error) }
    }
}

impl From<Ended> for Error {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::ShutDown => Self::Closed,
            Ended::Fenced => Self::Store(StoreError::Fenced),
            Ended::StoreLost => Self::StoreLost,
        }
    }
}
