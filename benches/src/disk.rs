//! Files on the disk that holds the build, and what they are asked for.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use redb::{StorageBackend, backends::FileBackend};
use tempfile::TempDir;

/// A new file for a database, whose calls are counted.
pub(crate) fn counted(path: &Path, calls: Arc<Calls>) -> Counted {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let file = FileBackend::new(file.expect("the disk works")).expect("nobody else has it");
    Counted { file, calls }
}

/// A file that counts what it is asked for.
#[derive(Debug)]
pub(crate) struct Counted {
    file: FileBackend,
    calls: Arc<Calls>,
}

/// What files were asked for so far; several may share it.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    syncs: AtomicU64,
    resizes: AtomicU64,
}

impl Calls {
    /// Syncs, and changes of a file's size.
    pub(crate) fn so_far(&self) -> (u64, u64) {
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
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let program = std::env::current_exe().expect("the program has a path");
        let beside = program.parent().expect("it is in a folder");
        let folder = TempDir::new_in(beside).expect("the disk works");
        // Its making is not to be part of the first sync that is timed.
        File::open(folder.path()).and_then(|folder| folder.sync_all()).expect("the disk works");
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
