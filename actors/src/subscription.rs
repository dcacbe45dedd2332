//! The subscription: a task that pulls what the relay delivers, as long as there is room.

use std::sync::Arc;

use conclave_core::{delivery::Delivery, engine::Subscription};
use conclave_proto::relay::Watch;
use futures_channel::mpsc;
use futures_util::StreamExt;
use tokio::sync::Semaphore;

use crate::{lock::lock, shell::Shell};

/// The present subscription. Dropping it ends it.
pub(crate) struct Subscribed {
    /// Bounded by what the session watches: each topic comes once for each subscription.
    changes: mpsc::UnboundedSender<Watch>,
    /// What may still be brought before the session has looked at what was.
    room: Arc<Semaphore>,
}

impl Subscribed {
    pub(crate) fn change(&self, change: Watch) {
        // If it has ended, that is on its way as an input.
        drop(self.changes.unbounded_send(change));
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.room.close();
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
        let (changes, receiver) = mpsc::unbounded();
        let delivered = self.parts.context.limits.delivered;
        let most = u32::try_from(delivered).unwrap_or(u32::MAX).max(1);
        let room = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1)));
        let subscribed = Subscribed { changes, room: Arc::clone(&room) };
        let before = lock(&self.subscription).replace(subscribed);
        drop(before);
        let Some(delivery) = self.delivery() else { return };
        let shell = self.me();
        self.spawn(async move {
            let mut deliveries = delivery.subscribe(Box::pin(receiver));
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
