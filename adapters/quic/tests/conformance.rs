//! The link over QUIC keeps what every link promises (E6).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Mutex, OnceLock};

use conclave_conformance::{link::Test, link_conformance};
use conclave_quic::{Listener, QuicLink, ServerCertificate, Trust, connect};
use tokio::runtime::{Builder, Runtime};

link_conformance!(quic, pair, run);

/// One runtime for all tests: their listeners live as long as it.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().enable_all().build().unwrap())
}

fn run(test: Test<'_>) {
    runtime().block_on(test);
}

async fn pair() -> (QuicLink, QuicLink) {
    static LISTENERS: Mutex<Vec<Listener>> = Mutex::new(Vec::new());
    let certificate = ServerCertificate::self_signed(&["localhost"]).unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), &certificate).unwrap();
    let trust = Trust::Fingerprint(listener.fingerprint());
    let client = connect(listener.local_addr(), "localhost", trust).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    LISTENERS.lock().unwrap().push(listener);
    (client, server)
}
