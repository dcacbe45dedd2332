//! An engine with very many groups: opening it, the memory it takes, and asking for news.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use conclave::{Engine, GroupConfig, quic::RelayAddress};
use conclave_proto::identity::hex;
use conclave_relay::{Founding, Logs, RelayLimits};
use conclave_store_memory::MemoryStore;
use conclave_store_redb::RedbStore;
use data_encoding::HEXLOWER;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::person;
use crate::{
    disk::Folder,
    served::{Relay, runtime},
};

/// What opening cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Opened {
    /// Until a message could be sent and was stored.
    pub usable: Duration,
    /// Until everything that the relay has was read, and every group was looked through for what
    /// was left undone.
    pub ready: Duration,
    /// Then: until the relay has said that nothing is new.
    pub sync: Duration,
    /// Memory of the whole process then, in bytes; `None` where the system does not say.
    pub resident: Option<u64>,
    /// The most that it ever was.
    pub peak: Option<u64>,
}

/// Makes so many groups of two, and opens the engine of the one who founded them in a process of
/// its own: `program` with the arguments of [`opened_in_this_process`].
///
/// # Panics
/// If the disk, the loopback or the program fails.
#[must_use]
pub fn open_with_many_groups(groups: usize, program: &Path) -> Opened {
    let folder = Folder::new();
    let founding = Founding::from_random(&[7; 48]);
    let logs = Logs::in_memory(&founding, RelayLimits::default());
    let relay = Relay::start(logs.expect("it is in memory"));
    let file = folder.file("engine");
    make_groups(groups, &relay, &file);
    let output = Command::new(program)
        .args(["open", &groups.to_string()])
        .arg(&file)
        .arg(relay.address.to_string())
        .arg(hex(&relay.fingerprint))
        .stderr(Stdio::inherit())
        .output()
        .expect("the program starts");
    serde_json::from_slice(&output.stdout).expect("the program says what it found")
}

fn make_groups(count: usize, relay: &Relay, file: &Path) {
    let remote = || RelayAddress::pinned(relay.address.into(), relay.fingerprint).remote();
    // Somebody with a key package, who is away.
    let (other, inbox) = person(MemoryStore::new(), remote());
    other.shut_down();
    let store = RedbStore::create_or_open(file).expect("the disk works");
    let (engine, _) = person(store, remote());
    let founded = stream::iter(0..count).map(|_| async {
        let group = engine.create_group(GroupConfig::default()).await.expect("it is stored");
        group.add(&[inbox]).await.expect("the other has keys");
        group.settled().await.expect("it is stored");
    });
    // What goes on at the same time shares commits to the disk.
    let founded = founded.buffer_unordered(64);
    runtime().block_on(founded.for_each(|()| std::future::ready(())));
    engine.sync().wait().expect("the relay answers");
    engine.shut_down();
}

/// Opens the engine in `file`, with so many groups, and measures this process.
///
/// # Panics
/// If something fails, or groups are missing.
#[must_use]
pub fn opened_in_this_process(
    groups: usize,
    file: &Path,
    address: &str,
    fingerprint: &str,
) -> Opened {
    let address = address.parse().expect("an address");
    let relay = RelayAddress::pinned(address, unhex(fingerprint)).remote();
    let start = Instant::now();
    let store = RedbStore::open(file).expect("the disk works");
    let engine = Engine::builder().store(store).delivery(relay).open().expect("it opens");
    let all = engine.groups();
    assert_eq!(all.len(), groups, "every group is there");
    all[groups / 2].send("first").wait().expect("it is stored");
    let usable = start.elapsed();
    engine.sync().wait().expect("the relay answers");
    let ready = start.elapsed();
    let asked = Instant::now();
    engine.sync().wait().expect("the relay answers");
    let sync = asked.elapsed();
    let (resident, peak) = (memory("VmRSS:"), memory("VmHWM:"));
    engine.shut_down();
    Opened { usable, ready, sync, resident, peak }
}

/// Linux says it, in KiB.
fn memory(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

fn unhex(hex: &str) -> [u8; 32] {
    let bytes = HEXLOWER.decode(hex.as_bytes()).expect("digits");
    bytes.try_into().expect("32 bytes")
}
