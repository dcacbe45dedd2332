//! The thinnest slice: two installations, one message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use conclave_testkit::world::World;

/// G1, S3, S5, S7: a group, a Welcome, a message in each direction.
#[test]
fn two_installations_exchange_messages() {
    let mut world = World::with_people(1, 2);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1]));
    world.settle();
    let there = world.send(0, group, b"hello").expect("a member sends");
    world.settle();
    let back = world.send(1, group, b"hello back").expect("a member sends");
    world.settle();
    world.check();
    for device in 0..2 {
        let ids: Vec<_> = world.timeline(device, group).iter().map(|(_, m)| m.id).collect();
        assert_eq!(ids, [there, back]);
    }
}
