//! Calls of the delivery service: they wait on a thread of their own, and come back as inputs.

use std::sync::Arc;

use conclave_core::{
    delivery::{Delivery, PageLimit, Transmit, Watch},
    session::CallId,
    step::Upload,
};
use conclave_proto::{Cursor, Topic};
use futures_channel::mpsc;
use futures_util::StreamExt;
use tokio::sync::Semaphore;

use super::{SessionInput, SessionRole};

/// The present subscription. Dropping it ends it.
pub(super) struct Subscription {
    pub(super) number: u64,
    /// Bounded by what the session watches: each topic comes once for each subscription.
    changes: mpsc::UnboundedSender<Watch>,
    /// What may still be brought before somebody has looked at what was.
    room: Arc<Semaphore>,
}

impl Subscription {
    pub(super) fn change(&self, change: Watch) {
        // If it has ended, that is on its way as an input.
        drop(self.changes.unbounded_send(change));
    }

    /// Something that was brought has been looked at.
    pub(super) fn taken(&self, weight: u32) {
        self.room.add_permits(usize::try_from(weight).unwrap_or_default());
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

impl SessionRole {
    pub(super) fn subscribe(&mut self) {
        self.subscriptions += 1;
        let number = self.subscriptions;
        let (changes, receiver) = mpsc::unbounded();
        let most = u32::try_from(self.shared.limits.delivered).unwrap_or(u32::MAX).max(1);
        let room = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1)));
        self.subscription = Some(Subscription { number, changes, room: Arc::clone(&room) });
        let Ok(delivery) = self.shared.delivery() else { return };
        let shared = Arc::clone(&self.shared);
        self.shared.spawn(async move {
            let mut deliveries = delivery.subscribe(Box::pin(receiver));
            drop(delivery);
            // Not pulling is the back-pressure: the service then says heads instead of records.
            while let Ok(permit) = room.acquire().await {
                permit.forget();
                let Some(delivery) = deliveries.next().await else { return };
                let ended = delivery.is_err() || shared.is_stopping();
                let weight = delivery.as_ref().map_or(1, |delivery| weight(delivery, most));
                match room.acquire_many(weight - 1).await {
                    Ok(permit) => permit.forget(),
                    Err(_) => return,
                }
                shared.tell_session(SessionInput::Delivered(number, weight, delivery));
                if ended {
                    return;
                }
            }
        });
    }

    pub(super) fn fetch(&self, call: CallId, after: Vec<(Topic, Cursor)>, limit: PageLimit) {
        let Ok(delivery) = self.shared.delivery() else { return };
        let shared = Arc::clone(&self.shared);
        self.shared.spawn(async move {
            let pages = delivery.fetch(after, limit).await;
            shared.tell_session(SessionInput::Pages(call, pages));
        });
    }

    pub(super) fn publish(&self, call: CallId, batch: Vec<Transmit>) {
        let Ok(delivery) = self.shared.delivery() else { return };
        let shared = Arc::clone(&self.shared);
        self.shared.spawn(async move {
            let outcomes = delivery.publish(batch).await;
            shared.tell_session(SessionInput::Published(call, outcomes));
        });
    }

    pub(super) fn upload(&self, call: CallId, upload: Upload) {
        let Ok(delivery) = self.shared.delivery() else { return };
        let shared = Arc::clone(&self.shared);
        self.shared.spawn(async move {
            let uploaded = delivery.upload(upload).await;
            shared.tell_session(SessionInput::Uploaded(call, uploaded));
        });
    }
}
