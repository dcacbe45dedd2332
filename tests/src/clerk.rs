//! What a device has in addition when it talks to a relay by itself: its session, and the few
//! lines between the two. Together they are everything an engine is but a clock and a connection.
//!
//! Whoever drives it makes the [`Call`]s, over a simulated link or a real one, and brings back
//! the answers.

use std::collections::VecDeque;

use conclave_core::{
    delivery::{Delivery, PublishOutcome, TopicPage, Transmit, TransportError, Uploaded, Watch},

    session::{Action, CallId, Session, SessionLimits},
    step::Upload,
    store::Store,
};
use conclave_proto::{Cursor, GroupId, Record, Timestamp, Topic, relay::PageLimit};

use crate::gathering::Gathering;
use crate::device::{Device, Welcomed};

/// What a peer wants of its delivery service.
#[derive(Clone, Debug)]
pub enum Call {
    /// A new subscription.
    Subscribe,
    /// A change of it.
    Watch(Watch),
    /// See [`Action::Fetch`].
    Fetch(CallId, Vec<(Topic, Cursor)>, PageLimit),
    /// See [`Action::Publish`].
    Publish(CallId, Vec<Transmit>),
    /// See [`Action::Upload`].
    Upload(CallId, Upload),
}

/// A device's session, and what it waits for.
#[derive(Debug)]
pub struct Clerk {
    /// The session.
    pub session: Session,
    /// Whether the session has said that everything is read since it came up.
    pub caught_up: bool,
    /// The Welcome that waits for what it names, and those behind it.
    welcomes: VecDeque<Record>,
    gathering: Option<Gathering>,
    calls: VecDeque<Call>,
}

impl Clerk {
    /// A clerk that has not spoken to anybody yet; `seed` makes the jitter of its retries.
    #[must_use]
    pub fn new<S: Store>(device: &Device<S>, limits: SessionLimits, seed: [u8; 32]) -> Self {
        let mut clerk = Self {
            session: Session::new(limits, seed),
            caught_up: false,
            welcomes: VecDeque::new(),
            gathering: None,
            calls: VecDeque::new(),
        };
        clerk.session.watch(device.ring.topic(), device.ring.cursor());
        clerk
    }

    /// Does everything that can be done now without an answer from outside.
    pub fn pump<S: Store>(&mut self, device: &mut Device<S>, now: Timestamp) {
        device.fire_timers(now);
        loop {
            self.flush(device);
            let Some(action) = self.session.poll(now) else { return };
            self.act(device, now, action);
        }
    }

    /// The next call to make.
    pub fn next_call(&mut self) -> Option<Call> {
        self.calls.pop_front()
    }

    /// When to pump again although nothing happened.
    #[must_use]
    pub fn next_timeout<S: Store>(&self, device: &Device<S>) -> Option<Timestamp> {
        let groups = device.groups.values().filter_map(|group| group.next_timeout());
        let ring = device.ring.next_timeout();
        groups.chain(ring).chain(self.session.next_timeout()).min()
    }

    /// Whether nothing of it is on its way and nothing waits for it.
    #[must_use]
    pub fn is_idle<S: Store>(&self, device: &Device<S>) -> bool {
        device.is_idle() && self.session.is_idle() && self.gathering.is_none()
    }

    /// What the subscription brought, or how it ended.
    pub fn handle_delivery(&mut self, now: Timestamp, delivery: Result<Delivery, TransportError>) {
        match delivery {
            Ok(delivery) => self.session.handle_delivery(delivery),
            Err(error) => {
                self.caught_up = false;
                self.session.handle_unsubscribed(now, &error);
            }
        }
    }

    /// The answer to a [`Call::Fetch`].
    pub fn handle_pages(
        &mut self,
        now: Timestamp,
        call: CallId,
        pages: Result<Vec<TopicPage>, TransportError>,
    ) {
        self.session.handle_pages(now, call, pages);
    }

    /// The answer to a [`Call::Publish`].
    pub fn handle_published(&mut self, now: Timestamp, call: CallId, all: Vec<PublishOutcome>) {
        self.session.handle_published(now, call, all);
    }

    /// The answer to a [`Call::Upload`].
    pub fn handle_uploaded(&mut self, now: Timestamp, call: CallId, uploaded: Uploaded) {
        self.session.handle_uploaded(now, call, uploaded);
    }

    /// Passes on what the device has released, and follows the groups it holds.
    fn flush<S: Store>(&mut self, device: &mut Device<S>) {
        // One topic has one owner here, so which group it was does not matter.
        self.session.publish(GroupId([0; 16]), device.transmits.drain(..));
        for upload in device.uploads.drain(..) {
            self.session.upload(upload);
        }
        for group in device.groups.values() {
            let watched = self.session.is_watched(group.topic());
            match (group.standing().is_removed(), watched) {
                (false, false) => self.session.watch(group.topic().clone(), group.cursor()),
                (true, true) => self.session.unwatch(group.topic()),
                (true, false) | (false, true) => {}
            }
        }
    }

    fn act<S: Store>(&mut self, device: &mut Device<S>, now: Timestamp, action: Action) {
        match action {
            Action::Subscribe => self.calls.push_back(Call::Subscribe),
            Action::Watch(change) => self.calls.push_back(Call::Watch(change)),
            Action::Fetch { call, after, limit } => {
                self.calls.push_back(Call::Fetch(call, after, limit));
            }
            Action::Publish { call, batch } => self.calls.push_back(Call::Publish(call, batch)),
            Action::Upload { call, upload } => self.calls.push_back(Call::Upload(call, upload)),
            Action::Deliver { topic: Topic::Group(id), records } => {
                self.read_group(device, now, id, &records);
            }
            Action::Deliver { records, .. } => {
                self.welcomes = records.into();
                self.read_welcomes(device, now);
            }
            Action::Found { look_up, records } => {
                let complete =
                    self.gathering.as_mut().is_some_and(|asked| asked.found(look_up, records));
                if complete {
                    self.show_gathered(device, now);
                }
            }
            Action::Outcome { id, outcome, .. } => device.settle_publish(now, id, &outcome),
            Action::Uploaded { counter, uploaded } => {
                let Uploaded { outcome, welcome_head } = uploaded;
                device.settle_upload(now, counter, &outcome, welcome_head);
            }
            Action::CaughtUp => self.caught_up = true,
            Action::Misconfigured(why) => panic!("the relay cannot be used: {why}"),
            Action::Unreachable => {}
            Action::Truncated { topic, first } => panic!("{topic:?} is trimmed to {first:?}"),
        }
    }

    fn read_group<S: Store>(
        &mut self,
        device: &mut Device<S>,
        now: Timestamp,
        id: GroupId,
        records: &[Record],
    ) {
        device.handle_batch(now, id, records);
        let Some(group) = device.groups.get(&id) else { return };
        let parked = group.standing().parked().is_some();
        self.session.handled(now, group.topic(), group.cursor(), parked);
    }

    /// Shows Welcomes to the ring until one asks for something or has to wait.
    fn read_welcomes<S: Store>(&mut self, device: &mut Device<S>, now: Timestamp) {
        while let Some(record) = self.welcomes.front() {
            match device.look_at_welcome(now, record, None) {
                Welcomed::Needs(invitation) => {
                    self.gathering = Some(Gathering::begin(&mut self.session, invitation));
                    return;
                }
                Welcomed::Waiting => return self.welcomes_read(device, now, true),
                Welcomed::Handled => self.welcomes.pop_front(),
            };
        }
        self.welcomes_read(device, now, false);
    }

    fn show_gathered<S: Store>(&mut self, device: &mut Device<S>, now: Timestamp) {
        let Some(gathering) = self.gathering.take() else { return };
        let Some(record) = self.welcomes.front().cloned() else { return };
        let invitation = *gathering.invitation();
        let gathered = gathering.into_gathered(device.held(invitation.group));
        match device.look_at_welcome(now, &record, Some((&invitation, &gathered))) {
            Welcomed::Waiting => self.welcomes_read(device, now, true),
            Welcomed::Needs(_) | Welcomed::Handled => {
                // A group that was joined again starts over at its new place.
                if let Some(group) = device.groups.get(&invitation.group)
                    && group.cursor() == invitation.start
                {
                    self.session.watch(group.topic().clone(), group.cursor());
                }
                self.welcomes.pop_front();
                self.read_welcomes(device, now);
            }
        }
    }

    fn welcomes_read<S: Store>(&mut self, device: &Device<S>, now: Timestamp, waiting: bool) {
        self.welcomes.clear();
        let ring = &device.ring;
        self.session.handled(now, &ring.topic(), ring.cursor(), waiting);
    }
}
