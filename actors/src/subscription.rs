//! The subscription: a task that pulls what the relay delivers, as long as there is room.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use conclave_core::{delivery::Delivery, engine::Subscription};
use conclave_proto::relay::Watch;
use futures_core::Stream;
use futures_util::StreamExt;
use tokio::sync::Semaphore;

use crate::{lock::lock, shell::Shell};

/// The present subscription. Dropping it ends it.
pub(crate) struct Subscribed {
    changes: Arc<Mutex<Changes>>,
    /// What may still be brought before the session has looked at what was.
    room: Arc<Semaphore>,
}

impl Subscribed {
    pub(crate) fn change(&self, change: Watch) {
        let mut changes = lock(&self.changes);
        changes.add(change);
        let reader = changes.reader.take();
        drop(changes);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.room.close();
        let mut changes = lock(&self.changes);
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
        let mut changes = lock(&self.0);
        match changes.left.pop_front() {
            None if !changes.ended => {
                changes.reader = Some(context.waker().clone());
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

impl Shell {
    pub(crate) fn subscribe(&self, number: Subscription) {
        let changes = Arc::<Mutex<Changes>>::default();
        let reader = Reader(Arc::clone(&changes));
        let delivered = self.parts.context.limits.delivered;
        let most = u32::try_from(delivered).unwrap_or(u32::MAX).max(1);
        let room = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1)));
        let subscribed = Subscribed { changes, room: Arc::clone(&room) };
        let before = lock(&self.subscription).replace(subscribed);
        drop(before);
        let Some(delivery) = self.delivery() else { return };
        let shell = self.me();
        self.spawn(async move {
            let mut deliveries = delivery.subscribe(Box::pin(reader));
            drop(delivery);
            // Not pulling is the back-pressure: the service then says heads instead of records.
            while let Ok(first) = Arc::clone(&room).acquire_owned().await {
                let Some(delivery) = deliveries.next().await else { return };
                let ended = delivery.is_err();
                let weight = delivery.as_ref().map_or(1, |delivery| weight(delivery, most));
                drop(first);
                let Ok(taken) = Arc::clone(&room).acquire_many_owned(weight).await else { return };
                shell.delivered(number, delivery, Some(taken));
                if ended {
                    return;
                }
            }
        });
    }
}
