//! Where an actor is reached: its driver's mailbox while it runs, a new actor otherwise.

use conclave_core::engine::{Actor, Input};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OwnedSemaphorePermit;

/// An input on its way, and what it takes of the room of a subscription.
pub struct Mail<A: Actor> {
    pub(crate) input: Input<A::Request, A::Message>,
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// Puts inputs into the mailbox of a running actor, in order; any thread, never blocks.
pub trait Address<A: Actor>: Send + Sync + 'static {
    /// The actor handles it soon.
    fn put(&self, mail: Mail<A>);
}

/// See the module.
pub(crate) struct Mailbox<A: Actor>(Mutex<State<A>>);

struct State<A: Actor> {
    address: Option<Box<dyn Address<A>>>,
    /// Inputs that the running actor has not taken.
    queued: usize,
    /// No further actor is started.
    closed: bool,
}

impl<A: Actor> Default for Mailbox<A> {
    fn default() -> Self {
        Self::new(false)
    }
}

impl<A: Actor> Mailbox<A> {
    /// An empty one; `closed` says that it starts no actor.
    pub(crate) fn new(closed: bool) -> Self {
        Self(Mutex::new(State { address: None, queued: 0, closed }))
    }

    /// Puts something in; `start` makes the actor if none runs, if there is a driver. A closed
    /// mailbox starts none; what is put into it then is dropped, and `false` comes back.
    pub(crate) fn put(
        &self,
        mail: Mail<A>,
        start: impl FnOnce() -> Option<Box<dyn Address<A>>>,
    ) -> bool {
        let mut state = self.lock();
        if state.address.is_none() && !state.closed {
            state.address = start();
        }
        // Under the lock: an actor that wants to end looks at the count first.
        if state.address.is_some() {
            state.queued += 1;
        }
        if let Some(address) = &state.address {
            address.put(mail);
        }
        state.address.is_some()
    }

    /// Puts something in if the actor runs, and starts no further one.
    pub(crate) fn close(&self, mail: Mail<A>) {
        let mut state = self.lock();
        state.closed = true;
        if state.address.is_some() {
            state.queued += 1;
        }
        if let Some(address) = &state.address {
            address.put(mail);
        }
    }

    /// The running actor has taken an input.
    pub(crate) fn taken(&self) {
        let mut state = self.lock();
        state.queued = state.queued.saturating_sub(1);
    }

    /// How many inputs wait.
    pub(crate) fn queued(&self) -> usize {
        self.lock().queued
    }

    /// The actor wants to end: whether it may, because nothing waits. The next input then starts
    /// another one.
    pub(crate) fn retire(&self) -> bool {
        let mut state = self.lock();
        let may = state.queued == 0;
        if may {
            state.address = None;
        }
        may
    }

    fn lock(&self) -> MutexGuard<'_, State<A>> {
        self.0.lock()
    }
}
