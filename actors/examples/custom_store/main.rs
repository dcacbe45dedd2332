//! A store of your own: one file to which every commit is appended. `store.rs` is the whole of it,
//! and the conformance suite judges it in `tests/custom_store.rs`.

pub(crate) mod store;

use std::sync::Arc;

use conclave::{AccountKey, Engine, GroupConfig, Seq};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let logs = Logs::in_memory(&Founding::from_random(&[7; 48]), RelayLimits::default())?;
    let service = Service::new(RelayStore::start(logs)?, RelayLimits::default());
    let relay = Arc::new(Host::new(service, HostLimits::default()));

    let folder = std::env::temp_dir().join(format!("conclave-example-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("alice.log");

    let engine = |path| -> Result<Engine, Box<dyn std::error::Error>> {
        let store = store::FileStore::open(path)?;
        Ok(Engine::builder().store(store).delivery(relay.local()).open()?)
    };
    let alice = engine(&path)?;
    alice.register(AccountKey::generate()?, 0).wait()?;
    let group = alice.create_group(GroupConfig::default()).wait()?;
    group.send("kept in a file").wait()?;
    group.settled().wait()?;
    alice.shut_down();
    drop((group, alice));

    let alice = engine(&path)?;
    for group in alice.groups() {
        println!("{} message in {:?}", group.messages(Seq(0), 10)?.len(), group.id());
    }
    alice.shut_down();
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
