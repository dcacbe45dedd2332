//! What an application is told of what stands in an engine's way.

use std::sync::{Arc, atomic::Ordering};

use conclave::{
    AccountKey, BlockedOn, Class, Error, RelayState,
    core::{
        delivery::TransportError,
        store::{Store, StoreError},
    },
};
use conclave_conformance::faulty_store::Faulty;
use conclave_store_memory::MemoryStore;

use super::{
    services::Refusing,
    town::{NewDriver, Town, open_group, quick, settle, until, within},
};

/// Scenarios 136, 143: a relay that answers and does not store is no relay that is not there.
pub(crate) fn a_relay_that_does_not_store_is_known(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let one = town.person();
    one.engine.shut_down();
    let relay = Refusing::new(town.remote());
    let refuses = Arc::clone(&relay.refuses);
    let engine = town.builder(Arc::clone(&one.store), quick()).delivery(relay).open().unwrap();
    within(engine.sync()).unwrap();
    let group = engine.create_group(open_group()).wait().unwrap();
    for _ in 0..5 {
        assert_eq!(engine.state().relay, RelayState::Reachable);
        refuses.store(true, Ordering::SeqCst);
        group.send("it waits").wait().unwrap();
        until("it is known", || engine.state().relay == RelayState::NotStoring);
        assert!(engine.is_reachable());
        // What it delivers is no sign that it stores.
        within(engine.sync()).unwrap();
        assert_eq!(engine.state().relay, RelayState::NotStoring);
        refuses.store(false, Ordering::SeqCst);
        settle(&group);
        until("it stores again", || engine.state().relay == RelayState::Reachable);
    }
}

/// Scenario 136: a store without room is known until something is stored, and the call names it.
pub(crate) fn a_full_store_is_known(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let store = Arc::new(Faulty::new(MemoryStore::new()));
    let engine = town.engine_on(Arc::clone(&store) as Arc<dyn Store>, quick());
    engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
    within(engine.sync()).unwrap();
    let group = engine.create_group(open_group()).wait().unwrap();
    settle(&group);
    for number in 0..10 {
        store.refuse_commits(StoreError::Full);
        let full = Error::Store(StoreError::Full);
        assert!(matches!(within(group.send("no room")), Err(Error::Store(_))));
        until("it is known", || engine.state().store == Some(StoreError::Full));
        assert_eq!(full.class(), Class::Blocked(BlockedOn::Space));
        store.disarm();
        while within(group.send(format!("{number}"))).is_err() {}
        settle(&group);
        until("it is over", || engine.state().store.is_none());
    }
}

/// Scenarios 136, 143: who registers hears that the relay cannot store, not that it is not there.
pub(crate) fn a_registration_names_the_trouble_of_the_relay(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let relay = Refusing::new(town.remote());
    let refuses = Arc::clone(&relay.refuses);
    refuses.store(true, Ordering::SeqCst);
    let engine = town.builder(store, quick()).delivery(relay).open().unwrap();
    let account = AccountKey::generate().unwrap().to_bytes();
    let registered = within(engine.register(AccountKey::from_bytes(&account), 0));
    let error = registered.unwrap_err();
    assert!(matches!(error, Error::Transport(TransportError::RelayTrouble { .. })), "{error:?}");
    assert_eq!(error.class(), Class::Transient);
    refuses.store(false, Ordering::SeqCst);
    within(engine.register(AccountKey::from_bytes(&account), 0)).unwrap();
}
