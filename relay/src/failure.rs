//! What goes wrong in the database, in the words of a relay.

use std::io::{Error as IoError, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{CommitError, StorageError, TableError, TransactionError};

use crate::append::AppendError;
use crate::read::ReadError;

/// Runs something that touches the file; `None` if it panicked.
///
/// redb may panic on a file that was altered since it wrote it. What it was doing is then given
/// up with its locks poisoned, so that later calls fail too.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// [`guarded`], for calls of the database: a panic is a damaged file.
pub(crate) fn checked<T, E: Into<Failure>>(
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, Failure> {
    match guarded(call) {
        Some(answer) => answer.map_err(Into::into),
        None => Err(Failure::Damaged),
    }
}

/// A failed call of the database before anything was committed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The medium said no.
    Io(IoError),
    /// The file is not what was written.
    Damaged,
    /// The database does not go on, mostly because of an earlier failure.
    Stopped,
}

impl Failure {
    /// The answer to a write of which nothing was stored.
    pub(crate) fn of_write(&self) -> AppendError {
        match self {
            Self::Io(error) if is_full(error) => AppendError::Full,
            Self::Io(_) | Self::Damaged | Self::Stopped => AppendError::Unavailable,
        }
    }

    /// The answer to a read, which needs no room.
    pub(crate) fn of_read(&self) -> ReadError {
        match self {
            Self::Io(error) if error.kind() == ErrorKind::UnexpectedEof => ReadError::Corrupt,
            Self::Damaged => ReadError::Corrupt,
            Self::Io(_) | Self::Stopped => ReadError::Unavailable,
        }
    }
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
pub(crate) fn is_full(error: &IoError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_medium_is_full_to_writes_and_unavailable_to_reads() {
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
            assert_eq!(Failure::Io(kind.into()).of_write(), AppendError::Full);
            assert_eq!(Failure::Io(kind.into()).of_read(), ReadError::Unavailable);
        }
    }

    #[test]
    fn an_earlier_failure_is_an_outage_and_a_damaged_file_is_not() {
        let stopped = Failure::from(StorageError::PreviousIo);
        assert_eq!(stopped.of_read(), ReadError::Unavailable);
        let damaged = Failure::from(StorageError::Corrupted("a page".into()));
        assert_eq!(damaged.of_read(), ReadError::Corrupt);
        let missing = Failure::from(TableError::TableDoesNotExist("heads".into()));
        assert_eq!(missing.of_read(), ReadError::Corrupt);
    }

    #[test]
    fn a_panic_of_the_database_is_damage() {
        let failed = checked(|| -> Result<(), StorageError> { panic!("in a test") });
        assert_eq!(failed.unwrap_err().of_read(), ReadError::Corrupt);
    }
}
