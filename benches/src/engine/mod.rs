//! Whole engines: store, session, relay and events together, as an application has them.

mod end_to_end;
mod many_groups;
mod threads;
mod two_cores;

use conclave::{
    AccountKey, Builder, Engine, Event, EventCursor, Events, GroupHandle, InboxId, Told,
    core::delivery::DeliveryService, core::store::Store,
};
pub use end_to_end::{EndToEnd, end_to_end};
pub use many_groups::{Opened, open_with_many_groups, opened_in_this_process};
pub use threads::{threads_in_this_process, threads_per_engine};
pub use two_cores::{two_cores_over_one, two_threads_over_one_processor};

/// Bytes of a message.
const CONTENT: usize = 100;

fn content(number: usize) -> Vec<u8> {
    let mut content = number.to_be_bytes().to_vec();
    content.resize(CONTENT, 7);
    content
}

/// An engine that others can invite.
fn person(store: impl Store, delivery: impl DeliveryService) -> (Engine, InboxId) {
    registered(Engine::builder().store(store).delivery(delivery))
}

/// As [`person`], for an engine that is built in another way.
fn registered(builder: Builder) -> (Engine, InboxId) {
    let engine = builder.open().expect("it opens");
    let account = AccountKey::generate().expect("there is randomness");
    let inbox = engine.register(account, 0).wait().expect("the relay takes it");
    engine.sync().wait().expect("the relay answers");
    (engine, inbox)
}

/// The next group that an engine becomes a member of.
fn joined(engine: &Engine, events: &mut Events) -> GroupHandle {
    loop {
        if let Event::Joined { group, .. } = next(events) {
            return engine.group(group).expect("an event names its group");
        }
    }
}

/// The next message of somebody else's.
fn message(events: &mut Events) {
    while !matches!(next(events), Event::Message { own: false, .. }) {}
}

fn next(events: &mut Events) -> Event {
    loop {
        match events.wait_event().expect("the store works").expect("the engine runs") {
            Told::Event(_, event) => return event,
            Told::Lagged(_) => {}
        }
    }
}

fn from_now_on(engine: &Engine) -> Events {
    engine.events(engine.last_event())
}

/// Everything that is kept.
fn from_the_start(engine: &Engine) -> Events {
    engine.events(EventCursor(0))
}
