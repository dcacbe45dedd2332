//! What goes wrong in the database, in the words of a relay.

use std::io::ErrorKind;

use conclave_core::{BlockedOn, Class};
use conclave_proto::relay::PublishOutcome;
use conclave_redb_file::{Failure, is_full};

use crate::limits::RelayLimits;
use crate::read::ReadError;

/// Why the medium did not store a write, or may not have stored it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// No room. Not stored.
    #[error("no room")]
    Full,
    /// Too busy, or the medium fails. Not stored.
    #[error("not stored")]
    Unavailable,
    /// The medium failed while storing: it may be stored. The same bytes again tell.
    #[error("may be stored")]
    Unknown,
}

impl WriteError {
    /// What a driver does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Unavailable | Self::Unknown => Class::Transient,
            Self::Full => Class::Blocked(BlockedOn::Space),
        }
    }

    /// What a client is told of each envelope that was to be stored.
    pub(crate) const fn outcome(self, limits: &RelayLimits) -> PublishOutcome {
        match self {
            Self::Full => PublishOutcome::NotStored { retry_ms: limits.retry_full_ms },
            Self::Unavailable => PublishOutcome::NotStored { retry_ms: limits.retry_ms },
            Self::Unknown => PublishOutcome::Unknown,
        }
    }
}

/// The answer to a write of which nothing was stored.
pub(crate) fn of_write(failure: &Failure) -> WriteError {
    match failure {
        Failure::Io(error) if is_full(error) => WriteError::Full,
        Failure::Io(_) | Failure::Damaged | Failure::Stopped => WriteError::Unavailable,
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
            let error = of_write(&Failure::Io(kind.into()));
            assert_eq!(error, WriteError::Full);
            let retry_ms = RelayLimits::default().retry_full_ms;
            let outcome = error.outcome(&RelayLimits::default());
            assert_eq!(outcome, PublishOutcome::NotStored { retry_ms });
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
