//! # Links over QUIC
//!
//! A [`QuicLink`] is the one bidirectional stream of a QUIC connection (RFC 9000) with TLS 1.3 and
//! the ALPN name `conclave/1`. Frames go behind their length; there is no 0-RTT, no second stream
//! and no datagram. What the link carries is encrypted end to end before it comes here (S14): TLS
//! hides who talks to the relay about what, not the messages from the relay.
//!
//! ```
//! use conclave_core::link::Link;
//! use conclave_quic::{Listener, ServerCertificate, Trust, connect};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let certificate = ServerCertificate::self_signed(&["localhost"])?;
//! let listener = Listener::bind("127.0.0.1:0".parse()?, &certificate)?;
//!
//! let trust = Trust::Fingerprint(listener.fingerprint());
//! let client = connect(listener.local_addr(), "localhost", trust).await?;
//! let (relay, _) = listener.accept().await?;
//!
//! client.send(vec![b"hello".to_vec()]).await?;
//! assert_eq!(relay.receive().await?, [b"hello"]);
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! A server keeps its certificate over restarts with [`ServerCertificate::save`] and
//! [`ServerCertificate::load`], or brings one by an authority with [`ServerCertificate::from_pem`].
#![forbid(unsafe_code)]

mod certificate;
mod connect;
mod framing;
mod link;
mod listener;
mod lookup;
mod reset;
mod settings;
mod trust;

pub use certificate::{CertificateError, ServerCertificate};
pub use connect::{ConnectError, connect};
pub use link::QuicLink;
pub use listener::{ListenError, Listener, ListenerLimits};
pub use lookup::connect_to;
pub use rustls::RootCertStore;
pub use settings::{MTU, code};
pub use trust::Trust;
