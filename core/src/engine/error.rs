//! Why a call of the engine failed, sorted by who can do something about it.

use conclave_proto::InboxId;

use super::Ended;
use crate::{
    BlockedOn, Class,
    delivery::TransportError,
    group::{ChangeError, LoadError, SendError},
    store::StoreError,
};

/// Why a call of the engine failed. Nothing has changed then, unless a variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This installation belongs to no inbox yet: register it first.
    #[error("this installation is not registered")]
    NotRegistered,
    /// This installation belongs to another inbox already.
    #[error("this installation belongs to another inbox already")]
    RegisteredElsewhere,
    /// The store holds no such group.
    #[error("no such group")]
    UnknownGroup,
    /// The message cannot be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The group cannot be changed like that.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// What is stored of the group does not load; other groups are not affected.
    #[error(transparent)]
    Load(LoadError),
    /// The store failed. With [`StoreError::Unknown`] the call may have taken effect.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The relay did not answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The relay knows no such inbox, or its log says nothing that counts.
    #[error("the relay knows no inbox {}", .0.to_hex())]
    UnknownInbox(InboxId),
    /// No installation of this inbox has a usable key package at the relay.
    #[error("no device of inbox {} can be added now", .0.to_hex())]
    NoPackages(InboxId),
    /// The account does not belong to the inbox.
    #[error("the account does not belong to the inbox")]
    NotAMember,
    /// The account's signature was refused or could not be made.
    #[error("no usable signature: {0}")]
    Signature(&'static str),
    /// The relay refused the identity update.
    #[error("the relay refused the identity update")]
    Refused,
    /// No randomness.
    #[error("no randomness available")]
    Entropy,
    /// Too much waits already: try again when some of it is done.
    #[error("too much is waiting already")]
    Busy,
    /// The engine has been shut down, or the call's value was lost to a bug and is being loaded
    /// again; the call may have taken effect.
    #[error("the engine is closed")]
    Closed,
    /// The answer has not come, and waiting for it on this thread would keep it from coming: await
    /// it. Only simulations say so.
    #[error("the answer has to be awaited in a simulation")]
    WouldBlock,
    /// The store panicked, so the engine has ended. Open it again; the call may have taken effect.
    #[error("the store failed for good: open the engine again")]
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

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::Error;
    use crate::{
        group::{LoadError, SendError},
        mls::MlsError,
        store::StoreError,
    };

    /// E14: a bug of the MLS library is named by whoever asks for the cause.
    #[test]
    fn an_error_names_its_cause() {
        let bug = MlsError("a bug".into());
        let error = Error::from(SendError::Internal(bug.clone()));
        assert_eq!(error.to_string(), "internal failure");
        assert_eq!(error.source().map(ToString::to_string), Some(bug.to_string()));
        assert_eq!(Error::from(LoadError::Store(StoreError::Full)), Error::Store(StoreError::Full));
    }
}
