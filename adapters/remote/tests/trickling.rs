//! Relays that keep a connection alive and answer nothing, in virtual time (scenario 144).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use conclave_core::{
    Class,
    bounds::BoxFuture,
    delivery::{
        Delivery, DeliveryService as _, PageLimit, PublishOutcome, Transmit, TransportError, Watch,
    },
    link::{
        Link,
        channel::{Channel, ChannelLimits},
    },
    step::Upload,
};
use conclave_links::memory;
use conclave_proto::{
    ChainHash, Cursor, GroupId, InstallationId, Record, Seq, Timestamp, Topic, TransmitId, Wire,
    identity::Account,
    relay::{PROTOCOL, RelayHello, ToClient, ToRelay},
};
use conclave_remote::{Connector, Remote, RemoteLimits};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout};

/// What the relay does once a client has said hello.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Nothing, not even a hello.
    Mute,
    /// It answers the hello and nothing else.
    Silent,
    /// It answers the hello, then a message comes whose end never does, a frame at a time.
    Trickles,
    /// It answers the hello and as many marks, then nothing.
    Marks(usize),
}

struct Relay {
    manner: Manner,
    links: Arc<AtomicUsize>,
}

impl Connector for Relay {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        self.links.fetch_add(1, Ordering::Relaxed);
        let (client, relay) = memory::pair(64);
        tokio::spawn(serve(relay, self.manner));
        Box::pin(async { Ok(Box::new(client) as Box<dyn Link>) })
    }
}

fn remote(manner: Manner) -> Remote {
    Remote::new(Relay { manner, links: Arc::default() }, RemoteLimits::default())
}

/// Between two frames of a relay that trickles: more often than any client takes for silence.
const TRICKLE: Duration = Duration::from_secs(5);

async fn serve(link: impl Link, manner: Manner) {
    let mut channel = Channel::new(link.info(), ChannelLimits::default());
    let mut marks = if let Manner::Marks(count) = manner { count } else { 0 };
    loop {
        let late = async {
            match manner {
                Manner::Trickles => sleep(TRICKLE).await,
                Manner::Mute | Manner::Silent | Manner::Marks(_) => pending().await,
            }
        };
        tokio::select! {
            frames = link.receive() => {
                let Ok(frames) = frames else { return };
                for frame in frames {
                    channel.handle_frame(NOW, &frame).unwrap();
                }
            }
            () = late => {
                let frame = channel.poll_frame(NOW).into_iter().collect();
                if link.send(frame).await.is_err() {
                    return;
                }
            }
        }
        while let Some(message) = channel.poll_message() {
            match (manner, ToRelay::decode(&message).unwrap()) {
                (Manner::Mute, _) => {}
                (_, ToRelay::Hello(_)) => greet(&link, &mut channel, manner).await,
                (_, ToRelay::Watch(Watch::Mark(mark))) if marks > 0 => {
                    marks -= 1;
                    channel.send(&ToClient::Delivery(Delivery::CaughtUp(mark)).encode());
                    flush(&link, &mut channel).await;
                }
                _ => {}
            }
        }
    }
}

async fn greet(link: &impl Link, channel: &mut Channel, manner: Manner) {
    let (incarnation, key) = ([1; 16], [2; 32]);
    let hello = RelayHello { version: PROTOCOL, features: 0, incarnation, key };
    channel.send(&ToClient::Hello(hello).encode());
    flush(link, channel).await;
    if matches!(manner, Manner::Trickles) {
        // At this pace it takes days.
        let payload = vec![0; 10_000_000];
        let record = Record::chained(&topic(), Seq(1), Seq(0), &ChainHash::GENESIS, payload);
        channel.send(&ToClient::Delivery(Delivery::Record(topic(), record)).encode());
    }
}

async fn flush(link: &impl Link, channel: &mut Channel) {
    let frames = std::iter::from_fn(|| channel.poll_frame(NOW)).collect();
    drop(link.send(frames).await);
}

const NOW: Timestamp = Timestamp(0);

fn topic() -> Topic {
    Topic::Group(GroupId([1; 16]))
}

/// No call takes longer than this, whatever the relay does: more than the limits allow.
const NEVER: Duration = Duration::from_secs(6 * 3_600);

/// Every call of the trait, with whether it ended as something to try again.
async fn ends(remote: Remote, call: usize) -> bool {
    let transient = |error: TransportError| error.class() == Class::Transient;
    let page = PageLimit::default();
    match call {
        0 => {
            let transmit =
                Transmit { topic: topic(), id: TransmitId([1; 16]), expect: None, payload: vec![] };
            let outcomes = remote.publish(vec![transmit.clone(), transmit]).await;
            outcomes.len() == 2 && outcomes.iter().all(may_be_tried_again)
        }
        1 => remote.fetch(vec![(topic(), Cursor::START)], page).await.is_err_and(transient),
        2 => remote.heads(vec![(topic(), Seq(0))]).await.is_err_and(transient),
        3 => remote.key_packages(vec![InstallationId([1; 32])]).await.is_err_and(transient),
        4 => remote.resolve(vec![Account::wallet([1; 20])]).await.is_err_and(transient),
        5 => {
            let upload = Upload { counter: 1, bytes: vec![1] };
            may_be_tried_again(&remote.upload(upload).await.outcome)
        }
        _ => {
            let changes = [Watch::Add(vec![(topic(), Seq(0))]), Watch::Mark(1)];
            let changes = Box::pin(stream::iter(changes).chain(stream::pending()));
            let mut deliveries = remote.subscribe(changes);
            deliveries.next().await.unwrap().is_err_and(transient)
        }
    }
}

fn may_be_tried_again(outcome: &PublishOutcome) -> bool {
    matches!(outcome, PublishOutcome::Unknown | PublishOutcome::NotStored { .. })
}

const CALLS: usize = 7;

async fn every_call_ends(manner: Manner) {
    for call in 0..CALLS {
        let begun = Instant::now();
        let ended = timeout(NEVER, ends(remote(manner), call)).await;
        let why = format!("call {call}, {manner:?}, after {:?}", begun.elapsed());
        assert!(ended.expect(&why), "{why}");
    }
}

/// Scenario 144: a connection over which nothing comes at all.
#[tokio::test(start_paused = true)]
async fn every_call_ends_if_the_relay_says_nothing() {
    every_call_ends(Manner::Mute).await;
}

/// Scenario 144: a relay that says hello and then nothing, marks of a subscription included.
#[tokio::test(start_paused = true)]
async fn every_call_ends_if_the_relay_answers_nothing() {
    every_call_ends(Manner::Silent).await;
}

/// Scenario 144: some bytes now and then are no answer, and do not put off the end for ever.
#[tokio::test(start_paused = true)]
async fn every_call_ends_if_the_relay_trickles() {
    every_call_ends(Manner::Trickles).await;
}

/// Scenario 144: a subscription that was answered once and then brings nothing is asked whether
/// it is still there; one that does not answer has ended.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_went_dead_ends() {
    for checks in [0, 4] {
        let remote = remote(Manner::Marks(1 + checks));
        let begun = Instant::now();
        let changes = [Watch::Add(vec![(topic(), Seq(0))]), Watch::Mark(1)];
        let changes = Box::pin(stream::iter(changes).chain(stream::pending()));
        let mut deliveries = remote.subscribe(changes);
        let first = deliveries.next().await;
        assert_eq!(first, Some(Ok(Delivery::CaughtUp(1))));
        let next = timeout(NEVER, deliveries.next()).await.expect("it ends").unwrap();
        assert_eq!(next.unwrap_err().class(), Class::Transient, "marks of the check stay inside");
        let quiet = Duration::from_millis(RemoteLimits::default().quiet_ms);
        let count = u32::try_from(checks).unwrap() + 1;
        assert!(begun.elapsed() >= quiet * count, "answered checks end nothing");
        assert!(begun.elapsed() < quiet * (count + 1), "the first without an answer does");
    }
}

/// Never opens a link, and never says so.
struct Hanging;

impl Connector for Hanging {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(pending())
    }
}

/// Scenario 144: an attempt to connect that hangs has failed.
#[tokio::test(start_paused = true)]
async fn every_call_ends_if_no_link_opens() {
    for call in 0..CALLS {
        let remote = Remote::new(Hanging, RemoteLimits::default());
        assert!(timeout(NEVER, ends(remote, call)).await.expect("it ends"), "call {call}");
    }
}

/// A call that nobody waits for any more opens no link.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_dropped_at_once_opens_no_link() {
    let links = Arc::new(AtomicUsize::new(0));
    let relay = Relay { manner: Manner::Silent, links: Arc::clone(&links) };
    let remote = Remote::new(relay, RemoteLimits::default());
    assert!(remote.heads(vec![(topic(), Seq(0))]).now_or_never().is_none());
    // The task has nothing more to do when the clock goes on.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(links.load(Ordering::Relaxed), 0);
    assert!(remote.heads(vec![(topic(), Seq(0))]).await.is_err());
    assert_eq!(links.load(Ordering::Relaxed), 1);
}

/// A subscription ends with the runtime that served it.
#[test]
fn a_subscription_ends_when_its_task_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let remote = Remote::new(Hanging, RemoteLimits::default());
    let mut deliveries = remote.subscribe(Box::pin(stream::pending()));
    // The task has taken it when it is asked for the second time.
    runtime.block_on(async {
        assert!(deliveries.next().now_or_never().is_none());
        tokio::task::yield_now().await;
        assert!(deliveries.next().now_or_never().is_none());
    });
    drop(runtime);
    assert!(deliveries.next().now_or_never().expect("it has ended").unwrap().is_err());
}

/// Scenario 144: more calls than a connection takes all end within the bound of one, although
/// each connection only answers the hello.
#[tokio::test(start_paused = true)]
async fn many_calls_end_as_soon_as_one() {
    let remote = remote(Manner::Trickles);
    let calls: Vec<_> = (0..3_000)
        .map(|_| {
            let remote = remote.clone();
            tokio::spawn(async move { remote.heads(vec![(topic(), Seq(0))]).await })
        })
        .collect();
    let all = async {
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap_err().class(), Class::Transient);
        }
    };
    let begun = Instant::now();
    timeout(Duration::from_secs(1_800), all).await.expect("within half an hour");
    assert!(begun.elapsed() > Duration::from_secs(60));
}

/// Calls that were dropped are forgotten: a relay that comes to life later is not asked for them.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_dropped_before_the_link_opened_is_not_made() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let links = Arc::new(AtomicUsize::new(0));
    struct Late(Arc<tokio::sync::Semaphore>, Arc<AtomicUsize>);
    impl Connector for Late {
        fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
            Box::pin(async {
                self.0.acquire().await.unwrap().forget();
                let (client, relay) = memory::pair(64);
                let asked = Arc::clone(&self.1);
                tokio::spawn(async move {
                    let mut channel = Channel::new(relay.info(), ChannelLimits::default());
                    while let Ok(frames) = relay.receive().await {
                        for frame in frames {
                            channel.handle_frame(NOW, &frame).unwrap();
                        }
                        while let Some(message) = channel.poll_message() {
                            let message = ToRelay::decode(&message).unwrap();
                            let is_request = matches!(message, ToRelay::Request { .. });
                            asked.fetch_add(usize::from(is_request), Ordering::Relaxed);
                        }
                    }
                });
                Ok(Box::new(client) as Box<dyn Link>)
            })
        }
    }
    let remote = Remote::new(Late(Arc::clone(&gate), Arc::clone(&links)), RemoteLimits::default());
    for _ in 0..1_000 {
        let call = remote.heads(vec![(topic(), Seq(0))]);
        assert!(timeout(Duration::from_millis(1), call).await.is_err());
    }
    let last = remote.clone();
    let last = tokio::spawn(async move { last.heads(vec![(topic(), Seq(0))]).await });
    gate.add_permits(1);
    assert!(last.await.unwrap().is_err());
    assert_eq!(links.load(Ordering::Relaxed), 1, "the one that somebody waits for");
}
