//! Bugs of what an application brings along, and what one engine costs another.

use std::sync::Arc;

use conclave::{
    AccountKey, AccountSigner, Error, core::bounds::BoxFuture, proto::identity::Account,
};

use super::{
    services::{Bug, Refusing},
    town::{NewDriver, Town, open_group, quick, settle, until, within},
};

/// Panics instead of signing.
struct Broken(AccountKey);

impl AccountSigner for Broken {
    fn account(&self) -> Account {
        self.0.account()
    }

    fn sign(&self, _: &str) -> BoxFuture<'_, Result<Vec<u8>, &'static str>> {
        panic!("a bug of the signer")
    }
}

/// E14: a signer that panics costs one registration, and not those after it.
pub(crate) fn a_signer_that_panics_costs_one_registration(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let engine = town.engine_on(Arc::new(conclave_store_memory::MemoryStore::new()), quick());
    let broken = Broken(AccountKey::generate().unwrap());
    let registered = within(engine.register(broken, 0));
    assert!(matches!(registered, Err(Error::Signature(_))), "{registered:?}");
    within(engine.register(AccountKey::generate().unwrap(), 0)).unwrap();
}

/// E14: a call in which the delivery service panics has no answer, which is known at once, not when
/// the time for an answer has passed.
pub(crate) fn a_delivery_service_that_panics_is_asked_again(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let one = town.person();
    one.engine.shut_down();
    let relay = Refusing::new(town.remote());
    let bug = Arc::clone(&relay.bug);
    let mut limits = quick();
    limits.call_ms = 3_600_000;
    let engine = town.builder(Arc::clone(&one.store), limits).delivery(relay).open().unwrap();
    within(engine.sync()).unwrap();
    let group = engine.create_group(open_group()).wait().unwrap();
    settle(&group);
    *bug.lock().unwrap() = Some(Bug::PanicInPublish);
    group.send("it arrives").wait().unwrap();
    settle(&group);
    assert_eq!(*bug.lock().unwrap(), None, "it panicked");
    *bug.lock().unwrap() = Some(Bug::PanicInFetch);
    let other = town.person();
    while within(group.add(&[other.inbox])).is_err() {}
    assert_eq!(*bug.lock().unwrap(), None, "it panicked");
}

/// E14: a subscription that ends without an error, or by a panic, is made again.
pub(crate) fn a_subscription_that_breaks_off_is_made_again(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let one = town.person();
    one.engine.shut_down();
    let relay = Refusing::new(town.remote());
    let next = Arc::clone(&relay.bug);
    let mut limits = quick();
    limits.call_ms = 3_600_000;
    let engine = town.builder(Arc::clone(&one.store), limits).delivery(relay).open().unwrap();
    within(engine.sync()).unwrap();
    let group = engine.create_group(open_group()).wait().unwrap();
    for bug in [Bug::EndOfSubscription, Bug::PanicInSubscription] {
        *next.lock().unwrap() = Some(bug);
        group.send("what is delivered meets the bug").wait().unwrap();
        until("it was met", || next.lock().unwrap().is_none());
        within(engine.sync()).unwrap();
        settle(&group);
    }
}

/// E7: an application that asks one engine without end does not keep another engine on the same
/// driver from answering.
pub(crate) fn one_engine_does_not_starve_another(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let shared = town.driver();
    let store = || Arc::new(conclave_store_memory::MemoryStore::new());
    let open = || town.builder(store(), quick()).shared_driver(Arc::clone(&shared)).open().unwrap();
    let (busy, other) = (open(), open());
    for engine in [&busy, &other] {
        engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
        within(engine.sync()).unwrap();
    }
    for _ in 0..200_000 {
        drop(busy.sync());
    }
    within(other.sync()).unwrap();
    within(busy.sync()).unwrap();
}
