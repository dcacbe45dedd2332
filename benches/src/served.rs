//! A relay over QUIC on loopback, on a thread of its own in this process.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
};

use conclave_quic::{Listener, ServerCertificate};
use conclave_relay::{Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

/// It serves until it is dropped.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) store: RelayStore,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn start(logs: Logs) -> Self {
        let store = RelayStore::start(logs).expect("there is a thread");
        let certificate = ServerCertificate::self_signed(&["localhost"]).expect("a valid name");
        let fingerprint = certificate.fingerprint();
        let (stop, mut stopped) = oneshot::channel();
        let (sender, address) = std::sync::mpsc::channel();
        let serving = store.clone();
        let serve = async move {
            let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
            let listener = Listener::bind(loopback, &certificate).expect("the loopback works");
            sender.send(listener.local_addr()).expect("somebody waits for it");
            let service = Service::new(serving, RelayLimits::default());
            let host = Host::new(service, HostLimits::default());
            loop {
                tokio::select! {
                    Ok((link, _)) = listener.accept() => drop(tokio::spawn(host.serve(link))),
                    _ = &mut stopped => return,
                }
            }
        };
        let thread = thread::spawn(move || runtime().block_on(serve));
        let address = address.recv().expect("the relay starts");
        Self { address, fingerprint, store, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A relay that panicked has said so.
            let _ = thread.join();
        }
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("there are resources for a runtime")
}
