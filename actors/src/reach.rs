//! Whether the relay can be reached.

use std::sync::Mutex;

use crate::{
    call::{Call, Reply, give},
    error::Error,
    lock::lock,
};

/// What the session knows of it, and who waits for a change.
#[derive(Default)]
pub(crate) struct Reach(Mutex<State>);

#[derive(Default)]
struct State {
    reachable: bool,
    closed: bool,
    waiting: Vec<(bool, Reply<()>)>,
}

impl Reach {
    pub(crate) fn is(&self) -> bool {
        lock(&self.0).reachable
    }

    /// Answers when it is so.
    pub(crate) fn when(&self, reachable: bool) -> Call<()> {
        let mut state = lock(&self.0);
        if state.closed {
            return Call::ready(Err(Error::Closed));
        }
        if state.reachable == reachable {
            return Call::ready(Ok(()));
        }
        let (reply, call) = Call::new();
        // Calls that were dropped do not add up.
        state.waiting.retain(|(_, reply)| !reply.is_canceled());
        state.waiting.push((reachable, reply));
        call
    }

    pub(crate) fn set(&self, reachable: bool) {
        let mut state = lock(&self.0);
        if state.closed {
            return;
        }
        state.reachable = reachable;
        let told: Vec<_> =
            state.waiting.extract_if(.., |(wanted, _)| *wanted == reachable).collect();
        // Whoever is woken may ask again at once.
        drop(state);
        told.into_iter().for_each(|(_, reply)| give(reply, Ok(())));
    }

    /// The engine ends.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.0);
        (state.reachable, state.closed) = (false, true);
        let told = std::mem::take(&mut state.waiting);
        drop(state);
        told.into_iter().for_each(|(_, reply)| give(reply, Err(Error::Closed)));
    }
}
