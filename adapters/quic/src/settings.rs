//! Numbers and names on which both ends agree, and limits of each.

use std::{sync::Arc, time::Duration};

use quinn::{IdleTimeout, TransportConfig, VarInt};
use rustls::crypto::CryptoProvider;

/// Longest frame, in bytes: sixteen of a channel's frames; the rest is for other protocols.
pub const MTU: usize = 1024 * 1024;

/// First byte of a stream: the version of the framing. It also makes the stream known to the
/// server, who sees none before its first byte.
pub(crate) const PREAMBLE: u8 = 1;

/// Application error codes that close a connection.
pub mod code {
    /// The link was closed, by either side.
    pub const CLOSED: u32 = 0;
    /// A frame was longer than [`MTU`](super::MTU).
    pub const FRAME_TOO_LONG: u32 = 1;
    /// The stream does not begin as it should, or not soon enough.
    pub const NO_PREAMBLE: u32 = 2;
    /// The server shuts down.
    pub const SHUTTING_DOWN: u32 = 3;
}

/// A handshake that takes longer is given up, by either side: five round trips by satellite and
/// three losses.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a closed link goes on repeating what it took before.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// Silence after which the other end is gone. Twice what mobile networks need to hand over.
const IDLE_MS: u32 = 30_000;
/// A third of it, so that two losses do not end a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Unread bytes of a stream: 8 MB per second at 250 ms, and what one client can make a server
/// hold that does not read.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// Sent and unacknowledged bytes; the same, for the other direction.
const SEND_WINDOW: u64 = 2 * 1024 * 1024;

/// `streams`: how many the other end may have open at the same time.
pub(crate) fn transport(streams: u32) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE));
    Arc::new(transport)
}

/// Cryptography of TLS, named here so that no process-wide default decides.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
