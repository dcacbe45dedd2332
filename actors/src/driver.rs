//! Who runs an engine: actix actors, plain threads, or a scheduler of yours.
//!
//! An engine is made of actors: one for the session, one for the invitations, one for the
//! installation, one for each group that is awake. An actor handles its inputs one by one, in
//! order, and never waits. A driver gives each a mailbox and decides on which thread it runs; one
//! driver can run many engines.

#[cfg(feature = "actix")]
mod actors;
mod network;
mod threads;

use std::sync::Arc;

use conclave_core::{
    bounds::BoxFuture,
    engine::{GroupActor, InstallationActor, InvitationActor, SessionActor},
};

#[cfg(feature = "actix")]
pub use actors::Actors;
pub use network::Network;
pub use threads::Threads;

pub use crate::{
    mailbox::{Address, Mail},
    runner::{Next, Runner},
};

/// Runs actors. Each runs on one thread at a time, with a mailbox of its own; different ones may
/// run in parallel. Dropping a driver ends its threads; engines hold theirs until they have ended.
pub trait Driver: Send + Sync + 'static {
    /// Runs a group. Any thread, also from inside an actor.
    fn run_group(&self, runner: Runner<GroupActor>) -> Box<dyn Address<GroupActor>>;

    /// Runs a session. All groups wait for it, and it does little itself: a driver that binds
    /// actors to threads gives it one that no group keeps busy.
    fn run_session(&self, runner: Runner<SessionActor>) -> Box<dyn Address<SessionActor>>;

    /// Runs the invitations of an engine.
    fn run_invitations(&self, runner: Runner<InvitationActor>)
    -> Box<dyn Address<InvitationActor>>;

    /// Runs the installation of an engine.
    fn run_installation(
        &self,
        runner: Runner<InstallationActor>,
    ) -> Box<dyn Address<InstallationActor>>;

    /// Runs something that waits for the network, inside a tokio runtime.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Tasks in that runtime that have not ended, those that tasks have spawned included.
    fn tasks(&self) -> usize;
}

/// The driver that an engine uses if it is given none.
pub(crate) fn default_driver() -> std::io::Result<Arc<dyn Driver>> {
    #[cfg(feature = "actix")]
    return Ok(Arc::new(Actors::start(None)?));
    #[cfg(not(feature = "actix"))]
    return Ok(Arc::new(Threads::start(None)?));
}

/// As many threads as the machine runs at once, unless said otherwise.
fn threads(wanted: Option<usize>) -> usize {
    let machine = || std::thread::available_parallelism().map_or(1, usize::from);
    wanted.unwrap_or_else(machine).clamp(1, MOST_THREADS)
}

/// Actors are short; more threads than this only get in each other's way at the writer.
const MOST_THREADS: usize = 64;
