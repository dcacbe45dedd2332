//! What goes wrong in the database, in the words of a relay.

use std::io::ErrorKind;

use conclave_redb_file::{Failure, is_full};

use crate::append::AppendError;
use crate::read::ReadError;

/// The answer to a write of which nothing was stored.
pub(crate) fn of_write(failure: &Failure) -> AppendError {
    match failure {
        Failure::Io(error) if is_full(error) => AppendError::Full,
        Failure::Io(_) | Failure::Damaged | Failure::Stopped => AppendError::Unavailable,
    }
}

/// The answer to a read, which needs no room.
pub(crate) fn of_read(failure: &Failure) -> ReadError {
    match failure {
        Failure::Io(error) if error.kind() == ErrorKind::UnexpectedEof => ReadError::Corrupt,
        Failure::Damaged => ReadError::Corrupt,
        Failure::Io(_) | Failure::Stopped => ReadError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use conclave_redb_file::checked;
    use redb::{StorageError, TableError};

    use super::*;

    #[test]
    fn a_full_medium_is_full_to_writes_and_unavailable_to_reads() {
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge] {
            assert_eq!(of_write(&Failure::Io(kind.into())), AppendError::Full);
            assert_eq!(of_read(&Failure::Io(kind.into())), ReadError::Unavailable);
        }
    }

    #[test]
    fn an_earlier_failure_is_an_outage_and_a_damaged_file_is_not() {
        let stopped = Failure::from(StorageError::PreviousIo);
        assert_eq!(of_read(&stopped), ReadError::Unavailable);
        let damaged = Failure::from(StorageError::Corrupted("a page".into()));
        assert_eq!(of_read(&damaged), ReadError::Corrupt);
        let missing = Failure::from(TableError::TableDoesNotExist("heads".into()));
        assert_eq!(of_read(&missing), ReadError::Corrupt);
    }

    #[test]
    fn a_panic_of_the_database_is_damage() {
        let failed = checked(|| -> Result<(), StorageError> { panic!("in a test") });
        assert_eq!(of_read(&failed.unwrap_err()), ReadError::Corrupt);
    }
}
