//! Group state: who belongs to a group and what its rules are (PROTOCOL: "What decides that a
//! commit is valid").
//!
//! The MLS `GroupContext` carries only a 32-byte root of it, because the context is signed with
//! every message: a list in it would make every message cost as much as the list is long.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

use crate::{Epoch, InboxId, InstallationId, codec::Wire, identity::IdentityState, limits};

/// MLS extension type of [`ContextExtension`] in the `GroupContext` (private range, RFC 9420 §17.3).
pub const CONTEXT_EXTENSION: u16 = 0xF0C1;
/// MLS proposal type of [`StateDelta`] (private range, RFC 9420 §17.4).
pub const DELTA_PROPOSAL: u16 = 0xF0C2;
/// MLS extension type of [`crate::package::PackageExtension`] in key packages.
pub const PACKAGE_EXTENSION: u16 = 0xF0C3;

/// The highest version of the group rules that this build knows.
pub const RULES: u16 = 1;

/// Properties of a group that everybody enforces; bits that a reader does not know need newer rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags(pub u32);

impl Flags {
    /// Welcomes are sealed post-quantum, and installations without an X-Wing key are refused (S8).
    pub const POST_QUANTUM: Self = Self(1);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Conclave's one extension of the `GroupContext`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextExtension {
    /// Which rules judge the commits of this epoch.
    pub rules: u16,
    /// Properties of the group.
    pub flags: Flags,
    /// Root of the canonical group state.
    pub root: [u8; 32],
}

impl Wire for ContextExtension {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = 64;
}

/// Who may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Right {
    /// Every member.
    Everyone,
    /// Admins and super-admins.
    Admins,
    /// Super-admins.
    SuperAdmins,
    /// Nobody.
    Nobody,
}

/// Who may do what (G3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Adding inboxes.
    pub add: Right,
    /// Removing inboxes.
    pub remove: Right,
    /// Changing metadata fields.
    pub fields: Right,
    /// Naming and dismissing admins.
    pub admins: Right,
    /// Changing this policy.
    pub policy: Right,
    /// Posting messages.
    pub post: Right,
}

impl Policy {
    /// Everybody adds, removes and posts; super-admins name admins and change rights.
    pub const OPEN: Self = Self {
        add: Right::Everyone,
        remove: Right::Everyone,
        fields: Right::Everyone,
        admins: Right::SuperAdmins,
        policy: Right::SuperAdmins,
        post: Right::Everyone,
    };
    /// Everybody posts and adds; admins remove.
    pub const MODERATED: Self = Self { remove: Right::Admins, ..Self::OPEN };
}

/// What a group is, apart from its roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Rules version; equal to the one in the context extension.
    pub rules: u16,
    /// Flags; equal to those in the context extension.
    pub flags: Flags,
    /// Who may do what.
    pub policy: Policy,
    /// Admins.
    pub admins: BTreeSet<InboxId>,
    /// Super-admins; never empty in a group with members.
    pub super_admins: BTreeSet<InboxId>,
    /// Metadata: name, description and the like, by field number.
    pub fields: BTreeMap<u16, Vec<u8>>,
    /// Address of the relay that holds the group's log; empty means the one it was joined over.
    pub home: Vec<u8>,
}

/// One inbox of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// What its identity log says up to the cited sequence.
    pub identity: IdentityState,
    /// The epoch in which the inbox was last added.
    pub incarnation: Epoch,
    /// Active installations that have no leaf, because no key package of them could be used.
    pub absent: BTreeSet<InstallationId>,
}

impl RosterEntry {
    /// The installations that have a leaf.
    pub fn leaves(&self) -> impl Iterator<Item = &InstallationId> {
        self.identity.installations.keys().filter(|id| !self.absent.contains(*id))
    }
}

/// The whole group state, as Welcome bodies carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupState {
    /// What the group is.
    pub settings: Settings,
    /// Who belongs to it.
    pub roster: BTreeMap<InboxId, RosterEntry>,
}

impl Wire for GroupState {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::WELCOME_BODY_BYTES;
}

/// How one inbox changes. Grows at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InboxChange {
    /// Joins; the entries are its whole log.
    Join {
        /// Identity entries, oldest first.
        entries: Vec<Vec<u8>>,
        /// Active installations that get no leaf.
        absent: BTreeSet<InstallationId>,
    },
    /// Stays, and its leaves follow its log; the entries are those after the cited sequence.
    Follow {
        /// Identity entries, oldest first.
        entries: Vec<Vec<u8>>,
        /// Active installations that get no leaf.
        absent: BTreeSet<InstallationId>,
    },
    /// Goes.
    Leave,
}

/// One change of the settings. Grows at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SettingChange {
    /// Sets (or with `None` clears) a metadata field.
    Field(u16, Option<Vec<u8>>),
    /// Replaces the policy.
    Policy(Policy),
    /// Names or dismisses an admin.
    Admin(InboxId, bool),
    /// Names or dismisses a super-admin.
    SuperAdmin(InboxId, bool),
    /// Raises the rules version.
    Rules(u16),
}

/// What a commit changes in the group state; travels in it as one custom proposal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDelta {
    /// Changes of the roster.
    pub inboxes: BTreeMap<InboxId, InboxChange>,
    /// Changes of the settings, in order.
    pub settings: Vec<SettingChange>,
    /// Signed statements of members that the changes rest on.
    pub statements: Vec<Vec<u8>>,
}

impl Wire for StateDelta {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::DELTA_BYTES;
}

/// The MLS credential of a leaf: version, inbox, installation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeafCredential {
    /// Whose leaf.
    pub inbox: InboxId,
    /// Which installation; equal to the leaf's signature key.
    pub installation: InstallationId,
}

impl Wire for LeafCredential {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = 65;
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::{ContextExtension, Flags, LeafCredential, StateDelta};
    use crate::{InboxId, InstallationId, codec::Wire};

    /// E10: golden bytes of what every commit and every leaf carries.
    #[test]
    fn the_encodings_of_context_and_credential_are_frozen() {
        let context = ContextExtension { rules: 1, flags: Flags::POST_QUANTUM, root: [7; 32] };
        let mut golden = vec![1, 1, 1];
        golden.extend([7; 32]);
        assert_eq!(context.encode(), golden);

        let inbox = InboxId([3; 32]);
        let credential = LeafCredential { inbox, installation: InstallationId([4; 32]) };
        let mut golden = vec![1];
        golden.extend([3; 32]);
        golden.extend([4; 32]);
        assert_eq!(credential.encode(), golden);
        assert_eq!(StateDelta::default().encode(), [1, 0, 0, 0]);
    }
}
