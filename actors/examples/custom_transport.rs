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

/// One end: writes files into one folder, reads and removes those in another. An end that closes
/// leaves a file that says so.
pub(crate) struct Folders {
    out: PathBuf,
    into: PathBuf,
    next: AtomicU64,
    closed: AtomicBool,
}

const MTU: usize = 4_096;

impl Folders {
    pub(crate) fn new(out: &Path, into: &Path) -> Self {
        let (next, closed) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { out: out.to_owned(), into: into.to_owned(), next, closed }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed) || self.into.join(END).exists()
    }
}

/// The name of the file that says that no more come.
const END: &str = "end";

impl Link for Folders {
    fn info(&self) -> LinkInfo {
        LinkInfo { mtu: MTU, reliable: false }
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            if frames.iter().any(|frame| frame.len() > MTU) {
                return Err(LinkError::TooLong { mtu: MTU });
            }
            for frame in frames {
                if self.is_closed() {
                    return Err(LinkError::Closed);
                }
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
            loop {
                let closed = self.is_closed();
                let frames = take(&self.into).map_err(|_| LinkError::Closed)?;
                if !frames.is_empty() {
                    return Ok(frames);
                }
                if closed {
                    return Err(LinkError::Closed);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        // Where the folder is gone there is nobody to tell.
        drop(fs::write(self.out.join(END), ""));
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        self.close();
    }
}

/// Takes the files of a folder, oldest first.
fn take(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_none() && !path.ends_with(END));
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
            tokio::spawn(self.host.serve(Folders::new(&down, &up)));
            Ok(Box::new(Folders::new(&up, &down)) as Box<dyn Link>)
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
    group.settled().wait()?;
    println!("the group is in epoch {}", group.view().wait()?.epoch.0);

    alice.shut_down();
    bob.shut_down();
    fs::remove_dir_all(folder)?;
    Ok(())
}
