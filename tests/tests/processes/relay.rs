//! The relay's process.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use conclave_proto::{Seq, Topic};
use conclave_quic::{ListenError, Listener};
use conclave_relay::{Append, Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};

use crate::{certificate, children::ENGINES, orders, people::Person, say};

pub(crate) const LOGS: &str = "relay";

/// Makes the relay's logs, with the identities of everybody in them.
pub(crate) fn found(folder: &Path) {
    let mut founding = [0; 48];
    getrandom::fill(&mut founding).unwrap();
    let founding = Founding::from_random(&founding);
    let limits = RelayLimits::default();
    let logs = Logs::create_or_open(folder.join(LOGS), &founding, limits).unwrap();
    for person in (0..ENGINES).map(Person::new) {
        let topic = Topic::Identity(person.installation.inbox());
        let append = Append::new(topic, person.log[0].clone()).expecting(Seq(0));
        logs.append(vec![append]).remove(0).unwrap();
    }
}

/// Serves until it is killed.
pub(crate) async fn run(folder: &Path, port: u16) {
    let logs = Logs::open(folder.join(LOGS), RelayLimits::default()).unwrap();
    let store = RelayStore::start(logs).unwrap();
    let host = Host::new(Service::new(store, RelayLimits::default()), HostLimits::default());
    let listener = listen(folder, port).await;
    say(&format!("listening {}", listener.local_addr().port()));
    let _orders = orders();
    loop {
        let (link, _) = listener.accept().await.unwrap();
        tokio::spawn(host.serve(link));
    }
}

/// The port of the process before is free, unless somebody was given it in between.
async fn listen(folder: &Path, port: u16) -> Listener {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut tries = 0;
    loop {
        match Listener::bind(address, &certificate(folder)) {
            Ok(listener) => return listener,
            Err(ListenError::Address(error)) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("{error:?}"),
        }
        tries += 1;
        assert!(tries < 500, "port {port} does not become free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
