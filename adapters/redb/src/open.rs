//! Opening a file, and everything that can be in the way.

use std::error::Error;
use std::fmt;
use std::io::{Error as IoError, ErrorKind};
use std::path::Path;

use conclave_core::{BlockedOn, Class};
use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::failure::{Failure, guarded, is_full};
use crate::format;
use crate::holder::Holder;

/// Why a store could not be opened. Whatever it was, no record was changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no file at this path.
    Missing,
    /// Another handle has the file open, in this process or in another one.
    InUse {
        /// Who, if that can be told.
        holder: Option<Holder>,
    },
    /// The file was not made by Conclave: it is empty, belongs to another program, or is a folder.
    NotAStore,
    /// The file is a store of a version that this crate does not know.
    UnknownVersion {
        /// The version that the file names.
        found: u32,
    },
    /// The file was a store, but its bytes are not those that were written.
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
            Self::InUse { .. } => Class::Blocked(BlockedOn::Ownership),
            Self::UnknownVersion { .. } => Class::Blocked(BlockedOn::Upgrade),
            Self::Full(_) => Class::Blocked(BlockedOn::Space),
            Self::Missing | Self::NotAStore | Self::Damaged | Self::ReadOnly(_) => Class::Permanent,
        }
    }

    fn naming_holder_of(mut self, path: &Path) -> Self {
        if let Self::InUse { holder } = &mut self {
            *holder = Holder::of(path);
        }
        self
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no store at this path"),
            Self::InUse { holder: None } => f.write_str("the store is open elsewhere"),
            Self::InUse { holder: Some(holder) } => write!(f, "the store is open in {holder}"),
            Self::NotAStore => f.write_str("the file is not a store"),
            Self::UnknownVersion { found } => {
                write!(f, "the store has version {found}, known is {}", format::VERSION)
            }
            Self::Damaged => f.write_str("the store is damaged"),
            Self::ReadOnly(_) => f.write_str("the store may not be written"),
            Self::Full(_) => f.write_str("no room for the store"),
            Self::Io(_) => f.write_str("the store could not be read or written"),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::ReadOnly(error) | Self::Full(error) | Self::Io(error) => Some(error),
            Self::Missing
            | Self::InUse { .. }
            | Self::NotAStore
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
            ErrorKind::InvalidData | ErrorKind::IsADirectory => Self::NotAStore,
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
            | DatabaseError::TransactionInProgress => Self::InUse { holder: None },
            // No store was ever written in an older format of the database.
            DatabaseError::UpgradeRequired(_) => Self::NotAStore,
            DatabaseError::Storage(error) => Failure::from(error).into(),
            _ => Self::Io(IoError::other("the database could not be opened")),
        }
    }
}

/// Opens a file that exists and is a store.
pub(crate) fn open(path: &Path) -> Result<Database, OpenError> {
    open_unnamed(path).map_err(|error| error.naming_holder_of(path))
}

fn open_unnamed(path: &Path) -> Result<Database, OpenError> {
    refuse_foreign(path)?;
    let db = open_guarded(|| builder().open(path))?;
    format::check(&db)?;
    Ok(db)
}

/// Opens a device, which becomes a store if nothing was ever stored on it.
pub(crate) fn open_backend(backend: impl StorageBackend) -> Result<Database, OpenError> {
    let db = open_guarded(|| builder().create_with_backend(backend))?;
    if format::is_blank(&db)? {
        format::initialise(&db)?;
    }
    format::check(&db)?;
    Ok(db)
}

/// Opening for writing marks the file, so a file of somebody else is looked at read-only first.
///
/// A file that was not closed cannot be looked at that way. It has to be recovered before it is
/// known whose it is, and recovering changes no record.
fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    match guarded(|| builder().open_read_only(path)) {
        Some(Ok(db)) => format::check(&db),
        Some(Err(_)) | None => Ok(()),
    }
}

fn open_guarded(
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, OpenError> {
    guarded(open).ok_or(OpenError::Damaged)?.map_err(OpenError::from)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// The hot pages of an engine are a few MB; the database's own default of 1 GiB is for servers.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

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
        assert_eq!(newer.to_string(), "the store has version 2, known is 1");
    }
}
