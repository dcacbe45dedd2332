//! The task behind a remote: one connection at a time, opened when there is something to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use conclave_core::{
    bounds::BoxStream,
    delivery::{TransportError, Watch},
    link::{Link, LinkError},
    relay_client::{Busy, CloseReason, News, RelayClient, RequestId},
};
use conclave_proto::{
    Timestamp, Topic,
    relay::{Answer, Delivery, Goodbye, Request},
};
use futures_util::StreamExt;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};

use crate::{
    mailbox::Mailbox,
    remote::{Connector, RemoteLimits},
};

/// What a handle asks of the task.
pub(crate) enum Command {
    Ask { request: Request, reply: Reply },
    Subscribe { changes: BoxStream<'static, Watch>, mailbox: Mailbox },
}

type Reply = oneshot::Sender<Result<Option<Answer>, TransportError>>;

pub(crate) struct Driver {
    connector: Arc<dyn Connector>,
    commands: mpsc::Receiver<Command>,
    handles: Handles,
    limits: RemoteLimits,
    started: Instant,
}

/// Tells when the last handle has gone, also while no command is taken.
#[derive(Clone)]
pub(crate) struct Handles(watch::Receiver<Option<TransportError>>);

/// What lives as long as one link.
struct Connection {
    client: RelayClient,
    asked: BTreeMap<RequestId, Reply>,
    subscription: Option<Subscription>,
    /// Marks that were sent, by the number that they were sent with, and what they mean.
    marks: BTreeMap<u64, Mark>,
    next_mark: u64,
    /// An earlier subscription was let go of, and the relay has not said so yet: what still comes
    /// is of that one.
    leaving: bool,
    /// When the subscription began or brought something last.
    delivered: Timestamp,
    /// Why the connection ended.
    closed: Option<CloseReason>,
}

enum Mark {
    /// The subscriber's own.
    Theirs(u64),
    /// Whether the relay still serves a subscription that brings nothing.
    Check,
    /// Behind it nothing comes of a subscription that was let go of.
    Left,
}

struct Subscription {
    changes: BoxStream<'static, Watch>,
    mailbox: Mailbox,
    /// What is watched, to be let go of when the subscriber is gone.
    topics: BTreeSet<Topic>,
}

/// Bytes of frames that are handed to the link at once.
const SEND_BYTES: usize = 256 * 1024;

/// Bytes that wait to be sent above which no further command is taken: callers then wait.
const QUEUED_BYTES: usize = 4 * 1024 * 1024;

impl Command {
    /// Whether the caller has stopped waiting, so that nothing has to be sent for it.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Ask { reply, .. } => reply.is_closed(),
            Self::Subscribe { mailbox, .. } => mailbox.is_abandoned(),
        }
    }
}

impl Handles {
    /// Of what every handle has a sender of.
    pub(crate) const fn new(writes: watch::Receiver<Option<TransportError>>) -> Self {
        Self(writes)
    }

    async fn gone(&mut self) {
        // What is sent does not matter here.
        while self.0.changed().await.is_ok() {}
    }
}

impl Driver {
    pub(crate) fn new(
        connector: Arc<dyn Connector>,
        commands: mpsc::Receiver<Command>,
        handles: Handles,
        limits: RemoteLimits,
    ) -> Self {
        Self { connector, commands, handles, limits, started: Instant::now() }
    }

    pub(crate) async fn run(mut self) {
        while let Some(command) = self.commands.recv().await {
            if command.is_abandoned() {
                continue;
            }
            let mut handles = self.handles.clone();
            let connected = tokio::select! {
                connected = self.connect() => connected,
                // Nobody is left to use the link, however long it takes to open.
                () = handles.gone() => return,
            };
            match connected {
                Ok(link) => {
                    let now = self.now();
                    let client = RelayClient::new(now, link.info(), self.limits.client);
                    let connection = Connection {
                        client,
                        asked: BTreeMap::new(),
                        subscription: None,
                        marks: BTreeMap::new(),
                        next_mark: 0,
                        leaving: false,
                        delivered: now,
                        closed: None,
                    };
                    self.converse(&*link, connection, command).await;
                    link.close();
                }
                Err(error) => {
                    // Whoever asked meanwhile would only wait for the next attempt, and for that of
                    // everybody before.
                    for _ in 0..self.commands.len() {
                        if let Ok(waiting) = self.commands.try_recv() {
                            refuse(waiting, error.clone());
                        }
                    }
                    refuse(command, error);
                }
            }
        }
    }

    async fn connect(&self) -> Result<Box<dyn Link>, TransportError> {
        let patience = Duration::from_millis(self.limits.connect_ms);
        timeout(patience, self.connector.connect())
            .await
            .unwrap_or_else(|_| Err(TransportError::NO_ANSWER))
    }

    async fn converse(&mut self, link: &dyn Link, mut connection: Connection, first: Command) {
        connection.take(self.now(), first);
        let mut receiving = link.receive();
        let mut sending = None;
        while !connection.settle(self.now()) {
            if sending.is_none() {
                let frames = frames(&mut connection.client, self.now());
                if !frames.is_empty() {
                    sending = Some(link.send(frames));
                }
            }
            let room = connection.has_room();
            let due = self.due(&connection);
            tokio::select! {
                frames = &mut receiving => {
                    receiving = link.receive();
                    let now = self.now();
                    connection.receive(now, frames);
                }
                sent = maybe(&mut sending) => {
                    sending = None;
                    if sent.is_err() {
                        connection.client.handle_closed();
                    }
                }
                command = self.commands.recv(), if room => match command {
                    Some(command) => {
                        let now = self.now();
                        connection.take(now, command);
                        // Those that wait go into the same frames.
                        while connection.has_room() && let Ok(next) = self.commands.try_recv() {
                            connection.take(now, next);
                        }
                    }
                    // The last handle is gone.
                    None => connection.client.end(),
                },
                // So it is here, where nothing is taken that would say so.
                () = self.handles.gone(), if !room => connection.client.end(),
                change = next_change(&mut connection.subscription), if !connection.leaving => {
                    let now = self.now();
                    connection.change(now, change);
                }
                () = at(due) => {
                    let now = self.now();
                    connection.client.handle_timeout(now);
                    if connection.check_at(&self.limits).is_some_and(|due| due <= now) {
                        connection.mark(now, Mark::Check);
                    }
                }
            }
        }
        connection.end();
    }

    /// Time for timers of the protocol, which go on at the pace of seconds.
    fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn due(&self, connection: &Connection) -> Option<Instant> {
        let check = connection.check_at(&self.limits);
        let due = connection.client.next_timeout().into_iter().chain(check).min()?;
        Some(Instant::now() + Duration::from_millis(due.since_ms(self.now())))
    }
}

impl Connection {
    /// Whether another command may be taken.
    fn has_room(&self) -> bool {
        self.client.queued_bytes() < QUEUED_BYTES
            && self.asked.len() < conclave_proto::limits::REQUESTS_PER_CONNECTION
    }

    /// When to ask whether the subscription is still served.
    fn check_at(&self, limits: &RemoteLimits) -> Option<Timestamp> {
        let asks = self.subscription.is_some() && self.marks.is_empty();
        asks.then(|| self.delivered.plus_ms(limits.quiet_ms))
    }

    fn take(&mut self, now: Timestamp, command: Command) {
        if command.is_abandoned() {
            return;
        }
        match command {
            Command::Ask { request, reply } => match self.client.request(now, request) {
                Ok(id) => {
                    self.asked.insert(id, reply);
                }
                Err(Busy) => give(reply, Err(TransportError::NO_ANSWER)),
            },
            Command::Subscribe { changes, mailbox } => {
                self.let_go(now);
                self.delivered = now;
                let topics = BTreeSet::new();
                self.subscription = Some(Subscription { changes, mailbox, topics });
            }
        }
    }

    fn receive(&mut self, now: Timestamp, frames: Result<Vec<Vec<u8>>, LinkError>) {
        match frames {
            Ok(frames) => frames.iter().for_each(|frame| self.client.handle_frame(now, frame)),
            Err(_) => self.client.handle_closed(),
        }
    }

    fn change(&mut self, now: Timestamp, change: Option<Watch>) {
        let Some(subscription) = &mut self.subscription else { return };
        match change {
            Some(change) => {
                subscription.note(&change);
                match change {
                    Watch::Mark(mark) => self.mark(now, Mark::Theirs(mark)),
                    Watch::Add(_) | Watch::Remove(_) => self.client.watch(now, change),
                }
            }
            None => self.let_go(now),
        }
    }

    /// Ends the present subscription, but not the connection. The next one begins when nothing
    /// more can come of this one.
    fn let_go(&mut self, now: Timestamp) {
        if let Some(subscription) = self.subscription.take() {
            self.client.watch(now, Watch::Remove(subscription.topics.into_iter().collect()));
            self.marks.clear();
            self.mark(now, Mark::Left);
            self.leaving = true;
            subscription.mailbox.end(TransportError::NO_ANSWER);
        }
    }

    fn mark(&mut self, now: Timestamp, mark: Mark) {
        self.next_mark += 1;
        self.marks.insert(self.next_mark, mark);
        self.client.watch(now, Watch::Mark(self.next_mark));
    }

    /// Passes on what the subscription brought, if it is what was asked for.
    fn deliver(&mut self, now: Timestamp, delivery: Delivery) {
        self.delivered = now;
        let delivery = match delivery {
            Delivery::CaughtUp(number) => match self.marks.remove(&number) {
                Some(Mark::Theirs(mark)) => Delivery::CaughtUp(mark),
                Some(Mark::Left) => {
                    self.leaving = false;
                    return;
                }
                Some(Mark::Check) | None => return,
            },
            Delivery::Record(..) | Delivery::Head { .. } => delivery,
        };
        if let Some(subscription) = &self.subscription
            && !self.leaving
            && subscription.wants(&delivery)
        {
            subscription.mailbox.put(delivery);
        }
    }

    /// Passes on what came; whether the connection is over.
    fn settle(&mut self, now: Timestamp) -> bool {
        while let Some(news) = self.client.poll() {
            match news {
                News::Opened(_) => {}
                News::Answered(id, answer) => self.answer(id, Some(answer)),
                News::Lost(id) => self.answer(id, None),
                News::Delivered(delivery) => self.deliver(now, delivery),
                News::Closed(reason) => self.closed = Some(reason),
            }
        }
        let abandoned = |subscription: &Subscription| subscription.mailbox.is_abandoned();
        if self.subscription.as_ref().is_some_and(abandoned) {
            self.let_go(now);
        }
        self.closed.is_some()
    }

    fn answer(&mut self, id: RequestId, answer: Option<Answer>) {
        if let Some(reply) = self.asked.remove(&id) {
            give(reply, Ok(answer));
        }
    }

    fn end(mut self) {
        if let Some(subscription) = self.subscription.take() {
            let error = match self.closed {
                Some(CloseReason::Goodbye(Goodbye::UnknownVersion { .. })) => {
                    TransportError::Misconfigured("no version of the protocol in common")
                }
                _ => TransportError::NO_ANSWER,
            };
            subscription.mailbox.end(error);
        }
    }
}

impl Subscription {
    fn wants(&self, delivery: &Delivery) -> bool {
        match delivery {
            Delivery::Record(topic, _) | Delivery::Head { topic, .. } => {
                self.topics.contains(topic)
            }
            Delivery::CaughtUp(_) => true,
        }
    }

    fn note(&mut self, change: &Watch) {
        match change {
            Watch::Add(topics) => {
                self.topics.extend(topics.iter().map(|(topic, _)| topic.clone()));
            }
            Watch::Remove(topics) => {
                for topic in topics {
                    self.topics.remove(topic);
                }
            }
            Watch::Mark(_) => {}
        }
    }
}

fn refuse(command: Command, error: TransportError) {
    match command {
        Command::Ask { reply, .. } => give(reply, Err(error)),
        Command::Subscribe { mailbox, .. } => mailbox.end(error),
    }
}

/// Whoever asked may have gone away.
fn give(reply: Reply, answer: Result<Option<Answer>, TransportError>) {
    drop(reply.send(answer));
}

fn frames(client: &mut RelayClient, now: Timestamp) -> Vec<Vec<u8>> {
    let (mut frames, mut bytes) = (Vec::new(), 0);
    while bytes < SEND_BYTES
        && let Some(frame) = client.poll_frame(now)
    {
        bytes += frame.len();
        frames.push(frame);
    }
    frames
}

async fn next_change(subscription: &mut Option<Subscription>) -> Option<Watch> {
    match subscription {
        Some(subscription) => subscription.changes.next().await,
        None => std::future::pending().await,
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
