//! A server that ended without a word.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use conclave_core::link::{Link, LinkError};
use conclave_quic::{Listener, ServerCertificate, Trust, connect};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Scenario 83: a client whose server was killed and started again hears at once that its link is
/// gone, and not after half a minute of silence.
#[test]
fn a_restarted_server_tells_old_clients_that_their_links_are_gone() {
    let certificate = ServerCertificate::self_signed(&["localhost"]).unwrap();
    let (before, after) = (runtime(), runtime());
    let listener = before
        .block_on(async { Listener::bind("127.0.0.1:0".parse().unwrap(), &certificate) })
        .unwrap();
    let address = listener.local_addr();
    let client = after.block_on(async {
        let trust = Trust::Fingerprint(certificate.fingerprint());
        let client = connect(address, "localhost", trust).await.unwrap();
        client.send(vec![vec![1]]).await.unwrap();
        client
    });
    let link = before.block_on(listener.accept()).unwrap().0;
    before.block_on(link.receive()).unwrap();
    // Nobody is left who could say goodbye.
    before.shutdown_timeout(Duration::from_secs(10));
    drop((link, listener));

    after.block_on(async {
        let _listener = Listener::bind(address, &certificate).unwrap();
        client.send(vec![vec![2; 1_000]]).await.unwrap();
        let received = timeout(SOON, client.receive()).await;
        assert_eq!(received.expect("it is told"), Err(LinkError::Closed));
    });
}

/// Less than half of the silence after which a link is gone anyway.
const SOON: Duration = Duration::from_secs(14);
