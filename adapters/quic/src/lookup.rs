//! Opening a link to a relay that is known by its name.

use std::{net::SocketAddr, time::Duration};

use conclave_core::Class;
use rustls::pki_types::ServerName;
use tokio::{
    net::lookup_host,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{ConnectError, QuicLink, Trust, connect, settings::HANDSHAKE};

/// At most so many of a name's addresses are tried.
const ADDRESSES: usize = 4;

/// The next address is tried when the one before has not answered for so long: the connection
/// attempt delay of RFC 8305 §5. A network that drops one family of addresses costs no more.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Opens a link to a relay by its host, a name or an IP address, as [`connect`] does: the name is
/// looked up each time, since a relay may move, and its addresses are tried in the order in which
/// the system gives them, four at most, the next one a quarter of a second after the one before.
/// A certificate by an authority has to be for the host.
///
/// # Errors
///
/// That of an attempt that another one would not better, if there is one, else that of the last. A
/// name that nobody knows is one without addresses, [`ConnectError::Unreachable`], for it may be
/// that only the network is missing.
pub async fn connect_to(host: &str, port: u16, trust: Trust) -> Result<QuicLink, ConnectError> {
    if ServerName::try_from(host).is_err() {
        return Err(ConnectError::Misconfigured("not a server name"));
    }
    let found = timeout(HANDSHAKE, lookup_host((host, port))).await;
    let found =
        found.map_err(|_| ConnectError::TimedOut)?.map_err(|_| ConnectError::Unreachable)?;
    first_of(found.take(ADDRESSES), host, &trust).await
}

/// The first of these addresses that answers. Dropping it ends all attempts.
async fn first_of(
    mut addresses: impl Iterator<Item = SocketAddr> + Send,
    host: &str,
    trust: &Trust,
) -> Result<QuicLink, ConnectError> {
    let mut attempts = JoinSet::new();
    let mut failed = ConnectError::Unreachable;
    let mut refused = None;
    let mut more = true;
    loop {
        if let Some(address) = addresses.next().filter(|_| more) {
            let (host, trust) = (host.to_owned(), trust.clone());
            attempts.spawn(async move { connect(address, &host, trust).await });
        } else {
            more = false;
        }
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(link))) => return Ok(link),
                // Something is there that is not the relay, perhaps on one address only.
                Some(Ok(Err(error))) if error.class() == Class::Permanent => refused = Some(error),
                Some(Ok(Err(error))) => failed = error,
                // An attempt that panicked has no answer.
                Some(Err(_)) => {}
                None => return Err(refused.unwrap_or(failed)),
            },
            () = sleep(NEXT_AFTER), if more => {}
        }
    }
}
