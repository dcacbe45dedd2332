//! A connection and a client, by hand.

use crate::kit::{NOW, group};
use conclave_core::{
    link::{
        LinkInfo,
        channel::{Channel, ChannelLimits},
    },
    relay_client::{ClientLimits, News, RelayClient},
};
use conclave_proto::{
    Cursor, Seq, Timestamp, Topic,
    codec::Wire,
    relay::{ClientHello, PROTOCOL, PageLimit, RelayHello, Request, ToClient, ToRelay},
};
use conclave_relay::{Connection, ConnectionLimits};

/// A connection and the raw channel of its client.
pub(crate) struct Pair {
    pub(crate) connection: Connection,
    pub(crate) client: Channel,
    pub(crate) now: Timestamp,
}

impl Pair {
    pub(crate) fn over(info: LinkInfo, change: impl FnOnce(&mut ConnectionLimits)) -> Self {
        let mut limits = ConnectionLimits::default();
        change(&mut limits);
        let connection = Connection::new(NOW, info, relay_hello(), limits);
        Self { connection, client: Channel::new(info, ChannelLimits::default()), now: NOW }
    }

    pub(crate) fn with(change: impl FnOnce(&mut ConnectionLimits)) -> Self {
        Self::over(LinkInfo { mtu: 64 * 1024, reliable: true }, change)
    }

    pub(crate) fn silent() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn open() -> Self {
        let mut pair = Self::silent();
        pair.greet();
        pair
    }

    pub(crate) fn greet(&mut self) {
        self.say(&hello());
        assert!(matches!(self.hear()[..], [ToClient::Hello(_)]));
    }

    pub(crate) fn say(&mut self, message: &ToRelay) {
        self.say_bytes(&message.encode());
    }

    pub(crate) fn say_bytes(&mut self, message: &[u8]) {
        self.client.send(message);
        while let Some(frame) = self.client.poll_frame(self.now) {
            self.connection.handle_frame(self.now, &frame);
        }
    }

    /// The frame of a message, which is not sent.
    pub(crate) fn frame_of(&self, message: &ToRelay) -> Vec<u8> {
        let info = LinkInfo { mtu: 64 * 1024, reliable: true };
        let mut channel = Channel::new(info, ChannelLimits::default());
        channel.send(&message.encode());
        channel.poll_frame(NOW).unwrap()
    }

    pub(crate) fn hear(&mut self) -> Vec<ToClient> {
        let mut heard = Vec::new();
        while let Some(frame) = self.connection.poll_frame(self.now) {
            self.client.handle_frame(self.now, &frame).unwrap();
            while let Some(message) = self.client.poll_message() {
                heard.push(ToClient::decode(&message).unwrap());
            }
            while let Some(frame) = self.client.poll_frame(self.now) {
                self.connection.handle_frame(self.now, &frame);
            }
        }
        // Acknowledgements may be held back for a while.
        if self.connection.queued_bytes() > 0
            && let Some(due) = self.client.next_timeout()
        {
            self.now = due;
            self.client.handle_timeout(due).unwrap();
            while let Some(frame) = self.client.poll_frame(due) {
                self.connection.handle_frame(due, &frame);
            }
        }
        heard
    }
}

/// What a client makes of what a relay says after it has asked something.
pub(crate) fn client_hears(request: Request, messages: &[ToClient]) -> Vec<News> {
    let info = LinkInfo { mtu: 64 * 1024, reliable: true };
    let mut client = RelayClient::new(NOW, info, ClientLimits::default());
    client.request(NOW, request).unwrap();
    let mut channel = Channel::new(info, ChannelLimits::default());
    for message in messages {
        channel.send(&message.encode());
    }
    while let Some(frame) = channel.poll_frame(NOW) {
        client.handle_frame(NOW, &frame);
    }
    std::iter::from_fn(|| client.poll()).collect()
}

/// The part of a frame in front of the stream of a message, and the stream.
pub(crate) fn split<'a>(frame: &'a [u8], message: &[u8]) -> Option<(Vec<u8>, &'a [u8])> {
    let stream = message.len() + 1;
    let at = frame.len().checked_sub(stream)?;
    Some((frame[..at].to_vec(), &frame[at..]))
}

pub(crate) fn hello() -> ToRelay {
    ToRelay::Hello(ClientHello { versions: vec![PROTOCOL], features: 0 })
}

pub(crate) fn relay_hello() -> RelayHello {
    RelayHello { version: PROTOCOL, features: 0, incarnation: [1; 16], key: [2; 32] }
}

pub(crate) fn ask(id: u64, request: Request) -> ToRelay {
    ToRelay::Request { id, admission: None, request }
}

pub(crate) fn heads(number: u8) -> Request {
    Request::Heads(vec![(group(number), Seq(0))])
}

pub(crate) fn fetch(bytes: u32) -> Request {
    let limit = PageLimit { records: 100, bytes };
    Request::Fetch { after: vec![(group(1), Cursor::START)], limit }
}

pub(crate) fn default() -> PageLimit {
    PageLimit::default()
}

pub(crate) fn number(topic: &Topic) -> usize {
    let Topic::Group(id) = topic else { panic!("a group") };
    usize::from(id.0[0])
}
