//! What waits for a role: a queue that starts the role when there is none, and wakes it when
//! there is.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{driver::Wake, lock::lock};

/// See the module.
pub(crate) struct Post<T>(Mutex<State<T>>);

struct State<T> {
    queue: VecDeque<T>,
    running: bool,
    /// How many roles there have been.
    started: u64,
    wake: Option<Arc<dyn Wake>>,
    closed: bool,
}

impl<T> Default for Post<T> {
    fn default() -> Self {
        let state =
            State { queue: VecDeque::new(), running: false, started: 0, wake: None, closed: false };
        Self(Mutex::new(state))
    }
}

impl<T> Post<T> {
    /// Puts something in; `start` makes the role if none is there. A closed one starts none, and
    /// what is put into it then is dropped.
    pub(crate) fn put(&self, input: T, start: impl FnOnce() -> Arc<dyn Wake>) {
        let mut state = self.lock();
        if state.closed && !state.running {
            return;
        }
        state.queue.push_back(input);
        if state.running {
            let wake = state.wake.clone();
            drop(state);
            // Without one, the role is just being started and will look into the queue.
            if let Some(wake) = wake {
                wake.wake();
            }
            return;
        }
        state.running = true;
        state.started += 1;
        let mine = state.started;
        drop(state);
        let wake = start();
        let mut state = self.lock();
        // The role may have run and ended by now, and another one may have been started.
        if state.running && state.started == mine {
            state.wake = Some(Arc::clone(&wake));
        }
        drop(state);
        // Whatever came in between has found nobody to wake.
        wake.wake();
    }

    /// The next input.
    pub(crate) fn take(&self) -> Option<T> {
        self.lock().queue.pop_front()
    }

    /// How many inputs wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Whether there is a role.
    pub(crate) fn is_running(&self) -> bool {
        self.lock().running
    }

    /// The role wants to end: whether it may, because nothing waits. The next input then starts
    /// another one.
    pub(crate) fn retire(&self) -> bool {
        let mut state = self.lock();
        let may = state.queue.is_empty();
        if may {
            state.running = false;
            state.wake = None;
        }
        may
    }

    /// Starts no further role, and makes the present one run so that it sees that it should end.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(wake) = state.wake.clone() {
            drop(state);
            wake.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.0)
    }
}
