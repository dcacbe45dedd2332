//! What a later build has stored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{ops::ControlFlow, sync::Arc};

use conclave_core::{
    config::Limits,
    entropy::Entropy,
    group::{Group, GroupRecords, Held, LoadError},
    store::{Claim, Direction, Key, Range, Store, Table, Write},
};
use conclave_store_memory::MemoryStore;
use conclave_testkit::{entropy::SimEntropy, world::World};

/// A copy of a store, in which a group's records of one kind have another version.
fn of_version(store: &dyn Store, kind: u8, version: u8) -> MemoryStore {
    let mut writes = Vec::new();
    for table in Table::ALL {
        let visit = &mut |key: &[u8], value: &[u8]| {
            let (scope, order) = key.split_first_chunk::<16>().unwrap();
            let mut value = value.to_vec();
            if table == Table::Group && order.first() == Some(&kind) {
                value[0] = version;
            }
            writes.push(Write::Put { table, key: Key::from_parts(*scope, order), value });
            ControlFlow::Continue(())
        };
        store.scan(table, Range::default(), Direction::Forward, visit).unwrap();
    }
    let copy = MemoryStore::new();
    copy.claim(Claim([1; 16])).unwrap();
    copy.commit(Claim([1; 16]), &writes).unwrap();
    copy
}

/// Scenario 57, E10: what a later build wrote is not called damaged, so that an application can say
/// that it has to be upgraded.
#[test]
fn records_of_a_later_version_are_named_as_that() {
    let mut world = World::with_people(3, 2);
    let id = world.create_group(0);
    assert!(world.add(0, id, &[1]));
    world.settle();
    let device = &world.devices[0];
    let load = |store: &dyn Store| {
        let entropy = Entropy::new(Box::new(SimEntropy::new(3, 9, 9)));
        let records = GroupRecords::read(store, id)?.expect("the group is stored");
        let installation = Arc::clone(&device.installation);
        Group::load(&records, id, installation, Limits::default(), entropy, 99).map(drop)
    };
    assert_eq!(load(&of_version(&device.store, 0, 0)), Ok(()), "a true copy");
    let later = |what| Err(LoadError::UnknownVersion { what, version: 77 });
    for kind in [2, 3, Key::NAMED | 4] {
        let store = of_version(&device.store, kind, 77);
        assert_eq!(load(&store), later("group record"), "{kind}");
    }
    let held = Held::read(&of_version(&device.store, 2, 77), id).map(drop);
    assert_eq!(held, later("group record"));
}
