//! The session with the relay, and what only one may own: the key ring and the routing table.

mod calls;
mod welcomes;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use conclave_core::{
    Class,
    delivery::{Delivery, PublishOutcome, TopicPage, Transmit, TransportError, Uploaded},
    group::Standing,
    keyring::Held,
    session::{Action, CallId, Session},
    step::Durable,
    store::StoreError,
};
use conclave_proto::{Cursor, GroupId, Timestamp, Topic};

use self::{calls::Subscription, welcomes::Ring};
use crate::{
    call::{Reply, give},
    driver::{Next, Role, after_panic},
    error::Error,
    group_role::{GroupInput, wait},
    index,
    shared::Shared,
};

/// What the session is told.
pub(crate) enum SessionInput {
    /// What the subscription with this number brought, or how it ended.
    /// Of which subscription, and how much of its room it takes.
    Delivered(u64, u32, Result<Delivery, TransportError>),
    /// Answers of the relay.
    Pages(CallId, Result<Vec<TopicPage>, TransportError>),
    Published(CallId, Vec<PublishOutcome>),
    Uploaded(CallId, Uploaded),
    /// A group has handled its records and stands there.
    Handled {
        group: GroupId,
        cursor: Cursor,
        parked: bool,
        removed: bool,
    },
    /// A group does not load, and will not.
    Unreadable(GroupId),
    /// A group wants this published.
    Publish(GroupId, Vec<Transmit>),
    /// A group was made here.
    Watch(GroupId, Cursor),
    /// A group has left the memory; something is due there then.
    Asleep(GroupId, Option<Timestamp>),
    /// A group has looked at what is due and what was left undone.
    Looked(GroupId),
    /// A group has given up its value, see [`GroupInput::Yield`].
    Yielded(GroupId),
    /// A write set of the key ring is stored, or not.
    Stored(u64, Result<Durable, StoreError>),
    /// The installation is registered: load or make its key ring, and follow its groups.
    Registered,
    /// To be answered when everything that is at the relay now has been read.
    Sync(Reply<()>),
}

pub(crate) struct SessionRole {
    shared: Arc<Shared>,
    session: Session,
    subscription: Option<Subscription>,
    subscriptions: u64,
    ring: Ring,
    /// When something is due in a group that is asleep.
    due: BTreeMap<GroupId, Timestamp>,
    /// Groups that were not looked at since the engine was opened, and those that are.
    unseen: VecDeque<GroupId>,
    looking: BTreeSet<GroupId>,
    /// Groups that the store did not give, and when to ask for them, and for the key ring, again.
    unread: Vec<GroupId>,
    read_again: Option<Timestamp>,
    syncs: Vec<Reply<()>>,
    caught_up: bool,
    /// Its last turn panicked.
    lost: bool,
}

impl SessionRole {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let seed = random(&shared);
        Self {
            session: Session::new(shared.limits.session, seed),
            shared,
            subscription: None,
            subscriptions: 0,
            ring: Ring::default(),
            due: BTreeMap::new(),
            unseen: VecDeque::new(),
            looking: BTreeSet::new(),
            unread: Vec::new(),
            read_again: None,
            syncs: Vec::new(),
            caught_up: false,
            lost: false,
        }
    }

    fn handle(&mut self, input: SessionInput) {
        // Before anything that can fail: an answer that is lost would be waited for for ever.
        if let SessionInput::Stored(number, stored) = input {
            return self.ring_stored(number, stored);
        }
        let now = self.shared.now();
        match input {
            SessionInput::Delivered(of, weight, delivery) => {
                self.delivered(now, of, weight, delivery);
            }
            SessionInput::Pages(call, pages) => self.session.handle_pages(now, call, pages),
            SessionInput::Published(call, all) => self.session.handle_published(now, call, all),
            SessionInput::Uploaded(call, what) => self.session.handle_uploaded(now, call, what),
            SessionInput::Handled { group, cursor, parked, removed } => {
                let topic = Topic::Group(group);
                self.session.handled(now, &topic, cursor, parked);
                if removed {
                    self.session.unwatch(&topic);
                }
            }
            SessionInput::Unreadable(group) => self.session.unwatch(&Topic::Group(group)),
            SessionInput::Publish(group, transmits) => self.session.publish(group, transmits),
            SessionInput::Watch(group, cursor) => {
                self.session.watch(Topic::Group(group), cursor);
                self.catch_up();
            }
            SessionInput::Asleep(group, due) => self.asleep(group, due),
            SessionInput::Looked(group) => drop(self.looking.remove(&group)),
            SessionInput::Yielded(group) => self.yielded(now, group),
            SessionInput::Stored(..) => {}
            SessionInput::Registered => self.registered(now),
            SessionInput::Sync(reply) => {
                self.syncs.push(reply);
                self.catch_up();
            }
        }
    }

    /// Whoever waits for a sync waits for what there is now.
    fn catch_up(&mut self) {
        if !self.syncs.is_empty() {
            self.caught_up = false;
            self.session.catch_up();
        }
    }

    fn delivered(
        &mut self,
        now: Timestamp,
        of: u64,
        weight: u32,
        delivery: Result<Delivery, TransportError>,
    ) {
        let Some(subscription) = self.subscription.as_ref().filter(|it| it.number == of) else {
            return;
        };
        match delivery {
            Ok(delivery) => {
                subscription.taken(weight);
                self.shared.reach.set(true);
                self.session.handle_delivery(delivery);
            }
            Err(error) => {
                self.subscription = None;
                self.caught_up = false;
                self.shared.reach.set(false);
                self.session.handle_unsubscribed(now, &error);
            }
        }
    }

    /// Follows everything that the store holds.
    fn registered(&mut self, now: Timestamp) {
        self.open_ring(now);
        for slot in self.shared.groups() {
            self.follow(now, slot.id);
        }
    }

    /// Watches the log of a group, and takes note of what it has left undone.
    fn follow(&mut self, now: Timestamp, id: GroupId) {
        match Held::read(&*self.shared.store, id) {
            Ok(Some(held)) => {
                let topic = Topic::Group(id);
                if !held.standing.is_removed() {
                    self.session.watch(topic.clone(), held.cursor);
                }
                if matches!(held.standing, Standing::Forked { .. }) {
                    // It has to hear as well that nothing stands behind it any more.
                    self.session.handled(now, &topic, held.cursor, true);
                }
                if held.undone {
                    self.unseen.push_back(id);
                }
                let due = held.next_timeout(&self.shared.limits.core);
                self.due.extend(due.map(|due| (id, due)));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "a group does not load");
                if self.ask_again(now, error.class()) {
                    self.unread.push(id);
                }
            }
        }
    }

    /// Something could not be read: whether it will be asked for again.
    fn ask_again(&mut self, now: Timestamp, class: Class) -> bool {
        let passes = class == Class::Transient;
        if passes {
            let at = now.plus_ms(self.shared.limits.session.trouble_ms);
            self.read_again = Some(self.read_again.map_or(at, |before| before.min(at)));
        }
        passes
    }

    fn read_again(&mut self, now: Timestamp) {
        // The clock may have gone back.
        let latest = now.plus_ms(self.shared.limits.session.trouble_ms);
        self.read_again = self.read_again.map(|at| at.min(latest));
        if self.read_again.take_if(|at| *at <= now).is_none() {
            return;
        }
        self.open_ring(now);
        if std::mem::take(&mut self.ring.lost) {
            // A set of which it is not known whether it is stored may have joined a group.
            match index::groups(&*self.shared.store) {
                Ok(groups) => self.unread.extend(groups),
                Err(error) => {
                    self.ring.lost = true;
                    self.ask_again(now, error.class());
                }
            }
        }
        for id in std::mem::take(&mut self.unread) {
            // It may have been joined anew meanwhile.
            if !self.session.is_watched(&Topic::Group(id)) {
                self.follow(now, id);
            }
            if self.session.is_watched(&Topic::Group(id)) {
                // One that was joined and that nobody was told of has none so far.
                drop(self.shared.slot(id));
            }
        }
    }

    fn asleep(&mut self, group: GroupId, due: Option<Timestamp>) {
        match due {
            Some(due) => self.due.insert(group, due),
            None => self.due.remove(&group),
        };
    }

    /// Wakes groups that have something due, and looks through those that nobody has looked at
    /// since the engine was opened, a few at a time.
    fn wake_groups(&mut self, now: Timestamp) {
        let due: Vec<GroupId> =
            self.due.iter().filter(|(_, due)| **due <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.due.remove(&id);
            self.tell(id, GroupInput::Look);
        }
        while self.looking.len() < self.shared.limits.look_at_once
            && let Some(id) = self.unseen.pop_front()
        {
            self.looking.insert(id);
            self.tell(id, GroupInput::Look);
        }
    }

    fn tell(&self, id: GroupId, input: GroupInput) {
        if let Some(slot) = self.shared.group(id) {
            self.shared.tell_group(&slot, input);
        }
    }

    fn act(&mut self, now: Timestamp, action: Action) {
        match action {
            Action::Subscribe => self.subscribe(),
            Action::Watch(change) => {
                if let Some(subscription) = &self.subscription {
                    subscription.change(change);
                }
            }
            Action::Fetch { call, after, limit } => self.fetch(call, after, limit),
            Action::Publish { call, batch } => self.publish(call, batch),
            Action::Upload { call, upload } => self.upload(call, upload),
            Action::Deliver { topic: Topic::Group(id), records } => {
                for record in &records {
                    tracing::trace!(group = ?id, seq = record.seq.0, "record");
                }
                self.tell(id, GroupInput::Records(records));
            }
            Action::Deliver { records, .. } => self.read_welcomes(now, records),
            Action::Found { look_up, records } => self.found(now, look_up, records),
            Action::Outcome { owner, id, outcome } => {
                self.tell(owner, GroupInput::Outcome(id, outcome));
            }
            Action::Uploaded { counter, uploaded } => self.ring_uploaded(now, counter, uploaded),
            Action::CaughtUp => self.caught_up = true,
            Action::Truncated { topic, first } => {
                tracing::warn!(?topic, first = first.0, "the relay has trimmed a log");
            }
            Action::Misconfigured(why) => tracing::warn!(why, "the relay cannot be used"),
            Action::Unreachable => tracing::debug!("the relay cannot be reached"),
        }
    }

    fn turn(&mut self) -> Next {
        if self.lost {
            self.recover();
        }
        for _ in 0..self.shared.limits.turn {
            let Some(input) = self.shared.session_post().take() else { break };
            self.handle(input);
        }
        let now = self.shared.now();
        self.read_again(now);
        self.ring_timer(now);
        self.wake_groups(now);
        if self.ring.is_open() {
            while let Some(action) = self.session.poll(now) {
                self.act(now, action);
            }
        }
        if self.caught_up && self.session.is_read() && self.ring.can_be_invited() {
            for reply in self.syncs.drain(..) {
                give(reply, Ok(()));
            }
        }
        if self.shared.session_post().len() > 0 {
            return Next::Again;
        }
        if self.shared.is_stopping() && self.ring.is_settled() {
            for reply in self.syncs.drain(..) {
                give(reply, Err(Error::Closed));
            }
            return if self.shared.session_post().retire() { Next::End } else { Next::Again };
        }
        let mut due = vec![self.read_again];
        if self.ring.is_open() {
            due.extend([
                self.session.next_timeout(),
                self.ring.next_timeout(),
                self.due.values().min().copied(),
            ]);
        }
        match due.into_iter().flatten().min() {
            Some(due) => Next::In(wait(now, due)),
            None => Next::Wait,
        }
    }

    /// After a panic: everything that a session knows can be found again.
    fn recover(&mut self) {
        tracing::error!("the session was lost to a bug and starts over");
        self.shared.reach.set(false);
        let shared = Arc::clone(&self.shared);
        let ring = std::mem::take(&mut self.ring).without_value();
        *self = Self { ring, lost: true, ..Self::new(shared) };
        // One that was joined in the turn that panicked is stored, but nobody was told.
        match index::groups(&*self.shared.store) {
            Ok(groups) => groups.into_iter().for_each(|id| drop(self.shared.slot(id))),
            Err(error) => tracing::warn!(%error, "the groups cannot be listed"),
        }
        for slot in self.shared.groups().iter().filter(|slot| slot.post.is_running()) {
            // Whatever it stepped aside for is forgotten.
            self.shared.tell_group(slot, GroupInput::Resume);
        }
        if self.shared.installation.get().is_some() {
            self.shared.tell_session(SessionInput::Registered);
        }
    }
}

impl Role for SessionRole {
    fn run(&mut self) -> Next {
        let installation = self.shared.installation.get().map(|installation| installation.id());
        let _inside = tracing::debug_span!("session", ?installation).entered();
        match catch_unwind(AssertUnwindSafe(|| self.turn())) {
            Ok(next) => {
                self.lost = false;
                next
            }
            Err(_) => after_panic(&mut self.lost, self.shared.is_stopping()),
        }
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// Jitter only has to differ between engines.
fn random(shared: &Shared) -> [u8; 32] {
    let mut entropy = shared.child("session", &[], shared.next_load());
    entropy.step().map(|mut step| step.array()).unwrap_or_default()
}
