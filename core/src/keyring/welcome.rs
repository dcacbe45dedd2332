//! From a Welcome to a group (PROTOCOL 8).

use conclave_proto::{
    Cursor, Envelope, EnvelopeKind, GroupId, InboxId, InstallationId, Record, Timestamp, Topic,
    codec::Wire,
    group::{Flags, GroupState, LeafCredential},
    identity::IdentityState,
    welcome::{SealedWelcome, WelcomeBody, WelcomePointer, body_address},
};
use sha2::{Digest, Sha256};

use super::{KeyRing, stored::Package};
use crate::{
    event::{Event, Parked, WelcomeRejection},
    group::{Group, Held, Parts, Standing},
    identity::{ed25519, read_log},
    mls::{Joining, Mls},
    seal::{Kem, Sealed, open, open_body},
    state::State,
    step::{Effects, Step},
    store::{Table, Write},
};

/// What a Welcome asks for before it can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The group.
    pub group: GroupId,
    /// Who invites, by the Welcome's own word: look at consent first.
    pub inviter: InboxId,
    /// With which installation; it has to be in the inviter's identity log.
    pub inviter_installation: InstallationId,
    /// Fetch the record that stands here in the group's topic.
    pub start: Cursor,
    /// Fetch this body.
    pub body: [u8; 32],
}

/// What was fetched for an invitation.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// The record at the invitation's cursor, as the group's log has it; `None` if the log holds
    /// none there.
    pub commit: Option<Record>,
    /// The body; `None` if the relay has none under this address.
    pub body: Option<Vec<u8>>,
    /// The inviter's identity log, oldest entry first: whoever invites has to be in it.
    pub inviter_log: Vec<Vec<u8>>,
    /// How this installation stands in the group, if its *store* holds it, loaded or not; see
    /// [`Held::read`].
    pub held: Option<Held>,
}

impl Held {
    /// Whether the log may still show, before the Welcome's commit, that this installation was
    /// removed.
    fn is_behind(self, start: Cursor) -> bool {
        let settles = match self.standing {
            // The Welcome's own commit is evidence that a removal before it was followed.
            Standing::Member | Standing::Stuck { removal: true, .. } => true,
            // Reading on does not help here: waiting for it would block later Welcomes for ever.
            Standing::Stuck { removal: false, .. }
            | Standing::Removed { .. }
            | Standing::Forked { .. } => false,
        };
        settles && self.cursor.seq < start.seq
    }
}

/// What became of a record of the Welcome topic.
#[derive(Debug)]
pub enum WelcomeOutcome {
    /// Fetch this, and hand the record in again with it. Nothing has changed.
    Needs(Invitation),
    /// A group. It exists when the step is durable.
    Joined(Box<Group>),
    /// Not taken; the cursor has moved on, an event says why.
    Rejected(WelcomeRejection),
    /// What it names is not at the relay (yet), or the group is held and has not been read up to
    /// the Welcome's commit: hand it in again later. Nothing has changed. After
    /// [`crate::config::Limits::welcome_wait_ms`] the Welcome is rejected.
    Waiting(Invitation),
    /// Handled before.
    Known,
    /// The record does not extend the topic's log.
    Parked(Parked),
}

/// Marks the lineages of groups that a ring made.
const JOINED: u64 = 1 << 63;

/// A pointer that has been opened and verified.
struct Opened {
    pointer: WelcomePointer,
    algorithm: u16,
    reference: [u8; 32],
}

impl KeyRing {
    /// Handles the next record of the Welcome topic.
    ///
    /// First without `gathered`: the answer says what to fetch. Then again, with it. Joining, the
    /// cursor and the trigger of the key package's rotation are one write set.
    pub fn handle_welcome(
        &mut self,
        now: Timestamp,
        record: &Record,
        gathered: Option<&Gathered>,
    ) -> Step<WelcomeOutcome> {
        if record.seq <= self.ring.cursor.seq {
            return self.unchanged(WelcomeOutcome::Known);
        }
        if record.prev > self.ring.cursor.seq {
            let parked = Parked::MissingRecords { at: record.seq };
            return self.unchanged(WelcomeOutcome::Parked(parked));
        }
        if !record.follows(&self.topic(), self.ring.cursor.seq, &self.ring.cursor.hash) {
            let parked = Parked::OtherHistory { at: record.seq };
            return self.unchanged(WelcomeOutcome::Parked(parked));
        }
        let opened = match self.open(record) {
            Ok(opened) => opened,
            Err(reason) => return self.rejected(now, record, reason),
        };
        let Some(gathered) = gathered else {
            return self.unchanged(WelcomeOutcome::Needs(opened.invitation()));
        };
        // A record that is there and is not the commit will never be it.
        if gathered.commit.is_some() && opened.check_log(gathered.commit.as_ref()).is_err() {
            return self.rejected(now, record, WelcomeRejection::NotInLog);
        }
        if self.waits(now, record, &opened, gathered) {
            return self.unchanged(WelcomeOutcome::Waiting(opened.invitation()));
        }
        match self.join(now, &opened, gathered) {
            Ok(Some(group)) => self.joined(now, record, &opened, group),
            Ok(None) => self.unchanged(WelcomeOutcome::Parked(Parked::Entropy)),
            Err(reason) => self.rejected(now, record, reason),
        }
    }

    /// Whether something is missing that may still come.
    fn waits(
        &mut self,
        now: Timestamp,
        record: &Record,
        opened: &Opened,
        gathered: &Gathered,
    ) -> bool {
        if gathered.commit.is_some() && gathered.body.is_some() {
            // Reading the group up to there is in this engine's own hands: no deadline.
            return gathered.held.is_some_and(|held| held.is_behind(opened.pointer.start));
        }
        let since = match self.waiting {
            Some((seq, since)) if seq == record.seq => since,
            Some(_) | None => now,
        };
        self.waiting = Some((record.seq, since));
        now.since_ms(since) < self.limits.welcome_wait_ms
    }

    /// Passes a Welcome over because the application declines it (consent): the cursor moves on.
    /// Nothing happens if the record is not the next one.
    pub fn decline(&mut self, now: Timestamp, record: &Record) -> Step<WelcomeOutcome> {
        let next = record.prev == self.ring.cursor.seq
            && record.follows(&self.topic(), self.ring.cursor.seq, &self.ring.cursor.hash);
        if next {
            self.rejected(now, record, WelcomeRejection::Declined)
        } else {
            self.unchanged(WelcomeOutcome::Known)
        }
    }

    fn unchanged(&self, outcome: WelcomeOutcome) -> Step<WelcomeOutcome> {
        self.step(Vec::new(), Effects::default(), outcome)
    }

    fn rejected(
        &mut self,
        now: Timestamp,
        record: &Record,
        reason: WelcomeRejection,
    ) -> Step<WelcomeOutcome> {
        let event = Event::WelcomeRejected { seq: record.seq, reason };
        let mut effects = Effects { events: vec![event], ..Effects::default() };
        self.ring.cursor = record.cursor();
        let mut writes = self.rotate_if_due(now, &mut effects);
        writes.push(self.put_ring());
        self.step(writes, effects, WelcomeOutcome::Rejected(reason))
    }

    fn joined(
        &mut self,
        now: Timestamp,
        record: &Record,
        opened: &Opened,
        mut group: Group,
    ) -> Step<WelcomeOutcome> {
        let Some(first) = group.take_first_writes() else {
            return self.rejected(now, record, WelcomeRejection::Mls);
        };
        let event = Event::Joined { group: group.id(), inviter: opened.pointer.inviter };
        let mut effects = Effects { events: vec![event], ..Effects::default() };
        // Whatever is left of a membership before goes; the history stays.
        let mut writes: Vec<Write> = [Table::Group, Table::Intent, Table::Outbox]
            .map(|table| Write::DeleteScope { table, scope: group.id().0 })
            .into();
        writes.extend(first);
        self.ring.cursor = record.cursor();
        if opened.reference == self.current.reference {
            self.ring.rotate = true;
        }
        writes.extend(self.rotate_if_due(now, &mut effects));
        writes.push(self.put_ring());
        let joined = group.lineage();
        self.step(writes, effects, WelcomeOutcome::Joined(Box::new(group))).superseding(joined)
    }

    fn package(&self, reference: &[u8; 32]) -> Option<&Package> {
        let all = [Some(&self.current), self.previous.as_ref()];
        all.into_iter().flatten().find(|package| package.reference == *reference)
    }

    fn open(&self, record: &Record) -> Result<Opened, WelcomeRejection> {
        use WelcomeRejection as Reason;
        let envelope = Envelope::decode(&record.payload).map_err(|_| Reason::Malformed)?;
        let EnvelopeKind::Welcome(welcome) = envelope.kind else {
            return Err(Reason::Malformed);
        };
        let welcome = SealedWelcome::decode(&welcome).map_err(|_| Reason::Malformed)?;
        let package = self.package(&welcome.recipient).ok_or(Reason::UnknownPackage)?;
        // This ring's packages carry X-Wing keys: anything else is a downgrade by the sender.
        if Kem::from_id(welcome.algorithm) != Some(Kem::XWing) {
            return Err(Reason::Downgraded);
        }
        let info = SealedWelcome::info(welcome.algorithm, &welcome.recipient);
        let sealed = Sealed { encapsulated: welcome.encapsulated, ciphertext: welcome.ciphertext };
        let pointer =
            open(Kem::XWing, &package.seed, &sealed, &info, &[]).map_err(|_| Reason::Unsealable)?;
        let pointer = WelcomePointer::decode(&pointer).map_err(|_| Reason::Malformed)?;
        let signed = pointer.signed_bytes(&welcome.recipient);
        if !ed25519(&pointer.inviter_installation.0, &signed, &pointer.signature) {
            return Err(Reason::BadInviter);
        }
        Ok(Opened { pointer, algorithm: welcome.algorithm, reference: welcome.recipient })
    }

    /// The group of an opened Welcome; `Ok(None)` without randomness.
    fn join(
        &mut self,
        now: Timestamp,
        opened: &Opened,
        gathered: &Gathered,
    ) -> Result<Option<Group>, WelcomeRejection> {
        use WelcomeRejection as Reason;
        // G8: a Welcome never replaces a group that one is in.
        if let Some(held) = gathered.held {
            match held.standing {
                Standing::Removed { at } if opened.pointer.start.seq > at => {}
                Standing::Removed { .. } => return Err(Reason::Replayed),
                Standing::Member | Standing::Stuck { .. } | Standing::Forked { .. } => {
                    return Err(Reason::AlreadyMember);
                }
            }
        }
        opened.check_log(gathered.commit.as_ref())?;
        opened.check_inviter(&gathered.inviter_log)?;
        let body = opened.body(gathered.body.as_deref())?;
        let Ok(random) = self.entropy.step() else { return Ok(None) };
        let package = self.package(&opened.reference).ok_or(Reason::UnknownPackage)?;
        let joining = Joining {
            reference: opened.reference,
            bundle: &package.bundle,
            secrets: &opened.pointer.secrets,
            group_info: &body.group_info,
            tree: &body.tree,
        };
        let mls = Mls::join(std::sync::Arc::clone(&self.installation), random, &joining)
            .map_err(|_| Reason::Mls)?;
        if mls.group_id() != opened.pointer.group {
            return Err(Reason::Mls);
        }
        let state = GroupState::decode_canonical(&body.state).map_err(|_| Reason::BadState)?;
        let state = State::from_wire(state);
        opened.check_state(&state)?;
        self.loads = self.loads.saturating_add(1);
        let parts = Parts {
            installation: std::sync::Arc::clone(&self.installation),
            limits: self.limits,
            entropy: self.entropy.child("group", &opened.pointer.group.0),
            // Apart from the loads that a driver counts: two values never share a lineage.
            load: self.loads | JOINED,
        };
        Group::joined(now, opened.pointer.start, parts, mls, state)
            .map(Some)
            .map_err(|_| Reason::BadState)
    }
}

impl Opened {
    const fn invitation(&self) -> Invitation {
        Invitation {
            group: self.pointer.group,
            inviter: self.pointer.inviter,
            inviter_installation: self.pointer.inviter_installation,
            start: self.pointer.start,
            body: self.pointer.body,
        }
    }

    /// The group's log has to hold, at the cursor, the very commit that the Welcome names (G8).
    fn check_log(&self, commit: Option<&Record>) -> Result<(), WelcomeRejection> {
        let topic = Topic::Group(self.pointer.group);
        let holds = commit.is_some_and(|record| {
            record.cursor() == self.pointer.start
                && record.id == conclave_proto::record::transmit_id(&topic, &record.payload)
                && <[u8; 32]>::from(Sha256::digest(&record.payload)) == self.pointer.commit
        });
        if holds { Ok(()) } else { Err(WelcomeRejection::NotInLog) }
    }

    /// Whose installation invites is not for the Welcome to say: the inviter's own log says it.
    fn check_inviter(&self, log: &[Vec<u8>]) -> Result<(), WelcomeRejection> {
        let entries = log.iter().map(Vec::as_slice);
        let identity = read_log(self.pointer.inviter, None, entries);
        let lists = |state: IdentityState| {
            state.installations.contains_key(&self.pointer.inviter_installation)
        };
        if identity.is_some_and(lists) { Ok(()) } else { Err(WelcomeRejection::BadInviter) }
    }

    fn body(&self, sealed: Option<&[u8]>) -> Result<WelcomeBody, WelcomeRejection> {
        let sealed = sealed.filter(|sealed| body_address(sealed) == self.pointer.body);
        let opened = sealed.and_then(|sealed| open_body(&self.pointer.body_key, sealed));
        let body = opened.map(|body| WelcomeBody::decode(&body));
        body.and_then(Result::ok).ok_or(WelcomeRejection::BadBody)
    }

    /// The inviter is a leaf of the group, and the group allows how the Welcome was sealed.
    fn check_state(&self, state: &State) -> Result<(), WelcomeRejection> {
        let inviter = LeafCredential {
            inbox: self.pointer.inviter,
            installation: self.pointer.inviter_installation,
        };
        if !state.expected_leaves().contains(&inviter) {
            return Err(WelcomeRejection::BadInviter);
        }
        let required = state.settings().flags.has(Flags::POST_QUANTUM);
        if required && self.algorithm != Kem::XWing.id() {
            return Err(WelcomeRejection::Downgraded);
        }
        Ok(())
    }
}
