//! Messages on a disk: what reaches the file system, how often it is synced, and how long that
//! takes, beside mls-rs over SQLite.
//!
//! Here time is that on the wall, for most of it is waiting for the medium.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use conclave_store_redb::RedbStore;
use redb::{StorageBackend, backends::FileBackend};

use crate::{
    fixture::Fixture,
    measure::{Ratio, wall},
    messages::BATCH,
    mls_rs_peer::{self, MlsRsGroup},
};
use mls_rs::client_builder::MlsConfig;

/// A receiver whose store is a file.
pub struct OnDisk<'a> {
    fixture: &'a mut Fixture,
    calls: Arc<Calls>,
    folder: Folder,
}

/// What 64 messages cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Syncs that the store asked for.
    pub syncs: u64,
    /// How often the file was given another size.
    pub resizes: u64,
    /// What was handed to the file system; `None` where the system does not count that.
    pub io: Option<Io>,
}

/// Bytes that a thread has written, as the system counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    /// Handed to write calls (`wchar`): every byte, however often a page is written.
    pub handed: u64,
    /// Of pages that the system then has to write out (`write_bytes`): whole pages.
    pub dirtied: u64,
}

impl<'a> OnDisk<'a> {
    /// Moves a group's receiver to a file, with everything that it has stored so far.
    ///
    /// # Panics
    /// If the disk fails.
    pub fn new(fixture: &'a mut Fixture) -> Self {
        let (folder, calls) = (Folder::new(), Arc::default());
        let store = open(&folder.file("engine"), Arc::clone(&calls)).expect("the disk works");
        fixture.receiver().move_to(Box::new(store));
        let mut receiver = Self { fixture, calls, folder };
        // Every page is met once.
        receiver.receive(BATCH);
        receiver.receive(1);
        receiver
    }

    /// Times 64 messages by all senders, each `every` of them received in one step, and so stored in
    /// one commit.
    pub fn receive(&mut self, every: usize) -> Duration {
        self.observe(every).0
    }

    /// Counts what 64 messages cost, each `every` of them in one commit.
    pub fn count(&mut self, every: usize) -> Cost {
        self.observe(every).1
    }

    /// Engine over mls-rs in messages per second, each storing after every `every` messages.
    pub fn over_mls_rs(
        &mut self,
        peer: &mut MlsRsGroup<impl MlsConfig>,
        repetitions: usize,
        every: usize,
    ) -> Ratio {
        self.receive(every);
        peer.receive_durably(every);
        let (first, second) = (|| self.receive(every), || peer.receive_durably(every));
        Ratio::interleaved(repetitions, BATCH, first, second).of_rates()
    }

    /// mls-rs with its receiver over SQLite, in the same folder.
    ///
    /// # Panics
    /// If the disk fails.
    #[must_use]
    pub fn peer(&self, size: usize) -> MlsRsGroup<impl MlsConfig + use<>> {
        mls_rs_peer::durable_group(size, &self.folder.file("mls-rs"))
    }

    fn observe(&mut self, every: usize) -> (Duration, Cost) {
        let start = self.fixture.log.len();
        self.fixture.messages(BATCH);
        let batch = self.fixture.log[start..].to_vec();
        let receiver = self.fixture.receiver();
        let ((syncs, resizes), before) = (self.calls.so_far(), Io::now());
        let time = wall(|| batch.chunks(every).for_each(|records| receiver.receive(records)));
        let after = Io::now();
        let calls = self.calls.so_far();
        self.fixture.catch_up();
        let io = before.zip(after).map(|(before, after)| Io {
            handed: after.handed - before.handed,
            dirtied: after.dirtied - before.dirtied,
        });
        (time, Cost { syncs: calls.0 - syncs, resizes: calls.1 - resizes, io })
    }
}

impl Io {
    /// Since the start of this thread, on which the store writes too. Linux counts it.
    fn now() -> Option<Self> {
        let counters = fs::read_to_string("/proc/thread-self/io").ok()?;
        let counter = |name: &str| {
            counters.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        Some(Self { handed: counter("wchar:")?, dirtied: counter("write_bytes:")? })
    }
}

fn open(path: &Path, calls: Arc<Calls>) -> Result<RedbStore, Box<dyn std::error::Error>> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    Ok(RedbStore::with_backend(Counted { file: FileBackend::new(file)?, calls })?)
}

/// A file that counts what it is asked for.
#[derive(Debug)]
struct Counted {
    file: FileBackend,
    calls: Arc<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    syncs: AtomicU64,
    resizes: AtomicU64,
}

impl Calls {
    fn so_far(&self) -> (u64, u64) {
        (self.syncs.load(Ordering::SeqCst), self.resizes.load(Ordering::SeqCst))
    }
}

impl StorageBackend for Counted {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.calls.resizes.fetch_add(1, Ordering::SeqCst);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.calls.syncs.fetch_add(1, Ordering::SeqCst);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write(offset, data)
    }
}

/// A folder beside this program, so on the disk that holds the build; a folder for temporary files
/// may be in memory. It goes in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static FOLDERS: AtomicU64 = AtomicU64::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::SeqCst);
        let program = std::env::current_exe().expect("the program has a path");
        let name = format!("conclave-figures-{}-{number}", std::process::id());
        let folder = program.with_file_name(name);
        fs::create_dir_all(&folder).expect("the disk works");
        // Its making is not to be part of the first sync that is timed.
        File::open(&folder).and_then(|folder| folder.sync_all()).expect("the disk works");
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
