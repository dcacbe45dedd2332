//! The relay: what the way over QUIC leaves of the store's own rate, what it costs in processor
//! time, and what goes over the wire.
//!
//! Client and relay run in this process, each on a thread with a runtime of its own; the store has
//! its writer besides. Both sides of a comparison append records of 1 KiB, one per call, to the
//! same logs on a disk, with the same number of calls on their way.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use conclave_core::{
    bounds::BoxFuture,
    delivery::{DeliveryService, PublishOutcome, Transmit, TransportError},
    link::{Link, LinkError, LinkInfo},
};
use conclave_proto::{GroupId, Seq, Topic, record::transmit_id};
use conclave_quic::{Trust, connect};
use conclave_relay::{Append, Founding, LogStore, Logs, RelayLimits};
use conclave_remote::{Connector, Remote, RemoteLimits};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::runtime::Runtime;

use crate::{
    disk::Folder,
    measure::{Ratio, cpu},
    served::{Relay, runtime},
};

/// Bytes of a record.
const RECORD: usize = 1_024;
/// Logs that the records go to, in turn.
const LOGS: u64 = 16;

/// A relay over QUIC on loopback with its store on a disk, and one client.
pub struct OverQuic {
    relay: Relay,
    client: Runtime,
    remote: Remote,
    wire: Arc<Wire>,
    published: AtomicU64,
    _folder: Folder,
}

/// Bytes of frames, at the client's end of the link.
#[derive(Debug, Default)]
struct Wire {
    up: AtomicU64,
    down: AtomicU64,
}

/// What publishing cost.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// How many records were published.
    pub records: u64,
    /// Bytes of frames to the relay.
    pub up: u64,
    /// Bytes of frames from it.
    pub down: u64,
    /// Commits of the relay's store.
    pub commits: u64,
}

/// What asking for heads cost.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// One round trip, the median of some.
    pub time: Duration,
    /// Bytes of frames, both ways.
    pub bytes: u64,
}

impl OverQuic {
    /// Starts the relay and connects.
    ///
    /// # Panics
    /// If the disk or the loopback fails.
    #[must_use]
    pub fn start() -> Self {
        let folder = Folder::new();
        let founding = Founding::from_random(&[7; 48]);
        let logs = Logs::create_or_open(folder.file("relay"), &founding, RelayLimits::default());
        let relay = Relay::start(logs.expect("the disk works"));
        let wire = Arc::new(Wire::default());
        let trust = Trust::Fingerprint(relay.fingerprint);
        let connector = Loopback { address: relay.address, trust, wire: Arc::clone(&wire) };
        let remote = Remote::new(connector, RemoteLimits::default());
        let started = Self {
            relay,
            client: runtime(),
            remote,
            wire,
            published: AtomicU64::new(0),
            _folder: folder,
        };
        // The connection and every log are there before anything is measured.
        started.publish(2 * LOGS, 1);
        started
    }

    /// Publishes some records with so many calls on their way.
    ///
    /// # Panics
    /// If the relay does not accept one.
    pub fn publish(&self, records: u64, in_flight: usize) -> Published {
        let before = self.so_far();
        let mut left = records;
        self.keep(in_flight, || {
            left = left.checked_sub(1)?;
            Some(self.publish_one())
        });
        let after = self.so_far();
        Published {
            records,
            up: after.up - before.up,
            down: after.down - before.down,
            commits: after.commits - before.commits,
        }
    }

    /// Records per second through the remote over records per second into the store, with so many
    /// calls on their way; and the processor time of the whole process per published record, the
    /// median of the repetitions.
    pub fn over_store(
        &self,
        repetitions: usize,
        side: Duration,
        in_flight: usize,
    ) -> (Ratio, Duration) {
        let mut costs = Vec::new();
        self.for_a_while(side / 4, in_flight, || self.publish_one());
        let ratio = Ratio::interleaved(
            repetitions,
            1,
            || {
                let mut each = (Duration::ZERO, 0);
                let cost = cpu(|| {
                    each = self.for_a_while(side, in_flight, || self.publish_one());
                });
                costs.push(cost / each.1);
                each.0
            },
            || self.for_a_while(side, in_flight, || self.append_one()).0,
        );
        costs.sort();
        (ratio.of_rates(), costs[costs.len() / 2])
    }

    /// Asks for the heads of so many logs with a record each and nothing new.
    ///
    /// # Panics
    /// If the relay has something new.
    pub fn heads(&self, logs: u64, repetitions: usize) -> Heads {
        let topics: Vec<Topic> = (0..logs).map(|log| topic(1_000 + log)).collect();
        for part in topics.chunks(256) {
            let items = part.iter().map(|topic| Append::new(topic.clone(), vec![1])).collect();
            let appended = self.client.block_on(self.relay.store.append(items));
            assert!(appended.iter().all(PublishOutcome::is_accepted), "the store takes records");
        }
        let known: Vec<(Topic, Seq)> = topics.into_iter().map(|topic| (topic, Seq(1))).collect();
        let before = self.so_far();
        let mut times: Vec<Duration> = (0..repetitions)
            .map(|_| {
                let start = Instant::now();
                let heads = self.client.block_on(self.remote.heads(known.clone()));
                assert_eq!(heads.expect("the relay answers"), [], "nothing is new");
                start.elapsed()
            })
            .collect();
        times.sort();
        let after = self.so_far();
        let bytes = after.up - before.up + after.down - before.down;
        Heads { time: times[times.len() / 2], bytes: bytes / repetitions as u64 }
    }

    /// Keeps calls on their way for some time; the time per call, and how many there were.
    fn for_a_while<'a, F>(
        &'a self,
        time: Duration,
        in_flight: usize,
        mut call: impl FnMut() -> F,
    ) -> (Duration, u32)
    where
        F: Future<Output = ()> + 'a,
    {
        let start = Instant::now();
        let mut calls = 0;
        self.keep(in_flight, || {
            (start.elapsed() < time).then(|| {
                calls += 1;
                call()
            })
        });
        (start.elapsed() / calls, calls)
    }

    /// Keeps calls on their way until there are no more.
    fn keep<F: Future<Output = ()>>(&self, in_flight: usize, mut next: impl FnMut() -> Option<F>) {
        self.client.block_on(async {
            let mut running: FuturesUnordered<F> = (0..in_flight).map_while(|_| next()).collect();
            while running.next().await.is_some() {
                running.extend(next());
            }
        });
    }

    fn publish_one(&self) -> impl Future<Output = ()> + '_ {
        let (topic, payload) = self.record();
        async move {
            let id = transmit_id(&topic, &payload);
            let transmit = Transmit { topic, id, expect: None, payload };
            let outcomes = self.remote.publish(vec![transmit]).await;
            assert!(matches!(outcomes[..], [PublishOutcome::Accepted { .. }]), "{outcomes:?}");
        }
    }

    fn append_one(&self) -> impl Future<Output = ()> + '_ {
        let (topic, payload) = self.record();
        async move {
            let appended = self.relay.store.append(vec![Append::new(topic, payload)]).await;
            assert!(matches!(appended[..], [PublishOutcome::Accepted { .. }]), "{appended:?}");
        }
    }

    /// One that was never published before.
    fn record(&self) -> (Topic, Vec<u8>) {
        let number = self.published.fetch_add(1, Ordering::Relaxed);
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(RECORD, 7);
        (topic(number % LOGS), payload)
    }

    fn so_far(&self) -> Published {
        Published {
            records: 0,
            up: self.wire.up.load(Ordering::SeqCst),
            down: self.wire.down.load(Ordering::SeqCst),
            commits: self.relay.store.logs().stats().expect("the disk works").commits,
        }
    }
}

fn topic(number: u64) -> Topic {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Topic::Group(GroupId(id))
}

struct Loopback {
    address: SocketAddr,
    trust: Trust,
    wire: Arc<Wire>,
}

impl Connector for Loopback {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            let link = connect(self.address, "localhost", self.trust.clone()).await;
            let link = link.expect("the loopback works");
            Ok(Box::new(Counted { link, wire: Arc::clone(&self.wire) }) as Box<dyn Link>)
        })
    }
}

/// A link that counts the bytes of its frames.
struct Counted<L> {
    link: L,
    wire: Arc<Wire>,
}

impl<L: Link> Link for Counted<L> {
    fn info(&self) -> LinkInfo {
        self.link.info()
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        self.wire.up.fetch_add(bytes(&frames), Ordering::SeqCst);
        self.link.send(frames)
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>> {
        Box::pin(async move {
            let frames = self.link.receive().await?;
            self.wire.down.fetch_add(bytes(&frames), Ordering::SeqCst);
            Ok(frames)
        })
    }

    fn close(&self) {
        self.link.close();
    }
}

fn bytes(frames: &[Vec<u8>]) -> u64 {
    frames.iter().map(|frame| frame.len() as u64).sum()
}
