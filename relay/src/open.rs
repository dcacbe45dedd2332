//! Opening a file, and everything that can be in the way.

use std::error::Error;
use std::fmt;
use std::io::{Error as IoError, ErrorKind};
use std::path::Path;

use conclave_core::{BlockedOn, Class};
use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::failure::{Failure, guarded, is_full};
use crate::format;
use crate::founding::Founding;

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

impl From<IoError> for OpenError {
    #[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
    fn from(error: IoError) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Missing,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(error),
            // The database says `InvalidData` where its own magic is missing.
            ErrorKind::InvalidData | ErrorKind::IsADirectory => Self::NotARelay,
            ErrorKind::UnexpectedEof => Self::Damaged,
            _ if is_full(&error) => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io(error) => error.into(),
            Failure::Damaged => Self::Damaged,
            Failure::Stopped => Self::Io(IoError::other("the database stopped")),
        }
    }
}

impl From<DatabaseError> for OpenError {
    #[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen
            | DatabaseError::LockProtocolMismatch
            | DatabaseError::TransactionInProgress => Self::InUse,
            // No logs were ever written in an older format of the database.
            DatabaseError::UpgradeRequired(_) => Self::NotARelay,
            DatabaseError::Storage(error) => Failure::from(error).into(),
            _ => Self::Io(IoError::other("the database could not be opened")),
        }
    }
}

/// Opens a file that exists and holds a relay's logs.
pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<Database, OpenError> {
    refuse_foreign(path)?;
    let db = open_guarded(|| builder(cache_bytes).open(path))?;
    format::check(&db)?;
    Ok(db)
}

/// Opens a device, which becomes a relay's if nothing was ever stored on it.
pub(crate) fn open_backend(
    backend: impl StorageBackend,
    founding: &Founding,
    cache_bytes: usize,
) -> Result<Database, OpenError> {
    let db = open_guarded(|| builder(cache_bytes).create_with_backend(backend))?;
    if format::is_blank(&db)? {
        format::initialise(&db, founding)?;
    }
    format::check(&db)?;
    Ok(db)
}

/// Opening for writing marks the file, so a file of somebody else is looked at read-only first.
///
/// A file that was not closed cannot be looked at that way. It has to be recovered before it is
/// known whose it is, and recovering changes no record.
fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    match guarded(|| builder(LOOK_CACHE_BYTES).open_read_only(path)) {
        Some(Ok(db)) => format::check(&db),
        Some(Err(_)) | None => Ok(()),
    }
}

fn open_guarded(
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, OpenError> {
    guarded(open).ok_or(OpenError::Damaged)?.map_err(OpenError::from)
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

/// Looking whose a file is takes two pages.
const LOOK_CACHE_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_becomes_what_a_driver_can_act_on() {
        let class = |kind: ErrorKind| OpenError::from(IoError::from(kind)).class();
        assert_eq!(class(ErrorKind::StorageFull), Class::Blocked(BlockedOn::Space));
        assert_eq!(class(ErrorKind::PermissionDenied), Class::Permanent);
        assert_eq!(class(ErrorKind::ReadOnlyFilesystem), Class::Permanent);
        assert_eq!(class(ErrorKind::NotFound), Class::Permanent);
        assert_eq!(class(ErrorKind::Interrupted), Class::Transient);
        let in_use = OpenError::from(DatabaseError::DatabaseAlreadyOpen);
        assert_eq!(in_use.class(), Class::Blocked(BlockedOn::Ownership));
        let newer = OpenError::UnknownVersion { found: 2 };
        assert_eq!(newer.class(), Class::Blocked(BlockedOn::Upgrade));
        assert_eq!(newer.to_string(), "the logs have version 2, known is 1");
    }
}
