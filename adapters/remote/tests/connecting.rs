//! How links are opened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use conclave_core::{
    bounds::BoxFuture,
    delivery::{DeliveryService as _, TransportError},
    link::Link,
};
use conclave_links::memory::{self, MemoryLink};
use conclave_proto::{GroupId, Seq, Topic, limits::REQUESTS_PER_CONNECTION};
use conclave_remote::{Connector, Remote, RemoteLimits};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::{JoinSet, yield_now},
    time::{Instant, sleep},
};

/// A relay that is not there, which shows only when somebody has let an attempt go on.
struct Nowhere {
    attempts: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Connector for Nowhere {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async {
            self.attempts.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            Err(TransportError::NO_ANSWER)
        })
    }
}

/// An attempt that fails has failed for everybody who waits: the last of many calls
/// does not wait for as many attempts.
#[tokio::test]
async fn one_failed_attempt_is_the_answer_to_all_calls_that_wait() {
    let (attempts, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let nowhere = Nowhere { attempts: Arc::clone(&attempts), gate: Arc::clone(&gate) };
    let remote = Remote::new(nowhere, RemoteLimits::default());
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let remote = remote.clone();
            tokio::spawn(async move { remote.heads(vec![(topic(), Seq(0))]).await })
        })
        .collect();
    // All have asked when none of them has anything to do any more.
    for _ in 0..1_000 {
        yield_now().await;
    }
    gate.add_permits(1);
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    gate.add_permits(1);
    assert!(remote.heads(vec![(topic(), Seq(0))]).await.is_err());
    assert_eq!(attempts.load(Ordering::SeqCst), 2, "who asks later has an attempt of its own");
}

fn topic() -> Topic {
    Topic::Group(GroupId([1; 16]))
}

/// Its attempts end only when they are given up, and each says so: its end of the channel goes.
struct Endless(mpsc::UnboundedSender<oneshot::Receiver<()>>);

impl Connector for Endless {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async {
            let (_guard, given_up) = oneshot::channel();
            self.0.send(given_up).unwrap();
            std::future::pending().await
        })
    }
}

fn endless() -> (Remote, mpsc::UnboundedReceiver<oneshot::Receiver<()>>) {
    let (attempts, seen) = mpsc::unbounded_channel();
    (Remote::new(Endless(attempts), RemoteLimits::default()), seen)
}

/// E14: an attempt to connect is not worth waiting for once nobody can use the link: the task ends
/// with the last handle, and not with the attempt.
#[tokio::test(start_paused = true)]
async fn an_attempt_to_connect_is_given_up_with_the_last_handle() {
    let (remote, mut attempts) = endless();
    let asking = remote.clone();
    let call = tokio::spawn(async move { asking.heads(vec![(topic(), Seq(0))]).await });
    let mut given_up = attempts.recv().await.unwrap();
    call.abort();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(given_up.try_recv(), Err(oneshot::error::TryRecvError::Empty), "a handle is left");
    let begun = Instant::now();
    drop(remote);
    assert!(given_up.await.is_err());
    assert!(attempts.recv().await.is_none(), "the task has let its connector go");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// E14: a subscription is no handle: while it waits for a link it ends with the last one.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_waits_for_a_link_ends_with_the_last_handle() {
    let (remote, mut attempts) = endless();
    let mut deliveries = remote.subscribe(Box::pin(stream::pending()));
    assert!(deliveries.next().now_or_never().is_none());
    let given_up = attempts.recv().await.unwrap();
    let begun = Instant::now();
    drop(remote);
    assert!(deliveries.next().await.unwrap().is_err());
    assert!(given_up.await.is_err());
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// Opens links to a relay that says nothing, which is the test.
struct Mute(mpsc::UnboundedSender<MemoryLink>);

impl Connector for Mute {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        let (client, relay) = memory::pair(1_200);
        self.0.send(relay).unwrap();
        Box::pin(async { Ok(Box::new(client) as Box<dyn Link>) })
    }
}

/// E14: so it is with a connection that takes no further call for the time being.
#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_no_call_ends_with_the_last_handle() {
    let (links, mut opened) = mpsc::unbounded_channel();
    let remote = Remote::new(Mute(links), RemoteLimits::default());
    let mut calls = JoinSet::new();
    for _ in 0..2 * REQUESTS_PER_CONNECTION {
        let remote = remote.clone();
        calls.spawn(async move { remote.heads(vec![(topic(), Seq(0))]).await });
    }
    let relay = opened.recv().await.unwrap();
    // The connection has as many as it takes when nobody has anything to do any more.
    for _ in 0..1_000 {
        yield_now().await;
    }
    calls.shutdown().await;
    let begun = Instant::now();
    drop(remote);
    while relay.receive().await.is_ok() {}
    assert!(opened.recv().await.is_none(), "the task has let its connector go");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
