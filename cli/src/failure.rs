//! Why a command did not do what it was asked, what to do about it, and the exit status.

use std::{error::Error, fmt, io, iter, path::Path};

use conclave::{
    BlockedOn, Class, OpenError,
    core::{
        delivery::TransportError,
        event::Parked,
        group::{ChangeError, SendError},
    },
};
use conclave_store_redb::OpenError as StoreOpenError;

/// Exit statuses; they stay what they are, for scripts. 2 is for a wrong command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Nobody reads the output any more: there is nothing to say, and nothing went wrong.
    Unread = 0,
    /// It failed, or a check did.
    Failed = 1,
    /// The command line is wrong, as when the parser finds it so.
    Usage = 2,
    /// The data folder cannot be used: another process has it, nothing is in it, it is damaged.
    Folder = 3,
    /// The relay cannot be reached in time, or is not the one that is trusted.
    Relay = 4,
    /// There is no such group or inbox, or the group does not allow it.
    Refused = 5,
}

/// A failure, for people and scripts.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    text: String,
    hint: Option<String>,
    /// Whether the output says it already, or nobody reads it.
    pub(crate) silent: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), hint: None, silent: false }
    }

    /// One that is not to be printed, only to be the exit status.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { silent: true, ..Self::new(exit, "") }
    }

    /// What to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(crate) fn relay(why: impl fmt::Display) -> Self {
        Self::new(Exit::Relay, format!("the relay cannot be used: {why}"))
    }

    /// A file of a data folder does not open.
    #[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
    pub(crate) fn unopened(path: &Path, error: &StoreOpenError) -> Self {
        let failure = Self::new(Exit::Folder, format!("{}: {}", path.display(), told(error)));
        match error {
            StoreOpenError::Missing => {
                failure.hint("Run `conclave init` first, or name another folder with --data.")
            }
            StoreOpenError::InUse { holder: Some(holder) } => failure.hint(format!(
                "One program at a time uses a data folder. End process {} first, or use another \
                 folder with --data.",
                holder.pid
            )),
            StoreOpenError::InUse { holder: None } => failure
                .hint("One program at a time uses a data folder; use another one with --data."),
            _ => failure,
        }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self.text, "hint": self.hint, "exit": self.exit as u8 })
    }
}

/// An error and what caused it, down to the first cause.
fn told(error: &dyn Error) -> String {
    let causes = iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(Exit::Folder, told(&error))
    }
}

impl From<conclave::core::store::StoreError> for Failure {
    fn from(error: conclave::core::store::StoreError) -> Self {
        Self::new(Exit::Folder, told(&error))
    }
}

impl From<conclave::Error> for Failure {
    #[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
    fn from(error: conclave::Error) -> Self {
        let text = told(&error);
        match error {
            conclave::Error::Transport(TransportError::Misconfigured(why)) => Self::relay(why)
                .hint(
                    "Compare --relay and --fingerprint with what the relay prints when it starts.",
                ),
            conclave::Error::Transport(TransportError::RelayTrouble { .. }) => {
                let text = "the relay is there, but cannot do this for now: its disk fails, or it \
                            has too much to do. Its operator can change that";
                Self::new(Exit::Relay, text).hint("Nothing is wrong here; try again later.")
            }
            conclave::Error::Transport(error) => Self::relay(error)
                .hint("Is it running, and is --relay of `conclave init` what it prints when it starts?"),
            conclave::Error::NoPackages(_) => {
                Self::new(Exit::Refused, text).hint(
                "Its owner has to run the program once, for instance `conclave group list`.",
            )
            }
            conclave::Error::UnknownInbox(_) => Self::new(Exit::Refused, text)
                .hint("Inboxes are printed by `conclave whoami` of their owner."),
            conclave::Error::NotRegistered => {
                Self::new(Exit::Folder, "the data folder holds no installation")
                    .hint("Run `conclave init` first, or name another folder with --data.")
            }
            conclave::Error::RegisteredElsewhere => {
                Self::new(Exit::Folder, "the data folder belongs to another inbox already")
                    .hint("Use another folder with --data, or the key that this one was made with.")
            }
            conclave::Error::Store(error) => error.into(),
            conclave::Error::Send(SendError::TooLong { len, max }) => {
                let text = format!("the message has {len} bytes, and {max} are allowed");
                Self::new(Exit::Refused, text).hint("Send it in parts.")
            }
            conclave::Error::Change(ChangeError::NotAllowed) => Self::new(Exit::Refused, text)
                .hint("Its policy leaves that to admins, as that of groups does that were not made with --open."),
            conclave::Error::Send(SendError::Parked(Parked::Removal))
            | conclave::Error::Change(ChangeError::Parked(Parked::Removal)) => {
                let text = "this installation was removed from the group, it seems";
                Self::new(Exit::Refused, text)
                    .hint("The next message of the group tells for certain.")
            }
            other => match other.class() {
                Class::Blocked(BlockedOn::Ownership) => Self::new(Exit::Folder, text)
                    .hint("Another process has opened this data folder since."),
                _ => Self::new(Exit::Refused, text),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, path::Path};

    use conclave_store_redb::OpenError;

    use super::Failure;

    /// E14: the first cause reaches the user, once.
    #[test]
    fn the_cause_of_a_failure_is_told_once() {
        let error = OpenError::Io(io::Error::other("the disk is on fire"));
        let failure = Failure::unopened(Path::new("store"), &error);
        let text = "store: the file could not be read or written: the disk is on fire";
        assert_eq!(failure.to_string(), text);
        let error = conclave::OpenError::Threads(io::Error::other("none left"));
        assert_eq!(Failure::from(error).to_string(), "no thread can be started: none left");
        let error = conclave::Error::Store(conclave::core::store::StoreError::Full);
        assert_eq!(Failure::from(error).to_string().matches("store full").count(), 1);
    }
}
