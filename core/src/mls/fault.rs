//! What the library's errors mean for the verdict on a record.

use openmls::{
    framing::errors::{MessageDecryptionError, SecretTreeError},
    group::{ProcessMessageError, StageCommitError, ValidationError},
    treesync::errors::ApplyUpdatePathError,
};

use super::capture::CaptureError;

/// Why a message was not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Invalid for everybody: fails before its path is decrypted, or the confirmation tag is wrong
    /// after it was.
    InvalidCommit,
    /// A commit that is sound as far as can be told, but whose path does not decrypt or derive
    /// for this installation. Others may be able to.
    Undecidable,
    /// Used already, or skipped beyond the tolerance.
    KeysGone,
    /// More generations ahead than keys are derived for.
    TooFarAhead,
    /// Its epoch's secrets are gone.
    TooOld,
    /// Of another epoch than the present one (commits), or of a future one.
    WrongEpoch,
    /// Does not decrypt or verify.
    Unverified,
    /// The library or the capture failed: a bug. The step has to be rolled back.
    Internal,
}

type ProcessError = ProcessMessageError<CaptureError>;

impl From<ProcessError> for Fault {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessMessageError::InvalidCommit(error) => Self::of_commit(&error),
            ProcessMessageError::ValidationError(error) => Self::of_message(&error),
            ProcessMessageError::LibraryError(_) | ProcessMessageError::StorageError(_) => {
                Self::Internal
            }
            ProcessMessageError::IncompatibleWireFormat
            | ProcessMessageError::GroupStateError(_)
            | ProcessMessageError::UnauthorizedExternalApplicationMessage
            | ProcessMessageError::UnauthorizedExternalCommitMessage
            | ProcessMessageError::UnsupportedProposalType => Self::Unverified,
        }
    }
}

// The library's errors are many and grow: what is not named here is a refusal like any other.
#[allow(clippy::wildcard_enum_match_arm)]
impl Fault {
    fn of_commit(error: &StageCommitError) -> Self {
        use ApplyUpdatePathError as Path;
        match error {
            StageCommitError::UpdatePathError(
                Path::UnableToDecrypt
                | Path::MissingCiphertext
                | Path::PathMismatch
                // A secret of a wrong length, or a key that this installation was not given:
                // whoever made the commit can do that to one member alone.
                | Path::LibraryError(_)
                | Path::MissingSender
                | Path::MissingOwnLeaf,
            )
            | StageCommitError::MissingDecryptionKey => Self::Undecidable,
            StageCommitError::LibraryError(_) => Self::Internal,
            StageCommitError::EpochMismatch => Self::WrongEpoch,
            _ => Self::InvalidCommit,
        }
    }

    fn of_message(error: &ValidationError) -> Self {
        match error {
            ValidationError::WrongEpoch => Self::WrongEpoch,
            ValidationError::NoPastEpochData => Self::TooOld,
            ValidationError::UnableToDecrypt(error) => Self::of_decryption(error),
            ValidationError::LibraryError(_) => Self::Internal,
            _ => Self::Unverified,
        }
    }

    fn of_decryption(error: &MessageDecryptionError) -> Self {
        match error {
            MessageDecryptionError::SecretTreeError(error) => Self::of_ratchet(error),
            _ => Self::Unverified,
        }
    }

    fn of_ratchet(error: &SecretTreeError) -> Self {
        match error {
            // One text for both: a generation before the tolerance, and an epoch that is gone.
            SecretTreeError::TooDistantInThePast | SecretTreeError::SecretReuseError => {
                Self::KeysGone
            }
            SecretTreeError::TooDistantInTheFuture => Self::TooFarAhead,
            _ => Self::Unverified,
        }
    }
}
