//! The client's half of the relay protocol, as a value: frames and requests go in, frames and
//! news come out. It never waits; whoever has a link and a clock can drive it.
//!
//! One value lives as long as one link. When the link is gone, requests that had no answer are
//! lost ([`News::Lost`]): what they asked for may have happened or not.

mod answers;

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};
use core::fmt;

use conclave_proto::{
    Timestamp,
    codec::Wire,
    relay::{
        Answer, ClientHello, Delivery, Goodbye, PROTOCOL, RelayHello, Request, ToClient, ToRelay,
        Watch,
    },
};

pub use answers::{
    heads_result, inboxes_result, not_stored, packages_result, pages_result, publish_outcomes,
    publish_request, uploaded,
};

use crate::link::{
    LinkInfo,
    channel::{Channel, ChannelFault, ChannelLimits},
};
use answers::Shape;

/// A request of one client, for matching the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ClientLimits {
    /// Milliseconds that a relay which owes an answer may be silent. One that is silent for longer
    /// is as good as gone, and another connection may fare better.
    pub answer_ms: u64,
    /// Milliseconds after which an answer is given up although the link moves. The default lets
    /// the longest message (16 MiB) pass at 20 kB/s; a relay that sends some bytes now and then
    /// cannot hold a call for longer.
    pub answer_max_ms: u64,
    /// Requests that wait for an answer; more than the relay works on at once only wait there.
    pub requests: usize,
    /// Of the channel below.
    pub channel: ChannelLimits,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            answer_ms: 60_000,
            answer_max_ms: 900_000,
            requests: conclave_proto::limits::REQUESTS_PER_CONNECTION,
            channel: ChannelLimits::default(),
        }
    }
}

/// What came of it all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The relay has answered the hello: the connection is good.
    Opened(RelayHello),
    /// A request was answered, in the shape that it asked for.
    Answered(RequestId, Answer),
    /// A request has no answer and will get none.
    Lost(RequestId),
    /// What the subscription brought.
    Delivered(Delivery),
    /// The connection is over; this is the last news.
    Closed(CloseReason),
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The link closed.
    LinkClosed,
    /// The relay said goodbye.
    Goodbye(Goodbye),
    /// The relay did not keep to the protocol.
    Broken(&'static str),
    /// The relay was silent for too long.
    Silent,
    /// This side asked for it.
    Asked,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkClosed => f.write_str("the link closed"),
            Self::Goodbye(Goodbye::UnknownVersion { .. }) => {
                f.write_str("the relay speaks no version that this engine speaks")
            }
            Self::Goodbye(Goodbye::Malformed) => f.write_str("the relay could not read a message"),
            Self::Goodbye(Goodbye::TooMuch) => f.write_str("the relay was asked for too much"),
            Self::Goodbye(Goodbye::ShuttingDown) => f.write_str("the relay shuts down"),
            Self::Goodbye(Goodbye::Silent) => f.write_str("the relay heard no hello in time"),
            Self::Broken(what) => write!(f, "the relay broke the protocol: {what}"),
            Self::Silent => f.write_str("the relay is silent"),
            Self::Asked => f.write_str("closed here"),
        }
    }
}

impl CloseReason {
    /// Whether another connection can fare better.
    #[must_use]
    pub const fn class(&self) -> crate::Class {
        match self {
            Self::Goodbye(
                Goodbye::UnknownVersion { .. } | Goodbye::Malformed | Goodbye::TooMuch,
            ) => crate::Class::Permanent,
            Self::Goodbye(Goodbye::ShuttingDown | Goodbye::Silent)
            | Self::LinkClosed
            | Self::Broken(_)
            | Self::Silent
            | Self::Asked => crate::Class::Transient,
        }
    }
}

/// Too many requests wait for their answers: this one was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// One connection to a relay.
#[derive(Debug)]
pub struct RelayClient {
    limits: ClientLimits,
    channel: Channel,
    reliable: bool,
    opened: bool,
    closed: bool,
    next: u64,
    /// In the order of asking.
    waiting: BTreeMap<RequestId, Waiting>,
    /// Marks of the subscription that were sent and not answered, in the order of asking.
    marks: VecDeque<(u64, Timestamp)>,
    /// When the relay said something last.
    heard: Timestamp,
    news: VecDeque<News>,
}

#[derive(Debug)]
struct Waiting {
    shape: Shape,
    asked: Timestamp,
}

impl RelayClient {
    /// A connection over a link that was just opened. Requests may be made at once; they follow
    /// the hello without waiting for its answer.
    #[must_use]
    pub fn new(now: Timestamp, info: LinkInfo, limits: ClientLimits) -> Self {
        let mut client = Self {
            limits,
            channel: Channel::new(info, limits.channel),
            reliable: info.reliable,
            opened: false,
            closed: false,
            next: 1,
            waiting: BTreeMap::new(),
            marks: VecDeque::new(),
            heard: now,
            news: VecDeque::new(),
        };
        let hello = ClientHello { versions: Vec::from([PROTOCOL]), features: 0 };
        client.channel.send(&ToRelay::Hello(hello).encode());
        // The hello waits for its answer like a request does; its number is never given out.
        client.wait(now, HELLO, Shape::Hello);
        client
    }

    /// Asks something.
    ///
    /// # Errors
    /// [`Busy`] if too many requests wait for their answers.
    pub fn request(&mut self, now: Timestamp, request: Request) -> Result<RequestId, Busy> {
        if self.waiting.len() > self.limits.requests {
            return Err(Busy);
        }
        let id = RequestId(self.next);
        self.next = self.next.saturating_add(1);
        if self.closed {
            self.news.push_back(News::Lost(id));
            return Ok(id);
        }
        self.wait(now, id, Shape::of(&request));
        self.channel.send(&ToRelay::Request { id: id.0, admission: None, request }.encode());
        Ok(id)
    }

    /// Changes the subscription. A mark waits for its answer as a request does.
    pub fn watch(&mut self, now: Timestamp, change: Watch) {
        if self.closed {
            return;
        }
        if let Watch::Mark(mark) = change {
            self.marks.push_back((mark, now));
        }
        self.channel.send(&ToRelay::Watch(change).encode());
    }

    /// Bytes that wait to be sent: a driver that sees many of them should not ask for more.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.channel.queued_bytes()
    }

    /// The next frame for the link.
    pub fn poll_frame(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        if self.closed {
            return None;
        }
        let frame = self.channel.poll_frame(now)?;
        if self.reliable {
            // The link has taken what was sent before.
            self.put_off(now);
        }
        Some(frame)
    }

    /// A frame came from the link.
    pub fn handle_frame(&mut self, now: Timestamp, frame: &[u8]) {
        if self.closed {
            return;
        }
        self.put_off(now);
        if let Err(fault) = self.channel.handle_frame(now, frame) {
            self.close(reason(&fault));
        }
        while let Some(message) = self.next_message() {
            self.handle_message(&message);
        }
    }

    /// The link closed.
    pub fn handle_closed(&mut self) {
        self.close(CloseReason::LinkClosed);
    }

    /// Ends the connection from this side; what waits is lost.
    pub fn end(&mut self) {
        self.close(CloseReason::Asked);
    }

    /// When to call [`RelayClient::handle_timeout`].
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        if self.closed {
            return None;
        }
        [self.channel.next_timeout(), self.deadline()].into_iter().flatten().min()
    }

    /// When the connection is given up. Answers to large requests may take long on a slow link,
    /// but not without any sign of life in between, and not for ever.
    fn deadline(&self) -> Option<Timestamp> {
        let request = self.waiting.first_key_value().map(|(_, oldest)| oldest.asked);
        let mark = self.marks.front().map(|(_, asked)| *asked);
        let asked = request.into_iter().chain(mark).min()?;
        let silent = asked.max(self.heard).plus_ms(self.limits.answer_ms);
        Some(silent.min(asked.plus_ms(self.limits.answer_max_ms)))
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.closed {
            return;
        }
        if let Err(fault) = self.channel.handle_timeout(now) {
            self.close(reason(&fault));
        } else if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.close(CloseReason::Silent);
        }
    }

    /// The next news, in order.
    pub fn poll(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// Whether the connection is over.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    fn wait(&mut self, now: Timestamp, id: RequestId, shape: Shape) {
        self.waiting.insert(id, Waiting { shape, asked: now });
    }

    fn next_message(&mut self) -> Option<Vec<u8>> {
        if self.closed { None } else { self.channel.poll_message() }
    }

    /// The link moves, so the relay is there. Large requests and their answers may take long on a
    /// slow link, but not without any sign of life in between.
    fn put_off(&mut self, now: Timestamp) {
        self.heard = now;
    }

    fn handle_message(&mut self, message: &[u8]) {
        match ToClient::decode(message) {
            Ok(ToClient::Hello(hello)) if !self.opened => self.open(hello),
            Ok(ToClient::Answer { id, answer }) if self.opened => self.answer(id, answer),
            Ok(ToClient::Delivery(delivery)) if self.opened => {
                if let Delivery::CaughtUp(mark) = delivery
                    && let Some(at) = self.marks.iter().position(|(asked, _)| *asked == mark)
                {
                    self.marks.remove(at);
                }
                self.news.push_back(News::Delivered(delivery));
            }
            Ok(ToClient::Goodbye(why)) => self.close(CloseReason::Goodbye(why)),
            Ok(ToClient::Hello(_) | ToClient::Answer { .. } | ToClient::Delivery(_)) => {
                self.close(CloseReason::Broken("a message out of place"));
            }
            Err(_) => self.close(CloseReason::Broken("a message that does not decode")),
        }
    }

    fn open(&mut self, hello: RelayHello) {
        if hello.version != PROTOCOL {
            self.close(CloseReason::Broken("a version that was not offered"));
            return;
        }
        self.opened = true;
        self.waiting.remove(&HELLO);
        self.news.push_back(News::Opened(hello));
    }

    fn answer(&mut self, id: u64, answer: Answer) {
        let id = RequestId(id);
        match self.waiting.get(&id) {
            Some(waiting) if waiting.shape.fits(&answer) => {
                self.waiting.remove(&id);
                self.news.push_back(News::Answered(id, answer));
            }
            Some(_) => self.close(CloseReason::Broken("an answer to another question")),
            None => self.close(CloseReason::Broken("an answer to no question")),
        }
    }

    fn close(&mut self, reason: CloseReason) {
        if core::mem::replace(&mut self.closed, true) {
            return;
        }
        self.marks.clear();
        let waiting = core::mem::take(&mut self.waiting);
        let lost = waiting.into_keys().filter(|id| *id != HELLO);
        self.news.extend(lost.map(News::Lost));
        self.news.push_back(News::Closed(reason));
    }
}

const HELLO: RequestId = RequestId(0);

fn reason(fault: &ChannelFault) -> CloseReason {
    match fault {
        ChannelFault::PeerGone => CloseReason::Silent,
        ChannelFault::Malformed
        | ChannelFault::FrameTooLong { .. }
        | ChannelFault::MessageTooLong { .. }
        | ChannelFault::BeyondWindow
        | ChannelFault::NeverSent => CloseReason::Broken("a frame that makes no sense"),
    }
}
