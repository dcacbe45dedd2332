//! The writer: one thread that commits what many callers ask for.

use std::io::Error as IoError;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use conclave_core::bounds::BoxFuture;
use conclave_proto::{
    Cursor, InboxId, InstallationId, Seq, Timestamp, Topic,
    identity::Account,
    relay::{PageLimit, PublishOutcome, TopicPage, Uploaded},
};
use futures_channel::oneshot;
use parking_lot::Mutex;

use crate::append::{Append, Call};
use crate::directory::CheckedUpload;
use crate::failure::WriteError;
use crate::founding::RelayIdentity;
use crate::limits::RelayLimits;
use crate::logs::{Listener, Logs};
use crate::read::ReadError;
use crate::staging::{Done, Job};
use crate::store::{LogStore, ready};

/// [`Logs`] with a thread that commits. Cheap to clone; all clones are one.
///
/// Whatever waits while one commit runs goes into the next one together (group commit). Reads do
/// not queue: they run where they are called, in memory or waiting for the file. A full queue, and
/// one that is closed, answers [`WriteError::Unavailable`] at once. Dropping the last clone is
/// [`close`](Self::close).
#[derive(Clone, Debug)]
pub struct RelayStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    logs: Arc<Logs>,
    queue: Mutex<Option<SyncSender<Waiting>>>,
    /// Bytes in the queue and in the commit that runs.
    bytes: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A job and who waits for it.
#[derive(Debug)]
struct Waiting {
    job: Job,
    bytes: Held,
    reply: oneshot::Sender<Done>,
}

impl RelayStore {
    /// Starts the writer.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(logs: Logs) -> Result<Self, IoError> {
        let logs = Arc::new(logs);
        let (queue, waiting) = sync_channel(logs.limits().queue_calls);
        let writer = Writer { logs: Arc::clone(&logs), waiting };
        let thread = thread::Builder::new()
            .name("conclave-relay-writer".into())
            .spawn(move || writer.run())?;
        let shared = Shared {
            logs,
            queue: Mutex::new(Some(queue)),
            bytes: Arc::default(),
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The logs, for reading and for figures. What is appended to them directly waits for the
    /// writer and the writer for it.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.shared.logs
    }

    /// Finishes what was accepted, makes the file one that opens quickly, and ends the thread;
    /// waits for all of it. Reading goes on. Twice is fine.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Queues a job; checks were made before. The answer comes when it is durable.
    fn queue(&self, job: Job) -> Result<oneshot::Receiver<Done>, WriteError> {
        let bytes = self.shared.hold(job.bytes())?;
        let (reply, answer) = oneshot::channel();
        let queue = self.shared.queue.lock();
        let queue = queue.as_ref().ok_or(WriteError::Unavailable)?;
        match queue.try_send(Waiting { job, bytes, reply }) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                Err(WriteError::Unavailable)
            }
        }
    }

    /// Queues a job and waits for it. If the writer dies with it nobody knows.
    async fn run(&self, job: Job) -> Result<Done, WriteError> {
        self.queue(job)?.await.map_err(|_| WriteError::Unknown)
    }

    /// The outcome of each item of a job that has no answer from the writer.
    fn outcome_of(&self, done: Result<Done, WriteError>) -> PublishOutcome {
        done.err().unwrap_or(WriteError::Unknown).outcome(self.logs().limits())
    }
}

impl LogStore for RelayStore {
    fn append(&self, items: Vec<Append>) -> BoxFuture<'_, Vec<PublishOutcome>> {
        Box::pin(async move {
            let count = items.len();
            match self.run(Job::Append(Call::check(items))).await {
                Ok(Done::Appended(outcomes)) => outcomes,
                other => vec![self.outcome_of(other); count],
            }
        })
    }

    fn read(
        &self,
        now: Timestamp,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, ReadError>> {
        ready(self.logs().read(now, &after, limit))
    }

    fn heads(
        &self,
        known: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, ReadError>> {
        ready(self.logs().heads(&known))
    }

    fn trim(&self, topic: Topic, upto: Seq) -> BoxFuture<'_, Result<Seq, WriteError>> {
        Box::pin(async move {
            let mut first = Seq(0);
            loop {
                let Done::Trimmed(outcome) = self.run(Job::Trim(topic.clone(), upto)).await? else {
                    return Err(WriteError::Unknown);
                };
                let reached = outcome?;
                if reached > upto || reached == first {
                    return Ok(reached);
                }
                first = reached;
            }
        })
    }

    fn upload(&self, bytes: Vec<u8>) -> BoxFuture<'_, Uploaded> {
        Box::pin(async move {
            let upload = match CheckedUpload::check(bytes) {
                Ok(upload) => upload,
                Err(refused) => return Uploaded::failed(refused),
            };
            match self.run(Job::Upload(upload)).await {
                Ok(Done::Uploaded(uploaded)) => uploaded,
                other => Uploaded::failed(self.outcome_of(other)),
            }
        })
    }

    fn key_packages(
        &self,
        of: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ReadError>> {
        ready(self.logs().key_packages(&of))
    }

    fn resolve(
        &self,
        accounts: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, ReadError>> {
        ready(self.logs().resolve(&accounts))
    }

    fn identity(&self) -> RelayIdentity {
        self.logs().identity()
    }

    fn listen(&self, listener: Listener) {
        self.logs().listen(listener);
    }
}

impl Shared {
    /// Counts bytes that wait, unless that would be too many; a call that is too long alone
    /// passes while nothing else waits.
    fn hold(&self, bytes: usize) -> Result<Held, WriteError> {
        let max = self.logs.limits().queue_bytes;
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { bytes, of: Arc::clone(&self.bytes) };
        let fits = before == 0 || before.saturating_add(bytes) <= max;
        if fits { Ok(held) } else { Err(WriteError::Unavailable) }
    }

    fn close(&self) {
        drop(self.queue.lock().take());
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        // The last clone may be the listener's, which goes with the logs; the writer cannot wait
        // for itself, and ends anyway.
        if thread.thread().id() != thread::current().id() {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

/// Bytes that count as waiting until they are dropped.
#[derive(Debug)]
struct Held {
    bytes: usize,
    of: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The thread.
struct Writer {
    logs: Arc<Logs>,
    waiting: Receiver<Waiting>,
}

impl Writer {
    /// Commits until the queue is closed and empty.
    fn run(self) {
        let mut settled = true;
        while let Some(first) = self.next(&mut settled) {
            self.commit(first);
            settled = false;
        }
        // What fails here costs time at the next opening, nothing else.
        let _slow_to_open = self.logs.settle();
    }

    /// Waits for work. If none comes for a while the file is made quick to open.
    fn next(&self, settled: &mut bool) -> Option<Waiting> {
        if !*settled {
            let idle = Duration::from_millis(self.logs.limits().settle_after_ms);
            match self.waiting.recv_timeout(idle) {
                Ok(first) => return Some(first),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    let _slow_to_open = self.logs.settle();
                    *settled = true;
                }
            }
        }
        self.waiting.recv().ok()
    }

    /// Takes everything that waits, up to the limits, into one commit.
    fn commit(&self, first: Waiting) {
        let RelayLimits { commit_calls, commit_bytes, .. } = self.logs.limits();
        let mut bytes = first.bytes.bytes;
        let (mut jobs, mut callers) = (vec![first.job], vec![(first.bytes, first.reply)]);
        while jobs.len() < *commit_calls && bytes < *commit_bytes {
            let Ok(next) = self.waiting.try_recv() else {
                break;
            };
            bytes = bytes.saturating_add(next.bytes.bytes);
            jobs.push(next.job);
            callers.push((next.bytes, next.reply));
        }
        for (done, (held, reply)) in self.logs.commit(jobs).into_iter().zip(callers) {
            drop(held);
            // Who gave up waiting is not told.
            let _gone = reply.send(done);
        }
    }
}
