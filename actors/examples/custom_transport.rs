//! A transport of your own: frames in files that somebody carries from folder to folder. Here a
//! thread is the carrier; it may as well be a memory stick.
//!
//! A [`Link`] promises next to nothing, and this one does not even promise that a file arrives:
//! the protocol above repeats what was lost.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use conclave::{
    AccountKey, Engine, GroupConfig,
    core::{
        bounds::BoxFuture,
        delivery::TransportError,
        link::{Link, LinkError, LinkInfo},
    },
};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use conclave_remote::{Connector, Remote, RemoteLimits};
use conclave_store_memory::MemoryStore;

/// One end: writes files into one folder, reads and removes those in another.
struct Folders {
    out: PathBuf,
    into: PathBuf,
    next: AtomicU64,
    closed: AtomicBool,
}

impl Link for Folders {
    fn info(&self) -> LinkInfo {
        LinkInfo { mtu: 4_096, reliable: false }
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            for frame in frames {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let path = self.out.join(format!("{number:020}"));
                // Under another name first, so that nobody carries half a frame.
                let draft = self.out.join(format!("{number:020}.part"));
                let written = fs::write(&draft, frame).and_then(|()| fs::rename(draft, path));
                written.map_err(|_| LinkError::Closed)?;
            }
            Ok(())
        })
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>> {
        Box::pin(async move {
            while !self.closed.load(Ordering::Relaxed) {
                let frames = take(&self.into).map_err(|_| LinkError::Closed)?;
                if !frames.is_empty() {
                    return Ok(frames);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(LinkError::Closed)
        })
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// Takes the files of a folder, oldest first.
fn take(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_none());
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).and_then(|frame| fs::remove_file(path).map(|()| frame)))
        .collect()
}

/// Opens a link by making two folders, and tells the relay which they are.
struct Post {
    host: Arc<Host<RelayStore>>,
    folder: PathBuf,
    links: AtomicU64,
}

impl Connector for Post {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            let number = self.links.fetch_add(1, Ordering::Relaxed);
            let make = |name: &str| -> io::Result<PathBuf> {
                let path = self.folder.join(format!("{number}-{name}"));
                fs::create_dir_all(&path).map(|()| path)
            };
            let (up, down) = make("up")
                .and_then(|up| Ok((up, make("down")?)))
                .map_err(|_| TransportError::Unavailable { retry_after: Duration::from_secs(1) })?;
            let end = |out: &Path, into: &Path| Folders {
                out: out.to_owned(),
                into: into.to_owned(),
                next: AtomicU64::new(0),
                closed: AtomicBool::new(false),
            };
            tokio::spawn(self.host.serve(end(&down, &up)));
            Ok(Box::new(end(&up, &down)) as Box<dyn Link>)
        })
    }
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let logs = Logs::in_memory(&Founding::from_random(&[7; 48]), RelayLimits::default())?;
    let service = Service::new(RelayStore::start(logs)?, RelayLimits::default());
    let host = Arc::new(Host::new(service, HostLimits::default()));

    let folder = std::env::temp_dir().join(format!("conclave-post-{}", std::process::id()));
    let engine = |name: &str| {
        let (host, folder) = (Arc::clone(&host), folder.join(name));
        let post = Post { host, folder, links: AtomicU64::new(0) };
        let remote = Remote::new(post, RemoteLimits::default());
        Engine::builder().store(MemoryStore::new()).delivery(remote).open()
    };
    let (alice, bob) = (engine("alice")?, engine("bob")?);
    alice.register(AccountKey::generate()?, 0).wait()?;
    let inbox = bob.register(AccountKey::generate()?, 0).wait()?;
    bob.sync().wait()?;

    let group = alice.create_group(GroupConfig::default()).wait()?;
    group.add(&[inbox]).wait()?;
    group.send("by hand").wait()?;
    futures_executor::block_on(group.settled())?;
    println!("the group is in epoch {}", group.view().wait()?.epoch.0);

    alice.shut_down();
    bob.shut_down();
    fs::remove_dir_all(folder)?;
    Ok(())
}
