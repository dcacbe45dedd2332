//! The server's side: taking links from clients.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use conclave_core::{link::LinkError, proto::relay::ALPN};
use quinn::{
    Connection, Endpoint, Incoming, ServerConfig, TokioRuntime, VarInt,
    crypto::rustls::QuicServerConfig,
};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::timeout,
};

use crate::{
    QuicLink, ServerCertificate, reset,
    settings::{HANDSHAKE, PREAMBLE, code, provider, transport},
};

/// How many clients a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Connections, those in their handshake too. The default, 10,000, holds 20 GB in the worst
    /// case, when each fills its window and nobody reads; an idle one holds some kilobytes.
    pub connections: usize,
    /// Handshakes in progress, the expensive part: 1,000 take a core for about a second. With
    /// more than half of them taken, clients have to show that their address is theirs.
    pub handshakes: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self { connections: 10_000, handshakes: 1_000 }
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The certificate and its key do not fit each other or TLS 1.3.
    #[error("the certificate and its key cannot be used")]
    Certificate,
    /// The address is not free, or not ours.
    #[error("the address cannot be listened on")]
    Address(#[source] io::Error),
}

/// Takes links from clients. Dropping it closes all of them at once, see [`close`](Self::close)
/// for the other way.
#[derive(Debug)]
pub struct Listener {
    endpoint: Endpoint,
    local: SocketAddr,
    fingerprint: [u8; 32],
    ready: Mutex<mpsc::Receiver<(QuicLink, SocketAddr)>>,
    ending: watch::Sender<bool>,
}

impl Listener {
    /// Listens with the default limits; port 0 is one of the system's choice. It needs a tokio
    /// runtime with network and time.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub fn bind(address: SocketAddr, certificate: &ServerCertificate) -> Result<Self, ListenError> {
        Self::bind_with(address, certificate, ListenerLimits::default())
    }

    /// [`bind`](Self::bind) with other limits.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub fn bind_with(
        address: SocketAddr,
        certificate: &ServerCertificate,
        limits: ListenerLimits,
    ) -> Result<Self, ListenError> {
        let config = config(certificate)?;
        let resets = reset::endpoint(certificate).map_err(|_| ListenError::Certificate)?;
        let socket = UdpSocket::bind(address).map_err(ListenError::Address)?;
        let endpoint = Endpoint::new(resets, Some(config), socket, Arc::new(TokioRuntime))
            .map_err(ListenError::Address)?;
        let local = endpoint.local_addr().map_err(ListenError::Address)?;
        let (ready_sender, ready) = mpsc::channel(READY_LINKS);
        let ending = watch::Sender::new(false);
        let door = Arc::new(Door {
            limits,
            connections: Arc::new(Semaphore::new(limits.connections)),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            ready: ready_sender,
            ending: ending.subscribe(),
        });
        tokio::spawn(door.open(endpoint.clone()));
        let fingerprint = certificate.fingerprint();
        Ok(Self { endpoint, local, fingerprint, ready: Mutex::new(ready), ending })
    }

    /// The next client's link and its address. Dropping the future loses no client.
    ///
    /// # Errors
    ///
    /// [`LinkError::Closed`] once the listener is closed.
    pub async fn accept(&self) -> Result<(QuicLink, SocketAddr), LinkError> {
        self.ready.lock().await.recv().await.ok_or(LinkError::Closed)
    }

    /// The address it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// [`ServerCertificate::fingerprint`] of its certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Takes no more clients, closes all links, and waits until their clients have what the links
    /// took, but no longer than `deadline`.
    pub async fn close(&self, deadline: Duration) {
        self.endpoint.set_server_config(None);
        self.ending.send_replace(true);
        let _ = timeout(deadline, self.endpoint.wait_idle()).await;
        self.shut();
    }

    fn shut(&self) {
        self.endpoint.close(VarInt::from_u32(code::SHUTTING_DOWN), b"shutting down");
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Lets clients in.
struct Door {
    limits: ListenerLimits,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    ready: mpsc::Sender<(QuicLink, SocketAddr)>,
    ending: watch::Receiver<bool>,
}

impl Door {
    async fn open(self: Arc<Self>, endpoint: Endpoint) {
        while let Some(incoming) = endpoint.accept().await {
            let crowded = self.handshakes.available_permits() < self.limits.handshakes / 2;
            if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
                // Fails only if it may not.
                let _ = incoming.retry();
                continue;
            }
            let connection = Arc::clone(&self.connections).try_acquire_owned();
            let handshake = Arc::clone(&self.handshakes).try_acquire_owned();
            let (Ok(connection), Ok(handshake)) = (connection, handshake) else {
                incoming.refuse();
                continue;
            };
            tokio::spawn(Arc::clone(&self).admit(incoming, connection, handshake));
        }
    }

    async fn admit(
        self: Arc<Self>,
        incoming: Incoming,
        permit: OwnedSemaphorePermit,
        handshake: OwnedSemaphorePermit,
    ) {
        let address = incoming.remote_address();
        let opened = timeout(HANDSHAKE, self.greet(incoming, permit)).await;
        drop(handshake);
        if let Ok(Some(link)) = opened {
            // Fails when the listener is gone.
            let _ = self.ready.send((link, address)).await;
        }
    }

    async fn greet(&self, incoming: Incoming, permit: OwnedSemaphorePermit) -> Option<QuicLink> {
        let connection = incoming.await.ok()?;
        let silent = ClosedUnlessGreeted(Some(connection.clone()));
        let (sends, mut receives) = connection.accept_bi().await.ok()?;
        let mut preamble = [0];
        receives.read_exact(&mut preamble).await.ok()?;
        if preamble != [PREAMBLE] {
            return None;
        }
        silent.greeted();
        Some(QuicLink::start(
            connection,
            (sends, receives),
            Some(self.ending.clone()),
            Some(permit),
        ))
    }
}

/// Ends a connection with its reason, also when the time for its handshake is over.
struct ClosedUnlessGreeted(Option<Connection>);

impl ClosedUnlessGreeted {
    fn greeted(mut self) {
        self.0 = None;
    }
}

impl Drop for ClosedUnlessGreeted {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.close(VarInt::from_u32(code::NO_PREAMBLE), b"no preamble");
        }
    }
}

/// TLS 1.3, this protocol only, and no tickets, so that there is nothing to resume with 0-RTT.
fn config(certificate: &ServerCertificate) -> Result<ServerConfig, ListenError> {
    let key = certificate.key().map_err(|_| ListenError::Certificate)?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| ListenError::Certificate)?
        .with_no_client_auth()
        .with_single_cert(certificate.chain(), key)
        .map_err(|_| ListenError::Certificate)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.max_early_data_size = 0;
    tls.send_tls13_tickets = 0;
    let quic = QuicServerConfig::try_from(tls).map_err(|_| ListenError::Certificate)?;
    let mut config = ServerConfig::with_crypto(Arc::new(quic));
    config.transport_config(transport(1));
    Ok(config)
}

/// Links that wait for [`Listener::accept`]; further ones wait before it, as their clients do.
const READY_LINKS: usize = 64;
