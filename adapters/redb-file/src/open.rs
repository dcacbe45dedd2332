//! Opening a file, and everything that can be in the way.

use std::io::{Error as IoError, ErrorKind};
use std::ops::Deref;
use std::path::Path;

use conclave_core::{BlockedOn, Class};
use redb::{Builder, Database, DatabaseError, StorageBackend, WriteTransaction};

use crate::failure::{Failure, guarded, is_full};
use crate::holder::{Holder, Note};
use crate::kind::Kind;

/// Why a file could not be opened. Whatever it was, no record was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no file at this path.
    #[error("there is no file at this path")]
    Missing,
    /// Another handle has the file open, in this process or in another one.
    #[error(
        "the file is open {}",
        .holder.as_ref().map_or_else(|| "elsewhere".into(), |holder| format!("in {holder}"))
    )]
    InUse {
        /// Who, if that can be told.
        holder: Option<Holder>,
    },
    /// The file was made for something else: it is empty, belongs to another program, or is a
    /// folder.
    #[error("the file was made for something else")]
    Foreign,
    /// The file is of a version that this crate does not know.
    #[error("the file has version {found}, known is {known}")]
    #[non_exhaustive]
    UnknownVersion {
        /// The version that the file names.
        found: u32,
        /// The one that is known.
        known: u32,
    },
    /// The file was made for this, but its bytes are not those that were written.
    #[error("the file is damaged")]
    Damaged,
    /// The file or the medium does not allow writing, or the account may not open it.
    #[error("the file may not be written")]
    ReadOnly(#[source] IoError),
    /// There is no room to create or to recover the file.
    #[error("no room for the file")]
    Full(#[source] IoError),
    /// Reading or writing failed.
    #[error("the file could not be read or written")]
    Io(#[source] IoError),
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
            Self::Missing | Self::Foreign | Self::Damaged | Self::ReadOnly(_) => Class::Permanent,
        }
    }

    fn naming_holder_of(mut self, path: &Path) -> Self {
        if let Self::InUse { holder } = &mut self {
            *holder = Holder::of(path);
        }
        self
    }
}

impl From<IoError> for OpenError {
    #[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
    fn from(error: IoError) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Missing,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(error),
            // The database says `InvalidData` where its own magic is missing.
            ErrorKind::InvalidData | ErrorKind::IsADirectory => Self::Foreign,
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
            // Nothing of ours was ever written in an older format of the database.
            DatabaseError::UpgradeRequired(_) => Self::Foreign,
            DatabaseError::Storage(error) => Failure::from(error).into(),
            _ => Self::Io(IoError::other("the database could not be opened")),
        }
    }
}

/// A database that is open. While it is, a note beside its file says who has it.
#[derive(Debug)]
pub struct OpenFile {
    // Fields are dropped in order: the note goes before the lock does.
    _note: Option<Note>,
    db: Database,
}

impl OpenFile {
    pub(crate) fn into_database(self) -> Database {
        self.db
    }
}

impl Deref for OpenFile {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.db
    }
}

impl Kind {
    /// Opens a file that exists and is of this kind.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, path: &Path, cache_bytes: usize) -> Result<OpenFile, OpenError> {
        let db = self.open_database(path, cache_bytes);
        let db = db.map_err(|error| error.naming_holder_of(path))?;
        Ok(OpenFile { _note: Note::leave(path), db })
    }

    /// Opens a file of this kind, or creates it if there is no file at all, where `found` makes
    /// what it holds from the beginning.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn create_or_open(
        &self,
        path: &Path,
        cache_bytes: usize,
        found: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
    ) -> Result<OpenFile, OpenError> {
        match self.open(path, cache_bytes) {
            Err(OpenError::Missing) => {}
            opened => return opened,
        }
        self.create(path, found)?;
        self.open(path, cache_bytes)
    }

    fn open_database(&self, path: &Path, cache_bytes: usize) -> Result<Database, OpenError> {
        self.refuse_foreign(path)?;
        let db = open_guarded(|| builder(cache_bytes).open(path))?;
        self.check(&db)?;
        Ok(db)
    }

    /// Opens a device, which becomes one of this kind if nothing was ever stored on it; `found`
    /// makes what it holds from the beginning.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_backend(
        &self,
        backend: impl StorageBackend,
        cache_bytes: usize,
        found: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
    ) -> Result<OpenFile, OpenError> {
        let db = open_guarded(|| builder(cache_bytes).create_with_backend(backend))?;
        self.found_if_blank(&db, found)?;
        self.check(&db)?;
        Ok(OpenFile { _note: None, db })
    }

    /// Opening for writing marks the file, so a file of somebody else is looked at read-only
    /// first.
    ///
    /// A file that was not closed cannot be looked at that way. It has to be recovered before it
    /// is known whose it is, and recovering changes no record.
    fn refuse_foreign(&self, path: &Path) -> Result<(), OpenError> {
        match guarded(|| builder(LOOK_CACHE_BYTES).open_read_only(path)) {
            Some(Ok(db)) => self.check(&db),
            Some(Err(_)) | None => Ok(()),
        }
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
        let newer = OpenError::UnknownVersion { found: 2, known: 1 };
        assert_eq!(newer.class(), Class::Blocked(BlockedOn::Upgrade));
        assert_eq!(newer.to_string(), "the file has version 2, known is 1");
    }
}
