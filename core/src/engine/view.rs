//! What a group looked like after its last change: for reading without asking anybody.

use std::{collections::BTreeMap, sync::Arc};

use conclave_proto::{Cursor, Epoch, GroupId, InboxId, InstallationId};

use crate::group::{Group, Standing};

/// A snapshot of a group. Reading it waits for nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupView {
    /// The group.
    pub id: GroupId,
    /// The present epoch.
    pub epoch: Epoch,
    /// Equal for all members that are in the same epoch of the same history.
    pub authenticator: [u8; 32],
    /// Whether this installation takes part.
    pub standing: Standing,
    /// How far the group's log has been handled.
    pub cursor: Cursor,
    /// Inboxes of the roster, and the installations of each that have a leaf.
    pub members: Arc<BTreeMap<InboxId, Vec<InstallationId>>>,
    /// Own messages that have no place in the log yet.
    pub unsettled: usize,
    /// Wishes that are not settled.
    pub wishes: usize,
}

/// The authenticator is a secret of the group's members (S18).
impl std::fmt::Debug for GroupView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupView")
            .field("id", &self.id)
            .field("epoch", &self.epoch)
            .field("standing", &self.standing)
            .field("members", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl GroupView {
    /// A snapshot; what has not changed since the one before is shared with it.
    #[must_use]
    pub fn of(group: &Group, before: Option<&Self>) -> Self {
        let epoch = group.epoch();
        let same = before.filter(|before| before.epoch == epoch && !group.standing().is_removed());
        let members =
            same.map_or_else(|| Arc::new(members(group)), |view| Arc::clone(&view.members));
        let authenticator = same.map_or_else(|| group.epoch_authenticator(), |v| v.authenticator);
        Self {
            id: group.id(),
            epoch,
            authenticator,
            standing: group.standing(),
            cursor: group.cursor(),
            members,
            unsettled: group.unsettled_messages(),
            wishes: group.pending_intents().count(),
        }
    }
}

fn members(group: &Group) -> BTreeMap<InboxId, Vec<InstallationId>> {
    let mut members: BTreeMap<InboxId, Vec<InstallationId>> = BTreeMap::new();
    for leaf in group.members() {
        members.entry(leaf.inbox).or_default().push(leaf.installation);
    }
    members
}
