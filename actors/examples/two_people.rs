//! Two people, one group, one message each way. The relay runs in this process; see
//! `conclave::quic::RelayAddress` for one that does not.

use std::sync::Arc;

use conclave::{AccountKey, Engine, Event, EventCursor, GroupConfig, Seq, Told};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use conclave_store_memory::MemoryStore;

type Failure = Box<dyn std::error::Error>;

pub(crate) fn main() -> Result<(), Failure> {
    let relay = relay()?;

    // An engine is one device: a store, and a way to the relay.
    let engine = || Engine::builder().store(MemoryStore::new()).delivery(relay.local()).open();
    let (alice, bob) = (engine()?, engine()?);

    // An account key founds an inbox and vouches for the device. Keep it safe: see
    // `AccountKey::to_bytes`.
    alice.register(AccountKey::generate()?, 0).wait()?;
    let inbox_of_bob = bob.register(AccountKey::generate()?, 0).wait()?;
    bob.sync().wait()?;

    let group = alice.create_group(GroupConfig::default()).wait()?;
    group.add(&[inbox_of_bob]).wait()?;
    group.send("hello, Bob").wait()?;

    // What happens is told in a log that survives restarts; keep your place in it.
    let mut events = bob.events(EventCursor(0));
    while let Some(told) = events.wait_event()? {
        let Told::Event(_, Event::Message { group, seq, own: false, .. }) = told else { continue };
        let group = bob.group(group).ok_or("a message names its group")?;
        for (_, message) in group.messages(Seq(seq.0 - 1), 1)? {
            println!("bob reads {:?}", text(&message.body));
        }
        group.send("hello, Alice").wait()?;
        break;
    }

    let mut events = alice.events(EventCursor(0));
    while let Some(told) = events.wait_event()? {
        let Told::Event(_, Event::Message { seq, own: false, .. }) = told else { continue };
        for (_, message) in group.messages(Seq(seq.0 - 1), 1)? {
            println!("alice reads {:?}", text(&message.body));
        }
        break;
    }
    Ok(())
}

fn text(body: &conclave::proto::message::Body) -> String {
    let conclave::proto::message::Body::Content(content) = body;
    String::from_utf8_lossy(content).into_owned()
}

/// A relay in memory. One that stays has `Logs::create_or_open`.
fn relay() -> Result<Arc<Host<RelayStore>>, Failure> {
    let founding = Founding::from_random(&[7; 48]); // in earnest: random bytes
    let logs = Logs::in_memory(&founding, RelayLimits::default())?;
    let service = Service::new(RelayStore::start(logs)?, RelayLimits::default());
    Ok(Arc::new(Host::new(service, HostLimits::default())))
}
