//! What can be in the way of opening the file, and that nothing is damaged by trying.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::kit;

use std::fs;
use std::path::Path;

use conclave_core::{BlockedOn, Class};
use conclave_proto::Seq;
use conclave_relay::{Founding, Logs, OpenError, RelayLimits};
use kit::{append, everything, founding, group, stored};
use redb::{Database, TableDefinition};
use tempfile::tempdir;

/// R1: what was stored is there again, and so is who the relay is.
#[test]
fn logs_and_identity_outlive_the_process() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs");
    let logs = create(&path).unwrap();
    stored(&logs, append(&group(1), b"one"));
    let identity = logs.identity();
    drop(logs);
    let other = Founding::from_random(&[77; 48]);
    let logs = Logs::create_or_open(&path, &other, RelayLimits::default()).unwrap();
    assert_eq!(logs.identity(), identity, "founded once");
    assert_eq!(stored(&logs, append(&group(1), b"one")), Seq(1));
    stored(&logs, append(&group(1), b"two"));
    assert_eq!(everything(&logs, &group(1)).len(), 2);
}

#[test]
fn a_second_opener_of_a_file_is_told_so() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs");
    let _first = create(&path).unwrap();
    for error in [refusal(&path), create(&path).unwrap_err()] {
        let OpenError::InUse { holder: Some(holder) } = &error else { panic!("{error}") };
        assert_eq!(holder.pid, std::process::id());
        assert_eq!(error.class(), Class::Blocked(BlockedOn::Ownership));
    }
}

#[test]
fn a_file_that_is_not_there_is_missing_until_it_is_created() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs");
    assert!(matches!(refusal(&path), OpenError::Missing));
    assert!(!path.exists(), "opening creates nothing");
    drop(create(&path).unwrap());
    drop(create(&path).unwrap());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
    assert!(matches!(
        create(&folder.path().join("no folder").join("logs")),
        Err(OpenError::Missing)
    ));
}

/// The relay's signing key is in the file.
#[cfg(unix)]
#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs");
    drop(create(&path).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn files_of_others_are_refused_and_keep_their_bytes() {
    const THEIRS: TableDefinition<'_, &str, u64> = TableDefinition::new("theirs");
    let folder = tempdir().unwrap();
    let theirs = folder.path().join("theirs");
    let db = Database::create(&theirs).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(THEIRS).unwrap().insert("answer", 42).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let (empty, noise) = (folder.path().join("empty"), folder.path().join("noise"));
    fs::write(&empty, []).unwrap();
    fs::write(&noise, vec![0xA5; 50_000]).unwrap();
    for path in [theirs, empty, noise] {
        let before = fs::read(&path).unwrap();
        for error in [refusal(&path), create(&path).unwrap_err()] {
            assert!(matches!(error, OpenError::Foreign), "{error}");
            assert_eq!(error.class(), Class::Permanent);
        }
        assert!(fs::read(&path).unwrap() == before, "it has changed");
    }
    assert!(matches!(refusal(folder.path().join("x").parent().unwrap()), OpenError::Foreign));
}

/// E10: logs of a later version are left alone.
#[test]
fn logs_of_another_version_are_refused_and_keep_their_bytes() {
    const RELAY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("conclave-relay");
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs");
    drop(create(&path).unwrap());
    let db = Database::open(&path).unwrap();
    let transaction = db.begin_write().unwrap();
    let newer = 2_u32.to_be_bytes();
    transaction.open_table(RELAY).unwrap().insert("version", newer.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::UnknownVersion { found: 2, .. }), "{error}");
    assert_eq!(error.class(), Class::Blocked(BlockedOn::Upgrade));
    assert!(fs::read(&path).unwrap() == before, "it has changed");
}

#[test]
fn a_file_that_was_cut_off_is_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("logs");
    let logs = create(&path).unwrap();
    for number in 0..20_u8 {
        stored(&logs, append(&group(1), &[number; 9_000]));
    }
    drop(logs);
    let bytes = fs::read(&path).unwrap();
    for kept in [1, 100, 4_096, bytes.len() / 2] {
        fs::write(&path, &bytes[..kept]).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, OpenError::Damaged | OpenError::Foreign), "at {kept}: {error}");
    }
}

fn create(path: &Path) -> Result<Logs, OpenError> {
    Logs::create_or_open(path, &founding(), RelayLimits::default())
}

fn refusal(path: &Path) -> OpenError {
    Logs::open(path, RelayLimits::default()).unwrap_err()
}
