//! What goes wrong in the database, in the words of a store.

use std::io::ErrorKind;

use conclave_core::store::StoreError;
use conclave_redb_file::{Failure, is_full};

/// The answer to a write.
pub(crate) fn of_write(failure: Failure) -> StoreError {
    match failure {
        Failure::Io(error) if is_full(&error) => StoreError::Full,
        Failure::Io(error) if error.kind() == ErrorKind::UnexpectedEof => StoreError::Corrupt,
        Failure::Damaged => StoreError::Corrupt,
        Failure::Io(_) | Failure::Stopped => StoreError::Unavailable,
    }
}

/// The answer to a read, which needs no room.
pub(crate) fn of_read(failure: Failure) -> StoreError {
    if of_write(failure) == StoreError::Corrupt {
        StoreError::Corrupt
    } else {
        StoreError::Unavailable
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
            assert_eq!(of_write(Failure::Io(kind.into())), StoreError::Full);
            assert_eq!(of_read(Failure::Io(kind.into())), StoreError::Unavailable);
        }
    }

    #[test]
    fn an_earlier_failure_is_an_outage_and_a_damaged_file_is_not() {
        let stopped = Failure::from(StorageError::PreviousIo);
        assert_eq!(of_write(stopped), StoreError::Unavailable);
        let damaged = Failure::from(StorageError::Corrupted("a page".into()));
        assert_eq!(of_read(damaged), StoreError::Corrupt);
        let missing = Failure::from(TableError::TableDoesNotExist("group".into()));
        assert_eq!(of_read(missing), StoreError::Corrupt);
    }

    #[test]
    fn a_panic_of_the_database_is_damage() {
        let failed = checked(|| -> Result<(), StorageError> { panic!("in a test") });
        assert_eq!(of_write(failed.unwrap_err()), StoreError::Corrupt);
    }
}
