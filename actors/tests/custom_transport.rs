//! The transport of the example, judged as every link is.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unused_qualifications)]
#[path = "../examples/custom_transport.rs"]
mod transport;

use std::{fs, sync::Arc};

use conclave_core::{
    bounds::BoxFuture,
    link::{Link, LinkError, LinkInfo},
};
use tempfile::{TempDir, tempdir};
use transport::Folders;

/// An end, and the folder of both.
struct Temporary {
    end: Folders,
    _folder: Arc<TempDir>,
}

fn pair() -> (Temporary, Temporary) {
    let folder = Arc::new(tempdir().unwrap());
    let (up, down) = (folder.path().join("up"), folder.path().join("down"));
    fs::create_dir_all(&up).unwrap();
    fs::create_dir_all(&down).unwrap();
    let (a, b) = (Folders::new(&up, &down), Folders::new(&down, &up));
    (Temporary { end: a, _folder: Arc::clone(&folder) }, Temporary { end: b, _folder: folder })
}

impl Link for Temporary {
    fn info(&self) -> LinkInfo {
        self.end.info()
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        self.end.send(frames)
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>> {
        self.end.receive()
    }

    fn close(&self) {
        self.end.close();
    }
}

/// It waits with the help of tokio, so the tests run inside of it.
fn inside_tokio(test: impl std::future::Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.unwrap().block_on(test);
}

conclave_conformance::link_conformance!(folders, async || super::pair(), super::inside_tokio);
