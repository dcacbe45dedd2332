//! The relay's half of the protocol, as a value: frames go in, requests come out to be worked on,
//! answers and news of the logs go in, frames come out. It never waits and holds no log.
//!
//! Everything a client can make it keep is bounded: requests by number and by what their answers
//! may weigh, the subscription by its topics, and records that do not fit are dropped with one
//! remembered head for each topic.

use std::collections::{BTreeMap, VecDeque};

use conclave_core::link::{
    LinkInfo,
    channel::{Channel, ChannelLimits},
};
use conclave_proto::{
    Record, Seq, Timestamp, Topic,
    codec::Wire,
    limits,
    relay::{
        Answer, ClientHello, Delivery, Goodbye, PROTOCOL, RelayHello, Request, ToClient, ToRelay,
        Watch,
    },
};

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ConnectionLimits {
    /// Requests that are worked on or wait for it. Above this the host reads no more frames.
    pub requests: usize,
    /// Bytes that wait to be sent, with what the answers worked on may add. Above this no further
    /// request is begun.
    pub queued_bytes: usize,
    /// Bytes that wait to be sent above which records of the subscription are dropped, and said
    /// by a head later. Lower than the one before: answers go first.
    pub delivery_bytes: usize,
    /// Bytes of requests and changes of the subscription that wait or are worked on.
    pub request_bytes: usize,
    /// Topics of the subscription.
    pub topics: usize,
    /// Milliseconds within which a client says hello. 30,000: over a radio that loses half of its
    /// frames it takes some seconds; whoever never does keeps no place for longer.
    pub hello_ms: u64,
    /// Of the channel below.
    pub channel: ChannelLimits,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            requests: limits::REQUESTS_PER_CONNECTION,
            queued_bytes: 8 * 1024 * 1024,
            delivery_bytes: 1024 * 1024,
            request_bytes: 2 * limits::RELAY_MESSAGE_BYTES,
            topics: limits::TOPICS_PER_SUBSCRIPTION,
            hello_ms: 30_000,
            channel: ChannelLimits::default(),
        }
    }
}

/// Something to do for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Answer a request with [`Connection::handle_answer`].
    Answer {
        /// Its number.
        id: u64,
        /// The client's proof that it may use the relay.
        admission: Option<Vec<u8>>,
        /// What is asked.
        request: Request,
    },
    /// These topics were added to the subscription: register for their records first, then look
    /// at their heads and give them to [`Connection::handle_heads`].
    Look(Vec<Topic>),
    /// These are not watched any more.
    Forget(Vec<Topic>),
}

/// One connection of a client.
#[derive(Debug)]
pub struct Connection {
    hello: RelayHello,
    limits: ConnectionLimits,
    channel: Channel,
    reliable: bool,
    phase: Phase,
    hello_by: Timestamp,
    requests: VecDeque<(u64, Option<Vec<u8>>, Request, Cost)>,
    begun: BTreeMap<u64, Cost>,
    /// Looks and what is to be forgotten, in order, with the bytes that they came in.
    changes: VecDeque<(Work, usize)>,
    /// The look that is going on, as the bytes that it came in. There is one at a time, so that
    /// they end in the order in which they began.
    looking: Option<usize>,
    /// Bytes of all these.
    asked_bytes: usize,
    /// What the answers to requests that are worked on may weigh.
    owed: usize,
    subscription: Subscription,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Open,
    /// What is queued is still sent, nothing else happens.
    Ending,
}

/// What a request weighs.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    request: usize,
    answer: usize,
}

#[derive(Debug, Default)]
struct Subscription {
    /// Where each watched topic has been delivered to.
    topics: BTreeMap<Topic, Seq>,
    /// Topics of which something was dropped, and their heads as last heard.
    heads: BTreeMap<Topic, Seq>,
    /// Marks that wait for looks, and how many looks were begun before each.
    marks: VecDeque<(u64, u64)>,
    looks_begun: u64,
    looks_ended: u64,
}

impl Connection {
    /// A connection over a link that a client has opened just now; `hello` is what the relay says
    /// of itself.
    #[must_use]
    pub fn new(
        now: Timestamp,
        info: LinkInfo,
        hello: RelayHello,
        limits: ConnectionLimits,
    ) -> Self {
        Self {
            hello,
            limits,
            channel: Channel::new(info, limits.channel),
            reliable: info.reliable,
            phase: Phase::Greeting,
            hello_by: now.plus_ms(limits.hello_ms),
            requests: VecDeque::new(),
            begun: BTreeMap::new(),
            changes: VecDeque::new(),
            looking: None,
            asked_bytes: 0,
            owed: 0,
            subscription: Subscription::default(),
        }
    }

    /// Whether the host should hand in more frames. Otherwise the client has asked for more than
    /// it may, and its frames are left to the link's own back-pressure. Over an unreliable link
    /// frames also say what has arrived, so they are taken while what they bring can be kept.
    #[must_use]
    pub fn wants_frames(&self) -> bool {
        let kept = || self.channel.unread_bytes() < self.limits.request_bytes;
        self.has_room() || (!self.reliable && kept())
    }

    /// Whether another message of the client can be worked on.
    fn has_room(&self) -> bool {
        self.phase != Phase::Ending
            && self.begun.len() + self.requests.len() + self.changes.len() < self.limits.requests
            && self.asked_bytes < self.limits.request_bytes
            && self.channel.queued_bytes() < 2 * self.limits.queued_bytes
    }

    /// A frame came from the client.
    pub fn handle_frame(&mut self, now: Timestamp, frame: &[u8]) {
        let taken = self.channel.handle_frame(now, frame);
        if self.phase == Phase::Ending {
            // It may say that the goodbye has arrived; nothing else counts any more.
            while self.channel.poll_message().is_some() {}
            return;
        }
        self.read_messages();
        if taken.is_err() {
            self.end(Goodbye::Malformed);
        }
    }

    /// The next thing to do, if there is room for what it brings.
    pub fn poll_work(&mut self) -> Option<Work> {
        self.read_messages();
        if let Some(change) = self.next_change() {
            return Some(change);
        }
        let (_, _, _, cost) = self.requests.front()?;
        let queued = self.channel.queued_bytes().saturating_add(self.owed);
        // A single answer may be longer than the limit; it is let through when nothing else is owed.
        let too_much = queued.saturating_add(cost.answer) > self.limits.queued_bytes;
        if too_much && queued > 0 {
            return None;
        }
        let (id, admission, request, cost) = self.requests.pop_front()?;
        self.owed = self.owed.saturating_add(cost.answer);
        self.begun.insert(id, cost);
        Some(Work::Answer { id, admission, request })
    }

    fn next_change(&mut self) -> Option<Work> {
        let is_look = matches!(self.changes.front()?, (Work::Look(_), _));
        if is_look && self.looking.is_some() {
            return None;
        }
        let (change, bytes) = self.changes.pop_front()?;
        if is_look {
            self.looking = Some(bytes);
        } else {
            self.asked_bytes = self.asked_bytes.saturating_sub(bytes);
        }
        Some(change)
    }

    /// The answer to a request that [`Connection::poll_work`] gave.
    pub fn handle_answer(&mut self, id: u64, answer: Answer) {
        if let Some(cost) = self.begun.remove(&id) {
            self.asked_bytes = self.asked_bytes.saturating_sub(cost.request);
            self.owed = self.owed.saturating_sub(cost.answer);
            self.send(&ToClient::Answer { id, answer });
        }
        self.read_messages();
    }

    /// The heads of topics that [`Work::Look`] named; one that has no record is left out.
    pub fn handle_heads(&mut self, heads: &[(Topic, Seq)]) {
        let Some(bytes) = self.looking.take() else { return };
        self.asked_bytes = self.asked_bytes.saturating_sub(bytes);
        self.subscription.looks_ended += 1;
        for (topic, head) in heads {
            self.say_head(topic, *head);
        }
        self.flush_subscription();
        self.read_messages();
    }

    /// A record was appended to a log, for good.
    pub fn handle_appended(&mut self, topic: &Topic, record: &Record) {
        let Some(delivered) = self.subscription.topics.get_mut(topic) else { return };
        if record.seq <= *delivered {
            return;
        }
        let fits = self.phase == Phase::Open
            && self.channel.queued_bytes() < self.limits.delivery_bytes
            && record.prev == *delivered
            && !self.subscription.heads.contains_key(topic);
        if fits {
            *delivered = record.seq;
            self.send(&ToClient::Delivery(Delivery::Record(topic.clone(), record.clone())));
        } else {
            self.say_head(topic, record.seq);
        }
    }

    /// Records may have been missed: heads of everything watched are to be looked at again.
    pub fn handle_missed(&mut self) {
        let all: Vec<Topic> = self.subscription.topics.keys().cloned().collect();
        let looks = self.changes.iter_mut().rev().find_map(|(change, _)| match change {
            Work::Look(topics) => Some(topics),
            Work::Forget(_) | Work::Answer { .. } => None,
        });
        match looks {
            // One that has not begun finds everything that was missed so far.
            Some(topics) => *topics = all,
            None => self.look(all, 0),
        }
    }

    /// The next frame for the link.
    pub fn poll_frame(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        self.flush_subscription();
        self.channel.poll_frame(now)
    }

    /// When to call [`Connection::handle_timeout`].
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let hello = (self.phase == Phase::Greeting).then_some(self.hello_by);
        [hello, self.channel.next_timeout()].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.channel.handle_timeout(now).is_err() {
            self.abandon();
        }
        if self.phase == Phase::Greeting && now >= self.hello_by {
            self.end(Goodbye::Silent);
        }
    }

    /// Says goodbye. What is queued should still be sent; then the host closes the link.
    pub fn end(&mut self, why: Goodbye) {
        if self.phase == Phase::Ending {
            return;
        }
        self.send(&ToClient::Goodbye(why));
        self.abandon();
    }

    /// Nothing that was asked for is begun any more.
    fn abandon(&mut self) {
        self.phase = Phase::Ending;
        self.requests.clear();
        self.changes.clear();
        self.asked_bytes = 0;
    }

    /// Whether the connection is over for the client's sake or the host's: what is queued should
    /// still be sent, for some seconds.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.phase == Phase::Ending
    }

    /// Whether that has been sent too, and over an unreliable link has arrived: the link is to be
    /// closed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_ending() && self.queued_bytes() == 0
    }

    /// Topics that it watches, for the host to unregister.
    pub fn watched(&self) -> impl Iterator<Item = &Topic> {
        self.subscription.topics.keys()
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.channel.queued_bytes()
    }

    /// Reads what has arrived, as far as there is room for it.
    fn read_messages(&mut self) {
        while self.has_room()
            && let Some(message) = self.channel.poll_message()
        {
            self.handle_message(&message);
        }
    }

    fn handle_message(&mut self, message: &[u8]) {
        match (self.phase, ToRelay::decode(message)) {
            (Phase::Greeting, Ok(ToRelay::Hello(hello))) => self.greet(&hello),
            (Phase::Open, Ok(ToRelay::Request { id, admission, request })) => {
                self.take(message.len(), id, admission, request);
            }
            (Phase::Open, Ok(ToRelay::Watch(change))) => self.change(message.len(), change),
            (Phase::Greeting | Phase::Open | Phase::Ending, _) => self.end(Goodbye::Malformed),
        }
    }

    fn greet(&mut self, hello: &ClientHello) {
        if hello.versions.contains(&PROTOCOL) {
            self.phase = Phase::Open;
            self.send(&ToClient::Hello(self.hello.clone()));
        } else {
            self.end(Goodbye::UnknownVersion { speaks: vec![PROTOCOL] });
        }
    }

    fn take(&mut self, len: usize, id: u64, admission: Option<Vec<u8>>, request: Request) {
        let queued = self.requests.iter().any(|(other, ..)| *other == id);
        if queued || self.begun.contains_key(&id) {
            return self.end(Goodbye::Malformed);
        }
        let cost = Cost { request: len, answer: answer_bytes(&request) };
        self.asked_bytes = self.asked_bytes.saturating_add(len);
        self.requests.push_back((id, admission, request, cost));
    }

    fn change(&mut self, len: usize, change: Watch) {
        match change {
            Watch::Add(topics) => {
                let places = topics.iter().cloned();
                self.subscription.topics.extend(places);
                if self.subscription.topics.len() > self.limits.topics {
                    return self.end(Goodbye::TooMuch);
                }
                for (topic, _) in &topics {
                    self.subscription.heads.remove(topic);
                }
                self.look(topics.into_iter().map(|(topic, _)| topic).collect(), len);
            }
            Watch::Remove(topics) => {
                for topic in &topics {
                    self.subscription.topics.remove(topic);
                    self.subscription.heads.remove(topic);
                }
                self.asked_bytes = self.asked_bytes.saturating_add(len);
                self.changes.push_back((Work::Forget(topics), len));
            }
            Watch::Mark(mark) => {
                if self.subscription.marks.len() >= self.limits.requests {
                    return self.end(Goodbye::TooMuch);
                }
                self.subscription.marks.push_back((mark, self.subscription.looks_begun));
                self.flush_subscription();
            }
        }
    }

    fn look(&mut self, topics: Vec<Topic>, bytes: usize) {
        self.subscription.looks_begun += 1;
        self.asked_bytes = self.asked_bytes.saturating_add(bytes);
        self.changes.push_back((Work::Look(topics), bytes));
    }

    /// Remembers that a log has come further than what was delivered of it.
    fn say_head(&mut self, topic: &Topic, head: Seq) {
        let subscription = &mut self.subscription;
        if subscription.topics.get(topic).is_some_and(|delivered| head > *delivered) {
            let known = subscription.heads.entry(topic.clone()).or_insert(head);
            *known = (*known).max(head);
        }
    }

    /// Says heads and marks while there is room.
    fn flush_subscription(&mut self) {
        while self.phase == Phase::Open && self.channel.queued_bytes() < self.limits.delivery_bytes
        {
            if let Some((topic, seq)) = self.subscription.heads.pop_first() {
                if let Some(delivered) = self.subscription.topics.get_mut(&topic) {
                    *delivered = seq.max(*delivered);
                    self.send(&ToClient::Delivery(Delivery::Head { topic, seq }));
                }
            } else if let Some(mark) = self.subscription.next_mark() {
                self.send(&ToClient::Delivery(Delivery::CaughtUp(mark)));
            } else {
                return;
            }
        }
    }

    fn send(&mut self, message: &ToClient) {
        if self.phase != Phase::Ending {
            self.channel.send(&message.encode());
        }
    }
}

impl Subscription {
    fn next_mark(&mut self) -> Option<u64> {
        let (mark, looks) = self.marks.front().copied()?;
        if looks > self.looks_ended {
            return None;
        }
        self.marks.pop_front();
        Some(mark)
    }
}

/// What the answer to a request may weigh, roughly.
fn answer_bytes(request: &Request) -> usize {
    const SMALL: usize = 64;
    match request {
        Request::Publish(items) => items.len().saturating_mul(SMALL),
        Request::Fetch { after, limit } => {
            let bytes = usize::try_from(limit.bytes).unwrap_or(usize::MAX);
            bytes.min(limits::RELAY_MESSAGE_BYTES).saturating_add(after.len() * SMALL)
        }
        Request::Heads(topics) => topics.len().saturating_mul(SMALL),
        Request::KeyPackages(of) => of.len().saturating_mul(4 * 1024),
        Request::Upload(_) => SMALL,
        Request::Resolve(accounts) => accounts.len().saturating_mul(SMALL),
    }
}
