//! Groups: the state machine that everything else is there for.
//!
//! A [`Group`] is a value with methods. Verbs say what the application wants
//! ([`Group::send`], [`Group::add`], [`Group::remove`], [`Group::update_keys`]); `handle_*` say
//! what happened outside; getters look. Verbs and handlers give a [`Step`]: store its writes,
//! then release its effects.
//!
//! An own commit is staged, stored, published, and applied when it comes back in the log: one
//! route, [`apply`](self), for own and foreign commits. No answer of the relay settles it.

mod apply;
mod change;
mod create;
mod error;
mod held;
mod judge;
mod message;
mod outbox;
mod parked;
mod place;
mod plan;
mod receive;
mod send;
mod stored;
mod timer;
mod welcome;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use conclave_proto::{
    ChainHash, Cursor, Epoch, GroupId, InstallationId, IntentId, MessageId, Seq, Timestamp, Topic,
    TransmitId, codec::Wire, group::LeafCredential,
};

pub use change::Candidate;
pub(crate) use create::Parts;
pub use create::{GroupConfig, GroupRecords};
pub use error::{ChangeError, LoadError, SendError};
pub use held::Held;
pub use parked::Standing;
pub use receive::Taken;
pub use stored::{StoredMessage, find_message, read_message, read_messages};

use crate::{
    config::Limits,
    delivery::Transmit,
    entropy::{Entropy, EntropyError},
    event::{Event, Rejection},
    installation::Installation,
    mls::Mls,
    state::State,
    step::{Effects, Lineage, Step},
    store::Write,
};
use outbox::{Outgoing, Said};
use place::Place;
use stored::{Intent, KeptCommit, Meta, SenderLog};

/// One group of this installation.
///
/// Memory is a cache of the store: if a step could not be stored, drop the group and load it
/// again.
pub struct Group {
    id: GroupId,
    topic: Topic,
    installation: Arc<Installation>,
    limits: Limits,
    entropy: Entropy,
    lineage: Lineage,
    mls: Mls,
    state: State,
    leaves: BTreeMap<LeafCredential, u32>,
    meta: Meta,
    intents: BTreeMap<IntentId, Intent>,
    kept: BTreeMap<TransmitId, KeptCommit>,
    outbox: BTreeMap<u64, Outgoing>,
    senders: BTreeMap<InstallationId, SenderLog>,
    /// Chain hashes of records handled since the load, to compare with what senders had read.
    trail: VecDeque<(Seq, ChainHash)>,
    /// When own commits were last given to the driver; starts over with a load.
    published: BTreeMap<TransmitId, Timestamp>,
    /// Own messages that got their places since the load, the last ones: who sends one again may not
    /// have heard of it yet.
    landed: VecDeque<MessageId>,
    /// What the relay said of own messages, since the load: they are published again then, and it
    /// says so again.
    said: BTreeMap<TransmitId, Said>,
    /// When messages that wait are looked at although nothing comes: at once after a load, and where
    /// a step left some of them for the next.
    look_again: Timestamp,
    draft: Draft,
}

/// The step that is being made.
#[derive(Default)]
struct Draft {
    writes: Vec<Write>,
    effects: Effects,
    meta_changed: bool,
    /// The library failed in the middle of a batch: nothing of the step may be used.
    broken: bool,
}

/// How many own messages that got their places are remembered.
const LANDED: usize = 256;

/// How many chain hashes are remembered.
const TRAIL: usize = 512;

impl Group {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> GroupId {
        self.id
    }

    /// Its topic at the relay.
    #[must_use]
    pub const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// How far its log has been handled; fetch from here after a load.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.meta.cursor
    }

    /// The present epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.mls.epoch()
    }

    /// Equal for all members that are in the same epoch of the same history (RFC 9420 §8.7).
    #[must_use]
    pub fn epoch_authenticator(&self) -> [u8; 32] {
        self.mls.authenticator()
    }

    /// Settings and roster.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The installations that have a leaf.
    pub fn members(&self) -> impl Iterator<Item = &LeafCredential> {
        self.leaves.keys()
    }

    /// Whether this installation takes part.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.meta.standing
    }

    /// When this installation last renewed its keys by a commit with a path that was applied
    /// (S5); `None` before the first.
    #[must_use]
    pub const fn last_path_update(&self) -> Option<Timestamp> {
        self.meta.last_path
    }

    /// Wishes that are not settled.
    pub fn pending_intents(&self) -> impl Iterator<Item = IntentId> + '_ {
        self.intents.keys().copied()
    }

    /// Own messages that have no place in the log yet.
    #[must_use]
    pub fn unsettled_messages(&self) -> usize {
        self.outbox.values().filter(|outgoing| outgoing.message().is_some()).count()
    }

    /// Whether nothing of its own is on its way: no wish, no message, no Welcome.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.intents.is_empty() && self.outbox.is_empty()
    }

    /// Who computes its steps, for the committer.
    #[must_use]
    pub const fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// The path update is due before anything is sent (S5).
    #[must_use]
    pub fn is_path_update_due(&self, now: Timestamp) -> bool {
        self.meta.last_path.is_none_or(|last| now.since_ms(last) >= self.limits.path_update_ms)
    }

    fn begin(&mut self) -> Result<(), EntropyError> {
        let random = self.entropy.step()?;
        self.mls.begin(random);
        self.draft = Draft::default();
        Ok(())
    }

    /// Ends the step. A broken one stores nothing and releases nothing.
    fn end<T>(&mut self, reply: T) -> Step<T> {
        self.checkpoint();
        let draft = std::mem::take(&mut self.draft);
        if draft.broken {
            return Step::broken(self.lineage, reply);
        }
        let mut writes = draft.writes;
        if draft.meta_changed {
            writes.push(Place::Meta.put(self.id, self.meta.encode()));
        }
        Step::new(self.lineage, writes, draft.effects, reply)
    }

    /// Takes what the library has written so far into the step: a later rollback stops here.
    fn checkpoint(&mut self) {
        match self.mls.finish() {
            Ok(writes) => self.draft.writes.extend(writes),
            Err(_) => self.draft.broken = true,
        }
        self.mls.hold();
    }

    fn event(&mut self, event: Event) {
        self.draft.effects.events.push(event);
    }

    fn transmit(&mut self, transmit: Transmit) {
        self.draft.effects.transmits.push(transmit);
    }

    fn reject(&mut self, seq: Seq, reason: Rejection) {
        self.event(Event::Rejected { group: self.id, seq, reason });
    }

    fn meta(&mut self) -> &mut Meta {
        self.draft.meta_changed = true;
        &mut self.meta
    }

    fn put(&mut self, place: Place<'_>, value: Vec<u8>) {
        self.draft.writes.push(place.put(self.id, value));
    }

    fn delete(&mut self, place: Place<'_>) {
        self.draft.writes.push(place.delete(self.id));
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("id", &self.id)
            .field("epoch", &self.epoch())
            .field("cursor", &self.meta.cursor.seq)
            .field("standing", &self.meta.standing)
            .finish_non_exhaustive()
    }
}
