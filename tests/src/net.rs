//! A world whose devices talk to the relay's own code over simulated links.
//!
//! Above the links nothing is simulated: engines, the client's half of the protocol, the relay's
//! half, its service and its logs are what products run. The links are [`Paths`], which do to
//! frames what they are told, and break; time passes when nothing else is left to do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use conclave_core::{
    delivery::{Delivery, TransportError},
    engine::{ActorId, CallAnswer, DeliveryCall, Subscription, Token},
    entropy::prf,
    event::log::EventCursor,
    relay_client::{
        ClientLimits, News, RelayClient, RequestId, inboxes_result, packages_result, pages_result,
        publish_outcomes, publish_request, uploaded,
    },
    step::Upload,
};
use conclave_proto::{
    GroupId, MessageId, Record, Seq, Timestamp, Topic,
    relay::{Answer, PROTOCOL, PublishOutcome, RelayHello, Request},
};
use conclave_relay::{
    Append, Connection, ConnectionLimits, Direct, Founding, LogStore, Logs, RelayLimits, Service,
    Work,
};
use futures_util::FutureExt;
use sha2::{Digest, Sha256};

use crate::{
    device::{Device, Wish},
    wire::{Paths, Sightings},
    world::World,
};

pub use crate::wire::{Way, Wires};

/// See the module.
#[derive(Debug)]
pub struct Net {
    /// People, devices and the clock.
    pub world: World,
    /// The links.
    pub paths: Paths,
    /// When each message was sent and seen.
    pub sightings: Sightings,
    /// Events of each device that sightings know of.
    noted: Vec<EventCursor>,
    /// How often each device was opened when its link was.
    openings: Vec<u64>,
    lines: Vec<Option<Line>>,
    service: Service<Direct>,
    heard: Arc<Mutex<Vec<(Topic, Record)>>>,
    /// Limits of the relay's connections.
    pub limits: ConnectionLimits,
    /// Whether links can be opened.
    pub reachable: bool,
    /// Everything that went over any link.
    traffic: Sha256,
    /// Frames and bytes that went over any link.
    pub carried: (u64, u64),
}

/// An open link and what is at its ends.
#[derive(Debug)]
struct Line {
    client: RelayClient,
    connection: Connection,
    subscription: Subscription,
    asked: BTreeMap<RequestId, Asked>,
}

/// A call that an actor waits for.
#[derive(Debug)]
struct Asked {
    of: ActorId,
    token: Token,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Fetch,
    Publish(usize),
    Upload,
    Packages,
    Inboxes,
}

impl Net {
    /// A world of that many people with one installation each.
    ///
    /// # Panics
    /// If the relay's logs cannot be made.
    #[must_use]
    pub fn with_people(seed: u64, count: usize, wires: Wires) -> Self {
        let mut founding = [0; 48];
        founding[..32].copy_from_slice(&prf(&[1; 32], &[&seed.to_be_bytes()]));
        let logs = Logs::in_memory(&Founding::from_random(&founding), RelayLimits::default());
        let store = Direct(logs.expect("logs in memory are made"));
        let heard: Arc<Mutex<Vec<(Topic, Record)>>> = Arc::default();
        let listener = Arc::clone(&heard);
        store.listen(Box::new(move |records| {
            listener.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(records);
        }));
        let mut net = Self {
            world: World::new(seed),
            paths: Paths::new(wires),
            sightings: Sightings::default(),
            noted: Vec::new(),
            openings: Vec::new(),
            lines: Vec::new(),
            service: Service::new(store, RelayLimits::default()),
            heard,
            limits: ConnectionLimits::default(),
            reachable: true,
            traffic: Sha256::new(),
            carried: (0, 0),
        };
        for _ in 0..count {
            net.world.add_person();
        }
        net.publish_identities();
        net.start_devices();
        net.settle();
        net
    }

    /// The relay's logs.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.service.store().0
    }

    /// Whether a device has read everything that the relay has said there is.
    #[must_use]
    pub fn has_read(&self, device: usize) -> bool {
        self.world.devices[device].engine.session().session().is_read()
    }

    /// Publishes what people say in their identity logs and the relay does not have yet.
    ///
    /// # Panics
    /// If the relay refuses it.
    pub fn publish_identities(&mut self) {
        for person in &self.world.people {
            let topic = Topic::Identity(person.inbox);
            let heads = self.logs().heads(&[(topic.clone(), Seq(0))]).expect("heads are read");
            let mut head = heads.first().map_or(Seq(0), |(_, cursor)| cursor.seq);
            let known = usize::try_from(head.0).expect("a short log");
            for entry in person.log.iter().skip(known) {
                let append = Append::new(topic.clone(), entry.clone()).expecting(head);
                let outcome = self.logs().append(vec![append]).remove(0);
                let PublishOutcome::Accepted { seq, .. } = outcome else {
                    panic!("an honest entry is taken: {outcome:?}");
                };
                head = seq;
            }
        }
    }

    fn start_devices(&mut self) {
        self.paths.grow(self.world.devices.len());
        for _ in self.lines.len()..self.world.devices.len() {
            self.openings.push(0);
            self.lines.push(None);
            self.noted.push(EventCursor(0));
        }
    }

    /// Ends a device's process and starts it again on its store.
    pub fn crash(&mut self, device: usize) {
        self.world.devices[device].crash();
    }

    /// Breaks a device's link; what is on it is lost.
    pub fn cut(&mut self, device: usize) {
        if let Some(line) = &mut self.lines[device] {
            line.client.handle_closed();
            self.hear(device);
        }
    }

    /// Lets a device wish to add people, with the packages that the relay has now.
    ///
    /// # Panics
    /// If the relay's directory does not read.
    pub fn add(&mut self, device: usize, group: GroupId, people: &[usize]) -> bool {
        for person in people {
            let of: Vec<_> = self.world.identity(*person).installations.into_keys().collect();
            let found = self.logs().key_packages(&of).expect("the directory reads");
            if found.iter().any(Option::is_none) {
                return false;
            }
            for bytes in found.into_iter().flatten() {
                self.world.relay.upload(&Upload { counter: 0, bytes });
            }
        }
        self.world.add(device, group, people)
    }

    /// Lets a device send a message.
    pub fn send(&mut self, device: usize, group: GroupId, content: &[u8]) -> Option<MessageId> {
        let message = self.world.send(device, group, content)?;
        self.sightings.note_sent(device, message, self.world.now);
        Some(message)
    }

    /// Lets a device do what it can do now, and passes its calls to its link.
    pub fn pump(&mut self, device: usize) {
        let now = self.world.now;
        let value = &mut self.world.devices[device];
        value.now = now;
        value.settle_locally();
        // Who has crashed has lost its link.
        if value.openings() != std::mem::replace(&mut self.openings[device], value.openings()) {
            self.lines[device] = None;
        }
        let unseen = value.events_after(&mut self.noted[device]);
        self.sightings.note_events(device, &unseen, now);
        while let Some(wish) = self.world.devices[device].next_wish() {
            self.make(device, wish);
        }
    }

    fn make(&mut self, device: usize, wish: Wish) {
        let now = self.world.now;
        let (of, token, call) = match wish {
            Wish::Subscribe(subscription) => return self.connect(device, subscription),
            Wish::Watch(change) => {
                if let Some(line) = &mut self.lines[device] {
                    line.client.watch(now, change);
                }
                return;
            }
            Wish::Call(of, token, call) => (of, token, call),
            Wish::Sign(..) => panic!("people of a world are registered"),
        };
        let (request, kind) = match call {
            DeliveryCall::Fetch { after, limit } => (Request::Fetch { after, limit }, Kind::Fetch),
            DeliveryCall::Publish(batch) => {
                let count = batch.len();
                (publish_request(batch), Kind::Publish(count))
            }
            DeliveryCall::Upload(upload) => (Request::Upload(upload.bytes), Kind::Upload),
            DeliveryCall::KeyPackages(of) => (Request::KeyPackages(of), Kind::Packages),
            DeliveryCall::Resolve(accounts) => (Request::Resolve(accounts), Kind::Inboxes),
        };
        let asked = Asked { of, token, kind };
        match &mut self.lines[device] {
            Some(line) => {
                let id = line.client.request(now, request).expect("a session asks for little");
                line.asked.insert(id, asked);
            }
            None => bring(&mut self.world.devices[device], asked, None),
        }
    }

    fn connect(&mut self, device: usize, subscription: Subscription) {
        let now = self.world.now;
        if !self.reachable {
            let error = TransportError::NO_ANSWER;
            self.lines[device] = None;
            self.world.devices[device].engine.delivered(subscription, Err(error));
            return;
        }
        let identity = self.service.store().identity();
        let hello = RelayHello {
            version: PROTOCOL,
            features: 0,
            incarnation: identity.incarnation,
            key: identity.key,
        };
        let info = self.paths.info(device);
        self.paths.open(device);
        self.lines[device] = Some(Line {
            client: RelayClient::new(now, info, ClientLimits::default()),
            connection: Connection::new(now, info, hello, self.limits),
            subscription,
            asked: BTreeMap::new(),
        });
    }

    /// Carries a device's frames one way: up to `most` times, lets the link take one and deliver
    /// one. Returns how often there was one.
    pub fn carry(&mut self, device: usize, way: Way, most: usize) -> usize {
        let now = self.world.now;
        let Some(line) = &mut self.lines[device] else { return 0 };
        let mut carried = 0;
        while carried < most {
            let sent = match way {
                _ if !self.paths.can_send(device, way) => None,
                Way::Up => line.client.poll_frame(now),
                Way::Down => line.connection.poll_frame(now),
            };
            let was_sent = sent.is_some();
            if let Some(frame) = sent {
                self.carried = (self.carried.0 + 1, self.carried.1 + frame.len() as u64);
                self.traffic.update(&frame);
                self.paths.send(device, way, now, frame, &mut self.world.dice);
            }
            let arrived = self.paths.poll(device, way, now);
            if !was_sent && arrived.is_none() {
                break;
            }
            match (arrived, way) {
                (Some(frame), Way::Up) => line.connection.handle_frame(now, &frame),
                (Some(frame), Way::Down) => line.client.handle_frame(now, &frame),
                (None, _) => {}
            }
            carried += 1;
        }
        // The relay closes the link of a connection that has nothing left to say.
        if line.connection.is_ending() && self.paths.is_empty(device, Way::Down) && way == Way::Down
        {
            line.client.handle_closed();
        }
        match way {
            Way::Up => self.work(device),
            Way::Down => self.hear(device),
        }
        carried
    }

    /// The relay does what a connection asks for, and everybody hears of what was appended.
    fn work(&mut self, device: usize) {
        let now = self.world.now;
        while let Some(work) = self.lines[device].as_mut().and_then(|l| l.connection.poll_work()) {
            match work {
                Work::Answer { id, request, .. } => {
                    let answer = self.answer(now, request);
                    self.spread();
                    if let Some(line) = &mut self.lines[device] {
                        line.connection.handle_answer(id, answer);
                    }
                }
                Work::Look(topics) => {
                    let known = topics.into_iter().map(|topic| (topic, Seq(0))).collect();
                    let Answer::Heads(heads) = self.answer(now, Request::Heads(known)) else {
                        panic!("heads are read");
                    };
                    let heads: Vec<(Topic, Seq)> =
                        heads.into_iter().map(|(topic, head)| (topic, head.seq)).collect();
                    if let Some(line) = &mut self.lines[device] {
                        line.connection.handle_heads(&heads);
                    }
                }
                Work::Forget(_) => {}
            }
        }
    }

    fn answer(&self, now: Timestamp, request: Request) -> Answer {
        let answer = self.service.answer(now, request).now_or_never();
        answer.expect("logs without a thread answer at once")
    }

    fn spread(&mut self) {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        for (topic, record) in heard {
            for line in self.lines.iter_mut().flatten() {
                line.connection.handle_appended(&topic, &record);
            }
        }
    }

    /// Brings a device what came over its link.
    fn hear(&mut self, device: usize) {
        let Some(line) = &mut self.lines[device] else { return };
        let (value, subscription) = (&mut self.world.devices[device], line.subscription);
        let mut closed = false;
        let mut told: Vec<Result<Delivery, TransportError>> = Vec::new();
        while let Some(news) = line.client.poll() {
            match news {
                News::Opened(_) => {}
                News::Answered(id, answer) => {
                    let asked = line.asked.remove(&id).expect("answers were asked for");
                    bring(value, asked, Some(answer));
                }
                News::Lost(id) => {
                    let asked = line.asked.remove(&id).expect("answers were asked for");
                    bring(value, asked, None);
                }
                News::Delivered(delivery) => told.push(Ok(delivery)),
                News::Closed(_) => {
                    let retry_after = std::time::Duration::ZERO;
                    told.push(Err(TransportError::Unavailable { retry_after }));
                    closed = true;
                }
            }
        }
        for delivery in told {
            value.engine.delivered(subscription, delivery);
        }
        if closed {
            self.lines[device] = None;
        }
    }

    /// Lets everybody do what can be done without time passing.
    ///
    /// # Panics
    /// If that does not come to an end within a bound.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            let mut carried = 0;
            for device in 0..self.lines.len() {
                self.pump(device);
                carried += self.carry(device, Way::Up, 64);
                carried += self.carry(device, Way::Down, 64);
                self.pump(device);
            }
            if carried == 0 {
                return;
            }
        }
        panic!("the net does not come to rest:\n{}", self.report());
    }

    /// Lets time pass; timers fire as they fall due.
    pub fn pass(&mut self, ms: u64) {
        self.world.now = self.world.now.plus_ms(ms);
        let now = self.world.now;
        self.paths.handle_timeout(now);
        for device in 0..self.lines.len() {
            if let Some(line) = &mut self.lines[device] {
                line.client.handle_timeout(now);
                line.connection.handle_timeout(now);
            }
            self.hear(device);
            self.pump(device);
        }
    }

    /// Lets time pass with everything done when it falls due, so that each message is seen when
    /// it arrives.
    pub fn live(&mut self, ms: u64) {
        let end = self.world.now.plus_ms(ms);
        loop {
            self.run();
            let left = end.since_ms(self.world.now);
            if left == 0 {
                return;
            }
            self.pass(self.wait().unwrap_or(left).min(left));
        }
    }

    /// Milliseconds until something falls due.
    fn wait(&self) -> Option<u64> {
        let lines = self.lines.iter().enumerate();
        let lines = lines.filter_map(|(device, line)| Some((device, line.as_ref()?)));
        let lines = lines.flat_map(|(device, line)| {
            let path = self.paths.next_timeout(device);
            [line.client.next_timeout(), line.connection.next_timeout(), path]
        });
        let devices = self.world.devices.iter().map(Device::next_timeout);
        let next = lines.chain(devices).flatten().min()?;
        Some(next.since_ms(self.world.now).max(1))
    }

    /// Whether nothing is on its way to anybody.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        // The relay may still be repeating what a link has lost.
        let quiet = |(device, line): (usize, &Option<Line>)| {
            line.as_ref().is_none_or(|line| {
                line.client.queued_bytes() + line.connection.queued_bytes() == 0
                    && self.paths.is_empty(device, Way::Up)
                    && self.paths.is_empty(device, Way::Down)
            })
        };
        self.world.devices.iter().all(Device::is_idle) && self.lines.iter().enumerate().all(quiet)
    }

    /// Runs until nothing is on its way any more, with time passing for what waits for it.
    ///
    /// # Panics
    /// If that does not happen within a bound.
    pub fn settle(&mut self) {
        for _ in 0..20_000 {
            self.run();
            if self.is_idle() {
                return;
            }
            let wait = self.wait().unwrap_or(1_000).min(61_000);
            self.pass(wait);
        }
        panic!("the net does not settle:\n{}", self.report());
    }

    /// Holds the world to its promises, and every session to having read everything.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        for device in &self.world.devices {
            let groups = device.groups().filter(|group| !group.standing().is_removed());
            let cursors = groups.map(|group| (group.topic().clone(), group.cursor().seq));
            let all: Vec<_> =
                cursors.chain([(device.ring().topic(), device.ring().cursor().seq)]).collect();
            let behind = self.logs().heads(&all).expect("heads are read");
            assert!(
                behind.is_empty(),
                "device {} has not read {behind:?}\n{}",
                device.index,
                self.report()
            );
        }
        self.world.check();
        self.world.check_order_of_senders();
    }

    /// What the net looks like, for a person who has to find out why.
    #[must_use]
    pub fn report(&self) -> String {
        use std::fmt::Write as _;
        let mut out = self.world.report();
        for (index, device) in self.world.devices.iter().enumerate() {
            let _ = writeln!(
                out,
                "  device {index}: idle {}, link {}",
                device.is_idle(),
                self.lines[index].is_some(),
            );
            if std::env::var_os("CONCLAVE_SESSIONS").is_some() {
                let _ = writeln!(out, "    {:?}", device.engine.session());
                let _ = writeln!(out, "    {:?}", self.lines[index]);
            }
        }
        out
    }

    /// All stored bytes of all devices and everything that went over any link.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<u8> {
        let mut all = self.world.fingerprint();
        all.extend(self.traffic.clone().finalize());
        all
    }
}

/// Brings an actor the answer to a call; `None` is a lost one.
fn bring(device: &mut Device, asked: Asked, answer: Option<Answer>) {
    let Asked { of, token, kind } = asked;
    let answer = match kind {
        Kind::Fetch => CallAnswer::Fetched(pages_result(answer)),
        Kind::Publish(count) => CallAnswer::Published(publish_outcomes(answer, count)),
        Kind::Upload => CallAnswer::Uploaded(uploaded(answer)),
        Kind::Packages => CallAnswer::KeyPackages(packages_result(answer)),
        Kind::Inboxes => CallAnswer::Resolved(inboxes_result(answer)),
    };
    device.answer(of, token, answer);
}
