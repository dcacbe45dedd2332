//! A relay that is killed under load loses nothing that it acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::kit;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use conclave_proto::{Seq, Topic};
use conclave_relay::{Append, LogStore, Logs, RelayLimits, RelayStore};
use kit::{append, block_on, everything, founding, group, seq_of};
use tempfile::tempdir;

const PATH: &str = "CONCLAVE_TEST_RELAY_TO_DIE_WITH";
const ROUND: &str = "CONCLAVE_TEST_RELAY_ROUND";
const WRITERS: u32 = 8;

/// R4, scenario 83: after each kill every acknowledged record is in its place, the chains hold,
/// and trying everything again finds duplicates only. Ten kills; a hundred with
/// `CONCLAVE_EFFORT=full`.
#[test]
fn a_killed_relay_has_lost_nothing_that_it_acknowledged() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs");
    let full = std::env::var("CONCLAVE_EFFORT").is_ok_and(|effort| effort == "full");
    let mut acknowledged = BTreeMap::new();
    for round in 0..if full { 100 } else { 10 } {
        let before = acknowledged.len();
        append_until_killed(&path, round, 50 + 37 * (round as usize % 7), &mut acknowledged);
        assert!(acknowledged.len() > before, "round {round} has appended");
        let logs = Logs::open(&path, RelayLimits::default()).unwrap();
        verify(&logs, &acknowledged);
    }
}

/// Not a test by itself: what the process does that is killed.
#[test]
fn append_until_the_end() {
    let (Some(path), Ok(round)) = (std::env::var_os(PATH), std::env::var(ROUND)) else {
        return;
    };
    let round: u32 = round.parse().unwrap();
    let logs = Logs::create_or_open(path, &founding(), RelayLimits::default()).unwrap();
    let store = RelayStore::start(logs).unwrap();
    thread::scope(|threads| {
        for writer in 0..WRITERS {
            let store = &store;
            threads.spawn(move || {
                for number in 0.. {
                    let appended = block_on(store.append(vec![item([round, writer, number])]));
                    let line =
                        format!("\nacknowledged {writer} {number} {}\n", seq_of(appended[0]).0);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    std::io::stdout().flush().unwrap();
                }
            });
        }
    });
}

/// Lets a process append until it has said so some times, kills it, and gathers all it has said.
fn append_until_killed(
    path: &Path,
    round: u32,
    lines: usize,
    acknowledged: &mut BTreeMap<[u32; 3], Seq>,
) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["killed::append_until_the_end", "--exact", "--nocapture"])
        .env(PATH, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let mut told = output.lines().map_while(Result::ok).filter_map(|line| {
        let mut words = line.strip_prefix("acknowledged ")?.split(' ');
        let mut number = || words.next()?.parse::<u32>().ok();
        Some(([round, number()?, number()?], Seq(u64::from(number()?))))
    });
    acknowledged.extend(told.by_ref().take(lines));
    // SIGKILL on Unix; what the process has said before is still in the pipe.
    process.kill().unwrap();
    process.wait().unwrap();
    acknowledged.extend(told);
}

fn verify(logs: &Logs, acknowledged: &BTreeMap<[u32; 3], Seq>) {
    let topics = [group(0), group(1), group(2)];
    let stored: BTreeMap<Topic, _> =
        topics.into_iter().map(|topic| (topic.clone(), everything(logs, &topic))).collect();
    for (name, seq) in acknowledged {
        let item = item(*name);
        let record = &stored[&item.topic][usize::try_from(seq.0).unwrap() - 1];
        assert!(record.seq == *seq && record.id == item.id, "{name:?} was at {seq:?}");
    }
    let commits = logs.stats().unwrap().commits;
    for chunk in acknowledged.keys().collect::<Vec<_>>().chunks(1_000) {
        let again = logs.append(chunk.iter().map(|name| item(**name)).collect());
        for (name, outcome) in chunk.iter().zip(again) {
            assert_eq!(seq_of(outcome), acknowledged[*name], "in its place of before");
        }
    }
    assert_eq!(logs.stats().unwrap().commits, commits, "nothing was there to store");
}

/// Of different lengths, over three logs.
fn item(name: [u32; 3]) -> Append {
    let [_, writer, number] = name;
    let mut payload = name.map(u32::to_be_bytes).concat();
    payload.resize(12 + (number as usize * 131) % 3_000, 7);
    append(&group(u8::try_from((writer + number) % 3).unwrap()), &payload)
}
