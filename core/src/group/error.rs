//! Why a verb of a group, or a load, did nothing.

use conclave_proto::{InstallationId, codec::DecodeError};

use crate::{
    BlockedOn, Class, entropy::EntropyError, event::Parked, mls::MlsError, store::StoreError,
};

macro_rules! from {
    ($error:ident, $($source:ident => $variant:ident),*) => { $(
        impl From<$source> for $error {
            fn from(source: $source) -> Self {
                Self::$variant(source)
            }
        }
    )* };
}

/// Why a message was not taken for sending. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// This installation is not a member any more.
    NotMember,
    /// The group cannot follow its log for now.
    Parked(Parked),
    /// The group's policy does not let this inbox post.
    NotAllowed,
    /// Too long: send it as an attachment.
    TooLong {
        /// Bytes there are.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Too many messages wait for the relay already.
    QueueFull {
        /// How many may.
        max: usize,
    },
    /// No randomness.
    Entropy(EntropyError),
    /// A bug of the engine or of the MLS library.
    Internal(MlsError),
}

from!(SendError, EntropyError => Entropy, MlsError => Internal);

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotMember => f.write_str("not a member of the group"),
            Self::Parked(_) => f.write_str("the group cannot follow its log for now"),
            Self::NotAllowed => f.write_str("the group's policy does not allow posting"),
            Self::TooLong { len, max } => write!(f, "{len} bytes where {max} are allowed"),
            Self::QueueFull { max } => write!(f, "{max} messages wait for the relay already"),
            Self::Entropy(_) => f.write_str("no randomness available"),
            Self::Internal(_) => f.write_str("internal failure"),
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Entropy(error) => Some(error),
            Self::Internal(error) => Some(error),
            Self::NotMember
            | Self::Parked(_)
            | Self::NotAllowed
            | Self::TooLong { .. }
            | Self::QueueFull { .. } => None,
        }
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeError {
    /// This installation is not a member any more.
    NotMember,
    /// The group cannot follow its log for now.
    Parked(Parked),
    /// The group's policy does not let this inbox do it.
    NotAllowed,
    /// Super-admins cannot be removed, whatever the policy says.
    Protected,
    /// Nobody named, somebody who is (or is not) there already, or a log that founds no inbox.
    Misuse(&'static str),
    /// The group requires post-quantum Welcomes, and this installation has no X-Wing key (S8).
    NotPostQuantum(InstallationId),
    /// The group would have too many leaves.
    TooManyLeaves {
        /// How many there may be.
        max: usize,
    },
    /// Too many wishes wait already.
    QueueFull {
        /// How many may.
        max: usize,
    },
    /// No randomness.
    Entropy(EntropyError),
    /// A bug of the engine or of the MLS library.
    Internal(MlsError),
}

from!(ChangeError, EntropyError => Entropy, MlsError => Internal);

impl std::fmt::Display for ChangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotMember => f.write_str("not a member of the group"),
            Self::Parked(_) => f.write_str("the group cannot follow its log for now"),
            Self::NotAllowed => f.write_str("the group's policy does not allow it"),
            Self::Protected => f.write_str("super-admins cannot be removed"),
            Self::Misuse(what) => f.write_str(what),
            Self::NotPostQuantum(id) => {
                write!(f, "{id:?} has no post-quantum key and the group requires one")
            }
            Self::TooManyLeaves { max } => write!(f, "the group would exceed {max} leaves"),
            Self::QueueFull { max } => write!(f, "{max} changes wait already"),
            Self::Entropy(_) => f.write_str("no randomness available"),
            Self::Internal(_) => f.write_str("internal failure"),
        }
    }
}

impl std::error::Error for ChangeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Entropy(error) => Some(error),
            Self::Internal(error) => Some(error),
            Self::NotMember
            | Self::Parked(_)
            | Self::NotAllowed
            | Self::Protected
            | Self::Misuse(_)
            | Self::NotPostQuantum(_)
            | Self::TooManyLeaves { .. }
            | Self::QueueFull { .. } => None,
        }
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadError {
    /// The store failed.
    Store(StoreError),
    /// A stored record of this kind is damaged; other groups are not affected.
    Damaged(&'static str),
    /// A stored record of this kind has a version that this build does not know: a later build
    /// wrote it, and reads it. Nothing has changed.
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

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(_) => f.write_str("the store failed"),
            Self::Damaged(what) => write!(f, "stored {what} is damaged"),
            Self::UnknownVersion { what, version } => {
                write!(f, "stored {what} has version {version}, which a later build knows")
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Damaged(_) | Self::UnknownVersion { .. } => None,
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
