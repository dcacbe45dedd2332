//! What goes wrong in the database.

use std::io::{Error as IoError, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{CommitError, StorageError, TableError, TransactionError};

/// Runs something that touches the file; `None` if it panicked.
///
/// redb may panic on a file that was altered since it wrote it. What it was doing is then given
/// up with its locks poisoned, so that later calls fail too.
pub fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// [`guarded`], for calls of the database: a panic is a damaged file.
///
/// # Errors
/// What the call says.
pub fn checked<T, E: Into<Failure>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, Failure> {
    match guarded(call) {
        Some(answer) => answer.map_err(Into::into),
        None => Err(Failure::Damaged),
    }
}

/// A failed call of the database before anything was committed.
#[derive(Debug)]
pub enum Failure {
    /// The medium said no.
    Io(IoError),
    /// The file is not what was written.
    Damaged,
    /// The database does not go on, mostly because of an earlier failure.
    Stopped,
}

impl From<StorageError> for Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => Self::Io(error),
            StorageError::Corrupted(_) => Self::Damaged,
            _ => Self::Stopped,
        }
    }
}

impl From<TransactionError> for Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            _ => Self::Stopped,
        }
    }
}

impl From<CommitError> for Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            _ => Self::Stopped,
        }
    }
}

impl From<TableError> for Failure {
    /// The tables are made with the file, so one that is missing or strange is damage.
    #[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            _ => Self::Damaged,
        }
    }
}

/// Whether an error says that there is no room.
pub fn is_full(error: &IoError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}
