//! The key ring: one thing at a time, each stored before the next.

use std::{collections::VecDeque, sync::Arc};

use conclave_core::{
    Class,
    delivery::Uploaded,
    group::{Group, Standing},
    keyring::{Gathering, Held, Invitation, KeyRing, WelcomeOutcome},
    session::LookUpId,
    step::{Durable, Effects, Step},
    store::StoreError,
};
use conclave_proto::{GroupId, Record, Timestamp, Topic};

use super::{SessionInput, SessionRole};
use crate::{group_role::GroupInput, index};

/// The key ring and what waits for it.
#[derive(Default)]
pub(super) struct Ring {
    value: Option<KeyRing>,
    /// What waits for the store: at most one write set.
    pending: Option<(u64, Continuation)>,
    number: u64,
    /// What happened meanwhile.
    waiting: VecDeque<RingInput>,
    welcomes: VecDeque<Record>,
    /// The session waits for an answer to Welcomes, and gets it when the ring is loaded.
    owes_answer: bool,
    gathering: Option<Gathering>,
    /// The group of this invitation is held; its value is asked to step aside first.
    aside: Option<(Gathering, GroupId)>,
    /// A set of it was lost, or it is not known whether it is stored.
    pub(super) lost: bool,
}

type Continuation = Box<dyn FnOnce(&mut SessionRole, Result<Durable, StoreError>) + Send>;

enum RingInput {
    Uploaded(u64, Uploaded),
    /// Look at the next Welcome.
    Next,
    /// The Welcome at the front, with what it asked for.
    Gathered(Box<Gathering>),
}

impl Ring {
    /// What is left of it when the session is lost: a set that is with the writer, before which
    /// no other ring is loaded.
    pub(super) fn without_value(self) -> Self {
        Self { pending: self.pending, number: self.number, ..Self::default() }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.value.is_some()
    }

    /// Whether nothing of it waits for the store.
    pub(super) const fn is_settled(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether the relay has this installation's key package.
    pub(super) fn can_be_invited(&self) -> bool {
        self.pending.is_none() && self.value.as_ref().is_some_and(|ring| ring.unsettled().is_none())
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.value.as_ref().filter(|_| self.pending.is_none()).and_then(KeyRing::next_timeout)
    }
}

impl SessionRole {
    /// Loads the ring, or makes it.
    pub(super) fn open_ring(&mut self, now: Timestamp) {
        if self.ring.value.is_some() || self.ring.pending.is_some() || self.load_ring() {
            return;
        }
        let Some(installation) = self.shared.installation.get().cloned() else { return };
        let load = self.shared.next_load();
        let entropy = self.shared.child("ring", &[], load);
        match KeyRing::create(now, installation, self.shared.limits.core, entropy, load) {
            Ok(step) => self.drive_ring(step, Vec::new(), |role, ring| {
                if let Ok(ring) = ring {
                    role.take_ring(ring);
                }
            }),
            Err(error) => {
                tracing::error!(%error, "no key package can be made");
                self.ask_again(now, Class::Transient);
            }
        }
    }

    /// Loads the ring; whether there is one.
    fn load_ring(&mut self) -> bool {
        let Some(installation) = self.shared.installation.get().cloned() else { return false };
        let load = self.shared.next_load();
        let entropy = self.shared.child("ring", &[], load);
        let limits = self.shared.limits.core;
        match KeyRing::load(&*self.shared.store, installation, limits, entropy, load) {
            Ok(Some(ring)) => {
                self.take_ring(ring);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(%error, "the key ring does not load");
                let now = self.shared.now();
                self.ask_again(now, error.class());
                true
            }
        }
    }

    fn take_ring(&mut self, ring: KeyRing) {
        if let Some(upload) = ring.unsettled() {
            self.session.upload(upload);
        }
        if !self.session.is_watched(&ring.topic()) {
            self.session.watch(ring.topic(), ring.cursor());
        }
        self.ring.value = Some(ring);
        let now = self.shared.now();
        if std::mem::take(&mut self.ring.owes_answer) {
            self.welcomes_read(now, false);
        }
        self.work_ring(now);
    }

    pub(super) fn ring_uploaded(&mut self, now: Timestamp, counter: u64, uploaded: Uploaded) {
        self.ring.waiting.push_back(RingInput::Uploaded(counter, uploaded));
        self.work_ring(now);
    }

    pub(super) fn read_welcomes(&mut self, now: Timestamp, records: Vec<Record>) {
        self.ring.welcomes = records.into();
        self.ring.waiting.push_back(RingInput::Next);
        self.work_ring(now);
    }

    /// An answer to what a Welcome asks for.
    pub(super) fn found(&mut self, now: Timestamp, look_up: LookUpId, records: Vec<Record>) {
        let Some(gathering) = &mut self.ring.gathering else { return };
        if !gathering.found(look_up, records) {
            return;
        }
        let Some(gathering) = self.ring.gathering.take() else { return };
        let group = gathering.invitation().group;
        if self.shared.group(group).is_some() {
            self.ring.aside = Some((gathering, group));
            self.tell(group, GroupInput::Yield);
        } else {
            self.ring.waiting.push_back(RingInput::Gathered(Box::new(gathering)));
            self.work_ring(now);
        }
    }

    /// The group of an invitation has stepped aside.
    pub(super) fn yielded(&mut self, now: Timestamp, group: GroupId) {
        match self.ring.aside.take_if(|(_, waiting)| *waiting == group) {
            Some((gathering, _)) => {
                self.ring.waiting.push_back(RingInput::Gathered(Box::new(gathering)));
                self.work_ring(now);
            }
            None => self.tell(group, GroupInput::Resume),
        }
    }

    pub(super) fn ring_timer(&mut self, now: Timestamp) {
        if self.ring.pending.is_none()
            && let Some(ring) = &mut self.ring.value
            && ring.next_timeout().is_some_and(|due| due <= now)
        {
            let step = ring.handle_timeout(now);
            self.drive_ring(step, Vec::new(), |_, _| {});
        }
    }

    pub(super) fn ring_stored(&mut self, number: u64, stored: Result<Durable, StoreError>) {
        if let Some((_, run)) = self.ring.pending.take_if(|(waiting, _)| *waiting == number) {
            run(self, stored);
        }
        let now = self.shared.now();
        if self.ring.value.is_none() && self.read_again.is_none() {
            // It waited for what a session that was lost had handed in.
            self.open_ring(now);
        }
        self.work_ring(now);
    }

    /// Does what waits for the ring, as long as nothing waits for the store.
    fn work_ring(&mut self, now: Timestamp) {
        while self.ring.pending.is_none()
            && self.ring.value.is_some()
            && let Some(input) = self.ring.waiting.pop_front()
        {
            let Some(ring) = &mut self.ring.value else { return };
            match input {
                RingInput::Uploaded(counter, Uploaded { outcome, welcome_head }) => {
                    let step = ring.handle_upload(now, counter, &outcome, welcome_head);
                    self.drive_ring(step, Vec::new(), |_, _| {});
                }
                RingInput::Next => self.next_welcome(now),
                RingInput::Gathered(gathering) => self.show_gathered(now, *gathering),
            }
        }
    }

    /// Shows the next Welcome to the ring.
    fn next_welcome(&mut self, now: Timestamp) {
        let Some(ring) = &mut self.ring.value else { return };
        let Some(record) = self.ring.welcomes.front() else {
            return self.welcomes_read(now, false);
        };
        let step = ring.handle_welcome(now, record, None);
        self.drive_ring(step, Vec::new(), move |role, outcome| match outcome {
            Ok(WelcomeOutcome::Needs(invitation)) => {
                tracing::debug!(group = ?invitation.group, "an invitation");
                role.ring.gathering = Some(Gathering::begin(&mut role.session, invitation));
            }
            other => role.welcome_shown(other, None),
        });
    }

    fn show_gathered(&mut self, now: Timestamp, gathering: Gathering) {
        let invitation = *gathering.invitation();
        let group = invitation.group;
        let held = match Held::read(&*self.shared.store, group) {
            Ok(held) => held,
            Err(_) => return self.welcome_shown(Err(StoreError::Unavailable), Some(invitation)),
        };
        let gathered = gathering.into_gathered(held);
        let (Some(ring), Some(record)) = (&mut self.ring.value, self.ring.welcomes.front()) else {
            // The Welcome comes again, for the ring has been loaded since.
            return self.tell(group, GroupInput::Resume);
        };
        let step = ring.handle_welcome(now, record, Some(&gathered));
        // In the same batch, whatever becomes of it: a group that is listed and not there is
        // passed over.
        self.drive_ring(step, vec![index::put(group)], move |role, outcome| {
            role.welcome_shown(outcome, Some(invitation));
        });
    }

    fn welcome_shown(
        &mut self,
        outcome: Result<WelcomeOutcome, StoreError>,
        invitation: Option<Invitation>,
    ) {
        let now = self.shared.now();
        let mut joined = false;
        let more = match outcome {
            Ok(WelcomeOutcome::Joined(group)) => {
                joined = true;
                self.adopt(*group);
                true
            }
            Ok(WelcomeOutcome::Rejected(_) | WelcomeOutcome::Known) => true,
            Ok(
                WelcomeOutcome::Waiting(_) | WelcomeOutcome::Needs(_) | WelcomeOutcome::Parked(_),
            ) => {
                self.welcomes_read(now, true);
                false
            }
            Err(_) => {
                self.welcomes_read(now, false);
                false
            }
        };
        if let Some(invitation) = invitation.filter(|_| !joined) {
            self.tell(invitation.group, GroupInput::Resume);
        }
        if more {
            self.ring.welcomes.pop_front();
            self.ring.waiting.push_back(RingInput::Next);
        }
    }

    /// A group that was joined, also one that was held before.
    fn adopt(&mut self, group: Group) {
        let (id, cursor) = (group.id(), group.cursor());
        debug_assert_eq!(group.standing(), Standing::Member);
        self.shared.adopt(group);
        self.session.watch(Topic::Group(id), cursor);
        self.catch_up();
    }

    fn welcomes_read(&mut self, now: Timestamp, waiting: bool) {
        self.ring.welcomes.clear();
        match &self.ring.value {
            Some(ring) => self.session.handled(now, &ring.topic(), ring.cursor(), waiting),
            None => self.ring.owes_answer = true,
        }
    }

    fn drive_ring<T: Send + 'static>(
        &mut self,
        step: Step<T>,
        also: Vec<conclave_core::store::Write>,
        then: impl FnOnce(&mut Self, Result<T, StoreError>) + Send + 'static,
    ) {
        self.ring.number += 1;
        let number = self.ring.number;
        let shared = Arc::clone(&self.shared);
        let (pending, hold) = self.shared.events.submit(step, also, move |stored| {
            shared.tell_session(SessionInput::Stored(number, stored));
        });
        let run: Continuation = Box::new(move |role, stored| match stored {
            Ok(proof) => {
                let released = pending.release(proof);
                let Effects { transmits: _, uploads, events } = released.effects;
                for event in events {
                    tracing::debug!(?event, "key ring");
                }
                for upload in uploads {
                    role.session.upload(upload);
                }
                then(role, Ok(released.reply));
            }
            Err(error) => {
                role.ring.value = None;
                // Not at once: whatever the store has may last. If it was not made yet, it is to be
                // made then.
                role.ring.lost = true;
                role.ask_again(role.shared.now(), Class::Transient);
                then(role, Err(error));
            }
        });
        let run: Continuation = Box::new(move |role, stored| {
            run(role, stored);
            drop(hold);
        });
        self.ring.pending = Some((number, run));
    }
}
