//! The client's side: opening a link.

use std::{net::SocketAddr, sync::Arc};

use conclave_core::{Class, link::LinkError, proto::relay::ALPN};
use quinn::{
    ClientConfig, ConnectionError, Endpoint, TransportErrorCode, crypto::rustls::QuicClientConfig,
};
use rustls::client::Resumption;
use tokio::time::timeout;

use crate::{
    QuicLink, Trust,
    settings::{HANDSHAKE, PREAMBLE, provider, transport},
    trust::Verifier,
};

/// Why a client has no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server's certificate is not the one that is trusted.
    #[error("the server's certificate is not trusted")]
    WrongCertificate,
    /// The server is there but speaks another protocol.
    #[error("the server speaks another protocol")]
    WrongProtocol,
    /// The name is no server name, or no authority is trusted.
    #[error("the connection is set up wrongly: {0}")]
    Misconfigured(&'static str),
    /// There is no way to the server, or it takes no more clients.
    #[error("the server cannot be reached")]
    Unreachable,
    /// No answer within ten seconds.
    #[error("the server does not answer")]
    TimedOut,
}

impl ConnectError {
    /// What a driver does about it: a wrong server stays wrong, a missing one may come back.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::WrongCertificate | Self::WrongProtocol | Self::Misconfigured(_) => {
                Class::Permanent
            }
            Self::Unreachable | Self::TimedOut => Class::Transient,
        }
    }
}

impl From<ConnectError> for LinkError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::WrongCertificate => {
                Self::Misconfigured("the server's certificate is not trusted")
            }
            ConnectError::WrongProtocol => {
                Self::Misconfigured("the server speaks another protocol")
            }
            ConnectError::Misconfigured(why) => Self::Misconfigured(why),
            ConnectError::Unreachable | ConnectError::TimedOut => Self::Closed,
        }
    }
}

/// Opens a link to a relay, within ten seconds, from a port of its own. It needs a tokio runtime
/// with network and time.
///
/// The name is what a certificate by an authority has to be for; with a fingerprint it only goes
/// into the greeting.
///
/// # Errors
///
/// [`ConnectError::class`] says whether another attempt makes sense.
pub async fn connect(
    address: SocketAddr,
    server_name: &str,
    trust: Trust,
) -> Result<QuicLink, ConnectError> {
    timeout(HANDSHAKE, open(address, server_name, trust))
        .await
        .unwrap_or(Err(ConnectError::TimedOut))
}

async fn open(
    address: SocketAddr,
    server_name: &str,
    trust: Trust,
) -> Result<QuicLink, ConnectError> {
    let no_authority = ConnectError::Misconfigured("no authority is trusted");
    let verifier = trust.verifier(&provider()).ok_or(no_authority)?;
    let config = config(Arc::clone(&verifier))?;
    let local = match address {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    };
    let endpoint = Endpoint::client(local).map_err(|_| ConnectError::Unreachable)?;
    let connecting =
        endpoint.connect_with(config, address, server_name).map_err(|error| match error {
            quinn::ConnectError::InvalidServerName(_) => {
                ConnectError::Misconfigured("not a server name")
            }
            quinn::ConnectError::EndpointStopping
            | quinn::ConnectError::CidsExhausted
            | quinn::ConnectError::InvalidRemoteAddress(_)
            | quinn::ConnectError::NoDefaultClientConfig
            | quinn::ConnectError::UnsupportedVersion => ConnectError::Unreachable,
        })?;
    let failed = |error| failure(&error, &verifier);
    let connection = connecting.await.map_err(failed)?;
    let mut streams = connection.open_bi().await.map_err(failed)?;
    let preamble = streams.0.write_all(&[PREAMBLE]).await;
    preamble.map_err(|_| ConnectError::Unreachable)?;
    Ok(QuicLink::start(connection, streams, None, None))
}

/// TLS 1.3, this protocol only, and no 0-RTT: neither early data nor tickets for it.
fn config(verifier: Arc<Verifier>) -> Result<ClientConfig, ConnectError> {
    let unsupported = ConnectError::Misconfigured("TLS 1.3 is not supported");
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| unsupported.clone())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    let quic = QuicClientConfig::try_from(tls).map_err(|_| unsupported)?;
    let mut config = ClientConfig::new(Arc::new(quic));
    config.transport_config(transport(0));
    Ok(config)
}

fn failure(error: &ConnectionError, verifier: &Verifier) -> ConnectError {
    let no_such_protocol = TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
    match error {
        _ if verifier.refused() => ConnectError::WrongCertificate,
        ConnectionError::TransportError(error) if error.code == no_such_protocol => {
            ConnectError::WrongProtocol
        }
        ConnectionError::ConnectionClosed(close) if close.error_code == no_such_protocol => {
            ConnectError::WrongProtocol
        }
        ConnectionError::VersionMismatch => ConnectError::WrongProtocol,
        ConnectionError::TimedOut => ConnectError::TimedOut,
        ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => ConnectError::Unreachable,
    }
}

/// The TLS alert of that name (RFC 7301 §3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;
