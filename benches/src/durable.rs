//! Messages on a disk: what reaches the file system, how often it is synced, and how long that
//! takes, beside mls-rs over SQLite.
//!
//! Here time is that on the wall, for most of it is waiting for the medium.

use std::{fs, sync::Arc, time::Duration};

use conclave_store_redb::RedbStore;

use crate::{
    disk::{Calls, Folder, counted},
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
        let file = counted(&folder.file("engine"), Arc::clone(&calls));
        let store = RedbStore::with_backend(file).expect("the disk works");
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
