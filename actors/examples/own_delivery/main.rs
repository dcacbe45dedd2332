//! No relay at all: a delivery service of your own. `board.rs` is the whole of it, and the
//! conformance suite judges it in `tests/own_delivery.rs`. It needs no feature but `memory`.

pub(crate) mod board;

use conclave::{AccountKey, Engine, Event, EventCursor, GroupConfig, Seq, Told};
use conclave_store_memory::MemoryStore;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let board = board::Board::default();
    let engine = || Engine::builder().store(MemoryStore::new()).delivery(board.join()).open();
    let (alice, bob) = (engine()?, engine()?);
    alice.register(AccountKey::generate()?, 0).wait()?;
    let inbox_of_bob = bob.register(AccountKey::generate()?, 0).wait()?;
    bob.sync().wait()?;

    let group = alice.create_group(GroupConfig::default()).wait()?;
    group.add(&[inbox_of_bob]).wait()?;
    group.send("on the board").wait()?;
    let mut events = bob.events(EventCursor(0));
    while let Some(told) = events.wait_event()? {
        let Told::Event(_, Event::Message { group, seq, own: false, .. }) = told else { continue };
        let group = bob.group(group).ok_or("a message names its group")?;
        for (_, message) in group.messages(Seq(seq.0 - 1), 1)? {
            let conclave::proto::message::Body::Content(content) = message.body;
            println!("bob reads {:?}", String::from_utf8_lossy(&content));
        }
        break;
    }
    Ok(())
}
