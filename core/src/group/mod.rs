//! Groups: the state machine that everything else is there for.
//!
//! A [`Group`] is a value with methods. Verbs say what the application wants
//! ([`Group::send`], [`Group::add`], [`Group::remove`], [`Group::update_keys`]); `handle_*` say
//! what happened outside; getters look. Verbs and handlers give a [`Step`]: store its writes,
//! then release its effects.
//!
//! An own commit is staged, stored, published, and applied when it comes back in the log: one
//! route, [`apply`](self), for own and foreign commits. No answer of the relay settles it.
//!
//! A group consists of parts that know nothing of the MLS library and are tested without it: its
//! `standing`, its `outbox`, its `intents`, the `commits` that it keeps, the `plan` of the next one,
//! its `timeline`, its past `epochs`, the `renewal` of its keys, the marks of its envelopes
//! (`envelope`) and its `roster`. Each part holds its own fields, decides on them, and adds what it
//! wants stored and released to the `draft` of the step. [`Group`] holds the door to the library,
//! and passes each record, answer and wish to the parts that it concerns.

mod apply;
mod change;
mod commit;
mod commits;
mod create;
mod draft;
mod envelope;
mod epochs;
mod error;
#[cfg(test)]
mod fixture;
mod held;
mod intents;
mod judge;
mod message;
mod outbox;
mod parked;
mod place;
mod plan;
mod publish;
mod receive;
mod renewal;
mod roster;
mod send;
mod standing;
mod stored;
#[cfg(test)]
mod tests;
mod timeline;
mod timer;
mod welcome;

use std::{collections::BTreeMap, sync::Arc};

use conclave_proto::{
    Cursor, Epoch, GroupId, IntentId, Timestamp, Topic, codec::Wire, group::LeafCredential,
};

pub use change::Candidate;
pub(crate) use create::Parts;
pub use create::{GroupConfig, GroupRecords};
pub use error::{ChangeError, LoadError, SendError};
pub use held::Held;
pub use receive::Taken;
pub use standing::Standing;
pub use stored::{StoredMessage, find_message, read_message, read_messages};

use crate::{
    config::Limits,
    entropy::{Entropy, EntropyError},
    installation::Installation,
    mls::Mls,
    state::State,
    step::{Lineage, Step},
};
use commits::Commits;
use draft::Draft;
use envelope::Marks;
use epochs::PastEpochs;
use intents::Intents;
use judge::Judge;
use outbox::Outbox;
use place::Place;
use renewal::Renewal;
use standing::Membership;
use stored::Meta;
use timeline::{Sent, Timeline};

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
    /// The leaves of the present epoch, and their positions in the tree.
    leaves: BTreeMap<LeafCredential, u32>,
    cursor: Cursor,
    membership: Membership,
    marks: Marks,
    renewal: Renewal,
    past: PastEpochs,
    intents: Intents,
    commits: Commits,
    outbox: Outbox,
    timeline: Timeline,
    draft: Draft,
}

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
        self.cursor
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
        self.membership.standing()
    }

    /// When this installation last renewed its keys by a commit with a path that was applied
    /// (S5); `None` before the first.
    #[must_use]
    pub const fn last_path_update(&self) -> Option<Timestamp> {
        self.renewal.last
    }

    /// Wishes that are not settled.
    pub fn pending_intents(&self) -> impl Iterator<Item = IntentId> + '_ {
        self.intents.ids()
    }

    /// Own messages that have no place in the log yet.
    #[must_use]
    pub fn unsettled_messages(&self) -> usize {
        self.outbox.message_count()
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
        self.renewal.is_due(now, self.limits.path_update_ms)
    }

    fn begin(&mut self) -> Result<(), EntropyError> {
        let random = self.entropy.step()?;
        self.mls.begin(random);
        self.draft = Draft::new(self.id);
        Ok(())
    }

    /// Begins a step that needs no randomness: it makes no commit and no message.
    fn begin_without_entropy(&mut self) {
        self.draft = Draft::new(self.id);
    }

    /// Ends the step. A broken one stores nothing and releases nothing.
    fn end<T>(&mut self, reply: T) -> Step<T> {
        self.checkpoint();
        let draft = std::mem::replace(&mut self.draft, Draft::new(self.id));
        if draft.broken {
            return Step::broken(self.lineage, reply);
        }
        let mut writes = draft.writes;
        if draft.meta_changed {
            writes.push(Place::Meta.put(self.id, self.meta().encode()));
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

    /// Puts the library back to the last checkpoint.
    fn roll_back(&mut self) {
        roll_back(&mut self.mls, &mut self.draft);
    }

    /// The judge of the present epoch's commits.
    fn judge(&self) -> Judge<'_> {
        Judge { state: &self.state, leaves: &self.leaves, epoch: self.epoch() }
    }

    /// The group's own record: the small fields of all parts.
    fn meta(&self) -> Meta {
        let Sent { count: messages, last: previous } = self.timeline.sent();
        Meta {
            cursor: self.cursor,
            standing: self.standing(),
            stuck_removes: self.membership.removes().to_vec(),
            life: self.marks.life(),
            marks: self.marks.count(),
            messages,
            previous,
            intents: self.intents.next().0,
            outgoing: self.outbox.next(),
            joined: self.renewal.joined,
            update_by: self.renewal.update_by,
            last_path: self.renewal.last,
            past: self.past.all().to_vec(),
        }
    }
}

fn roll_back(mls: &mut Mls, draft: &mut Draft) {
    if mls.rollback().is_err() {
        draft.broken = true;
    }
    mls.hold();
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("id", &self.id)
            .field("epoch", &self.epoch())
            .field("cursor", &self.cursor.seq)
            .field("standing", &self.standing())
            .finish_non_exhaustive()
    }
}
