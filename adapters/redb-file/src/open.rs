//! Opening a file, and everything that can be in the way.

use std::io::{Error as IoError, ErrorKind};
use std::path::Path;

use redb::{Builder, Database, DatabaseError, StorageBackend, WriteTransaction};

use crate::failure::{Failure, guarded, is_full};
use crate::kind::Kind;

/// Why a file could not be opened. Whatever it was, no record was changed.
///
/// Exhaustive on purpose: whoever keeps a file has words of its own for each.
#[derive(Debug)]
pub enum FileError {
    /// There is no file at this path.
    Missing,
    /// Another handle has the file open, in this process or in another one.
    InUse,
    /// The file is of another kind: empty, of another program, or a folder.
    Foreign,
    /// The file is of this kind, in a version that is not known.
    UnknownVersion {
        /// The version that the file names.
        found: u32,
    },
    /// The file was of this kind, but its bytes are not those that were written.
    Damaged,
    /// The file or the medium does not allow writing, or the account may not open it.
    ReadOnly(IoError),
    /// There is no room to create or to recover the file.
    Full(IoError),
    /// Reading or writing failed.
    Io(IoError),
}

impl From<IoError> for FileError {
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

impl From<Failure> for FileError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io(error) => error.into(),
            Failure::Damaged => Self::Damaged,
            Failure::Stopped => Self::Io(IoError::other("the database stopped")),
        }
    }
}

impl From<DatabaseError> for FileError {
    #[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen
            | DatabaseError::LockProtocolMismatch
            | DatabaseError::TransactionInProgress => Self::InUse,
            // Nothing of ours was ever written in an older format of the database.
            DatabaseError::UpgradeRequired(_) => Self::Foreign,
            DatabaseError::Storage(error) => Failure::from(error).into(),
            _ => Self::Io(IoError::other("the database could not be opened")),
        }
    }
}

impl Kind {
    /// Opens a file that exists and is of this kind.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(&self, path: &Path, cache_bytes: usize) -> Result<Database, FileError> {
        self.refuse_foreign(path)?;
        let db = open_guarded(|| builder(cache_bytes).open(path))?;
        self.check(&db)?;
        Ok(db)
    }

    /// Opens a device, which becomes one of this kind if nothing was ever stored on it; `found`
    /// makes what it holds from the beginning.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open_backend(
        &self,
        backend: impl StorageBackend,
        cache_bytes: usize,
        found: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
    ) -> Result<Database, FileError> {
        let db = open_guarded(|| builder(cache_bytes).create_with_backend(backend))?;
        self.found_if_blank(&db, found)?;
        self.check(&db)?;
        Ok(db)
    }

    /// Opening for writing marks the file, so a file of somebody else is looked at read-only
    /// first.
    ///
    /// A file that was not closed cannot be looked at that way. It has to be recovered before it
    /// is known whose it is, and recovering changes no record.
    fn refuse_foreign(&self, path: &Path) -> Result<(), FileError> {
        match guarded(|| builder(LOOK_CACHE_BYTES).open_read_only(path)) {
            Some(Ok(db)) => self.check(&db),
            Some(Err(_)) | None => Ok(()),
        }
    }
}

fn open_guarded(
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<Database, FileError> {
    guarded(open).ok_or(FileError::Damaged)?.map_err(FileError::from)
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

/// Looking whose a file is takes two pages.
const LOOK_CACHE_BYTES: usize = 1024 * 1024;
