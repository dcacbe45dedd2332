//! The subscription: a task that pulls what the relay delivers, as long as there is room.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use conclave_core::{
    delivery::{Delivery, TransportError},
    engine::Subscription,
};
use conclave_proto::relay::Watch;
use futures_core::Stream;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{say::say, shell::Shell};

/// The present subscription. Dropping it ends it.
pub(crate) struct Subscribed {
    changes: Arc<Mutex<Changes>>,
    /// What may still be brought before the session has looked at what was.
    room: Arc<Semaphore>,
}

impl Subscribed {
    pub(crate) fn change(&self, change: Watch) {
        let mut changes = self.changes.lock();
        changes.add(change);
        let reader = changes.reader.take();
        drop(changes);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.room.close();
        let mut changes = self.changes.lock();
        changes.ended = true;
        let reader = changes.reader.take();
        drop(changes);
        reader.into_iter().for_each(Waker::wake);
    }
}

/// Changes that the delivery service has not taken. Bounded by what the session watches: each
/// topic comes once for each subscription, and of marks in a row only the last one is kept, whose
/// echo answers for all of them.
#[derive(Default)]
struct Changes {
    left: VecDeque<Watch>,
    ended: bool,
    reader: Option<Waker>,
}

impl Changes {
    fn add(&mut self, change: Watch) {
        if matches!(change, Watch::Mark(_)) && matches!(self.left.back(), Some(Watch::Mark(_))) {
            self.left.pop_back();
        }
        self.left.push_back(change);
    }
}

/// What the delivery service takes them from.
struct Reader(Arc<Mutex<Changes>>);

impl Stream for Reader {
    type Item = Watch;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Watch>> {
        let mut changes = self.0.lock();
        match changes.left.pop_front() {
            None if !changes.ended => {
                let before = changes.reader.replace(context.waker().clone());
                // A waker may own what it wakes: it is dropped without the lock.
                drop(changes);
                drop(before);
                Poll::Pending
            }
            change => Poll::Ready(change),
        }
    }
}

/// How much of a subscription's room something takes, see
/// [`EngineLimits::delivered`](crate::EngineLimits::delivered).
fn weight(delivery: &Delivery, most: u32) -> u32 {
    match delivery {
        Delivery::Record(_, record) => {
            u32::try_from(record.payload.len() / 8_192 + 1).unwrap_or(most).min(most)
        }
        Delivery::Head { .. } | Delivery::CaughtUp(_) => 1,
    }
}

/// How the pulling of a subscription ended.
enum Pulled {
    /// By an error that was delivered, or because the session has another subscription.
    Told,
    /// The service brings nothing more.
    Ended,
}

impl Shell {
    pub(crate) fn subscribe(&self, number: Subscription) {
        let changes = Arc::<Mutex<Changes>>::default();
        let reader = Reader(Arc::clone(&changes));
        let delivered = self.parts.context.limits.delivered;
        let most = u32::try_from(delivered).unwrap_or(u32::MAX).max(1);
        let room = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1)));
        let subscribed = Subscribed { changes, room: Arc::clone(&room) };
        let mut present = self.subscription.lock();
        // Who ends the engine has said so before it takes the present one.
        if self.is_stopping() {
            return;
        }
        let before = present.replace(Arc::new(subscribed));
        drop(present);
        drop(before);
        let Some(delivery) = self.delivery() else { return };
        let shell = self.me();
        let pulled = Arc::clone(&shell);
        let pull = async move {
            let mut deliveries = delivery.subscribe(Box::pin(reader));
            drop(delivery);
            // Not pulling is the back-pressure: the service then says heads instead of records.
            while let Ok(first) = Arc::clone(&room).acquire_owned().await {
                let Some(delivery) = deliveries.next().await else { return Pulled::Ended };
                let ended = delivery.is_err();
                let weight = delivery.as_ref().map_or(1, |delivery| weight(delivery, most));
                drop(first);
                let Ok(taken) = Arc::clone(&room).acquire_many_owned(weight).await else { break };
                pulled.delivered(number, delivery, Some(taken));
                if ended {
                    break;
                }
            }
            Pulled::Told
        };
        self.spawn(async move {
            // The session has to hear of an end that the service does not tell, or that is a panic.
            match AssertUnwindSafe(pull).catch_unwind().await {
                Ok(Pulled::Told) => {}
                Ok(Pulled::Ended) => shell.delivered(number, Err(TransportError::NO_ANSWER), None),
                Err(_) => {
                    say(|| tracing::error!("the delivery service panicked in a subscription"));
                    shell.delivered(number, Err(TransportError::NO_ANSWER), None);
                }
            }
        });
    }
}
