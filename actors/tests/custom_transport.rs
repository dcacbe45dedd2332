//! The transport of the example, judged as every link is.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unused_qualifications)]
#[path = "../examples/custom_transport.rs"]
mod transport;

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use conclave_core::{
    bounds::BoxFuture,
    link::{Link, LinkError, LinkInfo},
};
use transport::Folders;

/// An end whose folders go with it.
struct Temporary(Folders, PathBuf);

fn pair() -> (Temporary, Temporary) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir();
    let folder = folder.join(format!("conclave-custom-transport-{}-{number}", std::process::id()));
    let (up, down) = (folder.join("up"), folder.join("down"));
    fs::create_dir_all(&up).unwrap();
    fs::create_dir_all(&down).unwrap();
    let (a, b) = (Folders::new(&up, &down), Folders::new(&down, &up));
    (Temporary(a, folder.clone()), Temporary(b, folder))
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // The other end may still want to see that this one has ended: the last one cleans up.
        self.0.close();
        let both = ["up", "down"].iter().all(|way| self.1.join(way).join("end").exists());
        if both {
            drop(fs::remove_dir_all(&self.1));
        }
    }
}

impl Link for Temporary {
    fn info(&self) -> LinkInfo {
        self.0.info()
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        self.0.send(frames)
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>> {
        self.0.receive()
    }

    fn close(&self) {
        self.0.close();
    }
}

/// It waits with the help of tokio, so the tests run inside of it.
fn inside_tokio(test: impl std::future::Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.unwrap().block_on(test);
}

conclave_conformance::link_conformance!(folders, async || super::pair(), super::inside_tokio);
