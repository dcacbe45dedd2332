//! Plain threads: a run queue, timers, and as many workers as the machine has processors.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use super::{Driver, Next, Role, Wake, threads};
use crate::lock::lock;

/// A driver on plain threads: no runtime, no dependency.
pub struct Threads {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    next: AtomicU64,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Arc<Slot>>,
    /// Roles that want to run at a time.
    timers: BTreeMap<(Instant, u64), Arc<Slot>>,
    /// Roles that have not ended.
    roles: usize,
    stopping: bool,
}

struct Slot {
    id: u64,
    shared: Weak<Shared>,
    state: Mutex<State>,
    role: Mutex<Option<Box<dyn Role>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits to be woken, or for its timer.
    Waiting(Option<Instant>),
    Ready,
    Running,
    /// Was woken while it ran.
    RunningAgain,
    Ended,
}

impl Threads {
    /// Starts the workers: as many as there are processors, unless a number is given.
    ///
    /// # Errors
    /// What the system says if there can be no further thread.
    pub fn start(workers: Option<usize>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            next: AtomicU64::new(0),
        });
        let driver = Self { shared, workers: Mutex::default() };
        for number in 0..threads(workers) {
            let shared = Arc::clone(&driver.shared);
            let name = format!("conclave {number}");
            let worker = std::thread::Builder::new().name(name).spawn(move || shared.work())?;
            lock(&driver.workers).push(worker);
        }
        Ok(driver)
    }
}

impl Driver for Threads {
    fn start(&self, role: Box<dyn Role>) -> Arc<dyn Wake> {
        let slot = Arc::new(Slot {
            id: self.shared.next.fetch_add(1, Ordering::Relaxed),
            shared: Arc::downgrade(&self.shared),
            state: Mutex::new(State::Waiting(None)),
            role: Mutex::new(Some(role)),
        });
        lock(&self.shared.queue).roles += 1;
        slot.wake_up();
        Arc::new(Handle(slot))
    }

    fn shut_down(&self) {
        lock(&self.shared.queue).stopping = true;
        self.shared.changed.notify_all();
        for worker in std::mem::take(&mut *lock(&self.workers)) {
            // A worker runs roles only, and they catch their panics.
            drop(worker.join());
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut queue = lock(&self.shared.queue);
        queue.stopping = true;
        // Nobody is left who could end them.
        queue.roles = 0;
        drop(queue);
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("workers", &lock(&self.workers).len()).finish()
    }
}

struct Handle(Arc<Slot>);

impl Wake for Handle {
    fn wake(&self) {
        self.0.wake_up();
    }
}

impl Slot {
    fn wake_up(self: &Arc<Self>) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut state = lock(&self.state);
        let timer = match *state {
            State::Waiting(timer) => timer,
            State::Running => {
                *state = State::RunningAgain;
                return;
            }
            State::Ready | State::RunningAgain | State::Ended => return,
        };
        *state = State::Ready;
        drop(state);
        let mut queue = lock(&shared.queue);
        if let Some(due) = timer {
            queue.timers.remove(&(due, self.id));
        }
        queue.ready.push_back(Arc::clone(self));
        drop(queue);
        shared.changed.notify_one();
    }
}

impl Shared {
    fn work(&self) {
        while let Some(slot) = self.next_slot() {
            *lock(&slot.state) = State::Running;
            let next = lock(&slot.role).as_mut().map_or(Next::End, |role| role.run());
            self.after(&slot, next);
        }
    }

    /// The next role to run; waits for one. `None` when all have ended and no more are wanted.
    fn next_slot(&self) -> Option<Arc<Slot>> {
        let mut queue = lock(&self.queue);
        loop {
            let now = Instant::now();
            queue.fire(now);
            if let Some(slot) = queue.ready.pop_front() {
                return Some(slot);
            }
            if queue.stopping && queue.roles == 0 {
                self.changed.notify_all();
                return None;
            }
            queue = match queue.timers.first_key_value() {
                Some(((due, _), _)) => {
                    let wait = due.saturating_duration_since(now);
                    let woken = self.changed.wait_timeout(queue, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn after(&self, slot: &Arc<Slot>, next: Next) {
        let mut state = lock(&slot.state);
        let woken = *state == State::RunningAgain;
        match next {
            Next::End => {
                *state = State::Ended;
                drop(state);
                drop(lock(&slot.role).take());
                let mut queue = lock(&self.queue);
                queue.roles = queue.roles.saturating_sub(1);
                drop(queue);
                self.changed.notify_all();
            }
            Next::Again => self.ready(slot, state),
            Next::Wait | Next::In(_) if woken => self.ready(slot, state),
            Next::Wait => *state = State::Waiting(None),
            Next::In(wait) => {
                let due = Instant::now() + wait;
                *state = State::Waiting(Some(due));
                // Still under the state's lock: whoever wakes the role finds its timer.
                lock(&self.queue).timers.insert((due, slot.id), Arc::clone(slot));
                drop(state);
                self.changed.notify_one();
            }
        }
    }

    fn ready(&self, slot: &Arc<Slot>, mut state: MutexGuard<'_, State>) {
        *state = State::Ready;
        drop(state);
        lock(&self.queue).ready.push_back(Arc::clone(slot));
        self.changed.notify_one();
    }
}

impl Queue {
    /// Moves roles whose time has come to the run queue.
    fn fire(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let slot = entry.remove();
            let mut state = lock(&slot.state);
            if matches!(*state, State::Waiting(_)) {
                *state = State::Ready;
                drop(state);
                self.ready.push_back(slot);
            }
        }
    }
}
