//! A bot that answers every message with the same words. It keeps its state in one file and its
//! place in the events in another, so that it answers each message once, whenever it is restarted.
//!
//! ```text
//! cargo run -p conclave --example echo_bot -- 127.0.0.1:4433 FINGERPRINT FOLDER
//! ```

use std::{fs, path::Path};

use conclave::{AccountKey, Engine, Event, EventCursor, RedbStore, Seq, Told, quic::RelayAddress};
use data_encoding::HEXLOWER;

type Failure = Box<dyn std::error::Error>;

pub(crate) fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, fingerprint, folder] = arguments.as_slice() else {
        return Err("arguments: ADDRESS FINGERPRINT FOLDER".into());
    };
    let relay = RelayAddress::pinned(address.parse()?, bytes(fingerprint)?).remote();
    run(relay, Path::new(folder), usize::MAX)
}

/// Answers so many messages.
pub(crate) fn run(
    relay: impl conclave::core::delivery::DeliveryService,
    folder: &Path,
    mut answers: usize,
) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let store = RedbStore::create_or_open(folder.join("bot.conclave"))?;
    let bot = Engine::builder().store(store).delivery(relay).open()?;
    let inbox = bot.register(AccountKey::in_file(folder.join("account.key"))?, 0).wait()?;
    println!("{}", inbox.to_hex());

    let place = folder.join("place");
    let at = fs::read_to_string(&place).ok().and_then(|text| text.parse().ok());
    let mut events = bot.events(EventCursor(at.unwrap_or(0)));
    while answers > 0
        && let Some(told) = events.wait_event()?
    {
        if let Told::Event(at, Event::Message { group, seq, own: false, id }) = told {
            let group = bot.group(group).ok_or("a message names its group")?;
            for (_, message) in group.messages(Seq(seq.0 - 1), 1)? {
                let conclave::proto::message::Body::Content(content) = message.body;
                // The key comes from the message: after a crash the answer is no second one.
                let key = id.0.first_chunk::<16>().copied().unwrap_or_default();
                group.send_once(key, [b"you said: ", &content[..]].concat()).wait()?;
            }
            fs::write(&place, at.0.to_string())?;
            answers -= 1;
        }
    }
    for group in bot.groups() {
        group.settled().wait()?;
    }
    Ok(())
}

fn bytes(hex: &str) -> Result<[u8; 32], Failure> {
    let bytes = HEXLOWER.decode(hex.as_bytes()).map_err(|_| "the inbox is no hex")?;
    Ok(bytes.as_slice().try_into()?)
}
