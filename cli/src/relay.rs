//! A relay in this process: QUIC in front, logs in a folder behind.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use conclave::proto::{Cursor, Seq, Topic};
use conclave_quic::{Listener, ServerCertificate};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use zeroize::Zeroizing;

use crate::{
    args::RelayArgs,
    counting::CountingLink,
    failure::{Exit, Failure},
    folder::private_folder,
    hex::hex,
    print::{json_line, line},
};

/// A relay that runs until it is closed.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: [u8; 32],
    listener: Arc<Listener>,
    host: Arc<Host<RelayStore>>,
    wire_bytes: Arc<AtomicU64>,
}

impl Relay {
    /// Opens the folder, or makes it, and listens. Called inside a runtime.
    pub(crate) fn start(folder: &Path, listen: SocketAddr) -> Result<Self, Failure> {
        private_folder(folder)?;
        let certificate = certificate(&folder.join("certificate.pem"))?;
        let store = store(&folder.join("relay.redb"))?;
        let host = Host::new(Service::new(store, RelayLimits::default()), HostLimits::default());
        let listener = Listener::bind(listen, &certificate).map_err(|error| {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            let text = format!("cannot listen on {listen}: {error}: {}", why.unwrap_or_default());
            Failure::new(Exit::Relay, text).hint(
                "--listen takes an address of this machine (or 0.0.0.0 for all) and a port that \
                 no other program has.",
            )
        })?;
        let relay = Self {
            address: listener.local_addr(),
            fingerprint: listener.fingerprint(),
            listener: Arc::new(listener),
            host: Arc::new(host),
            wire_bytes: Arc::default(),
        };
        tokio::spawn(accept(
            Arc::clone(&relay.listener),
            Arc::clone(&relay.host),
            Arc::clone(&relay.wire_bytes),
        ));
        Ok(relay)
    }

    /// Bytes in frames of all clients so far, both ways.
    pub(crate) fn wire_bytes(&self) -> u64 {
        self.wire_bytes.load(Ordering::Relaxed)
    }

    /// The place of the last record of a log.
    pub(crate) fn head(&self, topic: Topic) -> Result<Seq, Failure> {
        let heads = self.host.service().store().logs().heads(&[(topic, Seq(0))]);
        let heads = heads.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        Ok(heads.first().map_or(Cursor::START, |(_, head)| *head).seq)
    }

    /// Says goodbye to the clients, for no longer than that, stores what was accepted, and ends.
    pub(crate) async fn close(self, farewell: Duration) {
        self.host.shut_down();
        self.listener.close(farewell).await;
        // A connection that does not end in time is cut off by the end of the process.
        drop(tokio::time::timeout(farewell, self.host.ended()).await);
        let store = self.host.service().store().clone();
        drop(tokio::task::spawn_blocking(move || store.close()).await);
    }
}

/// How long clients may take to hear that the relay ends: some round trips.
const FAREWELL: Duration = Duration::from_secs(2);

async fn accept(listener: Arc<Listener>, host: Arc<Host<RelayStore>>, bytes: Arc<AtomicU64>) {
    while let Ok((link, address)) = listener.accept().await {
        tracing::debug!(%address, "a client");
        tokio::spawn(host.serve(CountingLink::new(link, Arc::clone(&bytes))));
    }
}

fn certificate(path: &Path) -> Result<ServerCertificate, Failure> {
    let failed = |error| Failure::new(Exit::Folder, format!("{}: {error}", path.display()));
    if path.exists() {
        return ServerCertificate::load(path).map_err(failed);
    }
    let certificate = ServerCertificate::self_signed(&["localhost"]).map_err(failed)?;
    certificate.save(path).map_err(failed)?;
    Ok(certificate)
}

fn store(path: &Path) -> Result<RelayStore, Failure> {
    let mut random = Zeroizing::new([0; 48]);
    getrandom::fill(&mut *random)
        .map_err(|error| Failure::new(Exit::Failed, format!("no randomness: {error}")))?;
    let logs = Logs::create_or_open(path, &Founding::from_random(&random), RelayLimits::default());
    let logs = logs.map_err(|error| Failure::unopened(path, &error))?;
    Ok(RelayStore::start(logs)?)
}

/// `conclave relay`: runs until somebody wants it to end.
pub(crate) async fn run(args: RelayArgs, json: bool) -> Result<(), Failure> {
    let relay = Relay::start(&args.data, args.listen)?;
    let (address, fingerprint) = (relay.address, hex(&relay.fingerprint));
    // It goes on whether or not anybody reads.
    drop(if json {
        let address = address.to_string();
        json_line(&serde_json::json!({ "address": address, "fingerprint": fingerprint }))
    } else {
        line(format_args!(
            "relay on {address}\ncertificate {fingerprint}\n\nClients join with:\n  \
             conclave init --relay {} --fingerprint {fingerprint}",
            as_clients_see(address)
        ))
    });
    crate::signals::wanted_to_end().await;
    relay.close(FAREWELL).await;
    Ok(())
}

/// What clients connect to: a relay that listens on all addresses is found by one of them.
fn as_clients_see(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("THIS-HOST:{}", address.port())
    } else {
        address.to_string()
    }
}
