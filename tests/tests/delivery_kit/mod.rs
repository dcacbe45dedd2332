//! Remotes and hosts for tests, over links of each kind.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use conclave_core::{bounds::BoxFuture, delivery::TransportError, link::Link};
use conclave_links::{lossy, memory};
use conclave_quic::{Listener, ServerCertificate, Trust};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use conclave_remote::{Connector, Remote, RemoteLimits};
use conclave_testkit::conformance::delivery::Test;
use tempfile::{TempDir, tempdir};
use tokio::{runtime::Builder, task::JoinHandle};

pub(crate) type TheHost = Host<RelayStore>;

/// Runs a test on a runtime of its own.
pub(crate) fn run(test: Test<'_>) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
    runtime.shutdown_timeout(Duration::from_secs(10));
}

pub(crate) fn founding() -> Founding {
    Founding::from_random(&[5; 48])
}

pub(crate) fn host(logs: Logs) -> Arc<TheHost> {
    limited_host(logs, HostLimits::default())
}

fn limited_host(logs: Logs, limits: HostLimits) -> Arc<TheHost> {
    let service = Service::new(RelayStore::start(logs).unwrap(), RelayLimits::default());
    Arc::new(Host::new(service, limits))
}

pub(crate) fn host_in_memory() -> Arc<TheHost> {
    host_with(HostLimits::default())
}

/// A host in memory with other limits.
pub(crate) fn host_with(limits: HostLimits) -> Arc<TheHost> {
    limited_host(Logs::in_memory(&founding(), RelayLimits::default()).unwrap(), limits)
}

/// Opens links in memory to a host.
pub(crate) struct MemoryConnector(pub(crate) Arc<TheHost>);

impl Connector for MemoryConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        let (client, relay) = memory::pair(4_096);
        tokio::spawn(self.0.serve(relay));
        Box::pin(std::future::ready(Ok(Box::new(client) as Box<dyn Link>)))
    }
}

/// Opens links to a host that lose frames, differently each time.
pub(crate) struct LossyConnector(pub(crate) Arc<TheHost>, AtomicU64);

impl Connector for LossyConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        let seed = self.1.fetch_add(1, Ordering::Relaxed);
        let (client, relay) = lossy::pair(lossy::LossySettings::default(), seed);
        tokio::spawn(self.0.serve(relay));
        Box::pin(std::future::ready(Ok(Box::new(client) as Box<dyn Link>)))
    }
}

pub(crate) async fn over_memory() -> (Remote, Arc<TheHost>) {
    let host = host_in_memory();
    (Remote::new(MemoryConnector(Arc::clone(&host)), RemoteLimits::default()), host)
}

pub(crate) async fn over_lossy_links() -> (Remote, Arc<TheHost>) {
    let host = host_in_memory();
    let connector = LossyConnector(Arc::clone(&host), AtomicU64::new(7));
    (Remote::new(connector, RemoteLimits::default()), host)
}

struct QuicConnector {
    address: SocketAddr,
    fingerprint: [u8; 32],
}

impl Connector for QuicConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            let trust = Trust::Fingerprint(self.fingerprint);
            let retry_after = Duration::ZERO;
            conclave_quic::connect(self.address, "localhost", trust)
                .await
                .map(|link| Box::new(link) as Box<dyn Link>)
                .map_err(|_| TransportError::Unavailable { retry_after })
        })
    }
}

/// A listener's task, and a folder with the relay's file; both go with it.
pub(crate) struct Served {
    pub(crate) host: Arc<TheHost>,
    accepting: JoinHandle<()>,
    _folder: TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.accepting.abort();
        self.host.shut_down();
    }
}

pub(crate) async fn over_quic() -> (Remote, Served) {
    let folder = tempdir().unwrap();
    let logs =
        Logs::create_or_open(folder.path().join("logs"), &founding(), RelayLimits::default());
    let host = host(logs.unwrap());
    let certificate = ServerCertificate::self_signed(&["localhost"]).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &certificate).unwrap();
    let connector =
        QuicConnector { address: listener.local_addr(), fingerprint: listener.fingerprint() };
    let serving = Arc::clone(&host);
    let accepting = tokio::spawn(async move {
        while let Ok((link, _)) = listener.accept().await {
            tokio::spawn(serving.serve(link));
        }
    });
    (Remote::new(connector, RemoteLimits::default()), Served { host, accepting, _folder: folder })
}
