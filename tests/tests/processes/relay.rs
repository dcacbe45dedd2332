//! The relay's process.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use conclave_quic::{ListenError, Listener};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};

use crate::{certificate, orders, say};

pub(crate) const LOGS: &str = "relay";

/// Creates the relay's logs.
pub(crate) fn found(folder: &Path) {
    let mut founding = [0; 48];
    getrandom::fill(&mut founding).unwrap();
    let founding = Founding::from_random(&founding);
    drop(Logs::create_or_open(folder.join(LOGS), &founding, RelayLimits::default()).unwrap());
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
