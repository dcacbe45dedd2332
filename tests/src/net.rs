//! A world whose devices talk to the relay's own code over simulated links.
//!
//! Above the links nothing is simulated: sessions, the client's half of the protocol, the relay's
//! half, its service and its logs are what products run. The links are [`Paths`], which do to
//! frames what they are told, and break; time passes when nothing else is left to do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use conclave_core::{
    delivery::TransportError,
    entropy::prf,
    relay_client::{
        ClientLimits, News, RelayClient, RequestId, pages_result, publish_outcomes,
        publish_request, uploaded,
    },
    session::{CallId, SessionLimits},
    step::Upload,
};
use conclave_proto::{
    GroupId, MessageId, Record, Seq, Timestamp, Topic,
    relay::{Answer, PROTOCOL, RelayHello, Request},
};
use conclave_relay::{
    Append, Connection, ConnectionLimits, Direct, Founding, LogStore, Logs, RelayLimits, Service,
    Work,
};
use futures_util::FutureExt;
use sha2::{Digest, Sha256};

use crate::{
    clerk::{Call, Clerk},
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
    noted: Vec<usize>,
    clerks: Vec<Clerk>,
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
    asked: BTreeMap<RequestId, Asked>,
}

#[derive(Debug)]
enum Asked {
    Fetch(CallId),
    Publish(CallId, usize),
    Upload(CallId),
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
            clerks: Vec::new(),
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
        net.start_clerks();
        net.settle();
        net
    }

    /// The relay's logs.
    #[must_use]
    pub fn logs(&self) -> &Logs {
        &self.service.store().0
    }

    /// The session of a device.
    ///
    /// # Panics
    /// If there is no such device.
    #[must_use]
    pub fn clerk(&self, device: usize) -> &Clerk {
        &self.clerks[device]
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
                head = outcome.expect("an honest entry is taken").seq;
            }
        }
    }

    fn start_clerks(&mut self) {
        self.paths.grow(self.world.devices.len());
        for index in self.clerks.len()..self.world.devices.len() {
            let clerk = self.clerk_of(index);
            self.clerks.push(clerk);
            self.lines.push(None);
            self.noted.push(0);
        }
    }

    fn clerk_of(&self, index: usize) -> Clerk {
        let device = &self.world.devices[index];
        let seed = prf(&[2; 32], &[&self.world.seed.to_be_bytes(), &index.to_be_bytes()]);
        Clerk::new(device, SessionLimits::default(), seed)
    }

    /// Ends a device's process and starts it again on its store.
    pub fn crash(&mut self, device: usize) {
        self.lines[device] = None;
        self.world.devices[device].crash();
        self.clerks[device] = self.clerk_of(device);
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
        self.clerks[device].pump(&mut self.world.devices[device], now);
        let events = &self.world.devices[device].events;
        let unseen = events.get(self.noted[device]..).unwrap_or_default();
        self.sightings.note_events(device, unseen, now);
        self.noted[device] = events.len();
        while let Some(call) = self.clerks[device].next_call() {
            self.make(device, call);
        }
    }

    fn make(&mut self, device: usize, call: Call) {
        let now = self.world.now;
        if matches!(call, Call::Subscribe) {
            self.connect(device);
            return;
        }
        let clerk = &mut self.clerks[device];
        let line = self.lines[device].as_mut();
        let (request, asked) = match call {
            Call::Watch(change) => {
                if let Some(line) = line {
                    line.client.watch(change);
                }
                return;
            }
            Call::Fetch(call, after, limit) => {
                (Request::Fetch { after, limit }, Asked::Fetch(call))
            }
            Call::Publish(call, batch) => {
                let count = batch.len();
                (publish_request(batch), Asked::Publish(call, count))
            }
            Call::Upload(call, upload) => (Request::Upload(upload.bytes), Asked::Upload(call)),
            Call::Subscribe => return,
        };
        match line {
            Some(line) => {
                let id = line.client.request(now, request).expect("a session asks for little");
                line.asked.insert(id, asked);
            }
            None => bring(clerk, now, asked, None),
        }
    }

    fn connect(&mut self, device: usize) {
        let now = self.world.now;
        if !self.reachable {
            let error = TransportError::Unavailable { retry_after: std::time::Duration::ZERO };
            self.clerks[device].handle_delivery(now, Err(error));
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
        let now = self.world.now;
        let Some(line) = &mut self.lines[device] else { return };
        let clerk = &mut self.clerks[device];
        let mut closed = false;
        while let Some(news) = line.client.poll() {
            match news {
                News::Opened(_) => {}
                News::Answered(id, answer) => {
                    let asked = line.asked.remove(&id).expect("answers were asked for");
                    bring(clerk, now, asked, Some(answer));
                }
                News::Lost(id) => {
                    let asked = line.asked.remove(&id).expect("answers were asked for");
                    bring(clerk, now, asked, None);
                }
                News::Delivered(delivery) => clerk.handle_delivery(now, Ok(delivery)),
                News::Closed(_) => {
                    let retry_after = std::time::Duration::ZERO;
                    let error = TransportError::Unavailable { retry_after };
                    clerk.handle_delivery(now, Err(error));
                    closed = true;
                }
            }
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
            for device in 0..self.clerks.len() {
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
        for device in 0..self.clerks.len() {
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
        let clerks = self.clerks.iter().zip(&self.world.devices);
        let clerks = clerks.map(|(clerk, device)| clerk.next_timeout(device));
        let next = lines.chain(clerks).flatten().min()?;
        Some(next.since_ms(self.world.now).max(1))
    }

    /// Whether nothing is on its way to anybody.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let idle = |(clerk, device): (&Clerk, _)| clerk.is_idle(device);
        // The relay may still be repeating what a link has lost.
        let quiet = |(device, line): (usize, &Option<Line>)| {
            line.as_ref().is_none_or(|line| {
                line.client.queued_bytes() + line.connection.queued_bytes() == 0
                    && self.paths.is_empty(device, Way::Up)
                    && self.paths.is_empty(device, Way::Down)
            })
        };
        self.clerks.iter().zip(&self.world.devices).all(idle)
            && self.lines.iter().enumerate().all(quiet)
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
            let groups = device.groups.values().filter(|group| !group.standing().is_removed());
            let cursors = groups.map(|group| (group.topic().clone(), group.cursor().seq));
            let all: Vec<_> =
                cursors.chain([(device.ring.topic(), device.ring.cursor().seq)]).collect();
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
        for (index, (clerk, device)) in self.clerks.iter().zip(&self.world.devices).enumerate() {
            let _ = writeln!(
                out,
                "  device {index}: idle {}, session idle {}, link {}, caught up {}",
                device.is_idle(),
                clerk.session.is_idle(),
                self.lines[index].is_some(),
                clerk.caught_up,
            );
            if std::env::var_os("CONCLAVE_SESSIONS").is_some() {
                let _ = writeln!(out, "    {:?}", clerk.session);
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

/// Brings a session the answer to a call; `None` is a lost one.
fn bring(clerk: &mut Clerk, now: Timestamp, asked: Asked, answer: Option<Answer>) {
    match asked {
        Asked::Fetch(call) => clerk.handle_pages(now, call, pages_result(answer)),
        Asked::Publish(call, count) => {
            clerk.handle_published(now, call, publish_outcomes(answer, count));
        }
        Asked::Upload(call) => clerk.handle_uploaded(now, call, uploaded(answer)),
    }
}
