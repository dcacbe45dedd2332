//! Hosts on tokio, and remotes that talk to them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

use crate::delivery_kit as kit;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use conclave_core::{
    bounds::BoxFuture,
    delivery::{Delivery, DeliveryService, PublishOutcome, Transmit, TransportError, Watch},
    link::{
        Link, LinkError, LinkInfo,
        channel::{Channel, ChannelLimits},
    },
};
use conclave_links::memory::{self, MemoryLink};
use conclave_proto::{
    GroupId, Seq, Timestamp, Topic,
    codec::Wire,
    record::transmit_id,
    relay::{ClientHello, Goodbye, PROTOCOL, ToClient, ToRelay},
};
use conclave_relay::HostLimits;
use conclave_remote::{Connector, Remote, RemoteLimits};
use conclave_testkit::conformance::link::within;
use futures_util::{StreamExt, stream};
use kit::{MemoryConnector, TheHost, host_in_memory, host_with, run};

/// R6: a host that shuts down says so to every client, and then nothing runs any more.
#[test]
fn shutting_down_says_goodbye_and_ends_all_connections() {
    run(Box::pin(async {
        let host = host_in_memory();
        let mut clients: Vec<Raw> = Vec::new();
        for _ in 0..10 {
            let mut client = Raw::connect(&host);
            client.say(&hello()).await;
            assert!(matches!(client.hear().await, Some(ToClient::Hello(_))));
            clients.push(client);
        }
        assert_eq!(host.connections(), 10);
        host.shut_down();
        for client in &mut clients {
            let goodbye = ToClient::Goodbye(Goodbye::ShuttingDown);
            assert_eq!(client.hear().await, Some(goodbye));
            assert_eq!(client.hear().await, None, "the link is closed");
        }
        within("the end of all connections", host.ended()).await;
        let mut late = Raw::connect(&host);
        late.say(&hello()).await;
        while late.hear().await.is_some() {}
        within("the end of the late one", host.ended()).await;
        assert_eq!((host.connections(), host.watched_topics()), (0, 0));
    }));
}

/// Scenario 85: a link on which nobody says hello is closed, and keeps no place.
#[test]
fn a_link_without_a_hello_is_closed() {
    run(Box::pin(async {
        let mut limits = HostLimits::default();
        limits.connection.hello_ms = 50;
        let host = host_with(limits);
        let mut silent = Raw::connect(&host);
        assert_eq!(silent.hear().await, Some(ToClient::Goodbye(Goodbye::Silent)));
        assert_eq!(silent.hear().await, None, "the link is closed");
        within("the end of the connection", host.ended()).await;
    }));
}

/// Scenario 10, R4: the answer to a publish is lost with its link. That is `Unknown`, and a retry
/// finds the record where it was stored, once.
#[test]
fn a_link_that_dies_behind_a_publish_leaves_it_unknown_and_a_retry_settles_it() {
    run(Box::pin(async {
        let host = host_in_memory();
        let connector = CutOnce { host: Arc::clone(&host), cut: AtomicBool::new(false) };
        let remote = Remote::new(connector, RemoteLimits::default());
        let envelope = transmit(&group(1), 1);
        let first = within("an outcome", remote.publish(vec![envelope.clone()])).await;
        assert_eq!(first, [PublishOutcome::Unknown]);
        assert_eq!(host.service().store().logs().stats().unwrap().records, 1, "it was stored");
        let again = within("an outcome", remote.publish(vec![envelope])).await;
        assert_eq!(again, [PublishOutcome::Accepted { seq: Seq(1), prev: Seq(0) }]);
        assert_eq!(host.service().store().logs().stats().unwrap().records, 1, "once");
    }));
}

/// Scenario 82: clients come and go, in good order or not, and nothing of them stays.
#[test]
fn connections_come_and_go_and_nothing_stays() {
    run(Box::pin(async {
        let host = host_in_memory();
        for number in 0..200_u8 {
            let remote = Remote::new(MemoryConnector(Arc::clone(&host)), RemoteLimits::default());
            let topics = [group(number), group(number / 2), group(0)];
            let add = Watch::Add(topics.map(|topic| (topic, Seq(0))).to_vec());
            let changes = stream::iter([add, Watch::Mark(1)]).chain(stream::pending());
            let mut deliveries = remote.subscribe(Box::pin(changes));
            while within("the echo of the mark", deliveries.next()).await
                != Some(Ok(Delivery::CaughtUp(1)))
            {}
            assert!(host.watched_topics() > 0 && host.connections() > 0);
            let outcomes =
                within("an outcome", remote.publish(vec![transmit(&group(0), number)])).await;
            assert!(matches!(outcomes[..], [PublishOutcome::Accepted { .. }]));
            if number % 2 == 0 {
                drop(remote);
                drop(deliveries);
            } else {
                drop(deliveries);
                drop(remote);
            }
            // Somebody who says nothing, and somebody who makes no sense.
            let silent = Raw::connect(&host);
            let mut strange = Raw::connect(&host);
            strange.say(&ToRelay::Watch(Watch::Mark(1))).await;
            drop((silent, strange));
        }
        let gone = async {
            while host.connections() > 0 || host.watched_topics() > 0 {
                tokio::task::yield_now().await;
            }
        };
        within("the end of all connections", gone).await;
    }));
}

/// Scenario 84: somebody who does not read costs others nothing.
#[test]
fn a_stalled_subscriber_does_not_slow_another() {
    run(Box::pin(async {
        let host = host_in_memory();
        let topic = group(1);
        let mut stalled = Raw::connect(&host);
        stalled.say(&hello()).await;
        stalled.say(&ToRelay::Watch(Watch::Add(vec![(topic.clone(), Seq(0))]))).await;
        let remote = Remote::new(MemoryConnector(Arc::clone(&host)), RemoteLimits::default());
        let add = Watch::Add(vec![(topic.clone(), Seq(0))]);
        let changes = stream::iter([add, Watch::Mark(1)]).chain(stream::pending());
        let mut deliveries = remote.subscribe(Box::pin(changes));
        let caught_up = within("the echo of the mark", deliveries.next()).await;
        assert_eq!(caught_up, Some(Ok(Delivery::CaughtUp(1))));
        for number in 0..100_u8 {
            let payload = vec![number; 100_000];
            let id = transmit_id(&topic, &payload);
            let envelope = Transmit { topic: topic.clone(), id, expect: None, payload };
            let outcomes = within("an outcome", remote.publish(vec![envelope])).await;
            let [PublishOutcome::Accepted { seq, .. }] = outcomes[..] else {
                panic!("{outcomes:?}");
            };
            loop {
                match within("the record", deliveries.next()).await.unwrap().unwrap() {
                    Delivery::Record(_, record) if record.seq == seq => break,
                    Delivery::Head { seq: head, .. } if head >= seq => break,
                    Delivery::Record(..) | Delivery::Head { .. } | Delivery::CaughtUp(_) => {}
                }
            }
        }
        // It hears of everything when it reads at last.
        let mut reached = Seq(0);
        while reached < Seq(100) {
            match stalled.hear().await.expect("it was not thrown out") {
                ToClient::Delivery(Delivery::Record(_, record)) => {
                    assert_eq!(record.prev, reached, "no silent hole");
                    reached = record.seq;
                }
                ToClient::Delivery(Delivery::Head { seq, .. }) => reached = seq,
                ToClient::Hello(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }));
}

fn group(number: u8) -> Topic {
    Topic::Group(GroupId([number; 16]))
}

fn transmit(topic: &Topic, number: u8) -> Transmit {
    let payload = vec![number];
    Transmit { topic: topic.clone(), id: transmit_id(topic, &payload), expect: None, payload }
}

fn hello() -> ToRelay {
    ToRelay::Hello(ClientHello { versions: vec![PROTOCOL], features: 0 })
}

/// A client that says and hears single messages.
struct Raw {
    link: MemoryLink,
    channel: Channel,
}

const NOW: Timestamp = Timestamp(1_790_000_000_000);

impl Raw {
    fn connect(host: &Arc<TheHost>) -> Self {
        let (link, relay) = memory::pair(4_096);
        tokio::spawn(host.serve(relay));
        let channel = Channel::new(link.info(), ChannelLimits::default());
        Self { link, channel }
    }

    async fn say(&mut self, message: &ToRelay) {
        self.channel.send(&message.encode());
        while let Some(frame) = self.channel.poll_frame(NOW) {
            // A host that has shut down does not take it.
            let _ = within("sending", self.link.send(vec![frame])).await;
        }
    }

    /// The next message; `None` if the link closed.
    async fn hear(&mut self) -> Option<ToClient> {
        loop {
            if let Some(message) = self.channel.poll_message() {
                return Some(ToClient::decode(&message).unwrap());
            }
            for frame in within("something from the relay", self.link.receive()).await.ok()? {
                self.channel.handle_frame(NOW, &frame).unwrap();
            }
        }
    }
}

/// Opens links, the first of which dies when something has been stored.
struct CutOnce {
    host: Arc<TheHost>,
    cut: AtomicBool,
}

impl Connector for CutOnce {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        let (client, relay) = memory::pair(4_096);
        tokio::spawn(self.host.serve(relay));
        let link: Box<dyn Link> = if self.cut.swap(true, Ordering::Relaxed) {
            Box::new(client)
        } else {
            Box::new(Dying { link: client, host: Arc::clone(&self.host) })
        };
        Box::pin(std::future::ready(Ok(link)))
    }
}

/// A link that brings nothing any more once the host has stored a record.
struct Dying {
    link: MemoryLink,
    host: Arc<TheHost>,
}

impl Link for Dying {
    fn info(&self) -> LinkInfo {
        self.link.info()
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        self.link.send(frames)
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>> {
        Box::pin(async move {
            let frames = self.link.receive().await?;
            let stored = self.host.service().store().logs().stats().unwrap().records;
            if stored > 0 { Err(LinkError::Closed) } else { Ok(frames) }
        })
    }

    fn close(&self) {
        self.link.close();
    }
}
