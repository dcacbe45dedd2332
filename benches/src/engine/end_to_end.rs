//! One message from one person to another, everything durable, over QUIC.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use conclave::{GroupConfig, quic::RelayAddress};
use conclave_relay::{Founding, Logs, RelayLimits};
use conclave_store_redb::RedbStore;

use super::{content, from_now_on, from_the_start, joined, message, person};
use crate::{
    disk::{Calls, Folder, counted},
    served::Relay,
};

/// What a message took.
#[derive(Clone, Copy, Debug)]
pub struct EndToEnd {
    /// From the call to the other's event: the median.
    pub p50: Duration,
    /// One in a hundred took longer.
    pub p99: Duration,
    /// Syncs of all three stores per message, what the sender stores once it has its own message
    /// back included.
    pub syncs: f64,
}

/// Sends messages one after the other, each when the one before has been read.
///
/// # Panics
/// If the disk or the loopback fails.
#[must_use]
pub fn end_to_end(messages: usize) -> EndToEnd {
    let (folder, calls) = (Folder::new(), Arc::<Calls>::default());
    let file = |name| counted(&folder.file(name), Arc::clone(&calls));
    let founding = Founding::from_random(&[7; 48]);
    let logs = Logs::with_backend(file("relay"), &founding, RelayLimits::default());
    let relay = Relay::start(logs.expect("the disk works"));
    let device = |name| {
        let store = RedbStore::with_backend(file(name)).expect("the disk works");
        person(store, RelayAddress::pinned(relay.address.into(), relay.fingerprint).remote())
    };
    let ((sender, _), (receiver, inbox)) = (device("sender"), device("receiver"));
    let group = sender.create_group(GroupConfig::default()).wait().expect("it is stored");
    group.add(&[inbox]).wait().expect("the other has keys");
    let _joined = joined(&receiver, &mut from_the_start(&receiver));
    let mut events = from_now_on(&receiver);

    let mut times = Vec::with_capacity(messages);
    let mut exchange = |number| {
        let start = Instant::now();
        group.send(content(number)).wait().expect("it is stored");
        message(&mut events);
        let time = start.elapsed();
        group.settled().wait().expect("it is stored");
        time
    };
    // The first of an epoch costs more.
    for number in 0..10 {
        exchange(number);
    }
    let before = calls.so_far().0;
    times.extend((0..messages).map(&mut exchange));
    let syncs = (calls.so_far().0 - before) as f64 / messages as f64;
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    let found = EndToEnd { p50: at(50), p99: at(99), syncs };
    sender.shut_down();
    receiver.shut_down();
    found
}
