//! Who runs an engine: threads, actors, or a scheduler of yours.
//!
//! An engine is made of roles: one for the session, one for each group that is awake. A role
//! handles what waits for it and returns; it never waits for another role, the network or a lock
//! that somebody holds for long. A driver only decides on which thread and when.

#[cfg(feature = "actix")]
mod actors;
mod threads;

use std::{sync::Arc, time::Duration};

#[cfg(feature = "actix")]
pub use actors::Actors;
pub use threads::Threads;

/// What a role wants after it has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To run when it is woken.
    Wait,
    /// To run when it is woken, or after this long.
    In(Duration),
    /// To run again soon: it has more to do, and let others go first.
    Again,
    /// Nothing: it is done and can be dropped.
    End,
}

/// Something that handles what waits for it. Only engines make these.
pub trait Role: Send + 'static {
    /// Handles some of what waits. Never blocks for long, never panics.
    fn run(&mut self) -> Next;

    /// Whether all others wait for this one (the session). It does little itself; a driver that
    /// binds roles to threads gives it a thread that no group keeps busy.
    fn is_shared(&self) -> bool {
        false
    }
}

/// What a role does whose turn has panicked: it recovers in its next turn, which comes soon, unless
/// that is what panicked.
pub(crate) fn after_panic(lost: &mut bool, stopping: bool) -> Next {
    match std::mem::replace(lost, true) {
        false => Next::Again,
        // Nobody waits for it for ever.
        true if stopping => Next::End,
        true => Next::In(Duration::from_millis(100)),
    }
}

/// Makes a role run.
pub trait Wake: Send + Sync + 'static {
    /// The role runs (again) soon, also if it is running now. Cheap, never blocks; any thread.
    fn wake(&self);
}

/// Runs roles. Each role runs on one thread at a time; different ones may run in parallel.
pub trait Driver: Send + Sync + 'static {
    /// Takes on a role and runs it for the first time soon. Any thread, also from inside a role.
    fn start(&self, role: Box<dyn Role>) -> Arc<dyn Wake>;

    /// Ends the driver's threads once every role has ended; the engine has told them to. Called
    /// once, not from inside a role.
    fn shut_down(&self);
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

/// Roles are short; more threads than this only get in each other's way at the writer.
const MOST_THREADS: usize = 64;
