//! An engine's process: a device on its store, its clerk, and a remote over QUIC.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use conclave_core::{
    bounds::{BoxFuture, BoxStream},
    delivery::{
        Delivery, DeliveryService as _, PublishOutcome, TopicPage, Transmit, TransportError,
        Uploaded, Watch,
    },
    entropy::{Entropy, EntropyError, EntropySource},
    group::{Candidate, Group, GroupConfig, read_messages},
    keyring::VerifiedPackage,
    link::{Link, LinkError},
    session::{CallId, SessionLimits},
    step::Step,
    store::Claim,
};
use conclave_proto::{GroupId, MessageId, Seq, Timestamp, codec::encode_bare, group::Policy};
use conclave_quic::{Trust, connect};
use conclave_remote::{Connector, Remote, RemoteLimits};
use conclave_store_redb::RedbStore;
use conclave_testkit::{
    clerk::{Call, Clerk},
    device::Device,
};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{certificate, children::ENGINES, hex, orders, people::Person, say};

/// Runs until it is killed.
pub(crate) async fn run(folder: &Path, number: usize, port: u16) {
    let mut engine = Engine::open(folder, number, port);
    let mut orders = orders();
    loop {
        engine.work();
        let due = engine.clerk.next_timeout(&engine.device).map_or(3_600_000, |due| {
            // A millisecond more: timers are late rather than asked for twice.
            due.since_ms(now()) + 1
        });
        tokio::select! {
            Some(delivery) = next(&mut engine.subscription) => engine.delivered(delivery),
            Some(heard) = engine.calls.next() => engine.hear(heard),
            Some(order) = orders.recv() => engine.obey(&order).await,
            () = tokio::time::sleep(Duration::from_millis(due)) => {}
        }
    }
}

type Deliveries = BoxStream<'static, Result<Delivery, TransportError>>;

struct Engine {
    number: usize,
    device: Device<RedbStore>,
    clerk: Clerk,
    remote: Remote,
    calls: FuturesUnordered<BoxFuture<'static, Heard>>,
    changes: Option<UnboundedSender<Watch>>,
    subscription: Option<Deliveries>,
    loaded: bool,
    sent: u32,
    said_member: bool,
    wants_calm: bool,
    /// Messages that have to be there before it tells what it shows.
    report: Option<Vec<String>>,
}

/// The answer to a call.
enum Heard {
    Pages(CallId, Result<Vec<TopicPage>, TransportError>),
    Published(CallId, Vec<Transmit>, Vec<PublishOutcome>),
    Uploaded(CallId, Uploaded),
}

impl Engine {
    fn open(folder: &Path, number: usize, port: u16) -> Self {
        let store = RedbStore::create_or_open(folder.join(format!("engine-{number}"))).unwrap();
        let person = Person::new(number);
        let entropy = Entropy::new(Box::new(System));
        let device =
            Device::open(store, number, person.installation, Claim(random()), entropy, now());
        let clerk = Clerk::new(&device, SessionLimits::default(), random());
        let connector = Loopback {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            trust: Trust::Fingerprint(certificate(folder).fingerprint()),
        };
        Self {
            number,
            device,
            clerk,
            remote: Remote::new(connector, RemoteLimits::default()),
            calls: FuturesUnordered::new(),
            changes: None,
            subscription: None,
            loaded: false,
            sent: 0,
            said_member: false,
            wants_calm: false,
            report: None,
        }
    }

    /// Everything that needs no answer from outside.
    fn work(&mut self) {
        self.clerk.pump(&mut self.device, now());
        // What was read may have settled all that was on its way, and nothing else would come.
        while self.load() {
            self.clerk.pump(&mut self.device, now());
        }
        while let Some(call) = self.clerk.next_call() {
            self.make(call);
        }
        if let Some(id) = self.group().filter(|_| !self.said_member) {
            self.said_member = true;
            say(&format!("member {}", hex(&id.0)));
        }
        if self.wants_calm && self.clerk.is_idle(&self.device) {
            self.wants_calm = false;
            say("calm");
        }
        self.tell_what_it_shows();
    }

    fn group(&self) -> Option<GroupId> {
        self.device.groups.keys().next().copied()
    }

    /// Under load a few messages are always on their way, and keys are renewed now and then.
    /// Whether something was sent.
    fn load(&mut self) -> bool {
        let Some(id) = self.group().filter(|_| self.loaded) else { return false };
        let before = self.sent;
        while self.device.groups[&id].unsettled_messages() < 4 {
            if !self.send(id) {
                break;
            }
            if self.sent.is_multiple_of(25)
                && self.device.groups[&id].pending_intents().count() == 0
            {
                self.step(id, |group| group.update_keys(now()).ok());
            }
        }
        self.sent > before
    }

    /// Whether the message was taken.
    fn send(&mut self, id: GroupId) -> bool {
        let content = format!("{} of engine {}", self.sent, self.number).into_bytes();
        let sent: Option<MessageId> =
            self.step(id, |group| group.send(now(), random(), content).ok());
        let Some(message) = sent else { return false };
        self.sent += 1;
        // The step was stored before.
        say(&format!("durable {}", hex(&message.0)));
        true
    }

    fn step<T>(
        &mut self,
        id: GroupId,
        verb: impl FnOnce(&mut Group) -> Option<Step<T>>,
    ) -> Option<T> {
        let step = verb(self.device.groups.get_mut(&id)?)?;
        self.device.drive_group(id, step)
    }

    fn make(&mut self, call: Call) {
        let remote = self.remote.clone();
        let answer = match call {
            Call::Subscribe => {
                let (changes, mut queue) = unbounded_channel();
                let queue = futures_util::stream::poll_fn(move |context| queue.poll_recv(context));
                self.changes = Some(changes);
                self.subscription = Some(remote.subscribe(Box::pin(queue)));
                return;
            }
            Call::Watch(change) => {
                if let Some(changes) = &self.changes {
                    // If the subscription has just ended, the clerk is about to hear of it.
                    let _ = changes.send(change);
                }
                return;
            }
            Call::Fetch(call, after, limit) => {
                async move { Heard::Pages(call, remote.fetch(after, limit).await) }.boxed()
            }
            Call::Publish(call, batch) => async move {
                let outcomes = remote.publish(batch.clone()).await;
                Heard::Published(call, batch, outcomes)
            }
            .boxed(),
            Call::Upload(call, upload) => {
                async move { Heard::Uploaded(call, remote.upload(upload).await) }.boxed()
            }
        };
        self.calls.push(answer);
    }

    fn delivered(&mut self, delivery: Result<Delivery, TransportError>) {
        if delivery.is_err() {
            (self.subscription, self.changes) = (None, None);
        }
        self.clerk.handle_delivery(now(), delivery);
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Pages(call, pages) => self.clerk.handle_pages(now(), call, pages),
            Heard::Published(call, batch, outcomes) => {
                for (transmit, outcome) in batch.iter().zip(&outcomes) {
                    if let PublishOutcome::Accepted { seq, .. } = outcome {
                        let topic = hex(&encode_bare(&transmit.topic));
                        say(&format!("accepted {topic} {} {}", seq.0, hex(&transmit.id.0)));
                    }
                }
                self.clerk.handle_published(now(), call, outcomes);
            }
            Heard::Uploaded(call, uploaded) => {
                let accepted = matches!(uploaded.outcome, PublishOutcome::Accepted { .. });
                self.clerk.handle_uploaded(now(), call, uploaded);
                if accepted {
                    say("uploaded");
                }
            }
        }
    }

    async fn obey(&mut self, order: &str) {
        let mut words = order.split(' ');
        match words.next().unwrap() {
            "found" => self.found().await,
            "load" => self.loaded = true,
            "calm" => (self.loaded, self.wants_calm) = (false, true),
            "words" => {
                let id = self.group().unwrap();
                assert!(self.send(id), "nothing holds it");
            }
            "report" => self.report = Some(words.map(str::to_owned).collect()),
            other => panic!("{other}"),
        }
    }

    /// Makes a group with everybody in it.
    async fn found(&mut self) {
        let config = GroupConfig { policy: Policy::OPEN, ..GroupConfig::default() };
        let own = Person::new(self.number);
        let entropy = self.device.group_entropy();
        let limits = self.device.limits;
        let step = Group::create(now(), config, own.identity(), own.installation, limits, entropy)
            .unwrap();
        let group = self.device.drive(step).unwrap();
        let id = group.id();
        self.device.groups.insert(id, group);
        let mut who = Vec::new();
        for person in (0..ENGINES).filter(|number| *number != self.number).map(Person::new) {
            who.push(self.candidate(&person).await);
        }
        self.step(id, |group| Some(group.add(now(), who).unwrap())).unwrap();
    }

    async fn candidate(&self, person: &Person) -> Candidate {
        let (inbox, installation) = (person.installation.inbox(), person.installation.id());
        let found = self.remote.key_packages(vec![installation]).await.unwrap().remove(0);
        let package = VerifiedPackage::check(now(), inbox, installation, &found.unwrap()).unwrap();
        Candidate { inbox, log: person.log.clone(), packages: vec![package] }
    }

    /// Tells it once it has what it waits for.
    fn tell_what_it_shows(&mut self) {
        let (Some(last), Some(id)) = (&self.report, self.group()) else { return };
        if !self.clerk.is_idle(&self.device) {
            return;
        }
        let store = self.device.store.inner();
        let shown: Vec<(u64, String)> = read_messages(store, id, Seq(0), usize::MAX)
            .unwrap()
            .into_iter()
            .map(|(seq, message)| (seq.0, hex(&message.id.0)))
            .collect();
        if !last.iter().all(|id| shown.iter().any(|(_, shown)| shown == id)) {
            return;
        }
        for (seq, id) in shown {
            say(&format!("shows {seq} {id}"));
        }
        let group = &self.device.groups[&id];
        say(&format!("epoch {} {}", group.epoch().0, hex(&group.epoch_authenticator())));
        self.report = None;
    }
}

async fn next(subscription: &mut Option<Deliveries>) -> Option<Result<Delivery, TransportError>> {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

struct Loopback {
    address: SocketAddr,
    trust: Trust,
}

impl Connector for Loopback {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            let link = connect(self.address, "localhost", self.trust.clone()).await;
            match link.map_err(LinkError::from) {
                Ok(link) => Ok(Box::new(link) as Box<dyn Link>),
                Err(LinkError::Misconfigured(why)) => Err(TransportError::Misconfigured(why)),
                Err(_) => Err(TransportError::Unavailable { retry_after: Duration::ZERO }),
            }
        })
    }
}

/// Randomness of the system: an engine that is opened again draws anew.
struct System;

impl EntropySource for System {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError> {
        getrandom::fill(out).map_err(|_| EntropyError)
    }

    fn child(&self, _label: &str, _id: &[u8]) -> Box<dyn EntropySource> {
        Box::new(Self)
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

fn now() -> Timestamp {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(passed.as_millis()).unwrap())
}
