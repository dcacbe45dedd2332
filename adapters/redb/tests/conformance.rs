//! The store keeps what every store promises (E5, E9).
#![allow(clippy::unwrap_used)]

use crate::kit;

use std::sync::Arc;

use conclave_core::{
    config::Limits,
    entropy::Entropy,
    group::{Group, GroupConfig, GroupRecords},
    step::Committer,
    store::{Claim, Store},
};
use conclave_store_chunked::ChunkedStore;
use conclave_store_redb::RedbStore;
use conclave_testkit::{
    entropy::SimEntropy, store_conformance, store_reopen_conformance, store_sharing_conformance,
    world::World,
};
use kit::{InFolder, disk::Disk};
use tempfile::tempdir;

store_conformance!(file, InFolder::new);
store_conformance!(device, || RedbStore::with_backend(Disk::default()).unwrap());
store_conformance!(chunked_device, || {
    ChunkedStore::new(RedbStore::with_backend(Disk::default()).unwrap())
});
store_reopen_conformance!(file_reopened, InFolder::new, InFolder::reopen);
store_sharing_conformance!(file_shared, InFolder::new, InFolder::open_again);

/// E4, E5: a group and its unsettled message are there after the file was closed and opened.
#[test]
fn a_group_lives_in_a_file() {
    let world = World::with_people(7, 1);
    let folder = tempdir().unwrap();
    let path = folder.path().join("group");
    let installation = Arc::clone(&world.devices[0].installation);
    let entropy = || Entropy::new(Box::new(SimEntropy::new(7, 8, 9)));

    let store = RedbStore::create_or_open(&path).unwrap();
    store.claim(Claim([1; 16])).unwrap();
    let mut committer = Committer::new(Claim([1; 16]));
    let step = Group::create(
        world.now,
        GroupConfig::default(),
        world.identity(0),
        Arc::clone(&installation),
        Limits::default(),
        entropy(),
    )
    .unwrap();
    let mut group = committer.drive(&store, step).unwrap().reply;
    let step = group.send(world.now, [1; 16], vec![7; 100_000]).unwrap();
    committer.drive(&store, step).unwrap();
    drop(store);

    let store = RedbStore::open(&path).unwrap();
    store.claim(Claim([2; 16])).unwrap();
    let records = GroupRecords::read(&store, group.id()).unwrap().unwrap();
    let limits = Limits::default();
    let loaded = Group::load(&records, group.id(), installation, limits, entropy(), 1).unwrap();
    assert_eq!(loaded.epoch_authenticator(), group.epoch_authenticator());
    assert_eq!(loaded.unsettled_messages(), 1);
}
