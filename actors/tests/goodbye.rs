//! How an engine leaves a relay, over real QUIC.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg(all(feature = "quic", feature = "memory"))]

use std::{
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use conclave::{AccountKey, Engine, quic::RelayAddress};
use conclave_quic::{Listener, ServerCertificate};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use conclave_store_memory::MemoryStore;

/// R6: a relay hears of an engine that is shut down long before the connection's 30 seconds of
/// silence are over, although a handle of a group is still there.
#[test]
fn a_relay_is_told_when_an_engine_is_shut_down() {
    let logs = Logs::in_memory(&Founding::from_random(&[7; 48]), RelayLimits::default()).unwrap();
    let service = Service::new(RelayStore::start(logs).unwrap(), RelayLimits::default());
    let host = Arc::new(Host::new(service, HostLimits::default()));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let certificate = ServerCertificate::self_signed(&["localhost"]).unwrap();
    let listener = {
        let _inside = runtime.enter();
        Listener::bind("127.0.0.1:0".parse().unwrap(), &certificate).unwrap()
    };
    let address = listener.local_addr();
    let serving = Arc::clone(&host);
    runtime.spawn(async move {
        while let Ok((link, _)) = listener.accept().await {
            tokio::spawn(serving.serve(link));
        }
    });

    let relay = RelayAddress::pinned(address.into(), certificate.fingerprint()).remote();
    let engine = Engine::builder().store(MemoryStore::new()).delivery(relay).open().unwrap();
    engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
    let group = engine.create_group(conclave::GroupConfig::default()).wait().unwrap();
    engine.sync().wait().unwrap();
    assert_eq!(host.connections(), 1);
    engine.shut_down();
    let shut = Instant::now();
    while host.connections() > 0 {
        assert!(shut.elapsed() < Duration::from_secs(10), "the relay was not told");
        sleep(Duration::from_millis(1));
    }
    drop(group);
}
