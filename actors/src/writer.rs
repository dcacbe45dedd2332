//! The writer: one thread that stores the steps of everybody, many in one commit.
//!
//! A commit to a disk takes about as long for one step as for fifty, and only one thread at a time
//! may commit. So everything that is handed in while a commit runs goes into the next one
//! together ([`Committer`] cuts that to the limits of the store). There is no delay and nothing to
//! tune: a writer without a crowd stores each step as it comes.
//!
//! Write sets are stored in the order in which they were handed in, so those of one lineage keep
//! theirs. After a failure the later sets of its lineage are refused, until the owner has loaded
//! its value again.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle, ThreadId},
};

use conclave_core::{
    step::{Committer, Durable, Released, Step, WriteSet},
    store::{Claim, Store, StoreError},
};
use futures_channel::oneshot;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::inside;

/// The thread that stores. Dropping it is [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Writer {
    handle: WriterHandle,
    thread: Option<JoinHandle<()>>,
}

/// Hands steps to a [`Writer`]; one for everybody who has some.
#[derive(Clone)]
pub struct WriterHandle(Arc<Shared>);

/// How much may wait while a commit runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Write sets.
    pub sets: usize,
    /// Bytes in their keys and values. A set that is larger by itself waits alone.
    pub bytes: usize,
}

impl Default for QueueLimits {
    /// 1024 sets are more than the steps that a busy engine makes during one slow commit (50 ms);
    /// 16 MiB bound what they hold in memory, twice: once waiting and once being stored.
    fn default() -> Self {
        Self { sets: 1024, bytes: 16 * 1024 * 1024 }
    }
}

impl Writer {
    /// Starts the thread, for the engine that made this claim on the store.
    ///
    /// # Errors
    /// What the system says if there can be no further thread.
    pub fn spawn(store: Arc<dyn Store>, claim: Claim) -> io::Result<Self> {
        Self::with_limits(store, claim, QueueLimits::default())
    }

    /// As [`spawn`](Self::spawn), with another queue.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    pub fn with_limits(
        store: Arc<dyn Store>,
        claim: Claim,
        limits: QueueLimits,
    ) -> io::Result<Self> {
        Self::with_committer(store, Committer::new(claim), limits, || ())
    }

    /// As [`spawn`](Self::spawn), with a committer of the caller's; `panicked` is called on the
    /// writer's thread when the store has panicked, before that is answered.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    pub fn with_committer(
        store: Arc<dyn Store>,
        committer: Committer,
        limits: QueueLimits,
        panicked: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            limits,
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
        });
        let handle = WriterHandle(Arc::clone(&shared));
        let thread =
            thread::Builder::new().name("conclave writer".to_owned()).spawn(move || {
                inside::enter();
                shared.run(&*store, committer, panicked);
            })?;
        handle.0.lock().writer = Some(thread.thread().id());
        Ok(Self { handle, thread: Some(thread) })
    }

    /// A handle to hand steps in.
    #[must_use]
    pub fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Stores what has been handed in, and ends the thread. What is handed in later is refused.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.handle.0.close();
        let Some(thread) = self.thread.take() else { return };
        // Dropped by an answer, on the writer's own thread: it ends by itself.
        if thread.thread().id() != thread::current().id() {
            // The thread catches every panic; one that got through has been printed.
            let _ = thread.join();
        }
    }
}

impl WriterHandle {
    /// Hands in a write set. `answer` is called once, on the writer's thread: with the proof, or
    /// with the reason why the value that made the set has to be loaded again.
    ///
    /// If the queue is full, waits until there is room: that is the back-pressure. `answer` itself
    /// should be short, for everybody waits for it; what it hands in does not wait for room.
    ///
    /// [`StoreError::Unknown`]: the store panicked over a commit that the set was in.
    /// [`StoreError::Unavailable`]: nothing was stored; the writer has ended
    /// ([`is_closed`](Self::is_closed)), or the lineage is broken.
    pub fn submit(
        &self,
        set: WriteSet,
        answer: impl FnOnce(Result<Durable, StoreError>) + Send + 'static,
    ) {
        self.0.submit(Job::new(set, Box::new(answer)), Wait::ForRoom);
    }

    /// Stores a step and releases its effects. Waits for the store, so not for the thread of an
    /// event loop; on the writer's own thread, in an answer, it would wait for ever and gives
    /// [`StoreError::Unavailable`].
    ///
    /// # Errors
    /// [`StoreError`]; the value that made the step is to be dropped and loaded again.
    pub fn drive<T>(&self, step: Step<T>) -> Result<Released<T>, StoreError> {
        if self.0.is_writer() {
            return Err(StoreError::Unavailable);
        }
        let (set, pending) = step.into_parts();
        let (tell, told) = mpsc::sync_channel(1);
        self.submit(set, move |stored| drop(tell.send(stored)));
        // Without an answer nobody can say what happened.
        let stored = told.recv().unwrap_or(Err(StoreError::Unknown));
        stored.map(|proof| pending.release(proof))
    }

    /// Stores a step and releases its effects, without blocking the thread.
    ///
    /// The step is handed in at once, in the order of the calls; the future only waits. It does not
    /// wait for room in the queue: who awaits one step before making the next is bounded by that.
    /// If the future is dropped, the step is stored all the same, and its effects come back when
    /// the value is loaded again.
    ///
    /// # Errors
    /// [`StoreError`]; the value that made the step is to be dropped and loaded again.
    pub fn drive_async<T>(
        &self,
        step: Step<T>,
    ) -> impl Future<Output = Result<Released<T>, StoreError>> + use<T> {
        let (set, pending) = step.into_parts();
        let (tell, told) = oneshot::channel();
        let answer = move |stored| drop(tell.send(stored));
        self.0.submit(Job::new(set, Box::new(answer)), Wait::Never);
        async move {
            let stored = told.await.unwrap_or(Err(StoreError::Unknown));
            stored.map(|proof| pending.release(proof))
        }
    }

    /// How many write sets wait for the next commit.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.lock().jobs.len()
    }

    /// Whether nothing more is taken: the writer was shut down, or its store panicked.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.lock().state != State::Open
    }
}

impl fmt::Debug for WriterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterHandle").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

type Answer = Box<dyn FnOnce(Result<Durable, StoreError>) + Send>;

struct Job {
    set: WriteSet,
    bytes: usize,
    answer: Answer,
}

impl Job {
    fn new(set: WriteSet, answer: Answer) -> Self {
        let bytes = set.size();
        Self { set, bytes, answer }
    }
}

/// What handles and thread share.
struct Shared {
    limits: QueueLimits,
    queue: Mutex<Queue>,
    /// There is something to do, or nothing more will come.
    work: Condvar,
    /// There is room in the queue, or nothing more is taken.
    room: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    state: State,
    writer: Option<ThreadId>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// What waits is still stored.
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    ForRoom,
    Never,
}

impl Shared {
    fn submit(&self, job: Job, wait: Wait) {
        let mut queue = self.lock();
        // The writer's own thread is the one that makes room.
        if wait == Wait::ForRoom && queue.writer != Some(thread::current().id()) {
            while queue.state == State::Open && !queue.has_room(job.bytes, self.limits) {
                self.room.wait(&mut queue);
            }
        }
        if queue.state != State::Open {
            drop(queue);
            tell(job.answer, Err(StoreError::Unavailable));
            return;
        }
        queue.bytes = queue.bytes.saturating_add(job.bytes);
        queue.jobs.push_back(job);
        self.work.notify_one();
    }

    /// The thread: commits what waits, until nothing waits and nothing more will come.
    fn run(&self, store: &dyn Store, mut committer: Committer, panicked: impl FnOnce()) {
        while let Some(jobs) = self.next() {
            let (sets, answers): (Vec<_>, Vec<_>) =
                jobs.into_iter().map(|job| (job.set, job.answer)).unzip();
            let stored = catch_unwind(AssertUnwindSafe(|| committer.commit(store, sets)));
            let Ok(stored) = stored else {
                // First, so that nobody hears of a closed writer before the end.
                panicked();
                self.close();
                self.give_up(answers);
                return;
            };
            for (answer, stored) in answers.into_iter().zip(stored) {
                tell(answer, stored);
            }
        }
    }

    fn next(&self) -> Option<VecDeque<Job>> {
        let mut queue = self.lock();
        while queue.jobs.is_empty() {
            if queue.state == State::Closed {
                return None;
            }
            self.work.wait(&mut queue);
        }
        queue.bytes = 0;
        self.room.notify_all();
        Some(std::mem::take(&mut queue.jobs))
    }

    /// The store panicked: its commit may have happened or not, and what it would do next is
    /// anybody's guess, so it is not asked again.
    fn give_up(&self, answers: Vec<Answer>) {
        let waiting = std::mem::take(&mut self.lock().jobs);
        for answer in answers {
            tell(answer, Err(StoreError::Unknown));
        }
        for job in waiting {
            tell(job.answer, Err(StoreError::Unavailable));
        }
    }

    fn close(&self) {
        self.lock().state = State::Closed;
        self.work.notify_all();
        self.room.notify_all();
    }

    fn is_writer(&self) -> bool {
        self.lock().writer == Some(thread::current().id())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

impl Queue {
    fn has_room(&self, bytes: usize, limits: QueueLimits) -> bool {
        self.jobs.is_empty()
            || (self.jobs.len() < limits.sets && self.bytes.saturating_add(bytes) <= limits.bytes)
    }
}

/// A panic in one answer is not the affair of the others.
fn tell(answer: Answer, stored: Result<Durable, StoreError>) {
    // The panic itself has been printed; there is nobody else to tell.
    let _ = catch_unwind(AssertUnwindSafe(|| answer(stored)));
}
