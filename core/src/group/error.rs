//! Why a verb of a group, or a load, did nothing.

use conclave_proto::{InstallationId, codec::DecodeError};

use crate::{
    BlockedOn, Class, entropy::EntropyError, event::Parked, mls::MlsError, store::StoreError,
};

/// Why a message was not taken for sending. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// This installation is not a member any more.
    #[error("not a member of the group")]
    NotMember,
    /// The group cannot follow its log for now.
    #[error("the group cannot follow its log for now")]
    Parked(Parked),
    /// The group's policy does not let this inbox post.
    #[error("the group's policy does not allow posting")]
    NotAllowed,
    /// Too long: send it as an attachment.
    #[error("{len} bytes where {max} are allowed")]
    TooLong {
        /// Bytes there are.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Too many messages wait for the relay already.
    #[error("{max} messages wait for the relay already")]
    QueueFull {
        /// How many may.
        max: usize,
    },
    /// No randomness.
    #[error("no randomness available")]
    Entropy(#[from] EntropyError),
    /// A bug of the engine or of the MLS library.
    #[error("internal failure")]
    Internal(#[from] MlsError),
}

impl SendError {
    /// What a driver does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Parked(_) | Self::QueueFull { .. } => Class::Blocked(BlockedOn::Arrival),
            Self::Entropy(_) => Class::Blocked(BlockedOn::Entropy),
            Self::NotMember => Class::Blocked(BlockedOn::Readd),
            Self::NotAllowed | Self::TooLong { .. } | Self::Internal(_) => Class::Permanent,
        }
    }
}

/// Why a change was not taken as a wish. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// This installation is not a member any more.
    #[error("not a member of the group")]
    NotMember,
    /// The group cannot follow its log for now.
    #[error("the group cannot follow its log for now")]
    Parked(Parked),
    /// The group's policy does not let this inbox do it.
    #[error("the group's policy does not allow it")]
    NotAllowed,
    /// Super-admins cannot be removed, whatever the policy says.
    #[error("super-admins cannot be removed")]
    Protected,
    /// Nobody named, somebody who is (or is not) there already, or a log that founds no inbox.
    #[error("{0}")]
    Misuse(&'static str),
    /// The group requires post-quantum Welcomes, and this installation has no X-Wing key (S8).
    #[error("{0:?} has no post-quantum key and the group requires one")]
    NotPostQuantum(InstallationId),
    /// The group would have too many leaves.
    #[error("the group would exceed {max} leaves")]
    TooManyLeaves {
        /// How many there may be.
        max: usize,
    },
    /// Too many wishes wait already.
    #[error("{max} changes wait already")]
    QueueFull {
        /// How many may.
        max: usize,
    },
    /// No randomness.
    #[error("no randomness available")]
    Entropy(#[from] EntropyError),
    /// A bug of the engine or of the MLS library.
    #[error("internal failure")]
    Internal(#[from] MlsError),
}

impl ChangeError {
    /// What a driver does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Parked(_) | Self::QueueFull { .. } => Class::Blocked(BlockedOn::Arrival),
            Self::Entropy(_) => Class::Blocked(BlockedOn::Entropy),
            Self::NotMember => Class::Blocked(BlockedOn::Readd),
            Self::NotAllowed
            | Self::Protected
            | Self::Misuse(_)
            | Self::NotPostQuantum(_)
            | Self::TooManyLeaves { .. }
            | Self::Internal(_) => Class::Permanent,
        }
    }
}

/// Why a group or a key ring could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A stored record of this kind is damaged; other groups are not affected.
    #[error("stored {0} is damaged")]
    Damaged(&'static str),
    /// A stored record of this kind has a version that this build does not know: a later build
    /// wrote it, and reads it. Nothing has changed.
    #[error("stored {what} has version {version}, which a later build knows")]
    UnknownVersion {
        /// What.
        what: &'static str,
        /// Its version.
        version: u16,
    },
}

impl LoadError {
    /// What it means that a record of this kind does not decode.
    pub(crate) fn undecoded(what: &'static str) -> impl Fn(DecodeError) -> Self {
        move |error| {
            if let DecodeError::UnknownVersion(version) = error {
                Self::UnknownVersion { what, version: version.into() }
            } else {
                Self::Damaged(what)
            }
        }
    }
}

impl LoadError {
    /// What a driver does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Damaged(_) | Self::UnknownVersion { .. } => Class::Permanent,
        }
    }
}
