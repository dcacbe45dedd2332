//! A medium that fails at every call in turn, and a loss of power at each of them.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::kit;

use std::io::ErrorKind;

use conclave_core::store::{Claim, Store, StoreError, Table, Write};
use conclave_store_redb::{OpenError, RedbStore};
use kit::disk::{Disk, Loss, Work};
use kit::{OWNER, Picture, picture, put};

const RIVAL: Claim = Claim(*b"the second owner");
/// More calls than the script needs.
const CALLS_MAX: u64 = 5000;

/// E4, E5, scenarios 49 and 50: the medium dies at any call, and what the power leaves of what
/// was not synced differs; each commit is there whole or not at all, and those acknowledged are.
#[test]
fn a_medium_that_dies_at_any_call_leaves_whole_commits() {
    let prepared = prepared();
    let sides = sides(&prepared);
    each_call(|call| {
        let disk = Disk::with(prepared.clone());
        disk.fail_at(call, ErrorKind::Other, false);
        let run = run(&disk);
        for loss in Loss::EACH {
            let reopened = reopen(disk.after(loss), call, loss);
            run.judge(&sides, &picture(&reopened).unwrap(), call, loss);
            // And it goes on.
            reopened.claim(RIVAL).unwrap();
            reopened.commit(RIVAL, &batch(9)).unwrap();
        }
        disk.fired() > 0
    });
}

/// E5, scenario 50: one call fails, for want of room or otherwise. What the answers said holds
/// at once and after opening again; a definite error has changed nothing.
#[test]
fn a_call_that_fails_once_leaves_what_the_answers_said() {
    let prepared = prepared();
    let sides = sides(&prepared);
    for failure in [ErrorKind::Other, ErrorKind::StorageFull] {
        each_call(|call| {
            let disk = Disk::with(prepared.clone());
            disk.fail_at(call, failure, true);
            let run = run(&disk);
            let reopened = reopen(disk.after(Loss::None), call, Loss::None);
            run.judge(&sides, &picture(&reopened).unwrap(), call, Loss::None);
            disk.fired() > 0
        });
    }
}

/// Scenario 49: a failed handle refuses, and the same medium opened again goes on.
#[test]
fn a_failed_handle_refuses_until_it_is_opened_again() {
    let disk = Disk::with(prepared());
    let store = RedbStore::with_backend(disk.clone()).unwrap();
    store.claim(OWNER).unwrap();
    store.commit(OWNER, &batch(1)).unwrap();
    let before = picture(&store).unwrap();
    disk.fail_at(0, ErrorKind::Other, true);
    let failed = store.commit(OWNER, &batch(2)).unwrap_err();
    assert!(matches!(failed, StoreError::Unknown | StoreError::Unavailable), "{failed}");
    for _ in 0..3 {
        assert_eq!(store.commit(OWNER, &batch(2)), Err(StoreError::Unavailable));
        assert_eq!(store.claim(RIVAL), Err(StoreError::Unavailable));
    }
    drop(store);
    let store = RedbStore::with_backend(disk).unwrap();
    let seen = picture(&store).unwrap();
    assert!(seen == before || failed == StoreError::Unknown);
    store.commit(OWNER, &batch(2)).unwrap();
}

/// Scenario 49: no flipped bit makes the store panic.
#[test]
fn flipped_bits_are_damage_and_no_panic() {
    let good = prepared();
    let expected = sides(&good).remove(0);
    let mut noticed = 0;
    for position in (0..good.len()).step_by(1021) {
        let mut bytes = good.clone();
        bytes[position] ^= 0x40;
        match RedbStore::with_backend(Disk::with(bytes)) {
            Ok(store) => noticed += u32::from(picture(&store) != Ok(expected.clone())),
            Err(OpenError::Damaged | OpenError::Foreign) => noticed += 1,
            Err(error) => panic!("flipped at {position}: {error}"),
        }
    }
    assert!(noticed > 0, "no flip was in anything that is read");
}

/// What one small commit costs a small file, counted: two syncs, since quick repair commits in two
/// phases. A commit that is empty or fenced costs nothing.
#[test]
fn a_small_commit_has_a_known_price() {
    let disk = Disk::with(prepared());
    let store = RedbStore::with_backend(disk.clone()).unwrap();
    store.claim(OWNER).unwrap();
    store.commit(OWNER, &[put(Table::Group, 1, b"a", vec![1; 100])]).unwrap();
    let before = disk.work();
    store.commit(OWNER, &[put(Table::Group, 1, b"a", vec![2; 100])]).unwrap();
    let after = disk.work();
    let price = Work {
        writes: after.writes - before.writes,
        bytes: after.bytes - before.bytes,
        syncs: after.syncs - before.syncs,
        resizes: after.resizes - before.resizes,
    };
    assert_eq!(price, Work { writes: 11, bytes: 37_504, syncs: 2, resizes: 0 });

    store.commit(OWNER, &[]).unwrap();
    let fenced = store.commit(RIVAL, &[put(Table::Group, 1, b"b", vec![])]);
    assert_eq!(fenced, Err(StoreError::Fenced));
    assert_eq!(disk.work(), after, "neither writes anything");
}

/// What a run was told.
struct Run {
    /// Commits that returned.
    acknowledged: usize,
    /// Whether the next one may be there too.
    is_unknown: bool,
}

impl Run {
    fn judge(&self, sides: &[Picture], seen: &Picture, call: u64, loss: Loss) {
        let found = sides.iter().position(|side| side == seen);
        let Some(found) = found else {
            panic!("half a commit is there, call {call}, {loss:?}");
        };
        let most = self.acknowledged + usize::from(self.is_unknown);
        assert!(
            (self.acknowledged..=most).contains(&found),
            "{found} commits after {} acknowledged, call {call}, {loss:?}",
            self.acknowledged
        );
    }
}

/// The script: open, claim, commit three batches, until something fails.
fn run(disk: &Disk) -> Run {
    let mut run = Run { acknowledged: 0, is_unknown: false };
    let Ok(store) = RedbStore::with_backend(disk.clone()) else {
        return run;
    };
    if store.claim(OWNER).is_err() {
        return run;
    }
    for number in 1..=3 {
        match store.commit(OWNER, &batch(number)) {
            Ok(()) => run.acknowledged += 1,
            Err(error) => {
                assert_ne!(error, StoreError::Corrupt, "a failing medium is not damage");
                run.is_unknown = error == StoreError::Unknown;
                break;
            }
        }
    }
    run
}

fn reopen(bytes: Vec<u8>, call: u64, loss: Loss) -> RedbStore {
    RedbStore::with_backend(Disk::with(bytes))
        .unwrap_or_else(|error| panic!("{error} after call {call}, {loss:?}"))
}

/// A device with a store in it, closed.
fn prepared() -> Vec<u8> {
    let disk = Disk::default();
    let store = RedbStore::with_backend(disk.clone()).unwrap();
    store.claim(OWNER).unwrap();
    store.commit(OWNER, &batch(0)).unwrap();
    drop(store);
    disk.after(Loss::All)
}

/// What is there after each commit of the script.
fn sides(prepared: &[u8]) -> Vec<Picture> {
    let store = RedbStore::with_backend(Disk::with(prepared.to_vec())).unwrap();
    store.claim(OWNER).unwrap();
    let mut sides = vec![picture(&store).unwrap()];
    for number in 1..=3 {
        store.commit(OWNER, &batch(number)).unwrap();
        sides.push(picture(&store).unwrap());
    }
    sides
}

fn batch(number: u8) -> Vec<Write> {
    let mut batch = vec![
        Write::DeleteScope { table: Table::Event, scope: [7; 16] },
        put(Table::Group, 1, b"large", vec![number; 30_000]),
        put(Table::Meta, 0xFE, b"", vec![number]),
    ];
    batch.extend((0..20).map(|order| put(Table::Event, 7, &[order, number], vec![order; 50])));
    batch
}

fn each_call(mut attempt: impl FnMut(u64) -> bool) {
    let through = (0..CALLS_MAX).find(|call| !attempt(*call));
    assert!(through.is_some_and(|calls| calls > 20), "{through:?} calls of the script");
}
