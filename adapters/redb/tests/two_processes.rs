//! Two processes and one file: at the same time, and in turn.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::kit;

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use conclave_core::store::{Claim, Key, Store, StoreError, Table};
use conclave_core::{BlockedOn, Class};
use conclave_store_redb::{OpenError, RedbStore};
use kit::{OWNER, put, refusal};
use tempfile::tempdir;

const PATH: &str = "CONCLAVE_TEST_STORE_OF_TWO";
const RIVAL: Claim = Claim(*b"the second owner");

/// E9, scenario 53: the file belongs to one process at a time, and the other one is told to whom.
/// A process that was killed holds nothing.
#[test]
fn a_second_process_is_told_who_has_the_file() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("store");
    let mut other = Other::take(&path);
    let error = refusal(&path);
    let OpenError::InUse { holder: Some(holder) } = &error else { panic!("{error}") };
    assert_eq!(holder.pid, other.process.id());
    let program = std::env::current_exe().unwrap();
    assert_eq!(holder.program, program.file_name().unwrap().to_string_lossy(), "{holder}");
    assert_eq!(error.class(), Class::Blocked(BlockedOn::Ownership));

    other.process.kill().unwrap();
    other.process.wait().unwrap();
    assert!(folder.path().join("store.holder").exists(), "a killed process tidies nothing up");
    let store = RedbStore::open(&path).unwrap();
    let OpenError::InUse { holder: Some(holder) } = refusal(&path) else { panic!("it is open") };
    assert_eq!(holder.pid, std::process::id());
    drop(store);
    assert!(!folder.path().join("store.holder").exists());
}

/// E9, scenario 105: while this process had the file closed, another one took it over. What this
/// one still has in memory is stale, and its claim no longer counts.
#[test]
fn the_process_that_comes_back_is_fenced_off() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("store");
    let store = RedbStore::create_or_open(&path).unwrap();
    store.claim(OWNER).unwrap();
    store.commit(OWNER, &[put(Table::Group, 1, b"a", vec![1])]).unwrap();
    drop(store);
    Other::take(&path).leave();

    let store = RedbStore::open(&path).unwrap();
    let late = store.commit(OWNER, &[put(Table::Group, 1, b"a", vec![3])]);
    assert_eq!(late, Err(StoreError::Fenced));
    assert_eq!(store.commit(OWNER, &[]), Err(StoreError::Fenced));
    assert_eq!(store.get(Table::Group, &Key::from_parts([1; 16], b"a")), Ok(Some(vec![2])));
    store.claim(OWNER).unwrap();
    store.commit(OWNER, &[put(Table::Group, 1, b"a", vec![3])]).unwrap();
}

/// Not a test by itself: what the other process does.
#[test]
fn hold_the_store() {
    let Some(path) = std::env::var_os(PATH) else {
        return;
    };
    let store = RedbStore::create_or_open(path).unwrap();
    store.claim(RIVAL).unwrap();
    store.commit(RIVAL, &[put(Table::Group, 1, b"a", vec![2])]).unwrap();
    println!("\ntaken");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// A process that has the store open.
struct Other {
    process: Child,
}

impl Other {
    /// Starts it, and waits until it has taken the store over.
    fn take(path: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["two_processes::hold_the_store", "--exact", "--nocapture"])
            .env(PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.as_mut().unwrap());
        assert!(output.lines().map_while(Result::ok).any(|line| line == "taken"));
        Self { process }
    }

    /// Lets it close the store and end.
    fn leave(mut self) {
        drop(self.process.stdin.take());
        // What the test harness prints at the end would be a broken pipe otherwise.
        self.process.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}
