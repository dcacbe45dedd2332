//! Clients and servers that do not keep to the protocol (scenarios 18 and 85).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use conclave_core::{
    Class,
    link::{Link, LinkError},
    proto::relay::ALPN,
};
use conclave_quic::{
    ConnectError, Listener, ListenerLimits, MTU, QuicLink, RootCertStore, ServerCertificate, Trust,
    code, connect, connect_to,
};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, SendStream, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use tokio::{net::UdpSocket, time::timeout};

const PATIENCE: Duration = Duration::from_secs(50);

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

fn localhost() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn listener() -> Listener {
    let certificate = ServerCertificate::self_signed(&["localhost"]).unwrap();
    Listener::bind(localhost(), &certificate).unwrap()
}

async fn client(listener: &Listener) -> Result<QuicLink, ConnectError> {
    connect(listener.local_addr(), "localhost", Trust::Fingerprint(listener.fingerprint())).await
}

async fn pair(listener: &Listener) -> (QuicLink, QuicLink) {
    let client = client(listener).await.unwrap();
    (client, within(listener.accept()).await.unwrap().0)
}

/// A client of another make, which trusts everybody.
async fn raw_client(listener: &Listener, alpn: &[u8]) -> Result<Connection, ConnectionError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client(localhost()).unwrap();
    endpoint.connect_with(config, listener.local_addr(), "localhost").unwrap().await
}

/// A raw client whose stream the listener has taken as a link.
async fn raw_pair(listener: &Listener) -> (Connection, SendStream, QuicLink) {
    let connection = raw_client(listener, ALPN).await.unwrap();
    let (mut stream, _) = connection.open_bi().await.unwrap();
    stream.write_all(&[1]).await.unwrap();
    let (link, _) = within(listener.accept()).await.unwrap();
    (connection, stream, link)
}

fn closed_with(error: &ConnectionError, code: u32) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(close)
        if close.error_code == VarInt::from_u32(code))
}

/// S14: a relay with another certificate is not spoken to, and another attempt makes no sense.
#[tokio::test]
async fn a_wrong_certificate_is_refused() {
    let listener = listener();
    let mut other = listener.fingerprint();
    other[31] ^= 1;
    let wrong = connect(listener.local_addr(), "localhost", Trust::Fingerprint(other)).await;
    assert_eq!(wrong.unwrap_err(), ConnectError::WrongCertificate);
    assert_eq!(ConnectError::WrongCertificate.class(), Class::Permanent);

    // An authority that has not signed it.
    let unrelated = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(unrelated.cert.der().clone()).unwrap();
    let wrong = connect(listener.local_addr(), "localhost", Trust::Roots(Arc::new(roots))).await;
    assert_eq!(wrong.unwrap_err(), ConnectError::WrongCertificate);
    let nobody = Trust::Roots(Arc::new(RootCertStore::empty()));
    let nobody = connect(listener.local_addr(), "localhost", nobody).await.unwrap_err();
    assert_eq!(nobody.class(), Class::Permanent);
    pair(&listener).await;
}

/// A relay is found by its name, also if the name's other addresses do not answer; what is no name
/// is said to be none, and one that nobody knows may come back.
#[tokio::test]
async fn a_relay_is_found_by_its_name() {
    let listener = listener();
    let (port, trust) = (listener.local_addr().port(), Trust::Fingerprint(listener.fingerprint()));
    for host in ["localhost", "127.0.0.1"] {
        let client = connect_to(host, port, trust.clone()).await.unwrap();
        let (server, _) = within(listener.accept()).await.unwrap();
        client.send(vec![host.as_bytes().to_vec()]).await.unwrap();
        assert_eq!(within(server.receive()).await.unwrap(), [host.as_bytes()]);
    }
    for host in ["", "not a name", "-", "a..b"] {
        let error = connect_to(host, port, trust.clone()).await.unwrap_err();
        assert_eq!(error, ConnectError::Misconfigured("not a server name"), "{host}");
    }
    // RFC 6761 §6.4: nobody has it, and resolvers do not ask.
    let unknown = connect_to("relay.invalid", port, trust).await.unwrap_err();
    assert_eq!(unknown.class(), Class::Transient);
    let wrong = connect_to("localhost", port, Trust::Fingerprint([0; 32])).await.unwrap_err();
    assert_eq!(wrong, ConnectError::WrongCertificate);
}

/// S14: with authorities, the name counts.
#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let made = rcgen::generate_simple_self_signed(vec!["relay.example".into()]).unwrap();
    let key = made.signing_key.serialize_pem();
    let certificate =
        ServerCertificate::from_pem(made.cert.pem().as_bytes(), key.as_bytes()).unwrap();
    let listener = Listener::bind(localhost(), &certificate).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let trust = Trust::Roots(Arc::new(roots));
    assert!(connect(listener.local_addr(), "relay.example", trust.clone()).await.is_ok());
    let wrong = connect(listener.local_addr(), "other.example", trust).await;
    assert_eq!(wrong.unwrap_err(), ConnectError::WrongCertificate);
}

/// Scenario 18: another protocol on either side.
#[tokio::test]
async fn a_wrong_protocol_is_refused() {
    let listener = listener();
    assert!(raw_client(&listener, b"h3").await.is_err());

    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    for alpn in [vec![b"h3".to_vec()], vec![]] {
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.clone_key())
            .unwrap();
        tls.alpn_protocols = alpn;
        let quic = Arc::new(QuicServerConfig::try_from(tls).unwrap());
        let config = quinn::ServerConfig::with_crypto(quic);
        let server = Endpoint::server(config, localhost()).unwrap();
        let address = server.local_addr().unwrap();
        let serves = tokio::spawn(async move {
            let incoming = server.accept().await.unwrap();
            let _ = incoming.await;
            server.wait_idle().await;
        });
        let pem = made.cert.pem();
        let key = made.signing_key.serialize_pem();
        let known = ServerCertificate::from_pem(pem.as_bytes(), key.as_bytes()).unwrap();
        let trust = Trust::Fingerprint(known.fingerprint());
        let wrong = connect(address, "localhost", trust).await.unwrap_err();
        assert_eq!((wrong.class(), &wrong), (Class::Permanent, &ConnectError::WrongProtocol));
        serves.abort();
    }
}

/// A server that is not there may come back.
#[tokio::test]
async fn a_missing_server_is_worth_another_attempt() {
    let silent = std::net::UdpSocket::bind(localhost()).unwrap();
    let address = silent.local_addr().unwrap();
    let missing = connect(address, "localhost", Trust::Fingerprint([0; 32])).await.unwrap_err();
    assert_eq!((missing.class(), missing), (Class::Transient, ConnectError::TimedOut));
}

/// Scenario 18: frames that come byte by byte arrive, and a frame that never ends does not.
#[tokio::test]
async fn bytes_that_come_one_by_one_are_frames() {
    let listener = listener();
    let (_connection, mut stream, link) = raw_pair(&listener).await;
    for byte in [0, 0, 0, 3, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0, 1, 5] {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut frames = Vec::new();
    while frames.len() < 3 {
        frames.extend(within(link.receive()).await.unwrap());
    }
    assert_eq!(frames, [vec![7, 8, 9], vec![], vec![5]]);

    stream.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
    stream.finish().unwrap();
    assert_eq!(within(link.receive()).await, Err(LinkError::Closed));
    assert_eq!(within(link.receive()).await, Err(LinkError::Closed));
}

/// Scenario 18: a frame above the MTU ends the connection when it is announced, with a code.
#[tokio::test]
async fn a_frame_that_is_too_long_ends_the_connection() {
    let listener = listener();
    let (connection, mut stream, link) = raw_pair(&listener).await;
    let length = u32::try_from(MTU + 1).unwrap().to_be_bytes();
    stream.write_all(&[&[0, 0, 0, 1, 9], &length[..]].concat()).await.unwrap();
    assert_eq!(within(link.receive()).await, Ok(vec![vec![9]]));
    let end = within(link.receive()).await.unwrap_err();
    assert!(matches!(end, LinkError::Misconfigured(_)));
    assert!(closed_with(&within(connection.closed()).await, code::FRAME_TOO_LONG));
    pair(&listener).await;
}

/// Scenario 18: a stream that begins otherwise is no link.
#[tokio::test]
async fn a_stream_without_its_preamble_ends_the_connection() {
    let listener = listener();
    let connection = raw_client(&listener, ALPN).await.unwrap();
    let (mut stream, _) = connection.open_bi().await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(closed_with(&within(connection.closed()).await, code::NO_PREAMBLE));
    pair(&listener).await;
}

/// Scenario 85: a client that opens streams without end gets one; its link and those of others
/// go on.
#[tokio::test]
async fn streams_without_end_are_not_opened() {
    let listener = listener();
    let (connection, mut stream, link) = raw_pair(&listener).await;
    for _ in 0..1_000 {
        // No credit: the attempts wait, and nothing of them reaches the server.
        let more =
            async { (connection.open_bi().await.is_ok(), connection.open_uni().await.is_ok()) };
        assert!(timeout(Duration::from_micros(10), more).await.is_err());
    }
    stream.write_all(&[0, 0, 0, 1, 9]).await.unwrap();
    assert_eq!(within(link.receive()).await, Ok(vec![vec![9]]));
    let (client, server) = pair(&listener).await;
    client.send(vec![vec![3]]).await.unwrap();
    assert_eq!(within(server.receive()).await, Ok(vec![vec![3]]));
}

/// Scenario 85: a client that holds a connection without a stream is dropped, and connections
/// beyond the limit are refused until others end.
#[tokio::test]
async fn connections_beyond_the_limit_are_refused() {
    let certificate = ServerCertificate::self_signed(&["localhost"]).unwrap();
    let limits = ListenerLimits { connections: 2, handshakes: 8 };
    let listener = Listener::bind_with(localhost(), &certificate, limits).unwrap();
    let first = pair(&listener).await;
    let silent = raw_client(&listener, ALPN).await.unwrap();
    let refused = client(&listener).await.unwrap_err();
    assert_eq!((refused.class(), refused), (Class::Transient, ConnectError::Unreachable));
    assert!(closed_with(&within(silent.closed()).await, code::NO_PREAMBLE));
    let second = pair(&listener).await;
    assert!(client(&listener).await.is_err());
    drop(first);
    drop(second);
    let freed = async { while client(&listener).await.is_err() {} };
    within(freed).await;
}

/// Scenario 85: who begins handshakes and does not go on with them takes places. With more than half
/// of them taken a client has to show that its address is its own; when all are taken, others are refused
/// until those are given up.
#[tokio::test]
async fn handshakes_are_limited_and_a_crowd_has_to_show_its_addresses() {
    let certificate = ServerCertificate::self_signed(&["localhost"]).unwrap();
    let limits = ListenerLimits { connections: 100, handshakes: 4 };
    let listener = Listener::bind_with(localhost(), &certificate, limits).unwrap();
    let (address, retries) = watched(listener.local_addr()).await;
    let link = || connect(address, "localhost", Trust::Fingerprint(listener.fingerprint()));
    let first = link().await.unwrap();
    drop((first, within(listener.accept()).await.unwrap()));
    assert_eq!(retries.load(Ordering::Relaxed), 0, "there is room");

    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(raw_client(&listener, ALPN).await.unwrap());
    }
    let second = link().await.unwrap();
    drop((second, within(listener.accept()).await.unwrap()));
    assert!(retries.load(Ordering::Relaxed) >= 1, "asked, and let in");

    silent.push(raw_client(&listener, ALPN).await.unwrap());
    let refused = client(&listener).await.unwrap_err();
    assert_eq!((refused.class(), refused), (Class::Transient, ConnectError::Unreachable));
    for connection in silent {
        assert!(closed_with(&within(connection.closed()).await, code::NO_PREAMBLE));
    }
    within(async { while client(&listener).await.is_err() {} }).await;
}

/// A way to a server for one client at a time that counts the Retry packets on it (RFC 9000
/// §17.2.5).
async fn watched(server: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let (inside, outside) =
        (UdpSocket::bind(localhost()).await, UdpSocket::bind(localhost()).await);
    let (inside, outside) = (inside.unwrap(), outside.unwrap());
    let address = inside.local_addr().unwrap();
    let retries = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&retries);
    tokio::spawn(async move {
        let (mut up, mut down) = ([0; 2_048], [0; 2_048]);
        let mut client = address;
        loop {
            tokio::select! {
                received = inside.recv_from(&mut up) => {
                    let (len, from) = received.unwrap();
                    client = from;
                    outside.send_to(&up[..len], server).await.unwrap();
                }
                received = outside.recv_from(&mut down) => {
                    let (len, _) = received.unwrap();
                    if down[0] & 0xF0 == 0xF0 {
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                    inside.send_to(&down[..len], client).await.unwrap();
                }
            }
        }
    });
    (address, retries)
}

/// A relay that goes away in the middle is noticed at once.
#[tokio::test]
async fn a_relay_that_goes_away_closes_its_links() {
    let listener = listener();
    let (client, _server) = pair(&listener).await;
    let waits = tokio::spawn(async move { client.receive().await });
    drop(listener);
    assert_eq!(within(waits).await.unwrap(), Err(LinkError::Closed));
}

/// A relay that ends in order lets its clients read what it sent.
#[tokio::test]
async fn closing_a_listener_delivers_what_was_sent() {
    let listener = listener();
    let (client, server) = pair(&listener).await;
    let frames = (0..50).map(|i| vec![i; 20_000]).collect::<Vec<_>>();
    server.send(frames.clone()).await.unwrap();
    let closes = tokio::spawn(async move { listener.close(Duration::from_secs(10)).await });
    let mut received = Vec::new();
    while received.len() < frames.len() {
        received.extend(within(client.receive()).await.unwrap());
    }
    assert!(received == frames);
    assert_eq!(within(client.receive()).await, Err(LinkError::Closed));
    within(closes).await.unwrap();
    assert_eq!(within(server.receive()).await, Err(LinkError::Closed));
}

/// A certificate that was saved is the same after a restart, and private.
#[tokio::test]
async fn a_saved_certificate_keeps_its_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certificate.pem");
    let made = ServerCertificate::self_signed(&["localhost"]).unwrap();
    made.save(&path).unwrap();
    assert!(made.save(&path).is_err(), "an existing file is not replaced");
    let loaded = ServerCertificate::load(&path).unwrap();
    assert_eq!(loaded.fingerprint(), made.fingerprint());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!format!("{made:?}").contains("PRIVATE"));
    assert!(ServerCertificate::from_pem(b"", b"").is_err());
}

#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
