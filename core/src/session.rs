//! Sessions: what to ask a relay, when to ask again, and whom its records belong to.
//!
//! A session decides, and waits for nothing: it is told what the application's groups want to
//! publish, what the delivery service answered and what time it is, and says through
//! [`Session::poll`] what to do next. The simulation and the engines drive the same value.
//!
//! It promises its owners (groups, the key ring): records of a topic come in the order of its
//! log, without a hole, one batch at a time, from where the owner stands; envelopes of a topic
//! are published in the order they were given; and everything is tried again, ever more slowly,
//! until it worked or was refused for good. It keeps nothing that an owner could not give it
//! again after a restart.

mod action;
mod backoff;
mod inbound;
mod index;
mod look_ups;
mod outbound;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::time::Duration;

use conclave_proto::{
    Cursor, GroupId, Seq, Timestamp, Topic,
    relay::{Delivery, TopicPage, Watch},
};

use crate::{
    delivery::{PublishOutcome, Transmit, TransportError, Uploaded},
    step::Upload,
    timetable::Timetable,
};
pub use action::{Action, CallId, LookUpId, SessionLimits};
use backoff::{Backoff, Dice};
use inbound::Inbound;
use look_ups::LookUps;
use outbound::{Outbound, Settled};

/// See the module.
#[derive(Debug)]
pub struct Session {
    limits: SessionLimits,
    link: Link,
    topics: BTreeMap<Topic, Inbound>,
    /// Topics with something on its way to their owners.
    busy: BTreeSet<Topic>,
    /// Topics of which something is to be fetched as soon as a fetch may be made.
    wanting: BTreeSet<Topic>,
    /// When parked owners get their records again.
    due: Timetable<Topic>,
    /// Topics whose fetch failed: what waited for it may be there without it.
    given_back: BTreeSet<Topic>,
    /// The latest time at which an owner or a publish was answered, unless the clock went back since.
    clock: Timestamp,
    look_ups: LookUps,
    outbound: Outbound,
    upload: Uploading,
    fetches: BTreeMap<CallId, inbound::Fetch>,
    /// No fetch before this time.
    fetch_backoff: Backoff,
    next_call: u64,
    actions: VecDeque<Action>,
}

/// The subscription.
#[derive(Debug)]
struct Link {
    up: bool,
    backoff: Backoff,
    /// The mark whose echo says that everything is read.
    mark: u64,
    /// The echo of the mark has come, but owners are still reading.
    echoed: bool,
    caught_up: bool,
}

#[derive(Debug)]
struct Uploading {
    next: Option<Upload>,
    call: Option<(CallId, Upload)>,
    backoff: Backoff,
}

impl Session {
    /// A session; `seed` makes the jitter of its retries.
    #[must_use]
    pub fn new(limits: SessionLimits, seed: [u8; 32]) -> Self {
        let backoff = |label: u8| Backoff::new(&limits, &seed, label);
        Self {
            limits,
            link: Link { up: false, backoff: backoff(0), mark: 0, echoed: false, caught_up: false },
            topics: BTreeMap::new(),
            busy: BTreeSet::new(),
            wanting: BTreeSet::new(),
            due: Timetable::default(),
            given_back: BTreeSet::new(),
            clock: Timestamp(0),
            look_ups: LookUps::default(),
            outbound: Outbound::new(Dice::new(&limits, &seed, 3)),
            upload: Uploading { next: None, call: None, backoff: backoff(1) },
            fetches: BTreeMap::new(),
            fetch_backoff: backoff(2),
            next_call: 0,
            actions: VecDeque::new(),
        }
    }

    /// What to do next; `None` until something happens or [`Session::next_timeout`] is due.
    pub fn poll(&mut self, now: Timestamp) -> Option<Action> {
        self.tame(now);
        self.connect(now);
        self.fetch(now);
        self.publish_queued(now);
        self.upload_queued(now);
        self.report_caught_up();
        self.actions.pop_front()
    }

    /// When to call [`Session::poll`] again although nothing happened.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let link = (!self.link.up).then(|| self.link.backoff.due()).flatten();
        let uploads = self.upload.next.is_some() && self.upload.call.is_none();
        let upload = uploads.then(|| self.upload.backoff.due()).flatten();
        let fetches = self.fetches.len() < self.limits.calls && self.has_to_fetch();
        let fetch = fetches.then(|| self.fetch_backoff.due()).flatten();
        // What waits for the answer to another call does not wait for time.
        let publishes = self.outbound.calls() < self.limits.calls;
        let publish = publishes.then(|| self.outbound.due()).flatten();
        [link, upload, fetch, self.due.first(), publish].into_iter().flatten().min()
    }

    /// Takes on a topic from where its owner stands.
    pub fn watch(&mut self, topic: Topic, cursor: Cursor) {
        if self.link.up {
            let add = Vec::from([(topic.clone(), cursor.seq)]);
            self.actions.push_back(Action::Watch(Watch::Add(add)));
        }
        self.topics.insert(topic.clone(), Inbound::new(cursor));
        self.note(&topic);
    }

    /// Lets go of a topic.
    pub fn unwatch(&mut self, topic: &Topic) {
        let watched = self.topics.remove(topic).is_some();
        self.note(topic);
        if watched && self.link.up {
            let remove = Vec::from([topic.clone()]);
            self.actions.push_back(Action::Watch(Watch::Remove(remove)));
        }
    }

    /// Whether a topic is watched.
    #[must_use]
    pub fn is_watched(&self, topic: &Topic) -> bool {
        self.topics.contains_key(topic)
    }

    /// An owner has handled what it was given, or was loaded again: it stands at `cursor` now.
    /// `parked` says that it will not go on before more records have come; it then gets
    /// everything behind its cursor again, together with those, or nothing if nothing is there.
    /// While that is much, it gets it at a pace, and counts as read meanwhile.
    pub fn handled(&mut self, now: Timestamp, topic: &Topic, cursor: Cursor, parked: bool) {
        self.clock = self.clock.max(now);
        if let Some(inbound) = self.topics.get_mut(topic) {
            inbound.handled(now, cursor, parked, &self.limits);
            self.deliver(topic);
        }
    }

    /// Asks once more whether everything is read: [`Action::CaughtUp`] comes again, when everything
    /// has been read that is at the relay now, also in topics that were taken on since.
    pub fn catch_up(&mut self) {
        self.link.caught_up = false;
        self.link.echoed = false;
        // Without a connection, the next one begins with the question.
        if self.link.up {
            self.link.mark = self.link.mark.wrapping_add(1);
            self.actions.push_back(Action::Watch(Watch::Mark(self.link.mark)));
        }
    }

    /// Publishes envelopes for a group, those of one topic in this order. An envelope that waits
    /// already is not queued twice.
    pub fn publish(&mut self, owner: GroupId, transmits: impl IntoIterator<Item = Transmit>) {
        for transmit in transmits {
            self.outbound.queue(owner, transmit, self.limits.queued_envelopes);
        }
    }

    /// Uploads a key package in place of any that waits.
    pub fn upload(&mut self, upload: Upload) {
        let newer = |other: &Upload| other.counter < upload.counter;
        if self.upload.next.as_ref().is_none_or(newer) {
            self.upload.next = Some(upload);
        }
    }

    /// Asks for the records of a topic behind a place: at most `count`, or all there are.
    pub fn look_up(&mut self, topic: Topic, after: Cursor, count: Option<u32>) -> LookUpId {
        self.look_ups.ask(topic, after, count)
    }

    /// What a subscription brought.
    pub fn handle_delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Record(topic, record) => {
                if let Some(inbound) = self.topics.get_mut(&topic) {
                    inbound.arrived(&topic, record, &self.limits);
                    self.deliver(&topic);
                }
            }
            Delivery::Head { topic, seq } => {
                if let Some(inbound) = self.topics.get_mut(&topic) {
                    inbound.heard_of(seq);
                    self.deliver(&topic);
                }
            }
            Delivery::CaughtUp(mark) => {
                if mark == self.link.mark {
                    self.link.echoed = true;
                    self.link.backoff.reset();
                }
            }
        }
    }

    /// The subscription ended.
    pub fn handle_unsubscribed(&mut self, now: Timestamp, error: &TransportError) {
        self.link.up = false;
        self.link.caught_up = false;
        self.link.echoed = false;
        self.actions.retain(|action| !matches!(action, Action::Watch(_) | Action::Subscribe));
        self.link.backoff.fail(now, least_wait(error));
        self.actions.push_back(trouble(error));
    }

    /// The answer to a [`Action::Fetch`].
    pub fn handle_pages(
        &mut self,
        now: Timestamp,
        call: CallId,
        result: Result<Vec<TopicPage>, TransportError>,
    ) {
        let Some(fetch) = self.fetches.remove(&call) else { return };
        match result {
            Ok(pages) => {
                // An answer that says there is more, but not what, is no answer.
                if pages.iter().any(|page| page.more)
                    && pages.iter().all(|page| page.records.is_empty())
                {
                    self.fetch_backoff.fail(now, Duration::ZERO);
                } else {
                    self.fetch_backoff.reset();
                }
                self.take_pages(fetch, pages);
            }
            Err(TransportError::Truncated { topic, first }) if fetch.is_of(&topic) => {
                self.give_back(fetch);
                self.take_truncated(topic, first);
            }
            Err(error) => {
                self.give_back(fetch);
                self.fetch_backoff.fail(now, least_wait(&error));
            }
        }
    }

    /// The answer to a [`Action::Publish`].
    pub fn handle_published(
        &mut self,
        now: Timestamp,
        call: CallId,
        outcomes: Vec<PublishOutcome>,
    ) {
        self.clock = self.clock.max(now);
        for Settled { owner, topic, id, outcome } in self.outbound.settle(now, call, outcomes) {
            self.actions.push_back(Action::Outcome { owner, topic, id, outcome });
        }
    }

    /// The answer to a [`Action::Upload`].
    pub fn handle_uploaded(&mut self, now: Timestamp, call: CallId, uploaded: Uploaded) {
        let Some((_, upload)) = self.upload.call.take_if(|(waiting, _)| *waiting == call) else {
            return;
        };
        let outcome = uploaded.outcome;
        if outcome.is_accepted() || outcome.is_refused() {
            self.upload.backoff.reset();
            self.actions.push_back(Action::Uploaded { counter: upload.counter, uploaded });
            return;
        }
        self.upload.backoff.fail(now, outcome.retry_after().unwrap_or(Duration::ZERO));
        self.upload(upload);
    }

    /// Whether everything that the relay has said there is has been read by its owners.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.link.caught_up && self.busy.is_empty()
    }

    /// Whether an owner has read everything that the relay has said there is in its topic, since
    /// the session came up; also if the topic is not watched any more.
    #[must_use]
    pub fn has_read(&self, topic: &Topic) -> bool {
        self.link.echoed && !self.busy.contains(topic)
    }

    /// Whether nothing is on its way: nothing to publish, to upload or to read, and the relay has
    /// said that there is no more.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.link.caught_up
            && self.actions.is_empty()
            && self.outbound.is_empty()
            && self.upload.next.is_none()
            && self.upload.call.is_none()
            && self.look_ups.is_empty()
            && self.busy.is_empty()
    }

    /// Records of a log are gone. Whoever looked for them finds nothing, and an owner that stands
    /// before them cannot follow the log any more.
    fn take_truncated(&mut self, topic: Topic, first: Seq) {
        for look_up in self.look_ups.forget(&topic, first) {
            self.actions.push_back(Action::Found { look_up, records: Vec::new() });
        }
        let stands = self.topics.get(&topic).map(Inbound::reach);
        if stands.is_some_and(|seq| seq.0.saturating_add(1) < first.0) {
            self.unwatch(&topic);
            self.actions.push_back(Action::Truncated { topic, first });
        }
    }

    fn call(&mut self) -> CallId {
        self.next_call = self.next_call.wrapping_add(1);
        CallId(self.next_call)
    }

    /// A clock that went back must not turn a short wait into a long one.
    fn tame(&mut self, now: Timestamp) {
        self.link.backoff.tame(now);
        self.fetch_backoff.tame(now);
        self.upload.backoff.tame(now);
        // There may be thousands of the others. While the clock goes on, nothing is to be done: they
        // wait for times that were not too far away when they were set.
        if now < self.clock {
            self.clock = now;
            self.outbound.tame(now);
            self.tame_parked(now);
        }
    }

    fn connect(&mut self, now: Timestamp) {
        if self.link.up || !self.link.backoff.is_due(now) {
            return;
        }
        self.link.up = true;
        self.link.mark = self.link.mark.wrapping_add(1);
        self.actions.push_back(Action::Subscribe);
        let places: Vec<(Topic, Seq)> =
            self.topics.iter().map(|(topic, inbound)| (topic.clone(), inbound.reach())).collect();
        for chunk in places.chunks(self.limits.watch_topics.max(1)) {
            self.actions.push_back(Action::Watch(Watch::Add(chunk.to_vec())));
        }
        self.actions.push_back(Action::Watch(Watch::Mark(self.link.mark)));
    }

    fn upload_queued(&mut self, now: Timestamp) {
        if self.upload.call.is_some() || !self.upload.backoff.is_due(now) {
            return;
        }
        if let Some(upload) = self.upload.next.take() {
            let call = self.call();
            self.upload.call = Some((call, upload.clone()));
            self.actions.push_back(Action::Upload { call, upload });
        }
    }

    fn publish_queued(&mut self, now: Timestamp) {
        while self.outbound.calls() < self.limits.calls {
            let call = CallId(self.next_call.wrapping_add(1));
            let Some(batch) = self.outbound.next_batch(now, call, &self.limits) else { return };
            self.next_call = call.0;
            self.actions.push_back(Action::Publish { call, batch });
        }
    }

    fn report_caught_up(&mut self) {
        if self.link.echoed && !self.link.caught_up && self.busy.is_empty() {
            self.link.caught_up = true;
            self.actions.push_back(Action::CaughtUp);
        }
    }
}

/// What an owner should hear of a failure.
fn trouble(error: &TransportError) -> Action {
    match error {
        TransportError::Misconfigured(why) => Action::Misconfigured(why),
        TransportError::NotAdmitted => Action::Misconfigured("the relay asks for an admission"),
        TransportError::TooMuch => Action::Misconfigured("the relay takes less than this"),
        TransportError::Unavailable { .. }
        | TransportError::RelayTrouble { .. }
        | TransportError::Truncated { .. } => Action::Unreachable,
    }
}

fn least_wait(error: &TransportError) -> Duration {
    match error {
        TransportError::Unavailable { retry_after }
        | TransportError::RelayTrouble { retry_after } => *retry_after,
        // Somebody has to change something, which takes longer than a retry.
        TransportError::Misconfigured(_)
        | TransportError::NotAdmitted
        | TransportError::TooMuch
        | TransportError::Truncated { .. } => Duration::from_secs(30),
    }
}
