//! Plain threads: a run queue, timers, and as many workers as the machine has processors.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use conclave_core::{
    bounds::BoxFuture,
    engine::{Actor, GroupActor, InstallationActor, InvitationActor, SessionActor},
};
use parking_lot::{Condvar, Mutex};

use super::{Address, Driver, Mail, Network, Next, Runner, threads};
use crate::inside::{self, Process};

/// A driver on plain threads: no actor framework.
pub struct Threads {
    shared: Arc<RunQueue>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    network: Network,
    process: Process,
}

/// What the workers share.
struct RunQueue {
    queue: Mutex<Queue>,
    changed: Condvar,
    next: AtomicU64,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Arc<dyn Run>>,
    /// Actors that want to run at a time.
    timers: BTreeMap<(Instant, u64), Arc<dyn Run>>,
    stopping: bool,
}

/// An actor of any type, as the run queue sees it.
trait Run: Send + Sync {
    /// Handles one input, or what is due; on one thread at a time.
    fn run(self: Arc<Self>);

    /// Its timer has passed.
    fn ring(self: Arc<Self>, queue: &mut Queue);
}

/// An actor with its mailbox.
struct Cell<A: Actor> {
    id: u64,
    shared: Weak<RunQueue>,
    mailbox: Mutex<Inbox<A>>,
    runner: Mutex<Option<Runner<A>>>,
}

/// Its mailbox, and where it stands with the run queue.
struct Inbox<A: Actor> {
    mail: VecDeque<Mail<A>>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Waits for an input, or for its timer.
    Waiting(Option<Instant>),
    /// In the run queue, or running.
    Ready,
    /// Has ended.
    Gone,
}

impl Threads {
    /// Starts the workers, as many as there are processors unless a number is given, and a thread
    /// for the network.
    ///
    /// # Errors
    /// What the system says if there can be no further thread.
    pub fn start(wanted: Option<usize>) -> io::Result<Self> {
        let shared = Arc::new(RunQueue {
            queue: Mutex::default(),
            changed: Condvar::new(),
            next: AtomicU64::new(0),
        });
        let (workers, process) = (Mutex::default(), Process::here());
        let driver = Self { shared, workers, network: Network::start()?, process };
        for number in 0..threads(wanted) {
            let shared = Arc::clone(&driver.shared);
            let name = format!("conclave {number}");
            let worker = std::thread::Builder::new().name(name).spawn(move || shared.work())?;
            driver.workers.lock().push(worker);
        }
        Ok(driver)
    }

    fn start_actor<A: Actor>(&self, runner: Runner<A>) -> Box<dyn Address<A>> {
        let mailbox = Inbox { mail: VecDeque::new(), place: Place::Waiting(None) };
        Box::new(Mailbox(Arc::new(Cell {
            id: self.shared.next.fetch_add(1, Ordering::Relaxed),
            shared: Arc::downgrade(&self.shared),
            mailbox: Mutex::new(mailbox),
            runner: Mutex::new(Some(runner)),
        })))
    }
}

impl Driver for Threads {
    fn run_group(&self, runner: Runner<GroupActor>) -> Box<dyn Address<GroupActor>> {
        self.start_actor(runner)
    }

    fn run_session(&self, runner: Runner<SessionActor>) -> Box<dyn Address<SessionActor>> {
        self.start_actor(runner)
    }

    fn run_invitations(
        &self,
        runner: Runner<InvitationActor>,
    ) -> Box<dyn Address<InvitationActor>> {
        self.start_actor(runner)
    }

    fn run_installation(
        &self,
        runner: Runner<InstallationActor>,
    ) -> Box<dyn Address<InstallationActor>> {
        self.start_actor(runner)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.network.spawn(task);
    }

    fn tasks(&self) -> usize {
        self.network.tasks()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if self.process.is_forked() {
            return;
        }
        self.shared.queue.lock().stopping = true;
        self.shared.changed.notify_all();
        if !inside::is_inside() {
            for worker in std::mem::take(&mut *self.workers.lock()) {
                // A worker runs actors only, and their panics are caught.
                drop(worker.join());
            }
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("workers", &self.workers.lock().len()).finish()
    }
}

struct Mailbox<A: Actor>(Arc<Cell<A>>);

impl<A: Actor> Address<A> for Mailbox<A> {
    fn put(&self, mail: Mail<A>) {
        let mut mailbox = self.0.mailbox.lock();
        if mailbox.place == Place::Gone {
            return;
        }
        mailbox.mail.push_back(mail);
        if let Place::Waiting(timer) = mailbox.place
            && let Some(shared) = self.0.shared.upgrade()
        {
            mailbox.place = Place::Ready;
            shared.make_ready(Arc::clone(&self.0) as Arc<dyn Run>, timer.map(|at| (at, self.0.id)));
        }
    }
}

impl<A: Actor> Run for Cell<A> {
    fn run(self: Arc<Self>) {
        let mail = self.mailbox.lock().mail.pop_front();
        let mut runner = self.runner.lock();
        let next = match (runner.as_mut(), mail) {
            (Some(runner), Some(mail)) => runner.handle(mail),
            (Some(runner), None) => runner.due(),
            (None, _) => Next::End,
        };
        if next == Next::End {
            drop(runner.take());
        }
        drop(runner);
        self.after(next);
    }

    fn ring(self: Arc<Self>, queue: &mut Queue) {
        let mut mailbox = self.mailbox.lock();
        if matches!(mailbox.place, Place::Waiting(_)) {
            mailbox.place = Place::Ready;
            drop(mailbox);
            queue.ready.push_back(self);
        }
    }
}

impl<A: Actor> Cell<A> {
    fn after(self: Arc<Self>, next: Next) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut mailbox = self.mailbox.lock();
        match next {
            Next::End => mailbox.place = Place::Gone,
            Next::Wait | Next::In(_) if !mailbox.mail.is_empty() => {
                drop(mailbox);
                shared.make_ready(self, None);
            }
            Next::Wait => mailbox.place = Place::Waiting(None),
            Next::In(wait) => {
                let due = Instant::now() + wait;
                mailbox.place = Place::Waiting(Some(due));
                // Still under the mailbox's lock: whoever wakes the actor finds its timer.
                let this = Arc::clone(&self) as Arc<dyn Run>;
                shared.queue.lock().timers.insert((due, self.id), this);
                drop(mailbox);
                shared.changed.notify_one();
            }
        }
    }
}

impl RunQueue {
    fn make_ready(&self, actor: Arc<dyn Run>, timer: Option<(Instant, u64)>) {
        let mut queue = self.queue.lock();
        if let Some(timer) = timer {
            queue.timers.remove(&timer);
        }
        queue.ready.push_back(actor);
        drop(queue);
        self.changed.notify_one();
    }

    fn work(&self) {
        inside::enter();
        while let Some(actor) = self.next_actor() {
            actor.run();
        }
    }

    /// The next actor to run; waits for one. `None` when the driver is dropped.
    fn next_actor(&self) -> Option<Arc<dyn Run>> {
        let mut queue = self.queue.lock();
        loop {
            let now = Instant::now();
            let due = queue.due(now);
            // Not under the queue's lock: an actor's mailbox is locked before it elsewhere.
            if !due.is_empty() {
                drop(queue);
                let mut ready = Queue::default();
                due.into_iter().for_each(|actor| actor.ring(&mut ready));
                queue = self.queue.lock();
                queue.ready.append(&mut ready.ready);
            }
            if queue.stopping {
                return None;
            }
            if let Some(actor) = queue.ready.pop_front() {
                return Some(actor);
            }
            match queue.timers.first_key_value().map(|((due, _), _)| *due) {
                Some(due) => drop(self.changed.wait_until(&mut queue, due)),
                None => self.changed.wait(&mut queue),
            }
        }
    }
}

impl Queue {
    /// Takes the actors whose time has come.
    fn due(&mut self, now: Instant) -> Vec<Arc<dyn Run>> {
        let mut due = Vec::new();
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            due.push(entry.remove());
        }
        due
    }
}
