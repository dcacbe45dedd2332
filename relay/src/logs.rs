//! The logs: everything that a relay stores, in one file.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use conclave_proto::{
    Cursor, InboxId, InstallationId, Record, Seq, Timestamp, Topic,
    identity::Account,
    relay::{PageLimit, PublishOutcome, TopicPage, Uploaded},
};
use conclave_redb_file::{Failure, OpenError, OpenFile, begin, checked, guarded};
use parking_lot::{Mutex, MutexGuard, RwLock};
use redb::backends::InMemoryBackend;
use redb::{
    ReadTransaction, ReadableDatabase, ReadableTableMetadata, StorageBackend, WriteTransaction,
};

use crate::append::{Append, Call};
use crate::directory::{self, CheckedUpload};
use crate::failure::{WriteError, of_read, of_write};
use crate::format::{self, HEADS, KIND, PACKAGES, RECORDS};
use crate::founding::{Founding, RelayIdentity, Signer};
use crate::identity;
use crate::limits::RelayLimits;
use crate::read::{self, ReadError, Reading, Stop};
use crate::staging::{Done, Job, Staged, stage};

/// Is told what was appended, in the order of the commits, each once it is durable. Called by
/// whoever commits, who waits for it: it is short, does not append, and does not panic.
pub type Listener = Box<dyn Fn(&[(Topic, Record)]) + Send + Sync>;

/// Everything that a relay stores: logs, identities, accounts and key packages.
///
/// Every method can be called from any thread and waits for the medium. Commits come one after
/// another; [`RelayStore`](crate::RelayStore) gathers those of many callers into one. Reads see
/// what is durable, and nothing else. Once the medium has failed, writes (and reads that need the
/// file) fail until the file is opened again.
pub struct Logs {
    db: OpenFile,
    signer: Signer,
    limits: RelayLimits,
    writing: Mutex<Writing>,
    listener: RwLock<Option<Listener>>,
    counts: Counts,
}

/// What the one who commits knows.
#[derive(Debug)]
struct Writing {
    /// Whether the last commit is one after which the file opens quickly, whatever happens.
    settled: bool,
}

#[derive(Debug, Default)]
struct Counts {
    commits: AtomicU64,
    appended: AtomicU64,
}

/// Figures about the logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Logs that something was ever appended to.
    pub topics: u64,
    /// Records that are there.
    pub records: u64,
    /// Installations with a key package.
    pub packages: u64,
    /// Commits since the file was opened.
    pub commits: u64,
    /// Records appended since the file was opened.
    pub appended: u64,
}

impl Logs {
    /// Opens the logs in a file that [`create_or_open`](Self::create_or_open) has made.
    ///
    /// After a crash of a busy relay the whole file is read here, some seconds for each GB.
    ///
    /// # Errors
    /// [`OpenError`]. A file of somebody else keeps its bytes.
    pub fn open(path: impl AsRef<Path>, limits: RelayLimits) -> Result<Self, OpenError> {
        Self::of(KIND.open(path.as_ref(), limits.cache_bytes)?, limits)
    }

    /// Opens the logs in a file, or creates them if there is no file at all.
    ///
    /// An empty file is refused: it may be what a failing medium has left of one. The folder has
    /// to exist. The file is readable for its owner only, where files have owners: the relay's
    /// signing key is in it.
    ///
    /// # Errors
    /// [`OpenError`], as for [`open`](Self::open).
    pub fn create_or_open(
        path: impl AsRef<Path>,
        founding: &Founding,
        limits: RelayLimits,
    ) -> Result<Self, OpenError> {
        let found = |transaction: &WriteTransaction| format::found(transaction, founding);
        Self::of(KIND.create_or_open(path.as_ref(), limits.cache_bytes, found)?, limits)
    }

    /// Opens the logs on a device of yours, or creates them if nothing was ever stored there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn with_backend(
        backend: impl StorageBackend,
        founding: &Founding,
        limits: RelayLimits,
    ) -> Result<Self, OpenError> {
        let found = |transaction: &WriteTransaction| format::found(transaction, founding);
        Self::of(KIND.open_backend(backend, limits.cache_bytes, found)?, limits)
    }

    /// Logs that are gone with the value.
    ///
    /// # Errors
    /// [`OpenError`], if there is no memory.
    pub fn in_memory(founding: &Founding, limits: RelayLimits) -> Result<Self, OpenError> {
        Self::with_backend(InMemoryBackend::new(), founding, limits)
    }

    fn of(db: OpenFile, limits: RelayLimits) -> Result<Self, OpenError> {
        let signer = format::signer(&db)?;
        Ok(Self {
            db,
            signer,
            limits,
            writing: Mutex::new(Writing { settled: true }),
            listener: RwLock::new(None),
            counts: Counts::default(),
        })
    }

    /// Who the relay is.
    #[must_use]
    pub fn identity(&self) -> RelayIdentity {
        self.signer.identity
    }

    /// The limits they were opened with.
    #[must_use]
    pub fn limits(&self) -> &RelayLimits {
        &self.limits
    }

    /// Puts a listener in the place of the one before.
    pub fn listen(&self, listener: Listener) {
        *self.listener.write() = Some(listener);
    }

    /// Appends the items of one caller in one commit; answer `i` belongs to item `i`.
    ///
    /// Items of one topic are stored in the order given; after one that is not accepted the later
    /// ones of its topic are `Behind`. A payload that its log holds already is a duplicate, in
    /// its old place, whatever the expectation.
    pub fn append(&self, items: Vec<Append>) -> Vec<PublishOutcome> {
        let count = items.len();
        match self.one(Job::Append(Call::check(items))) {
            Done::Appended(outcomes) => outcomes,
            Done::Uploaded(_) | Done::Trimmed(_) => vec![PublishOutcome::Unknown; count],
        }
    }

    /// Stores an encoded [`conclave_proto::package::PackageUpload`] in the place of the
    /// installation's one before. The latest one again is accepted again.
    ///
    /// [`PublishOutcome::Invalid`] for a wrong signature, and for a counter that is not higher
    /// than the one before; and what else can happen to an append.
    pub fn upload(&self, bytes: Vec<u8>) -> Uploaded {
        let upload = match CheckedUpload::check(bytes) {
            Ok(upload) => upload,
            Err(refused) => return Uploaded::failed(refused),
        };
        match self.one(Job::Upload(upload)) {
            Done::Uploaded(uploaded) => uploaded,
            Done::Appended(_) | Done::Trimmed(_) => Uploaded::failed(PublishOutcome::Unknown),
        }
    }

    /// Forgets the records of a log up to a place, and their ids; gives the first that is left, or
    /// the place behind the head. A reader that stands before it is told
    /// [`ReadError::Truncated`]; the chain goes on.
    ///
    /// # Errors
    /// [`WriteError`]; part of it may be done.
    pub fn trim(&self, topic: &Topic, upto: Seq) -> Result<Seq, WriteError> {
        let mut first = Seq(0);
        loop {
            let Done::Trimmed(outcome) = self.one(Job::Trim(topic.clone(), upto)) else {
                return Err(WriteError::Unknown);
            };
            let reached = outcome?;
            if reached > upto || reached == first {
                return Ok(reached);
            }
            first = reached;
        }
    }

    fn one(&self, job: Job) -> Done {
        let unknown = job.failed(&self.limits, WriteError::Unknown);
        self.commit(vec![job]).pop().unwrap_or(unknown)
    }

    /// Does jobs of several callers in one commit, durable when it returns; answer `i` belongs to
    /// job `i`. If the medium fails it is the answer to all of them.
    pub fn commit(&self, mut jobs: Vec<Job>) -> Vec<Done> {
        let mut writing = self.writing();
        let (transaction, staged) = match self.stage(&mut jobs) {
            Ok(staged) => staged,
            Err(failure) => return self.fail(&jobs, of_write(&failure)),
        };
        if !staged.dirty {
            // What is found to be stored already was made durable by the commit that stored it.
            return staged.done;
        }
        writing.settled = false;
        if !finish(transaction) {
            return self.fail(&jobs, WriteError::Unknown);
        }
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        self.counts.appended.fetch_add(staged.appended.len() as u64, Ordering::Relaxed);
        self.tell(&staged.appended);
        staged.done
    }

    fn fail(&self, jobs: &[Job], error: WriteError) -> Vec<Done> {
        jobs.iter().map(|job| job.failed(&self.limits, error)).collect()
    }

    /// Does everything up to the commit itself; nothing that fails here has stored anything.
    fn stage(&self, jobs: &mut [Job]) -> Result<(WriteTransaction, Staged), Failure> {
        checked(|| {
            let transaction = begin(&self.db, false)?;
            let staged = stage(&transaction, &self.limits, jobs)?;
            Ok::<_, Failure>((transaction, staged))
        })
    }

    fn tell(&self, appended: &[(Topic, Record)]) {
        let listener = self.listener.read();
        if let Some(listener) = listener.as_ref().filter(|_| !appended.is_empty()) {
            listener(appended);
        }
    }

    /// Makes the file one that opens at once, even after a crash, until the next commit. Costs
    /// one commit, and a hundred KB for each GB of the file; nothing if it is so already.
    ///
    /// Dropping the logs does the same.
    ///
    /// # Errors
    /// [`WriteError::Full`], [`WriteError::Unavailable`] and [`WriteError::Unknown`]; nothing
    /// that was stored is touched.
    pub fn settle(&self) -> Result<(), WriteError> {
        let mut writing = self.writing();
        if writing.settled {
            return Ok(());
        }
        let transaction =
            checked(|| begin(&self.db, true)).map_err(|failure| of_write(&failure))?;
        if !finish(transaction) {
            return Err(WriteError::Unknown);
        }
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        writing.settled = true;
        Ok(())
    }

    /// Records of several logs out of one snapshot, earlier logs first, as much as the smaller of
    /// the caller's and the relay's limit allows; at least one record, however long. What does
    /// not fit has `more`; a log without news is left out, unless it is an identity log, whose
    /// head is signed as of `now`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &self,
        now: Timestamp,
        after: &[(Topic, Cursor)],
        limit: PageLimit,
    ) -> Result<Vec<TopicPage>, ReadError> {
        let cap = |asked: u32, most: usize| asked.min(u32::try_from(most).unwrap_or(u32::MAX));
        let limit = PageLimit {
            records: cap(limit.records, self.limits.page_records),
            bytes: cap(limit.bytes, self.limits.page_bytes),
        };
        let pages = || -> Result<Vec<TopicPage>, Stop> {
            let snapshot = self.snapshot()?;
            let mut reading = Reading::new(&snapshot, &self.signer, now, limit)?;
            let page = |(topic, after): &(Topic, Cursor)| reading.page(topic, *after).transpose();
            after.iter().filter_map(page).collect()
        };
        match guarded(pages) {
            Some(Ok(pages)) => Ok(pages),
            Some(Err(Stop::Truncated { topic, first })) => {
                Err(ReadError::Truncated { topic, first })
            }
            Some(Err(Stop::Failed(failure))) => Err(of_read(&failure)),
            None => Err(ReadError::Corrupt),
        }
    }

    /// Those of the logs whose head is not the one said, with the head they have.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn heads(&self, known: &[(Topic, Seq)]) -> Result<Vec<(Topic, Cursor)>, ReadError> {
        self.look(|snapshot| read::moved(snapshot, known))
    }

    /// The latest upload of each installation, in the order asked.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn key_packages(&self, of: &[InstallationId]) -> Result<Vec<Option<Vec<u8>>>, ReadError> {
        self.look(|snapshot| directory::packages(snapshot, of))
    }

    /// The inbox that listed each account last, in the order asked. A hint: only the inbox's log
    /// says who belongs to it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn resolve(&self, accounts: &[Account]) -> Result<Vec<Option<InboxId>>, ReadError> {
        self.look(|snapshot| identity::resolve(snapshot, accounts))
    }

    /// Figures.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn stats(&self) -> Result<Stats, ReadError> {
        self.look(|snapshot| {
            Ok(Stats {
                topics: snapshot.open_table(HEADS)?.len()?,
                records: snapshot.open_table(RECORDS)?.len()?,
                packages: snapshot.open_table(PACKAGES)?.len()?,
                commits: self.counts.commits.load(Ordering::Relaxed),
                appended: self.counts.appended.load(Ordering::Relaxed),
            })
        })
    }

    fn look<T>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, Failure>,
    ) -> Result<T, ReadError> {
        checked(|| look(&self.snapshot()?)).map_err(|failure: Failure| of_read(&failure))
    }

    fn snapshot(&self) -> Result<ReadTransaction, Failure> {
        Ok(self.db.begin_read()?)
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock()
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").field("identity", &self.identity()).finish_non_exhaustive()
    }
}

/// Commits. From the first byte that goes to the medium nobody knows, until it has returned.
fn finish(transaction: WriteTransaction) -> bool {
    matches!(guarded(|| transaction.commit()), Some(Ok(())))
}
