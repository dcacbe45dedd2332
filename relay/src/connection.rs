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
    /// Bytes of requests that wait to be worked on.
    pub request_bytes: usize,
    /// Topics of the subscription.
    pub topics: usize,
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
    phase: Phase,
    work: VecDeque<(Work, Cost)>,
    begun: BTreeMap<u64, Cost>,
    /// What the answers to those may weigh.
    owed: usize,
    waiting: Cost,
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
    /// Everything is to be looked at once more.
    missed: bool,
}

impl Connection {
    /// A connection over a link that a client has opened; `hello` is what the relay says of
    /// itself.
    #[must_use]
    pub fn new(info: LinkInfo, hello: RelayHello, limits: ConnectionLimits) -> Self {
        Self {
            hello,
            limits,
            channel: Channel::new(info, limits.channel),
            phase: Phase::Greeting,
            work: VecDeque::new(),
            begun: BTreeMap::new(),
            owed: 0,
            waiting: Cost::default(),
            subscription: Subscription::default(),
        }
    }

    /// Whether the host should hand in more frames. Otherwise the client has asked for more than
    /// it may, and its frames are left to the link's own back-pressure.
    #[must_use]
    pub fn wants_frames(&self) -> bool {
        self.phase != Phase::Ending
            && self.begun.len() + self.work.len() < self.limits.requests
            && self.waiting.request < self.limits.request_bytes
            && self.channel.queued_bytes() < 2 * self.limits.queued_bytes
    }

    /// A frame came from the client.
    pub fn handle_frame(&mut self, now: Timestamp, frame: &[u8]) {
        if self.phase == Phase::Ending {
            return;
        }
        if self.channel.handle_frame(now, frame).is_err() {
            self.end(Goodbye::Malformed);
        }
        self.read_messages();
    }

    /// The next thing to do, if there is room for what it brings.
    pub fn poll_work(&mut self) -> Option<Work> {
        let (_, cost) = self.work.front()?;
        let queued = self.channel.queued_bytes().saturating_add(self.owed);
        // A single answer may be longer than the limit; it is let through when nothing else is owed.
        let too_much = queued.saturating_add(cost.answer) > self.limits.queued_bytes;
        if too_much && queued > 0 {
            return None;
        }
        let (work, cost) = self.work.pop_front()?;
        self.waiting.request = self.waiting.request.saturating_sub(cost.request);
        if let Work::Answer { id, .. } = &work {
            self.owed = self.owed.saturating_add(cost.answer);
            self.begun.insert(*id, cost);
        }
        self.read_messages();
        Some(work)
    }

    /// The answer to a request that [`Connection::poll_work`] gave.
    pub fn handle_answer(&mut self, id: u64, answer: Answer) {
        if let Some(cost) = self.begun.remove(&id) {
            self.owed = self.owed.saturating_sub(cost.answer);
            self.send(&ToClient::Answer { id, answer });
        }
        self.read_messages();
    }

    /// The heads of topics that [`Work::Look`] named; one that has no record is left out.
    pub fn handle_heads(&mut self, heads: &[(Topic, Seq)]) {
        self.subscription.looks_ended += 1;
        for (topic, head) in heads {
            self.say_head(topic, *head);
        }
        if core::mem::take(&mut self.subscription.missed) {
            self.look_at_all();
        }
        self.flush_subscription();
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
        if self.work.iter().any(|(work, _)| matches!(work, Work::Look(_))) {
            // That look is still to come; what it does not cover is looked at again after it.
            self.subscription.missed = true;
            return;
        }
        self.look_at_all();
    }

    fn look_at_all(&mut self) {
        self.subscription.missed = false;
        let topics: Vec<Topic> = self.subscription.topics.keys().cloned().collect();
        self.look(topics);
    }

    /// The next frame for the link.
    pub fn poll_frame(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        self.flush_subscription();
        self.channel.poll_frame(now)
    }

    /// When to call [`Connection::handle_timeout`].
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.channel.next_timeout()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.channel.handle_timeout(now).is_err() {
            self.phase = Phase::Ending;
            self.work.clear();
        }
    }

    /// Says goodbye. What is queued should still be sent; then the host closes the link.
    pub fn end(&mut self, why: Goodbye) {
        if self.phase == Phase::Ending {
            return;
        }
        self.send(&ToClient::Goodbye(why));
        self.phase = Phase::Ending;
        self.work.clear();
        self.waiting = Cost::default();
    }

    /// Whether the connection is over for the client's sake or the host's: once no frame is left
    /// to send, the link is to be closed.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.phase == Phase::Ending
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
        while self.wants_frames()
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
            (Phase::Open, Ok(ToRelay::Watch(change))) => self.change(change),
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
        let queued = self
            .work
            .iter()
            .any(|(work, _)| matches!(work, Work::Answer { id: other, .. } if *other == id));
        if queued || self.begun.contains_key(&id) {
            return self.end(Goodbye::Malformed);
        }
        let cost = Cost { request: len, answer: answer_bytes(&request) };
        self.waiting.request = self.waiting.request.saturating_add(len);
        self.work.push_back((Work::Answer { id, admission, request }, cost));
    }

    fn change(&mut self, change: Watch) {
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
                self.look(topics.into_iter().map(|(topic, _)| topic).collect());
            }
            Watch::Remove(topics) => {
                for topic in &topics {
                    self.subscription.topics.remove(topic);
                    self.subscription.heads.remove(topic);
                }
                self.work.push_back((Work::Forget(topics), Cost::default()));
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

    fn look(&mut self, topics: Vec<Topic>) {
        self.subscription.looks_begun += 1;
        self.work.push_back((Work::Look(topics), Cost::default()));
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
