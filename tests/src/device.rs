//! One installation of a simulation: the core over a store that fails on request, and the few
//! lines that drive it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use conclave_core::{
    config::Limits,
    delivery::{PublishOutcome, Transmit},
    entropy::Entropy,
    event::Event,
    group::{Group, GroupRecords, Standing, Taken},
    installation::Installation,
    keyring::{Gathered, Held, Invitation, KeyRing, WelcomeOutcome},
    step::{Committer, Step, Upload},
    store::{Claim, Direction, Range, Store, StoreError, Table},
};
use conclave_proto::{Cursor, GroupId, Record, Seq, Timestamp, Topic, TransmitId};
use conclave_store_memory::MemoryStore;

use crate::{
    entropy::SimEntropy,
    faulty_store::{Fault, Faulty},
    sim_relay::SimRelay,
};

/// A membership: from where a device could read a group, and until where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The log position it joined behind.
    pub start: Seq,
    /// The first epoch it can read.
    pub epoch: u64,
    /// Its standing ended behind this.
    pub end: Option<Seq>,
}

/// What came of showing a Welcome to a key ring.
#[derive(Debug)]
pub enum Welcomed {
    /// This has to be fetched first.
    Needs(Invitation),
    /// It waits for what the relay does not have yet.
    Waiting,
    /// The ring is done with it, or has lost what it did to its store and wants it again.
    Handled,
}

/// One installation.
#[derive(Debug)]
pub struct Device<S = MemoryStore> {
    /// Its number in the world.
    pub index: usize,
    /// Its keys.
    pub installation: Arc<Installation>,
    /// Limits of its engine; may differ between devices.
    pub limits: Limits,
    /// The store, whose faults are scripted.
    pub store: Faulty<S>,
    /// Its key ring.
    pub ring: KeyRing,
    /// Its groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// Released, not yet published.
    pub transmits: VecDeque<Transmit>,
    pub(crate) uploads: VecDeque<Upload>,
    /// Everything it has told the application.
    pub events: Vec<Event>,
    /// Its memberships, by group.
    pub memberships: BTreeMap<GroupId, Vec<Membership>>,
    committer: Committer,
    entropy: Entropy,
    world_seed: u64,
    openings: u64,
    loads: u64,
    /// The next Welcome names what the relay does not have yet.
    pub waits_for_welcome: bool,
    /// Whether effects of the next step are lost in a crash after the commit.
    pub crash_after_commit: bool,
}

impl Device {
    /// A new installation with an empty store.
    ///
    /// # Panics
    /// If the memory store fails.
    #[must_use]
    pub fn new(seed: u64, index: usize, installation: Arc<Installation>, now: Timestamp) -> Self {
        let entropy = Entropy::new(Box::new(SimEntropy::new(seed, index as u64, 0)));
        let mut device =
            Self::open(MemoryStore::new(), index, installation, Claim([0; 16]), entropy, now);
        device.world_seed = seed;
        device
    }

    /// Ends the process between two steps and starts it again on the same store: everything in
    /// memory is gone.
    ///
    /// # Panics
    /// If what was stored does not load: that is what a simulation looks for.
    pub fn crash(&mut self) {
        self.store.disarm();
        self.store.restart();
        let opening = self.openings;
        self.openings += 1;
        let seed = self.world_seed;
        self.entropy = Entropy::new(Box::new(SimEntropy::new(seed, self.index as u64, opening)));
        let mut claim = [0; 16];
        claim[..8].copy_from_slice(&opening.to_be_bytes());
        self.store.claim(Claim(claim)).expect("a restarted store takes a claim");
        self.committer = Committer::new(Claim(claim));
        self.transmits.clear();
        self.uploads.clear();
        self.reload_ring();
        self.load_groups();
    }
}

impl<S: Store> Device<S> {
    /// An installation over a store: what lies there is loaded, and a key ring is made if none
    /// does. `claim` and `entropy` are this opening's own.
    ///
    /// # Panics
    /// If the store fails or what it holds does not load.
    #[must_use]
    pub fn open(
        store: S,
        index: usize,
        installation: Arc<Installation>,
        claim: Claim,
        entropy: Entropy,
        now: Timestamp,
    ) -> Self {
        let store = Faulty::new(store);
        store.claim(claim).expect("the store takes a claim");
        let mut committer = Committer::new(claim);
        let limits = Limits::default();
        let ring =
            KeyRing::load(&store, Arc::clone(&installation), limits, entropy.child("ring", &[]), 0);
        let (ring, uploads) = match ring.expect("the ring loads") {
            Some(ring) => {
                let uploads = ring.unsettled().into_iter().collect();
                (ring, uploads)
            }
            None => {
                let child = entropy.child("ring", &[]);
                let step = KeyRing::create(now, Arc::clone(&installation), limits, child, 0);
                let released = committer.drive(&store, step.expect("a ring is made"));
                let released = released.expect("the store works");
                (released.reply, released.effects.uploads.into())
            }
        };
        let mut device = Self {
            index,
            installation,
            limits,
            store,
            ring,
            groups: BTreeMap::new(),
            transmits: VecDeque::new(),
            uploads,
            events: Vec::new(),
            memberships: BTreeMap::new(),
            committer,
            entropy,
            world_seed: 0,
            openings: 1,
            loads: 1,
            waits_for_welcome: false,
            crash_after_commit: false,
        };
        device.load_groups();
        device
    }

    /// Fails the next store commit.
    pub fn fail_next_commit(&self, fault: Fault) {
        self.store.restart();
        self.store.fail_at(0, fault);
    }

    fn load_groups(&mut self) {
        let known: Vec<GroupId> = self.stored_groups();
        self.groups.clear();
        for id in known {
            self.reload(id);
        }
        for id in self.groups.keys() {
            // A join that was stored is a membership, even if nobody was told.
            let group = &self.groups[id];
            if !self.memberships.contains_key(id) {
                let start =
                    Membership { start: group.cursor().seq, epoch: group.epoch().0, end: None };
                self.memberships.insert(*id, vec![start]);
            }
        }
    }

    fn stored_groups(&self) -> Vec<GroupId> {
        let mut found: Vec<GroupId> = Vec::new();
        let all = Range::default();
        self.store
            .scan(Table::Group, all, Direction::Forward, &mut |key, _| {
                let id = GroupId(key[..16].try_into().expect("keys start with a scope"));
                if found.last() != Some(&id) {
                    found.push(id);
                }
                std::ops::ControlFlow::Continue(())
            })
            .expect("the store reads");
        found
    }

    fn reload_ring(&mut self) {
        self.loads += 1;
        let child = self.entropy.child("ring", &self.loads.to_be_bytes());
        let installation = Arc::clone(&self.installation);
        let ring = KeyRing::load(&self.store, installation, self.limits, child, self.loads);
        self.ring = ring.expect("the ring loads").expect("the ring is there");
        self.uploads.extend(self.ring.unsettled());
    }

    /// Drops a group and loads it again, as after a store failure.
    ///
    /// # Panics
    /// If what was stored does not load.
    pub fn reload(&mut self, id: GroupId) {
        self.loads += 1;
        self.groups.remove(&id);
        self.transmits.retain(|transmit| transmit.topic != Topic::Group(id));
        let records = GroupRecords::read(&self.store, id).expect("the store reads");
        let Some(records) = records else { return };
        let child = [&id.0[..], &self.loads.to_be_bytes()].concat();
        let entropy = self.entropy.child("group", &child);
        let installation = Arc::clone(&self.installation);
        let group = Group::load(&records, id, installation, self.limits, entropy, self.loads)
            .expect("a stored group loads");
        self.transmits.extend(group.unsettled());
        self.groups.insert(id, group);
    }

    /// A generator for a new group.
    pub fn group_entropy(&mut self) -> Entropy {
        self.loads += 1;
        self.entropy.child("new group", &self.loads.to_be_bytes())
    }

    /// Stores a step and takes its effects. On a store error: `Err`, and the caller reloads.
    ///
    /// # Errors
    /// The store's.
    pub fn drive<T>(&mut self, step: Step<T>) -> Result<T, StoreError> {
        let released = self.committer.drive(&self.store, step)?;
        if std::mem::take(&mut self.crash_after_commit) {
            return Err(StoreError::Unknown);
        }
        self.transmits.extend(released.effects.transmits);
        self.uploads.extend(released.effects.uploads);
        self.events.extend(released.effects.events);
        Ok(released.reply)
    }

    /// Drives a step of a group; reloads the group if the store failed.
    pub fn drive_group<T>(&mut self, id: GroupId, step: Step<T>) -> Option<T> {
        match self.drive(step) {
            Ok(reply) => Some(reply),
            Err(_) => {
                self.store.restart();
                self.reload(id);
                None
            }
        }
    }

    /// Publishes the next released envelope; `false` if there is none.
    pub fn publish_one(&mut self, relay: &mut SimRelay, now: Timestamp) -> bool {
        if let Some(upload) = self.uploads.pop_front() {
            relay.upload(&upload);
            let head = relay.head(self.index, &self.ring.topic()).seq;
            let accepted = PublishOutcome::Accepted { seq: Seq(1), prev: Seq(0) };
            self.settle_upload(now, upload.counter, &accepted, head);
            return true;
        }
        let Some(transmit) = self.transmits.pop_front() else { return false };
        let outcome = relay.publish(self.index, &transmit);
        let again = matches!(outcome, PublishOutcome::NotStored { .. });
        self.settle_publish(now, transmit.id, &outcome);
        if again {
            self.transmits.push_front(transmit);
        }
        true
    }

    /// Tells the key ring what became of an upload.
    pub fn settle_upload(
        &mut self,
        now: Timestamp,
        counter: u64,
        outcome: &PublishOutcome,
        head: Seq,
    ) {
        let step = self.ring.handle_upload(now, counter, outcome, head);
        if self.drive(step).is_err() {
            self.store.restart();
            self.reload_ring();
        }
    }

    /// Tells the groups what became of an envelope.
    pub fn settle_publish(&mut self, now: Timestamp, id: TransmitId, outcome: &PublishOutcome) {
        for group_id in self.groups.keys().copied().collect::<Vec<_>>() {
            let Some(group) = self.groups.get_mut(&group_id) else { continue };
            let step = group.handle_publish(now, id, outcome);
            self.drive_group(group_id, step);
        }
    }

    /// Hands in the records of a group's log behind its cursor, at most `limit`, starting up to
    /// `overlap` records before it; gives how many were taken.
    pub fn fetch_group(
        &mut self,
        relay: &SimRelay,
        now: Timestamp,
        id: GroupId,
        limit: usize,
        overlap: usize,
    ) -> usize {
        let Some(group) = self.groups.get(&id) else { return 0 };
        let topic = group.topic().clone();
        let cursor = group.cursor().seq;
        let log = relay.log(self.index, &topic);
        let next = log.partition_point(|record| record.seq <= cursor);
        let first = next.saturating_sub(overlap);
        // A parked group looks at everything behind the commit it stands before.
        let limit = if group.standing().parked().is_some() { log.len() } else { limit };
        let end = log.len().min(next + limit);
        let batch = log.get(first..end).unwrap_or_default().to_vec();
        self.handle_batch(now, id, &batch)
    }

    /// Hands records to a group; one by one if a batch breaks it.
    pub fn handle_batch(&mut self, now: Timestamp, id: GroupId, batch: &[Record]) -> usize {
        if batch.is_empty() {
            return 0;
        }
        let Some(group) = self.groups.get_mut(&id) else { return 0 };
        let before = group.standing();
        let step = group.handle_records(now, batch);
        let taken = self.drive_group(id, step);
        self.note_standing(id, before);
        let Some(taken) = taken else { return 0 };
        match taken {
            Taken { broken: true, .. } => {
                self.reload(id);
                let Some((first, rest)) = batch.split_first() else { return 0 };
                if rest.is_empty() {
                    return 0;
                }
                self.handle_batch(now, id, std::slice::from_ref(first))
                    + self.handle_batch(now, id, rest)
            }
            Taken { count, .. } => count,
        }
    }

    fn note_standing(&mut self, id: GroupId, before: Standing) {
        let Some(group) = self.groups.get(&id) else { return };
        if !before.is_removed() && group.standing().is_removed() {
            let end = Some(match before {
                Standing::Stuck { at, .. } => at,
                Standing::Member | Standing::Removed { .. } | Standing::Forked { .. } => {
                    group.cursor().seq
                }
            });
            if let Some(last) = self.memberships.entry(id).or_default().last_mut() {
                last.end = end;
            }
        }
    }

    /// Handles the next Welcome, fetching what it asks for; `false` if there is none.
    pub fn fetch_welcome(&mut self, relay: &SimRelay, now: Timestamp) -> bool {
        let topic = self.ring.topic();
        let behind = relay.after(self.index, &topic, self.ring.cursor().seq);
        let Some(record) = behind.first().cloned() else {
            self.waits_for_welcome = false;
            return false;
        };
        self.handle_welcome(relay, now, &record)
    }

    /// Handles one record of the Welcome topic.
    pub fn handle_welcome(&mut self, relay: &SimRelay, now: Timestamp, record: &Record) -> bool {
        let invitation = match self.look_at_welcome(now, record, None) {
            Welcomed::Needs(invitation) => invitation,
            Welcomed::Waiting => return false,
            Welcomed::Handled => return true,
        };
        let group_topic = Topic::Group(invitation.group);
        let gathered = Gathered {
            commit: relay.at(self.index, &group_topic, invitation.start.seq),
            body: relay.body(invitation.body),
            inviter_log: relay.identities.get(&invitation.inviter).cloned().unwrap_or_default(),
            held: self.held(invitation.group),
        };
        let asked = Some((&invitation, &gathered));
        !matches!(self.look_at_welcome(now, record, asked), Welcomed::Waiting)
    }

    /// How this installation stands in a group by its store.
    ///
    /// # Panics
    /// If the store does not read.
    #[must_use]
    pub fn held(&self, group: GroupId) -> Option<Held> {
        Held::read(self.store.inner(), group).expect("the store reads")
    }

    /// Shows a record of the Welcome topic to the key ring, with what it asked for.
    pub fn look_at_welcome(
        &mut self,
        now: Timestamp,
        record: &Record,
        gathered: Option<(&Invitation, &Gathered)>,
    ) -> Welcomed {
        self.waits_for_welcome = false;
        let step = self.ring.handle_welcome(now, record, gathered.map(|(_, gathered)| gathered));
        let start = gathered.map(|(invitation, _)| (invitation.group, invitation.start));
        match (self.drive(step), start) {
            (Ok(WelcomeOutcome::Needs(invitation)), _) => return Welcomed::Needs(invitation),
            (Ok(WelcomeOutcome::Joined(group)), Some((_, start))) => self.join(*group, start),
            (Ok(WelcomeOutcome::Waiting(_)), _) => {
                self.waits_for_welcome = true;
                return Welcomed::Waiting;
            }
            (Ok(_), _) => {}
            (Err(_), joined) => self.reload_after_ring_failure(joined),
        }
        Welcomed::Handled
    }

    fn join(&mut self, group: Group, start: Cursor) {
        let id = group.id();
        let membership = Membership { start: start.seq, epoch: group.epoch().0, end: None };
        self.memberships.entry(id).or_default().push(membership);
        self.groups.insert(id, group);
        // The value that the ring made is the group from now on; what a reload would find is the
        // same, which a crash at any later point shows.
    }

    fn reload_after_ring_failure(&mut self, joined: Option<(GroupId, Cursor)>) {
        self.store.restart();
        self.reload_ring();
        let Some((id, start)) = joined else { return };
        self.reload(id);
        if let Some(group) = self.groups.get(&id) {
            let epoch = group.epoch().0;
            let fresh = group.cursor() == start && group.standing() == Standing::Member;
            let memberships = self.memberships.entry(id).or_default();
            if fresh && memberships.last().is_none_or(|last| last.end.is_some()) {
                memberships.push(Membership { start: start.seq, epoch, end: None });
            }
        }
    }

    /// Lets the timers fire that are due.
    pub fn fire_timers(&mut self, now: Timestamp) {
        if self.ring.next_timeout().is_some_and(|due| due <= now) {
            let step = self.ring.handle_timeout(now);
            if self.drive(step).is_err() {
                self.store.restart();
                self.reload_ring();
            }
        }
        for id in self.groups.keys().copied().collect::<Vec<_>>() {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            if group.next_timeout().is_some_and(|due| due <= now) {
                let step = group.handle_timeout(now);
                self.drive_group(id, step);
            }
        }
    }

    /// Whether nothing of it is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let waits = |group: &Group| {
            group.standing() == Standing::Member
                && (!group.unsettled().is_empty()
                    || group.unsettled_messages() > 0
                    || group.pending_intents().next().is_some())
        };
        !self.waits_for_welcome
            && self.transmits.is_empty()
            && self.uploads.is_empty()
            && !self.groups.values().any(waits)
    }
}
