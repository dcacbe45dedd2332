//! Models of links of one's own.

use std::{collections::VecDeque, fmt, sync::Arc, task::Context};

use conclave_core::{
    bounds::BoxFuture,
    link::{Link, LinkError},
};
use conclave_proto::Timestamp;
use futures_util::FutureExt;

use super::Wire;
use crate::dice::Dice;

/// One direction of an open link, as a value: implement it to put a model of your own into a
/// [`Net`](crate::net::Net). [`Wire`] is one.
pub trait Carrier: fmt::Debug {
    /// Takes a frame. Called only while [`can_send`](Self::can_send).
    fn send(&mut self, now: Timestamp, frame: Vec<u8>, dice: &mut Dice);

    /// The next frame that has arrived. Called until there is none.
    fn poll(&mut self, now: Timestamp) -> Option<Vec<u8>>;

    /// When [`poll`](Self::poll) or [`can_send`](Self::can_send) may change their answers by the
    /// passing of time.
    fn next_timeout(&self) -> Option<Timestamp>;

    /// Whether it takes a frame. A reliable link that is full takes none.
    fn can_send(&self) -> bool {
        true
    }

    /// Whether no frame is on its way.
    fn is_empty(&self) -> bool;
}

impl Carrier for Wire {
    fn send(&mut self, now: Timestamp, frame: Vec<u8>, dice: &mut Dice) {
        Self::send(self, now, frame, dice);
    }

    fn poll(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        Self::poll(self, now)
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        Self::next_timeout(self)
    }

    fn can_send(&self) -> bool {
        Self::can_send(self)
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

/// Both directions of a link, up and down, over the two connected ends of any [`Link`] that needs
/// neither a clock nor an executor: it is polled whenever the net runs. A link that needs virtual
/// time is better written as a [`Carrier`].
#[must_use]
pub fn over_links(device: impl Link, relay: impl Link) -> [Box<dyn Carrier>; 2] {
    let (device, relay): (Arc<dyn Link>, Arc<dyn Link>) = (Arc::new(device), Arc::new(relay));
    let up = OverLink::new(Arc::clone(&device), Arc::clone(&relay));
    [Box::new(up), Box::new(OverLink::new(relay, device))]
}

struct OverLink {
    sends: Arc<dyn Link>,
    receives: Arc<dyn Link>,
    /// The call that waits until the link has room. Dropping it might lose the frame.
    sending: Option<BoxFuture<'static, Result<(), LinkError>>>,
    arrived: VecDeque<Vec<u8>>,
}

impl OverLink {
    const fn new(sends: Arc<dyn Link>, receives: Arc<dyn Link>) -> Self {
        Self { sends, receives, sending: None, arrived: VecDeque::new() }
    }

    /// Lets both ends do what they can. A closed link carries nothing, which the ends notice.
    fn work(&mut self) {
        if let Some(sending) = &mut self.sending
            && sending.poll_unpin(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
        {
            self.sending = None;
        }
        if let Some(Ok(frames)) = self.receives.receive().now_or_never() {
            self.arrived.extend(frames);
        }
    }
}

impl Carrier for OverLink {
    fn send(&mut self, _: Timestamp, frame: Vec<u8>, _: &mut Dice) {
        let link = Arc::clone(&self.sends);
        self.sending = Some(Box::pin(async move { link.send(vec![frame]).await }));
        self.work();
    }

    fn poll(&mut self, _: Timestamp) -> Option<Vec<u8>> {
        if self.arrived.is_empty() {
            self.work();
        }
        self.arrived.pop_front()
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        None
    }

    fn can_send(&self) -> bool {
        self.sending.is_none()
    }

    fn is_empty(&self) -> bool {
        self.sending.is_none() && self.arrived.is_empty()
    }
}

impl fmt::Debug for OverLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("OverLink");
        debug.field("info", &self.sends.info()).field("full", &self.sending.is_some());
        debug.field("arrived", &self.arrived.len()).finish()
    }
}
