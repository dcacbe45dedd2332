//! Applications written against `conclave::Engine`, in a World.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use conclave::{Ended, Error, EventCursor, GroupConfig};
use conclave_core::store::{Claim, Store as _, StoreError};
use conclave_testkit::{dice::for_each_seed, simulation::Simulation, world::World};

#[path = "../examples/shopping_list.rs"]
mod shopping_list;

/// E13: an application keeps a promise of its own after every step, whatever the seed.
#[test]
fn three_people_share_a_shopping_list() {
    for_each_seed("three_people_share_a_shopping_list", 10, |seed| {
        let list = shopping_list::run(seed);
        assert_eq!(list, shopping_list::run(seed), "the same seed gives the same list");
    });
}

/// E13: what would block the simulation says so.
#[test]
fn a_blocking_wait_in_a_simulation_is_an_error() {
    let mut simulation = Simulation::new(World::with_people(1, 1));
    let engine = simulation.engine(0);
    assert_eq!(engine.create_group(GroupConfig::default()).wait().unwrap_err(), Error::WouldBlock);
    let mut events = engine.events(EventCursor(0));
    assert_eq!(events.wait_event(), Err(Error::WouldBlock));
}

/// E13, E8: a process that ends takes its engine with it; the next one goes on where it was.
#[test]
fn an_application_goes_on_after_a_crash_of_its_device() {
    let mut simulation = Simulation::new(World::with_people(2, 1));
    let engine = simulation.engine(0);
    simulation.spawn(async move {
        let group = engine.create_group(GroupConfig::default()).await.unwrap();
        group.send("before").await.unwrap();
    });
    simulation.run(|_| {});
    let old = simulation.engine(0);
    simulation.world.devices[0].crash();
    assert_eq!(old.groups()[0].send("too late").wait(), Err(Error::Closed));
    let engine = simulation.engine(0);
    simulation.spawn(async move {
        let group = engine.groups().remove(0);
        group.settled().await.unwrap();
        assert_eq!(group.messages(conclave::Seq(0), 9).unwrap().len(), 1);
    });
    simulation.run(|_| {});
}

/// E13, E14: an application in a simulation sees the trouble of its store, and the end of its
/// engine, as it would see them in a product.
#[test]
fn an_application_sees_the_trouble_of_its_store() {
    let mut simulation = Simulation::new(World::with_people(1, 1));
    let engine = simulation.engine(0);
    let store = simulation.world.devices[0].store.clone();
    simulation.spawn(async move {
        let group = engine.create_group(GroupConfig::default()).await.unwrap();
        store.refuse_commits(StoreError::Full);
        group.send("no room").await.unwrap_err();
        assert_eq!(engine.state().store, Some(StoreError::Full));
        store.disarm();
        while group.send("room").await.is_err() {}
        assert_eq!(engine.state().store, None);
        store.claim(Claim([7; 16])).unwrap();
        assert_eq!(group.send("fenced").await, Err(Error::Store(StoreError::Fenced)));
        assert_eq!(engine.state().ended, Some(Ended::Fenced));
    });
    simulation.run(|_| {});
}
