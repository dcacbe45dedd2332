//! Clients that do whatever bytes say, against the relay's own code.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use conclave_core::{
    link::LinkInfo,
    relay_client::{ClientLimits, News, RelayClient},
};
use conclave_proto::{
    Cursor, GroupId, InboxId, InstallationId, Record, Seq, Timestamp, Topic,
    identity::Account,
    record::transmit_id,
    relay::{Answer, PROTOCOL, PageLimit, Publish, PublishOutcome, RelayHello, Request, Watch},
};
use conclave_relay::{
    Connection, ConnectionLimits, Direct, Founding, LogStore, Logs, RelayLimits, Service, Work,
};
use futures_util::FutureExt;

const CLIENTS: usize = 3;
const TOPICS: u8 = 4;
/// Above this nothing that clients do may bring a connection: its own limit, and one answer.
const MOST_QUEUED: usize = 256 * 1024;

/// Several clients at one relay: honest requests, raw and damaged frames, lost ones, silence. The
/// relay does not panic, keeps little for each, and serves an honest client afterwards; its logs
/// keep their chain.
///
/// # Panics
/// If the relay does not keep to that.
pub fn relay_protocol(data: &[u8]) {
    let mut relay = Relay::new();
    let mut lines: Vec<Line> = (0..CLIENTS).map(|index| relay.open(index == 1)).collect();
    let mut script = Script(data);
    for _ in 0..200 {
        let Some(op) = script.next() else { break };
        let index = usize::from(script.byte()) % CLIENTS;
        relay.step(op, &mut lines, index, &mut script);
        relay.work(&mut lines);
        for line in &lines {
            let queued = line.connection.queued_bytes();
            assert!(queued < MOST_QUEUED, "{queued} bytes wait for one client");
        }
    }
    relay.serves_an_honest_client(&mut lines);
    relay.keeps_its_chains();
}

/// The bytes that are left.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    fn topic(&mut self) -> Topic {
        match self.byte() % 8 {
            5 => Topic::Welcome(InstallationId([1; 32])),
            6 => Topic::Identity(InboxId([1; 32])),
            7 => Topic::Blob([1; 32]),
            number => group(number),
        }
    }
}

fn group(number: u8) -> Topic {
    Topic::Group(GroupId([number % TOPICS; 16]))
}

struct Line {
    client: RelayClient,
    connection: Connection,
    up: VecDeque<Vec<u8>>,
}

struct Relay {
    service: Service<Direct>,
    heard: Arc<Mutex<Vec<(Topic, Record)>>>,
    now: Timestamp,
}

impl Relay {
    fn new() -> Self {
        let founding = Founding::from_random(&[5; 48]);
        let logs = Logs::in_memory(&founding, RelayLimits::default());
        let store = Direct(logs.expect("logs in memory are made"));
        let heard: Arc<Mutex<Vec<(Topic, Record)>>> = Arc::default();
        let listener = Arc::clone(&heard);
        store.listen(Box::new(move |records| {
            listener.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(records);
        }));
        let service = Service::new(store, RelayLimits::default());
        Self { service, heard, now: Timestamp(1_790_000_000_000) }
    }

    fn open(&self, lossy: bool) -> Line {
        let info = if lossy {
            LinkInfo { mtu: 64, reliable: false }
        } else {
            LinkInfo { mtu: 1_200, reliable: true }
        };
        let hello =
            RelayHello { version: PROTOCOL, features: 0, incarnation: [1; 16], key: [2; 32] };
        let mut limits = ConnectionLimits::default();
        limits.requests = 16;
        limits.queued_bytes = 64 * 1024;
        limits.delivery_bytes = 4 * 1024;
        limits.request_bytes = 16 * 1024;
        limits.topics = 6;
        Line {
            client: RelayClient::new(self.now, info, ClientLimits::default()),
            connection: Connection::new(self.now, info, hello, limits),
            up: VecDeque::new(),
        }
    }

    fn step(&mut self, op: u8, lines: &mut [Line], index: usize, script: &mut Script<'_>) {
        let now = self.now;
        let line = &mut lines[index];
        match op % 14 {
            0 => line.ask(now, publish(script)),
            1 => line.ask(now, fetch(script)),
            2 => line.ask(now, other(script)),
            3 => {
                let topics = (0..script.byte() % 9).map(|_| (script.topic(), Seq(0)));
                let topics = topics.collect();
                line.client.watch(now, Watch::Add(topics));
            }
            4 => line.client.watch(now, Watch::Remove(vec![script.topic()])),
            5 => line.client.watch(now, Watch::Mark(script.byte().into())),
            6 => {
                let len = usize::from(script.byte());
                line.connection.handle_frame(now, &script.take(len));
            }
            7 => {
                if let Some(mut frame) = line.next_up(now) {
                    let place = usize::from(script.byte()) % frame.len().max(1);
                    if let Some(byte) = frame.get_mut(place) {
                        *byte ^= script.byte() | 1;
                    }
                    line.connection.handle_frame(now, &frame);
                }
            }
            8 => drop(line.next_up(now)),
            9 => {
                self.now = now.plus_ms(u64::from(script.byte()) * 100);
                for line in lines {
                    line.client.handle_timeout(self.now);
                    line.connection.handle_timeout(self.now);
                }
            }
            10 => *line = self.open(script.byte().is_multiple_of(2)),
            11 => line.carry_down(now, usize::from(script.byte() % 16)),
            12 => line.connection.handle_missed(),
            _ => line.carry_up(now, usize::from(script.byte() % 16)),
        }
    }

    fn work(&self, lines: &mut [Line]) {
        for index in 0..lines.len() {
            while let Some(work) = lines[index].connection.poll_work() {
                match work {
                    Work::Answer { id, request, .. } => {
                        let answer = self.answer(request);
                        self.spread(lines);
                        lines[index].connection.handle_answer(id, answer);
                    }
                    Work::Look(topics) => {
                        let known = topics.into_iter().map(|topic| (topic, Seq(0))).collect();
                        let Answer::Heads(heads) = self.answer(Request::Heads(known)) else {
                            panic!("heads are read");
                        };
                        let heads: Vec<_> =
                            heads.into_iter().map(|(topic, head)| (topic, head.seq)).collect();
                        lines[index].connection.handle_heads(&heads);
                    }
                    Work::Forget(_) => {}
                }
            }
        }
    }

    fn answer(&self, request: Request) -> Answer {
        let answer = self.service.answer(self.now, request).now_or_never();
        answer.expect("logs without a thread answer at once")
    }

    fn spread(&self, lines: &mut [Line]) {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        for (topic, record) in heard {
            for line in lines.iter_mut() {
                line.connection.handle_appended(&topic, &record);
            }
        }
    }

    fn serves_an_honest_client(&mut self, lines: &mut Vec<Line>) {
        lines.push(self.open(false));
        let index = lines.len() - 1;
        let topic = group(0);
        let payload = b"an honest envelope".to_vec();
        let id = transmit_id(&topic, &payload);
        let item = Publish { topic: topic.clone(), id, expect: None, payload, write: None };
        lines[index].client.watch(self.now, Watch::Add(vec![(topic, Seq(0))]));
        lines[index].client.watch(self.now, Watch::Mark(7));
        lines[index].ask(self.now, Request::Publish(vec![item]));
        let (mut accepted, mut caught_up) = (false, false);
        for _ in 0..10 {
            lines[index].carry_up(self.now, 100);
            self.work(lines);
            lines[index].carry_down(self.now, 100);
            while let Some(news) = lines[index].client.poll() {
                match news {
                    News::Answered(_, Answer::Published(outcomes)) => {
                        accepted = matches!(outcomes[..], [PublishOutcome::Accepted { .. }]);
                    }
                    News::Delivered(conclave_core::delivery::Delivery::CaughtUp(7)) => {
                        caught_up = true;
                    }
                    News::Opened(_) | News::Answered(..) | News::Delivered(_) => {}
                    News::Lost(_) | News::Closed(_) => panic!("an honest client is left alone"),
                }
            }
        }
        assert!(accepted && caught_up, "an honest client is served");
    }

    fn keeps_its_chains(&self) {
        for number in 0..TOPICS {
            let topic = group(number);
            let mut place = Cursor::START;
            loop {
                let after = [(topic.clone(), place)];
                let pages = self.service.store().0.read(self.now, &after, PageLimit::default());
                let Some(page) = pages.expect("logs are read").pop() else { break };
                for record in page.records {
                    assert!(record.follows(&topic, place.seq, &place.hash), "the chain holds");
                    place = record.cursor();
                }
            }
        }
    }
}

impl Line {
    /// Asks, unless too much is asked already.
    fn ask(&mut self, now: Timestamp, request: Request) {
        let _ = self.client.request(now, request);
    }

    fn next_up(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        self.up.extend(self.client.poll_frame(now));
        self.up.pop_front()
    }

    /// A host hands in frames while they are wanted.
    fn carry_up(&mut self, now: Timestamp, most: usize) {
        for _ in 0..most {
            if !self.connection.wants_frames() {
                return;
            }
            let Some(frame) = self.next_up(now) else { return };
            self.connection.handle_frame(now, &frame);
        }
    }

    fn carry_down(&mut self, now: Timestamp, most: usize) {
        for _ in 0..most {
            let Some(frame) = self.connection.poll_frame(now) else { return };
            self.client.handle_frame(now, &frame);
        }
    }
}

fn publish(script: &mut Script<'_>) -> Request {
    let items = (0..script.byte() % 5).map(|_| {
        let topic = script.topic();
        let len = usize::from(script.byte() % 64);
        let payload = script.take(len);
        let id = transmit_id(&topic, &payload);
        let expect = (script.byte().is_multiple_of(3)).then(|| Seq(script.byte().into()));
        Publish { topic, id, expect, payload, write: None }
    });
    Request::Publish(items.collect())
}

fn fetch(script: &mut Script<'_>) -> Request {
    let after = (0..script.byte() % 5).map(|_| (script.topic(), Cursor::START)).collect();
    let limit = PageLimit { records: script.byte().into(), bytes: script.byte().into() };
    Request::Fetch { after, limit }
}

fn other(script: &mut Script<'_>) -> Request {
    match script.byte() % 4 {
        0 => Request::Heads(vec![(script.topic(), Seq(script.byte().into()))]),
        1 => Request::KeyPackages(vec![InstallationId([script.byte(); 32])]),
        2 => {
            let len = usize::from(script.byte());
            Request::Upload(script.take(len))
        }
        _ => Request::Resolve(vec![Account::ed25519([script.byte(); 32])]),
    }
}
