//! How many threads an engine adds to a driver that already runs another one.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use conclave::{
    Engine,
    driver::{Actors, Driver, Threads},
    quic::RelayAddress,
};
use conclave_relay::{Founding, Logs, RelayLimits};
use conclave_store_redb::RedbStore;

use super::registered;
use crate::{disk::Folder, served::Relay};

/// Threads that each further engine on a shared driver adds, in a process of its own: `program`
/// with the arguments of [`threads_in_this_process`]. The larger figure of both drivers; `None`
/// where the system does not list threads.
///
/// # Panics
/// If the disk, the loopback or the program fails.
#[must_use]
pub fn threads_per_engine(engines: usize, program: &Path) -> Option<f64> {
    let output = Command::new(program)
        .args(["threads", &engines.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .expect("the program starts");
    serde_json::from_slice(&output.stdout).expect("the program prints a number or null")
}

/// As [`threads_per_engine`], counted in this process: nothing else may start or end threads in
/// it meanwhile.
///
/// # Panics
/// If something fails.
#[must_use]
pub fn threads_in_this_process(engines: usize) -> Option<f64> {
    let founding = Founding::from_random(&[7; 48]);
    let logs = Logs::in_memory(&founding, RelayLimits::default());
    let relay = Relay::start(logs.expect("it is in memory"));
    let actors = per_engine(engines, &relay, Arc::new(Actors::start(None).expect("it starts")))?;
    let threads = per_engine(engines, &relay, Arc::new(Threads::start(None).expect("it starts")))?;
    Some(actors.max(threads))
}

/// Counts before and after, while all engines are registered and subscribed at the relay.
fn per_engine(engines: usize, relay: &Relay, driver: Arc<dyn Driver>) -> Option<f64> {
    let folder = Folder::new();
    let open = |number: usize| {
        let store = RedbStore::create_or_open(folder.file(&number.to_string()));
        let remote = RelayAddress::pinned(relay.address.into(), relay.fingerprint).remote();
        let builder = Engine::builder().store(store.expect("the disk works")).delivery(remote);
        registered(builder.shared_driver(Arc::clone(&driver))).0
    };
    let first = open(0);
    let before = running()?;
    let further: Vec<Engine> = (1..=engines).map(open).collect();
    let after = running()?;
    further.iter().chain([&first]).for_each(Engine::shut_down);
    Some((after as f64 - before as f64) / engines as f64)
}

/// Threads of this process; Linux lists them.
fn running() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}
