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
use conclave_proto::{GroupId, Seq, Topic};
use conclave_remote::{Connector, Remote, RemoteLimits};
use tokio::sync::Semaphore;

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
            Err(TransportError::Unavailable { retry_after: Duration::ZERO })
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
    let topic = Topic::Group(GroupId([1; 16]));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (remote, topic) = (remote.clone(), topic.clone());
            tokio::spawn(async move { remote.heads(vec![(topic, Seq(0))]).await })
        })
        .collect();
    // All have asked when none of them has anything to do any more.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    gate.add_permits(1);
    assert!(remote.heads(vec![(topic, Seq(0))]).await.is_err());
    assert_eq!(attempts.load(Ordering::SeqCst), 2, "who asks later has an attempt of its own");
}
