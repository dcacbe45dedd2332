//! Runs connections: between a link, the service and the clock.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use conclave_core::link::{Link, LinkError};
use conclave_proto::{
    Seq, Timestamp, Topic,
    relay::{Answer, Goodbye, PROTOCOL, RelayHello, Request},
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{sync::watch, time::Instant};

use crate::connection::{Connection, ConnectionLimits, Work};
use crate::hub::{Hub, Inbox};
use crate::service::Service;
use crate::store::LogStore;

/// Limits of a host.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HostLimits {
    /// Of each connection.
    pub connection: ConnectionLimits,
    /// Records that wait for one connection to look at them; above, it looks at heads instead.
    pub inbox_records: usize,
    /// Bytes of frames that are handed to the link at once: enough to fill it, little enough that
    /// what comes later need not wait long.
    pub send_bytes: usize,
    /// How long a connection may take to send what it owes when it ends.
    pub farewell: Duration,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            connection: ConnectionLimits::default(),
            inbox_records: 1_024,
            send_bytes: 256 * 1024,
            farewell: Duration::from_secs(5),
        }
    }
}

/// A relay that serves links. Dropping it, or [`Host::shut_down`], ends its connections.
#[derive(Debug)]
pub struct Host<S> {
    service: Arc<Service<S>>,
    hub: Arc<Hub>,
    limits: HostLimits,
    next: AtomicU64,
    stop: watch::Sender<bool>,
}

impl<S: LogStore> Host<S> {
    /// Serves what a service answers. There is one host for a store.
    #[must_use]
    pub fn new(service: Service<S>, limits: HostLimits) -> Self {
        let hub = Arc::new(Hub::default());
        let listener = Arc::clone(&hub);
        service.store().listen(Box::new(move |records| listener.appended(records)));
        Self {
            service: Arc::new(service),
            hub,
            limits,
            next: AtomicU64::new(1),
            stop: watch::channel(false).0,
        }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &Service<S> {
        &self.service
    }

    /// Serves one link until it closes, the client breaks the protocol, or the host shuts down.
    /// Runs on tokio; spawn one for each link. Dropping the future closes the link.
    pub fn serve(&self, link: impl Link) -> impl Future<Output = ()> + Send + 'static {
        let identity = self.service.store().identity();
        let hello = RelayHello {
            version: PROTOCOL,
            features: 0,
            incarnation: identity.incarnation,
            key: identity.key,
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Connection::new(START, link.info(), hello, self.limits.connection);
        let inbox = Inbox::new(id, self.limits.inbox_records);
        let registration =
            Registration { hub: Arc::clone(&self.hub), inbox, topics: BTreeSet::new() };
        let serving = Serving {
            service: Arc::clone(&self.service),
            limits: self.limits,
            connection,
            registration,
            started: Instant::now(),
        };
        serving.run(link, self.stop.subscribe())
    }

    /// Links that are served.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.stop.receiver_count()
    }

    /// Logs that some connection hears of.
    #[must_use]
    pub fn watched_topics(&self) -> usize {
        self.hub.topics()
    }

    /// Tells every connection to end; each says goodbye to its client first.
    pub fn shut_down(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until every connection has ended.
    pub async fn ended(&self) {
        self.stop.closed().await;
    }
}

/// What ends with a connection, however it ends.
struct Registration {
    hub: Arc<Hub>,
    inbox: Arc<Inbox>,
    topics: BTreeSet<Topic>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.unregister(&self.inbox, &self.topics);
    }
}

struct Serving<S> {
    service: Arc<Service<S>>,
    limits: HostLimits,
    connection: Connection,
    registration: Registration,
    started: Instant,
}

/// What a piece of work came to.
enum Done {
    Answer(u64, Answer),
    Heads(Vec<(Topic, Seq)>),
}

type Running = FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>;

impl<S: LogStore> Serving<S> {
    async fn run(mut self, link: impl Link, mut stop: watch::Receiver<bool>) {
        let link = Closing(link);
        let inbox = Arc::clone(&self.registration.inbox);
        let mut running = Running::new();
        let mut receiving = link.0.receive();
        let mut sending = None;
        let mut farewell = None;
        loop {
            // Before anything that the client said is looked at: what was stored before it asked
            // to be told when it is caught up comes first.
            self.read_inbox();
            self.begin_work(&mut running);
            if sending.is_none() {
                let frames = self.frames();
                if !frames.is_empty() {
                    sending = Some(link.0.send(frames));
                } else if self.connection.is_over() {
                    return;
                }
            }
            if self.connection.is_ending() && farewell.is_none() {
                farewell = Some(Instant::now() + self.limits.farewell);
            }
            let now = self.now();
            let timeout = self.connection.next_timeout();
            let due = timeout.map(|due| Instant::now() + Duration::from_millis(due.since_ms(now)));
            tokio::select! {
                frames = &mut receiving, if self.connection.wants_frames() => {
                    receiving = link.0.receive();
                    let Ok(frames) = frames else { return };
                    self.read_inbox();
                    for frame in frames {
                        self.connection.handle_frame(now, &frame);
                    }
                }
                sent = maybe(&mut sending) => {
                    sending = None;
                    if sent.is_err() {
                        return;
                    }
                }
                Some(done) = running.next() => {
                    self.take(done);
                    // Those that are done go into the same frames.
                    while let Some(Some(done)) = running.next().now_or_never() {
                        self.take(done);
                    }
                }
                () = inbox.wait() => {}
                () = at(due) => {
                    let now = self.now();
                    self.connection.handle_timeout(now);
                }
                () = at(farewell) => return,
                _ = stop.wait_for(|stop| *stop), if !self.connection.is_ending() => {
                    self.connection.end(Goodbye::ShuttingDown);
                }
            }
        }
    }

    /// Time for the connection's timers: it only has to go on at the pace of seconds.
    fn now(&self) -> Timestamp {
        let passed = self.started.elapsed().as_millis();
        START.plus_ms(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    fn begin_work(&mut self, running: &mut Running) {
        while let Some(work) = self.connection.poll_work() {
            let service = Arc::clone(&self.service);
            match work {
                Work::Answer { id, admission: _, request } => running.push(Box::pin(async move {
                    Done::Answer(id, service.answer(wall_clock(), request).await)
                })),
                Work::Look(topics) => {
                    let registration = &mut self.registration;
                    registration.hub.register(&registration.inbox, &topics);
                    registration.topics.extend(topics.iter().cloned());
                    running
                        .push(Box::pin(async move { Done::Heads(heads(&service, topics).await) }));
                }
                Work::Forget(topics) => {
                    let registration = &mut self.registration;
                    registration.hub.unregister(&registration.inbox, &topics);
                    for topic in &topics {
                        registration.topics.remove(topic);
                    }
                }
            }
        }
    }

    fn read_inbox(&mut self) {
        let mail = self.registration.inbox.take();
        for shared in mail.records {
            let (topic, record) = &*shared;
            self.connection.handle_appended(topic, record);
        }
        if mail.missed {
            self.connection.handle_missed();
        }
    }

    fn take(&mut self, done: Done) {
        // Records that were appended before the look belong before its outcome.
        self.read_inbox();
        match done {
            Done::Answer(id, answer) => self.connection.handle_answer(id, answer),
            Done::Heads(heads) => self.connection.handle_heads(&heads),
        }
    }

    fn frames(&mut self) -> Vec<Vec<u8>> {
        let now = self.now();
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while bytes < self.limits.send_bytes
            && let Some(frame) = self.connection.poll_frame(now)
        {
            bytes += frame.len();
            frames.push(frame);
        }
        frames
    }
}

/// Heads of topics. A look that fails is made again: the subscription must not go quiet.
async fn heads<S: LogStore>(service: &Service<S>, topics: Vec<Topic>) -> Vec<(Topic, Seq)> {
    let known: Vec<(Topic, Seq)> = topics.into_iter().map(|topic| (topic, Seq(0))).collect();
    loop {
        let mut found = Vec::new();
        let mut failed = false;
        for part in known.chunks(conclave_proto::limits::TOPICS_PER_REQUEST) {
            let answer = service.answer(wall_clock(), Request::Heads(part.to_vec())).await;
            let Answer::Heads(heads) = answer else {
                failed = true;
                break;
            };
            found.extend(heads.into_iter().map(|(topic, head)| (topic, head.seq)));
        }
        if !failed {
            return found;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// When a connection begins, by its own clock.
const START: Timestamp = Timestamp(0);

const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Closes a link when its connection is over.
struct Closing<L: Link>(L);

impl<L: Link> Drop for Closing<L> {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn maybe<F>(future: &mut Option<F>) -> Result<(), LinkError>
where
    F: Future<Output = Result<(), LinkError>> + Unpin,
{
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// For the times in signed heads.
fn wall_clock() -> Timestamp {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
}
