//! Group state: settings and roster, the root that commits to them, and how a delta changes them
//! (rules version 1).
//!
//! Everything here is a pure function of a state and bytes: no clock, no configuration, no
//! network. That is what makes two engines judge alike.

mod delta;
mod settings;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use conclave_proto::{
    Epoch, InboxId, InstallationId,
    codec::{Wire, encode_bare},
    group::{
        ContextExtension, Flags, GroupState, LeafCredential, Policy, RULES, Right, RosterEntry,
        Settings,
    },
    identity::IdentityState,
};
use sha2::{Digest, Sha256};

/// The state of a group in one epoch. Cloning is cheap: entries are shared.
#[derive(Clone, Debug)]
pub struct State {
    settings: Arc<Settings>,
    settings_hash: [u8; 32],
    roster: BTreeMap<InboxId, Arc<Entry>>,
}

/// A roster entry and its hash, so that the root of a large group costs one hash per entry that
/// changed.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) entry: RosterEntry,
    hash: [u8; 32],
}

impl Entry {
    pub(crate) fn new(entry: RosterEntry) -> Arc<Self> {
        let hash = Sha256::digest(encode_bare(&entry)).into();
        Arc::new(Self { entry, hash })
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.root() == other.root()
    }
}

impl State {
    /// The state of a new group with one inbox, which becomes its super-admin.
    #[must_use]
    pub fn found(
        identity: IdentityState,
        installation: InstallationId,
        policy: Policy,
        flags: Flags,
    ) -> Self {
        let inbox = identity.inbox;
        let others = identity.installations.keys().filter(|id| **id != installation);
        let absent: BTreeSet<InstallationId> = others.copied().collect();
        let settings = Settings {
            rules: RULES,
            flags,
            policy,
            admins: BTreeSet::new(),
            super_admins: BTreeSet::from([inbox]),
            fields: BTreeMap::new(),
            home: Vec::new(),
        };
        let entry = RosterEntry { identity, incarnation: Epoch(0), absent };
        Self::new(settings, BTreeMap::from([(inbox, Entry::new(entry))]))
    }

    pub(crate) fn new(settings: Settings, roster: BTreeMap<InboxId, Arc<Entry>>) -> Self {
        let settings_hash = Sha256::digest(encode_bare(&settings)).into();
        Self { settings: Arc::new(settings), settings_hash, roster }
    }

    /// The state that a Welcome body carries.
    #[must_use]
    pub fn from_wire(wire: GroupState) -> Self {
        let roster = wire.roster.into_iter();
        Self::new(wire.settings, roster.map(|(inbox, entry)| (inbox, Entry::new(entry))).collect())
    }

    /// The state as a Welcome body carries it.
    #[must_use]
    pub fn to_wire(&self) -> GroupState {
        let roster = self.roster.iter();
        GroupState {
            settings: (*self.settings).clone(),
            roster: roster.map(|(inbox, entry)| (*inbox, entry.entry.clone())).collect(),
        }
    }

    /// The encoded state.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_wire().encode()
    }

    /// The 32 bytes that the group context commits to: a hash over the hash of the settings and
    /// the hash of every entry in the order of inbox ids.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"conclave group state v1");
        hash.update(self.settings_hash);
        for (inbox, entry) in &self.roster {
            hash.update(inbox.0);
            hash.update(entry.hash);
        }
        hash.finalize().into()
    }

    /// What the group context says for this state.
    #[must_use]
    pub fn context(&self) -> ContextExtension {
        let Settings { rules, flags, .. } = *self.settings;
        ContextExtension { rules, flags, root: self.root() }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The inboxes of the group, in the order of their ids.
    pub fn inboxes(&self) -> impl Iterator<Item = &RosterEntry> {
        self.roster.values().map(|entry| &entry.entry)
    }

    /// One inbox of the group.
    #[must_use]
    pub fn inbox(&self, inbox: &InboxId) -> Option<&RosterEntry> {
        self.roster.get(inbox).map(|entry| &entry.entry)
    }

    #[cfg(feature = "std")]
    pub(crate) fn roster(&self) -> &BTreeMap<InboxId, Arc<Entry>> {
        &self.roster
    }

    /// Whether nothing was changed between two states of one group, without hashing anything.
    #[cfg(feature = "std")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let entries = self.roster.iter().zip(&other.roster);
        self.settings_hash == other.settings_hash
            && self.roster.len() == other.roster.len()
            && entries.into_iter().all(|((a, x), (b, y))| a == b && Arc::ptr_eq(x, y))
    }

    /// The leaves that the tree has to have: the active installations of every inbox, less those
    /// that are stated to be absent (G1).
    #[must_use]
    pub fn expected_leaves(&self) -> BTreeSet<LeafCredential> {
        let mut leaves = BTreeSet::new();
        for (inbox, entry) in &self.roster {
            for installation in entry.entry.leaves() {
                leaves.insert(LeafCredential { inbox: *inbox, installation: *installation });
            }
        }
        leaves
    }

    /// Whether an inbox holds a right.
    #[must_use]
    pub fn may(&self, inbox: &InboxId, right: Right) -> bool {
        self.roster.contains_key(inbox) && gives(&self.settings, inbox, right)
    }

    /// Whether a leaf is that of a member, of the incarnation that an epoch's messages come from:
    /// an inbox that was added again since is another incarnation (PROTOCOL 3).
    #[must_use]
    pub fn is_member_since(&self, leaf: &LeafCredential, epoch: Epoch) -> bool {
        self.inbox(&leaf.inbox).is_some_and(|entry| {
            entry.incarnation <= epoch && entry.leaves().any(|id| *id == leaf.installation)
        })
    }
}

/// Whether settings give a member a right.
pub(crate) fn gives(settings: &Settings, member: &InboxId, right: Right) -> bool {
    let super_admin = settings.super_admins.contains(member);
    match right {
        Right::Everyone => true,
        Right::Admins => super_admin || settings.admins.contains(member),
        Right::SuperAdmins => super_admin,
        Right::Nobody => false,
    }
}

#[cfg(test)]
mod tests;
