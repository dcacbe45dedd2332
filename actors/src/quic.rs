//! A relay over QUIC: what most applications give an engine as its delivery service.

use std::{fmt, net::SocketAddr};

use conclave_core::{Class, bounds::BoxFuture, delivery::TransportError, link::Link};
pub use conclave_quic::Trust;
use conclave_quic::{ConnectError, connect};
pub use conclave_remote::{Connector, Remote, RemoteLimits};

/// Where a relay is and how it is known.
#[derive(Clone, Debug)]
pub struct RelayAddress {
    /// Where.
    pub address: SocketAddr,
    /// What its certificate is for, if an authority vouches for it.
    pub name: String,
    /// How it is known.
    pub trust: Trust,
}

impl RelayAddress {
    /// A relay that is known by the SHA-256 of its certificate.
    #[must_use]
    pub fn pinned(address: SocketAddr, fingerprint: [u8; 32]) -> Self {
        Self { address, name: "localhost".to_owned(), trust: Trust::Fingerprint(fingerprint) }
    }

    /// A delivery service that connects when it is first used.
    #[must_use]
    pub fn remote(self) -> Remote {
        Remote::new(self, RemoteLimits::default())
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Connector for RelayAddress {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            match connect(self.address, &self.name, self.trust.clone()).await {
                Ok(link) => Ok(Box::new(link) as Box<dyn Link>),
                Err(error) => Err(transport_error(&error)),
            }
        })
    }
}

fn transport_error(error: &ConnectError) -> TransportError {
    match (error.class(), error) {
        (_, ConnectError::WrongCertificate) => {
            TransportError::Misconfigured("its certificate is not the one that is trusted")
        }
        (_, ConnectError::WrongProtocol) => {
            TransportError::Misconfigured("it speaks another protocol")
        }
        (_, ConnectError::Misconfigured(why)) => TransportError::Misconfigured(why),
        (Class::Permanent, _) => TransportError::Misconfigured("it does not take this client"),
        (Class::Transient | Class::Blocked(_), _) => {
            TransportError::Unavailable { retry_after: std::time::Duration::ZERO }
        }
    }
}
