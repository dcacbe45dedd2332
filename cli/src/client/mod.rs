//! The client: one command at a time over the installation in a data folder.

mod groups;
mod init;
mod names;
mod store;
mod talk;
mod text;

use std::{future::Future, time::Duration};

use conclave::{
    Engine, Error, Event, IntentId, Told, core::delivery::TransportError,
    core::event::IntentOutcome,
};
use conclave_remote::{LastWrite, Remote};
use conclave_store_redb::RedbStore;
pub(crate) use groups::{group, keys, whoami};
pub(crate) use init::init;
pub(crate) use store::store;
pub(crate) use talk::{chat, listen, read, send};
use tokio::runtime::Runtime;

use crate::{
    args::{ClientArgs, LookArgs},
    failure::{Exit, Failure},
    folder::{Folder, Settings},
    print::{json_line, line},
};

/// An installation that is open.
struct Client {
    engine: Engine,
    writes: LastWrite,
    settings: Settings,
    runtime: Runtime,
    patience: Duration,
    json: bool,
}

impl Client {
    /// Opens the installation of a data folder that `init` has made.
    fn open(args: &ClientArgs, json: bool) -> Result<Self, Failure> {
        let folder = Folder::new(&args.folder.data);
        let settings = folder.settings()?;
        let (store, remote) = (folder.open_store()?, settings.relay()?.remote());
        let client = Self::over(store, remote, settings, args.timeout, json)?;
        if client.engine.inbox().is_none() {
            return Err(Error::NotRegistered.into());
        }
        Ok(client)
    }

    fn over(
        store: RedbStore,
        remote: Remote,
        settings: Settings,
        timeout: u64,
        json: bool,
    ) -> Result<Self, Failure> {
        let writes = remote.last_write();
        let engine = Engine::builder().store(store).delivery(remote).open()?;
        let (runtime, patience) = (crate::runtime()?, Duration::from_secs(timeout));
        Ok(Self { engine, writes, settings, runtime, patience, json })
    }

    /// Waits, but not for ever: whatever takes long waits for the relay.
    fn wait<T, E: Into<Failure>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        let limited = async { tokio::time::timeout(self.patience, call).await };
        let answer = self.runtime.block_on(limited);
        answer.map_err(|_| self.too_late())?.map_err(Into::into)
    }

    /// As [`Client::wait`], for what ends when the relay has stored something: no longer than until
    /// the relay says that it will not do so in time.
    fn wait_stored<T, E: Into<Failure>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        let mut writes = self.writes.clone();
        let refused = async {
            while trouble(&writes).is_none_or(|retry_after| retry_after < self.patience) {
                writes.next().await;
            }
        };
        let limited = async {
            tokio::select! {
                biased;
                answer = tokio::time::timeout(self.patience, call) => answer.ok(),
                () = refused => None,
            }
        };
        match self.runtime.block_on(limited) {
            Some(answer) => answer.map_err(|error| self.explained(error.into())),
            None => Err(self.too_late()),
        }
    }

    /// A failure to reach the relay may be one to store something there.
    fn explained(&self, failure: Failure) -> Failure {
        let troubled = failure.exit == Exit::Relay && trouble(&self.writes).is_some();
        if troubled { self.stores_nothing() } else { failure }
    }

    fn stores_nothing(&self) -> Failure {
        let text = format!(
            "the relay {} is there, but stores nothing for now: its disk is full or fails, or it \
             has too much to do. Its operator can change that",
            self.settings.relay
        );
        Failure::new(Exit::Relay, text).hint("Nothing is wrong here; try again later.")
    }

    fn too_late(&self) -> Failure {
        if trouble(&self.writes).is_some() {
            return self.stores_nothing();
        }
        let seconds = self.patience.as_secs();
        Failure::relay(format!("{} does not answer within {seconds} seconds", self.settings.relay))
            .hint(
                "Is it running, and is its address the one that was given to init? --timeout \
                 waits longer.",
            )
    }

    /// Reads everything that the relay has. Says why if it cannot be used at all.
    fn sync(&self) -> Result<(), Failure> {
        if self.reach()? { Ok(()) } else { Err(self.too_late()) }
    }

    /// Reads everything that the relay has; `false` if it does not answer, or not in time.
    fn reach(&self) -> Result<bool, Failure> {
        let reading = async {
            self.engine.find(Vec::new()).await?;
            self.engine.sync().await
        };
        let limited = async { tokio::time::timeout(self.patience, reading).await };
        match self.runtime.block_on(limited) {
            Ok(Ok(())) => Ok(true),
            Err(_) | Ok(Err(Error::Transport(TransportError::Unavailable { .. }))) => Ok(false),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    /// Opens an installation to look at it, with the relay's news unless they are not wanted.
    fn look(args: &LookArgs, json: bool) -> Result<Self, Failure> {
        let client = Self::open(&args.client, json)?;
        if args.offline || client.reach()? {
            return Ok(client);
        }
        let hint = "--timeout waits longer; --offline shows what has been received before.";
        Err(client.too_late().hint(hint))
    }

    /// Waits for the end of a wish.
    fn wish(
        &self,
        call: impl FnOnce() -> conclave::Call<IntentId>,
    ) -> Result<IntentOutcome, Failure> {
        let mut events = self.engine.events(self.engine.last_event());
        let mine = self.wait(call())?;
        self.wait_stored(async {
            while let Some(told) = events.next_event().await? {
                if let Told::Event(_, Event::IntentSettled { intent, outcome, .. }) = told
                    && intent == mine
                {
                    return Ok(outcome);
                }
            }
            Err(Failure::new(Exit::Failed, "the engine has ended"))
        })
    }

    /// Prints one answer.
    fn say(&self, value: &serde_json::Value, text: impl AsRef<str>) -> Result<(), Failure> {
        if self.json { json_line(value) } else { line(text.as_ref()) }
    }
}

/// When the relay may store something again, if it said that it does not for now.
#[allow(clippy::wildcard_enum_match_arm, reason = "errors of others grow")]
fn trouble(writes: &LastWrite) -> Option<Duration> {
    match writes.error()? {
        TransportError::RelayTrouble { retry_after } => Some(retry_after),
        _ => None,
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.engine.shut_down();
    }
}
