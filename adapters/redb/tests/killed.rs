//! A process that is killed while it commits loses nothing that it was told is stored.
#![allow(clippy::unwrap_used)]

use crate::kit;

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use conclave_core::store::{Key, Store, Table, Write};
use conclave_store_redb::RedbStore;
use kit::{OWNER, Picture, picture, put};
use tempfile::tempdir;

const PATH: &str = "CONCLAVE_TEST_STORE_TO_DIE_WITH";

/// Twenty kills take seconds; `CONCLAVE_EFFORT=full` asks for a hundred.
fn kills() -> u32 {
    let full = std::env::var_os("CONCLAVE_EFFORT").is_some_and(|effort| effort == "full");
    if full { 100 } else { 20 }
}

/// E4, scenario 83: after each of many kills every acknowledged commit is there, and every
/// commit is there whole or not at all.
#[test]
fn a_store_outlives_processes_that_are_killed_while_they_commit() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("store");
    let mut reached = 0;
    for round in 0..kills() {
        let acknowledged = commit_until_killed(&path, 1 + round % 7);
        let store = RedbStore::open(&path).unwrap();
        let stored = last_of(&store);
        assert!(acknowledged > reached, "round {round} has committed");
        assert!(stored == acknowledged || stored == acknowledged + 1, "{acknowledged}, {stored}");
        assert!(picture(&store).unwrap() == picture_after(stored), "after {stored} commits");
        reached = stored;
    }
}

/// Not a test by itself: what the process does that is killed.
#[test]
fn commit_until_the_end() {
    let Some(path) = std::env::var_os(PATH) else {
        return;
    };
    let store = RedbStore::create_or_open(path).unwrap();
    store.claim(OWNER).unwrap();
    for number in last_of(&store) + 1.. {
        store.commit(OWNER, &batch(number)).unwrap();
        println!("\nacknowledged {number}");
        std::io::stdout().flush().unwrap();
    }
}

/// The last commit of which the process heard that it is stored.
fn commit_until_killed(path: &Path, commits: u32) -> u32 {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["killed::commit_until_the_end", "--exact", "--nocapture"])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let mut told = output.lines().map_while(Result::ok).filter_map(|line| {
        line.strip_prefix("acknowledged ").and_then(|number| number.parse().ok())
    });
    let first = told.by_ref().take(commits as usize).last();
    // SIGKILL on Unix; what the process has said before is still in the pipe.
    process.kill().unwrap();
    process.wait().unwrap();
    told.last().or(first).unwrap()
}

/// Several tables, a value of several pages that is replaced, and a scope that is deleted.
fn batch(number: u32) -> Vec<Write> {
    let order = number.to_be_bytes();
    let large = vec![order[3]; 20_000];
    let last = u8::try_from(number % 2).unwrap();
    vec![
        put(Table::Message, 1, &order, order.to_vec()),
        put(Table::Group, 1, b"large", large),
        Write::DeleteScope { table: Table::Event, scope: [1 - last; 16] },
        put(Table::Event, last, b"", order.to_vec()),
        put(Table::Meta, 1, b"last", order.to_vec()),
    ]
}

fn last_of(store: &RedbStore) -> u32 {
    let last = store.get(Table::Meta, &Key::from_parts([1; 16], b"last")).unwrap();
    last.map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}

fn picture_after(commits: u32) -> Picture {
    let memory = RedbStore::with_backend(kit::disk::Disk::default()).unwrap();
    memory.claim(OWNER).unwrap();
    for number in 1..=commits {
        let order = number.to_be_bytes();
        memory.commit(OWNER, &[put(Table::Message, 1, &order, order.to_vec())]).unwrap();
    }
    memory.commit(OWNER, &batch(commits)).unwrap();
    picture(&memory).unwrap()
}
