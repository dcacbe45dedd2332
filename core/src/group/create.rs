//! Founding a group, loading it, and making one of a Welcome.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use conclave_proto::{
    Cursor, GroupId, IntentId, MessageId, Timestamp, Topic,
    codec::Wire,
    group::{Flags, LeafCredential, Policy, RULES},
    identity::IdentityState,
};

use super::{
    ChangeError, Group, LoadError,
    commits::Commits,
    draft::Draft,
    envelope::Marks,
    epochs::PastEpochs,
    intents::{Intent, Intents},
    outbox::{Outbox, StoredOutgoing},
    place::StoredGroup,
    renewal::Renewal,
    roster,
    standing::Membership,
    timeline::{Sent, Timeline},
};
use crate::{
    config::Limits,
    entropy::Entropy,
    installation::Installation,
    mls::Mls,
    state::{Entry, State},
    step::{Lineage, Step},
    store::{Direction, Key, Range, Store, Table, Write},
};

/// What a new group is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Who may do what.
    pub policy: Policy,
    /// Whether Welcomes have to be post-quantum (S8); leave it on.
    pub post_quantum: bool,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self { policy: Policy::MODERATED, post_quantum: true }
    }
}

/// The stored records of one group, gathered from a store.
#[derive(Default)]
pub struct GroupRecords {
    group: Vec<(Vec<u8>, Vec<u8>)>,
    intents: Vec<(Vec<u8>, Vec<u8>)>,
    outbox: Vec<(Vec<u8>, Vec<u8>)>,
}

/// They hold keys: only their number is printed (S18).
impl std::fmt::Debug for GroupRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GroupRecords({} records, ..)", self.group.len())
    }
}

impl GroupRecords {
    /// Gathers what a store holds of a group; `None` if it holds no such group.
    ///
    /// # Errors
    /// [`LoadError::Store`].
    pub fn read(store: &dyn Store, id: GroupId) -> Result<Option<Self>, LoadError> {
        let records = Self {
            group: scope(store, Table::Group, id)?,
            intents: scope(store, Table::Intent, id)?,
            outbox: scope(store, Table::Outbox, id)?,
        };
        Ok((!records.group.is_empty()).then_some(records))
    }
}

/// Orders and values of one scope.
type Stored = Vec<(Vec<u8>, Vec<u8>)>;

fn scope(store: &dyn Store, table: Table, id: GroupId) -> Result<Stored, LoadError> {
    let mut found = Vec::new();
    store.scan(table, Range::scope(id.0), Direction::Forward, &mut |key, value| {
        let order = key.get(Key::SCOPE_LEN..).unwrap_or_default();
        found.push((order.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// What every way to a group needs.
pub(crate) struct Parts {
    pub(crate) installation: Arc<Installation>,
    pub(crate) limits: Limits,
    pub(crate) entropy: Entropy,
    pub(crate) load: u64,
}

impl Group {
    /// Founds a group with this installation as its only leaf; `identity` is what the own inbox's
    /// log says.
    ///
    /// The group starts to exist when the step is durable: the group is its answer.
    ///
    /// # Errors
    /// [`ChangeError::Misuse`] if the identity is not this installation's, and
    /// [`ChangeError::Entropy`].
    pub fn create(
        now: Timestamp,
        config: GroupConfig,
        identity: IdentityState,
        installation: Arc<Installation>,
        limits: Limits,
        mut entropy: Entropy,
    ) -> Result<Step<Self>, ChangeError> {
        let own = installation.id();
        if identity.inbox != installation.inbox() || !identity.installations.contains_key(&own) {
            return Err(ChangeError::Misuse("the identity is not that of the installation"));
        }
        let flags = if config.post_quantum { Flags::POST_QUANTUM } else { Flags::default() };
        let state = State::found(identity, own, config.policy, flags);
        let mut random = entropy.step()?;
        let id = GroupId(random.array());
        let mls = Mls::create(Arc::clone(&installation), random, id, &state.context())?;
        let parts = Parts { installation, limits, entropy, load: 0 };
        let mut group = Self::assemble(parts, mls, state, Cursor::START, Renewal::new(now, now));
        group.store_everything();
        debug_assert_eq!(group.leaves.len(), 1);
        Ok(group.end(()).map(|()| group))
    }

    /// Loads a group. `load` counts the loads of this engine, so that steps of different loads
    /// are told apart. Publish [`Group::unsettled`] afterwards.
    ///
    /// # Errors
    /// [`LoadError::Damaged`] and [`LoadError::UnknownVersion`].
    pub fn load(
        records: &GroupRecords,
        id: GroupId,
        installation: Arc<Installation>,
        limits: Limits,
        entropy: Entropy,
        load: u64,
    ) -> Result<Self, LoadError> {
        let mls = Mls::load(Arc::clone(&installation), id, mls_records(&records.group))
            .ok_or(LoadError::Damaged("mls state"))?;
        let (mut meta, mut settings, mut roster) = (None, None, BTreeMap::new());
        let (mut senders, mut kept) = (BTreeMap::new(), BTreeMap::new());
        for (order, value) in &records.group {
            let read = StoredGroup::read(order, value);
            match read.map_err(LoadError::undecoded("group record"))? {
                StoredGroup::Mls => {}
                StoredGroup::Meta(value) => meta = Some(*value),
                StoredGroup::Settings(value) => settings = Some(value),
                StoredGroup::Roster(inbox, entry) => {
                    roster.insert(inbox, Entry::new(entry));
                }
                StoredGroup::Sender(sender, log) => {
                    senders.insert(sender, log);
                }
                StoredGroup::Kept(transmit, commit) => {
                    kept.insert(transmit, *commit);
                }
            }
        }
        let meta = meta.ok_or(LoadError::Damaged("group record"))?;
        let settings = settings.ok_or(LoadError::Damaged("group settings"))?;
        let state = State::new(settings, roster);
        let parts = Parts { installation, limits, entropy, load };
        let mut group = Self::assemble(parts, mls, state, meta.cursor, Renewal::of(&meta));
        group.membership = Membership::restore(meta.standing, meta.stuck_removes);
        group.marks = Marks::new(meta.life, meta.marks);
        group.lineage.life = meta.life;
        group.past = PastEpochs::new(meta.past);
        group.timeline = Timeline::new(senders, Sent { count: meta.messages, last: meta.previous });
        group.commits = Commits::new(group.topic.clone(), kept);
        let intents = decode_all::<Intent, _>(&records.intents, IntentId)?;
        group.intents = Intents::new(intents, IntentId(meta.intents));
        let outbox = decode_all::<StoredOutgoing<'_>, _>(&records.outbox, |number| number)?;
        group.outbox =
            Outbox::restore(outbox, meta.outgoing).ok_or(LoadError::Damaged(WISH_OR_ENVELOPE))?;
        group.check_loaded()?;
        Ok(group)
    }

    /// A group of a Welcome: everything is to be stored.
    pub(crate) fn joined(
        now: Timestamp,
        start: Cursor,
        parts: Parts,
        mls: Mls,
        state: State,
    ) -> Result<Self, LoadError> {
        // A jitter of up to half the time, so that a crowd that joined together does not commit
        // together.
        let jitter = mls.array::<8>().map(u64::from_be_bytes).unwrap_or_default();
        let half = parts.limits.join_update_ms / 2;
        let early = jitter.checked_rem(half.max(1)).unwrap_or_default();
        let update_by = now.plus_ms(parts.limits.join_update_ms.saturating_sub(early));
        let mut group = Self::assemble(parts, mls, state, start, Renewal::new(now, update_by));
        group.check_loaded()?;
        group.store_everything();
        Ok(group)
    }

    /// Returns the writes of a group that has never been stored, or `None` if the MLS library failed
    /// midway.
    pub(crate) fn take_first_writes(&mut self) -> Option<Vec<Write>> {
        self.end(()).into_writes()
    }

    /// A group whose log was read up to `start`, and that has done nothing since.
    fn assemble(parts: Parts, mls: Mls, state: State, start: Cursor, renewal: Renewal) -> Self {
        let id = mls.group_id();
        let topic = Topic::Group(id);
        let leaves = leaves_of(&mls);
        Self {
            id,
            topic: topic.clone(),
            installation: parts.installation,
            limits: parts.limits,
            entropy: parts.entropy,
            lineage: Lineage { owner: id.0, life: start.seq.0, load: parts.load },
            mls,
            state,
            leaves,
            cursor: start,
            membership: Membership::new(),
            marks: Marks::new(start.seq.0, 0),
            renewal,
            past: PastEpochs::new(Vec::new()),
            intents: Intents::new(BTreeMap::new(), IntentId(0)),
            commits: Commits::new(topic, BTreeMap::new()),
            outbox: Outbox::new(),
            timeline: Timeline::new(BTreeMap::new(), Sent { count: 0, last: MessageId([0; 32]) }),
            draft: Draft::new(id),
        }
    }

    pub(super) fn store_everything(&mut self) {
        self.begin_without_entropy();
        self.draft.change_meta();
        roster::store(&mut self.draft, &self.state);
    }

    /// What was stored together has to fit together: tree, roster and group context.
    fn check_loaded(&self) -> Result<(), LoadError> {
        let expected: BTreeSet<LeafCredential> = self.state.expected_leaves();
        let leaves: BTreeSet<LeafCredential> = self.leaves.keys().copied().collect();
        let settings = self.state.settings();
        if settings.rules != RULES {
            let version = settings.rules;
            return Err(LoadError::UnknownVersion { what: "group rules", version });
        }
        if !Flags::POST_QUANTUM.has(settings.flags) {
            return Err(LoadError::Damaged("group settings"));
        }
        let fits = expected == leaves
            && self.mls.leaf_count() == leaves.len()
            && self.mls.context() == Some(self.state.context());
        // A removed member's tree is that of the last epoch it was in.
        if fits || !self.mls.is_active() { Ok(()) } else { Err(LoadError::Damaged("group state")) }
    }
}

/// The leaves by their credentials.
pub(super) fn leaves_of(mls: &Mls) -> BTreeMap<LeafCredential, u32> {
    mls.leaves().filter_map(|(leaf, credential)| Some((credential?, leaf))).collect()
}

fn mls_records(stored: &Stored) -> impl Iterator<Item = (&[u8], &[u8])> {
    let of_mls = |order: &Vec<u8>| order.first() == Some(&crate::mls::RECORDS);
    stored
        .iter()
        .filter(move |(order, _)| of_mls(order))
        .map(|(order, value)| (order.as_slice(), value.as_slice()))
}

/// What a damaged record of the tables of wishes and of the outbox is called.
const WISH_OR_ENVELOPE: &str = "wish or envelope";

fn decode_all<T: Wire, K: Ord>(
    stored: &Stored,
    key: impl Fn(u64) -> K,
) -> Result<BTreeMap<K, T>, LoadError> {
    let decode = |(order, value): &(Vec<u8>, Vec<u8>)| {
        let number = order.last_chunk().ok_or(LoadError::Damaged(WISH_OR_ENVELOPE))?;
        let value = T::decode(value).map_err(LoadError::undecoded(WISH_OR_ENVELOPE))?;
        Ok((key(u64::from_be_bytes(*number)), value))
    };
    stored.iter().map(decode).collect()
}
