//! What can be in the way of opening a file, and that nothing is damaged by trying.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::kit;

use std::fs;

use conclave_core::store::{Store, Table};
use conclave_core::{BlockedOn, Class};
use conclave_store_redb::{OpenError, RedbStore};
use kit::{InFolder, OWNER, picture, put, refusal};
use redb::{Database, TableDefinition};
use tempfile::tempdir;

/// E9, scenario 53: a second opener is told, and the first one is not disturbed.
#[test]
fn a_second_opener_of_a_file_is_told_so() {
    let store = InFolder::new();
    let error = refusal(&store.path());
    let OpenError::InUse { holder: Some(holder) } = &error else { panic!("{error}") };
    assert_eq!(holder.pid, std::process::id());
    assert!(error.to_string().contains(&format!("process {}", holder.pid)), "{error}");
    assert_eq!(error.class(), Class::Blocked(BlockedOn::Ownership));
    assert!(matches!(RedbStore::create_or_open(store.path()), Err(OpenError::InUse { .. })));

    store.claim(OWNER).unwrap();
    store.commit(OWNER, &[put(Table::Group, 1, b"a", vec![1])]).unwrap();
    let path = store.path();
    let reopened = store.reopen();
    assert!(matches!(refusal(&path), OpenError::InUse { .. }));
    assert_eq!(picture(&reopened).unwrap().len(), 1);
}

/// Scenario 53: the holder is named where it can be. What stands in the note is believed only of a
/// process that is there, and a note that cannot be written is done without.
#[test]
fn a_note_that_says_nothing_true_names_nobody() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("store");
    let note = folder.path().join("store.holder");
    let store = RedbStore::create_or_open(&path).unwrap();
    let gone = u32::MAX;
    let mut lies = vec![String::new(), "junk".to_owned(), "x".repeat(5000)];
    if cfg!(target_os = "linux") {
        lies.push(format!("{gone} somebody"));
    }
    for lie in lies {
        fs::write(&note, &lie).unwrap();
        assert!(matches!(refusal(&path), OpenError::InUse { holder: None }), "{lie}");
    }
    fs::write(&note, format!("{} \u{1b}[2J", std::process::id())).unwrap();
    assert!(!refusal(&path).to_string().contains('\u{1b}'), "a terminal is left alone");
    drop(store);
    assert!(!note.exists());

    fs::create_dir(&note).unwrap();
    let store = RedbStore::open(&path).unwrap();
    assert!(matches!(refusal(&path), OpenError::InUse { holder: None }));
    drop(store);
    drop(RedbStore::open(&path).unwrap());
}

#[test]
fn a_file_that_is_not_there_is_missing_until_it_is_created() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("store");
    assert!(matches!(refusal(&path), OpenError::Missing));
    assert!(!path.exists(), "opening creates nothing");
    drop(RedbStore::create_or_open(&path).unwrap());
    drop(RedbStore::create_or_open(&path).unwrap());
    drop(RedbStore::open(&path).unwrap());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "one file");
    let nowhere = folder.path().join("no folder").join("store");
    assert!(matches!(RedbStore::create_or_open(nowhere), Err(OpenError::Missing)));
}

#[test]
fn several_that_create_one_file_at_once_agree_on_it() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("store");
    let opened = std::thread::scope(|threads| {
        let all: Vec<_> =
            (0..4).map(|_| threads.spawn(|| RedbStore::create_or_open(&path))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let stores = opened.iter().filter(|one| one.is_ok()).count();
    assert!(stores <= 1, "one owner at most");
    for error in opened.into_iter().filter_map(Result::err) {
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    }
    drop(RedbStore::open(&path).unwrap());
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");
}

/// Scenario 49: files that are no stores are refused and keep their bytes.
#[test]
fn files_of_others_are_refused_and_keep_their_bytes() {
    let folder = tempdir().unwrap();
    let noise: Vec<u8> =
        (0_u32..50_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, bytes) in [("empty", vec![]), ("zeros", vec![0; 8192]), ("noise", noise)] {
        let path = folder.path().join(name);
        fs::write(&path, &bytes).unwrap();
        for error in [refusal(&path), RedbStore::create_or_open(&path).unwrap_err()] {
            assert!(matches!(error, OpenError::Foreign), "{name}: {error}");
            assert_eq!(error.class(), Class::Permanent);
        }
        assert!(fs::read(&path).unwrap() == bytes, "{name} has changed");
    }
}

#[test]
fn a_database_of_another_program_is_refused_and_keeps_its_bytes() {
    const THEIRS: TableDefinition<'_, &str, u64> = TableDefinition::new("theirs");
    const SAME_NAME: TableDefinition<'_, u64, u64> = TableDefinition::new("conclave-store");
    let folder = tempdir().unwrap();
    let path = folder.path().join("theirs");
    for same_name in [false, true] {
        let db = Database::create(&path).unwrap();
        let transaction = db.begin_write().unwrap();
        transaction.open_table(THEIRS).unwrap().insert("answer", 42).unwrap();
        if same_name {
            transaction.open_table(SAME_NAME).unwrap().insert(1, 1).unwrap();
        }
        transaction.commit().unwrap();
        drop(db);
        let before = fs::read(&path).unwrap();
        let error = RedbStore::create_or_open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Foreign), "{error}");
        assert!(fs::read(&path).unwrap() == before, "it has changed");
    }
}

/// Scenario 57, E10: a file of a version that this build does not know is named as that.
#[test]
fn a_store_of_another_version_is_refused_and_keeps_its_bytes() {
    const PRIVATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("conclave-store");
    let folder = tempdir().unwrap();
    let path = folder.path().join("store");
    drop(RedbStore::create_or_open(&path).unwrap());
    let db = Database::open(&path).unwrap();
    let transaction = db.begin_write().unwrap();
    let newer = 2_u32.to_be_bytes();
    transaction.open_table(PRIVATE).unwrap().insert("version", newer.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(db);
    let before = fs::read(&path).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::UnknownVersion { found: 2, .. }), "{error}");
    assert_eq!(error.class(), Class::Blocked(BlockedOn::Upgrade));
    assert!(fs::read(&path).unwrap() == before, "it has changed");
}

/// Scenario 49: where nothing may be written, that is said. Some accounts may write everything;
/// for them the file opens.
#[test]
fn a_file_that_may_not_be_written_is_read_only() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("store");
    drop(RedbStore::create_or_open(&path).unwrap());
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    let may_write_anyway = fs::OpenOptions::new().write(true).open(&path).is_ok();
    match RedbStore::open(&path) {
        Ok(_) => assert!(may_write_anyway, "a read-only file was opened"),
        Err(error) => assert!(matches!(error, OpenError::ReadOnly(_)), "{error}"),
    }
    let folder_as_file = path.parent().unwrap().to_path_buf();
    let error = refusal(&folder_as_file);
    assert!(matches!(error, OpenError::Foreign), "{error}");
}

/// Scenario 49: a store that was cut off is damaged, not empty.
#[test]
fn a_file_that_was_cut_off_is_refused() {
    let store = InFolder::new();
    store.claim(OWNER).unwrap();
    for order in 0..20_u8 {
        store.commit(OWNER, &[put(Table::Group, 1, &[order], vec![order; 9000])]).unwrap();
    }
    let path = store.path();
    let copy = path.with_extension("cut");
    let store = store.reopen();
    let bytes = fs::read(&path).unwrap();
    for kept in [1, 9, 100, 4096, 5000, bytes.len() / 2, bytes.len() - 4096] {
        fs::write(&copy, &bytes[..kept]).unwrap();
        match RedbStore::open(&copy) {
            Err(OpenError::Damaged | OpenError::Foreign) => {}
            Err(error) => panic!("cut off at {kept}: {error}"),
            Ok(cut) => assert_ne!(picture(&cut), Ok(Vec::new()), "an empty store at {kept}"),
        }
    }
    assert_eq!(picture(&store).unwrap().len(), 20);
}
