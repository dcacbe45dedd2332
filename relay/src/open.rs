//! Why a file does not open, in the words of a relay.

use std::error::Error;
use std::fmt;
use std::io::Error as IoError;

use conclave_core::{BlockedOn, Class};
use conclave_redb_file::FileError;

use crate::format;

/// Why a relay's logs could not be opened. Whatever it was, no record was changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no file at this path.
    Missing,
    /// Another handle has the file open, in this process or in another one.
    InUse,
    /// The file was not made by a relay: it is empty, belongs to another program, or is a folder.
    NotARelay,
    /// The file holds logs of a version that this crate does not know.
    UnknownVersion {
        /// The version that the file names.
        found: u32,
    },
    /// The file held logs, but its bytes are not those that were written.
    Damaged,
    /// The file or the medium does not allow writing, or the account may not open it.
    ReadOnly(IoError),
    /// There is no room to create or to recover the file.
    Full(IoError),
    /// Reading or writing failed.
    Io(IoError),
}

impl OpenError {
    /// What a driver does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Io(_) => Class::Transient,
            Self::InUse => Class::Blocked(BlockedOn::Ownership),
            Self::UnknownVersion { .. } => Class::Blocked(BlockedOn::Upgrade),
            Self::Full(_) => Class::Blocked(BlockedOn::Space),
            Self::Missing | Self::NotARelay | Self::Damaged | Self::ReadOnly(_) => Class::Permanent,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there are no logs at this path"),
            Self::InUse => f.write_str("the logs are open elsewhere"),
            Self::NotARelay => f.write_str("the file holds no logs of a relay"),
            Self::UnknownVersion { found } => {
                write!(f, "the logs have version {found}, known is {}", format::VERSION)
            }
            Self::Damaged => f.write_str("the logs are damaged"),
            Self::ReadOnly(_) => f.write_str("the logs may not be written"),
            Self::Full(_) => f.write_str("no room for the logs"),
            Self::Io(_) => f.write_str("the logs could not be read or written"),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ReadOnly(error) | Self::Full(error) | Self::Io(error) => Some(error),
            Self::Missing
            | Self::InUse
            | Self::NotARelay
            | Self::UnknownVersion { .. }
            | Self::Damaged => None,
        }
    }
}

impl From<FileError> for OpenError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Missing => Self::Missing,
            FileError::InUse => Self::InUse,
            FileError::Foreign => Self::NotARelay,
            FileError::UnknownVersion { found } => Self::UnknownVersion { found },
            FileError::Damaged => Self::Damaged,
            FileError::ReadOnly(error) => Self::ReadOnly(error),
            FileError::Full(error) => Self::Full(error),
            FileError::Io(error) => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use redb::DatabaseError;

    use super::*;

    #[test]
    fn what_the_system_says_becomes_what_a_driver_can_act_on() {
        let class = |kind: ErrorKind| OpenError::from(FileError::from(IoError::from(kind))).class();
        assert_eq!(class(ErrorKind::StorageFull), Class::Blocked(BlockedOn::Space));
        assert_eq!(class(ErrorKind::PermissionDenied), Class::Permanent);
        assert_eq!(class(ErrorKind::ReadOnlyFilesystem), Class::Permanent);
        assert_eq!(class(ErrorKind::NotFound), Class::Permanent);
        assert_eq!(class(ErrorKind::Interrupted), Class::Transient);
        let in_use = OpenError::from(FileError::from(DatabaseError::DatabaseAlreadyOpen));
        assert_eq!(in_use.class(), Class::Blocked(BlockedOn::Ownership));
        let newer = OpenError::UnknownVersion { found: 2 };
        assert_eq!(newer.class(), Class::Blocked(BlockedOn::Upgrade));
        assert_eq!(newer.to_string(), "the logs have version 2, known is 1");
    }
}
