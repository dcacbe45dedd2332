//! A relay over QUIC: what most applications give an engine as its delivery service.

use std::{fmt, net::SocketAddr, str::FromStr};

use conclave_core::{Class, bounds::BoxFuture, delivery::TransportError, link::Link};
pub use conclave_quic::Trust;
use conclave_quic::{ConnectError, connect_to};
pub use conclave_remote::{Connector, Remote, RemoteLimits};

/// Where a relay is: `relay.example:4433`, `192.0.2.7:4433` or `[2001:db8::7]:4433`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name, which is looked up whenever a link is opened, or an IP address.
    pub host: String,
    /// Its UDP port.
    pub port: u16,
}

/// A text that is no [`HostPort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a host and a port are needed, like relay.example:4433 or [::1]:4433")]
pub struct NoHostPort;

impl FromStr for HostPort {
    type Err = NoHostPort;

    fn from_str(text: &str) -> Result<Self, NoHostPort> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            // An address with a scope means something on one machine only.
            let scoped = matches!(address, SocketAddr::V6(inside) if inside.scope_id() != 0);
            return if scoped { Err(NoHostPort) } else { Ok(address.into()) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(NoHostPort)?;
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if host.is_empty() || !host.chars().all(of_a_name) {
            return Err(NoHostPort);
        }
        if !port.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(NoHostPort);
        }
        let port = port.parse().map_err(|_| NoHostPort)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

/// The scope of an address, if it has one, is left out.
impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where a relay is and how it is known.
#[derive(Clone, Debug)]
pub struct RelayAddress {
    /// Where. If an authority vouches for the relay, its certificate has to be for this host.
    pub at: HostPort,
    /// How it is known.
    pub trust: Trust,
}

impl RelayAddress {
    /// A relay that is known by the SHA-256 of its certificate.
    #[must_use]
    pub fn pinned(at: HostPort, fingerprint: [u8; 32]) -> Self {
        Self { at, trust: Trust::Fingerprint(fingerprint) }
    }

    /// A delivery service that connects when it is first used.
    #[must_use]
    pub fn remote(self) -> Remote {
        Remote::new(self, RemoteLimits::default())
    }
}

impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)
    }
}

impl Connector for RelayAddress {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            let HostPort { host, port } = &self.at;
            match connect_to(host, *port, self.trust.clone()).await {
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
        (Class::Transient | Class::Blocked(_), _) => TransportError::NO_ANSWER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A relay is given by name or address, and is written as it was read.
    #[test]
    fn hosts_and_ports_are_read_as_they_are_written() {
        for text in ["relay.example:4433", "192.0.2.7:1", "[2001:db8::7]:65535", "localhost:4433"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        let inside = "[2001:db8::7]:4433".parse::<HostPort>().unwrap();
        assert_eq!((inside.host.as_str(), inside.port), ("2001:db8::7", 4433));
        let bad = ["", "relay.example", ":4433", "relay:0x1", "relay:65536", "a b:1", "::1:4433"];
        for text in bad.into_iter().chain([
            "https://relay.example:1",
            "[::1:4433",
            "a/b:1",
            "a:+1",
            "ü:1",
            "[fe80::1%3]:1",
        ]) {
            assert_eq!(text.parse::<HostPort>(), Err(NoHostPort), "{text}");
        }
    }
}
