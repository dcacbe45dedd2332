//! Applying a state delta: the roster's part, and the whole.

use alloc::{collections::BTreeSet, vec::Vec};

use conclave_proto::{
    Epoch, InboxId, InstallationId,
    group::{InboxChange, RosterEntry, StateDelta},
    identity::IdentityState,
    limits,
};

use super::{Entry, State};
use crate::{event::CommitFault, identity::read_strictly};

impl State {
    /// The state after a commit with this delta, by a committer with the rights held before it.
    ///
    /// `next` is the epoch that the commit leads to.
    ///
    /// # Errors
    /// [`CommitFault`]: the commit is invalid for everybody.
    pub fn apply(
        &self,
        delta: &StateDelta,
        committer: &InboxId,
        next: Epoch,
    ) -> Result<Self, CommitFault> {
        // Rules version 1 knows no statements yet: nothing may rest on one.
        if !delta.statements.is_empty() {
            return Err(CommitFault::Delta);
        }
        let mut roster = self.roster.clone();
        for (inbox, change) in &delta.inboxes {
            self.check_right(committer, inbox, change)?;
            match self.changed(inbox, change, next)? {
                Some(entry) => roster.insert(*inbox, Entry::new(entry)),
                None => roster.remove(inbox),
            };
        }
        if roster.len() > limits::INBOXES_PER_GROUP {
            return Err(CommitFault::Limit);
        }
        let settings = self.changed_settings(delta, committer, &roster)?;
        Ok(Self::new(settings, roster))
    }

    /// Leaf changes that only follow an inbox's own log need no right (PROTOCOL 2).
    fn check_right(
        &self,
        committer: &InboxId,
        inbox: &InboxId,
        change: &InboxChange,
    ) -> Result<(), CommitFault> {
        let policy = &self.settings.policy;
        let allowed = match change {
            InboxChange::Join { .. } => self.may(committer, policy.add),
            InboxChange::Follow { .. } => {
                self.may(committer, conclave_proto::group::Right::Everyone)
            }
            InboxChange::Leave => {
                self.may(committer, policy.remove) && !self.settings.super_admins.contains(inbox)
            }
        };
        if allowed { Ok(()) } else { Err(CommitFault::Right) }
    }

    fn changed(
        &self,
        inbox: &InboxId,
        change: &InboxChange,
        next: Epoch,
    ) -> Result<Option<RosterEntry>, CommitFault> {
        let before = self.inbox(inbox);
        match (change, before) {
            (InboxChange::Join { entries, absent }, None) => {
                let identity = read(*inbox, None, entries)?;
                let entry = RosterEntry { identity, incarnation: next, absent: absent.clone() };
                within(&entry.absent, &entry.identity)?;
                Ok(Some(entry))
            }
            (InboxChange::Follow { entries, absent }, Some(before)) => {
                let identity = read(*inbox, Some(&before.identity), entries)?;
                let entry = RosterEntry {
                    identity,
                    incarnation: before.incarnation,
                    absent: absent.clone(),
                };
                keeps_leaves(before, &entry)?;
                Ok(Some(entry))
            }
            (InboxChange::Leave, Some(_)) => Ok(None),
            (InboxChange::Join { .. }, Some(_))
            | (InboxChange::Follow { .. } | InboxChange::Leave, None) => Err(CommitFault::Delta),
        }
    }
}

/// Reads entries on top of a state; every one of them has to count.
fn read(
    inbox: InboxId,
    before: Option<&IdentityState>,
    entries: &[Vec<u8>],
) -> Result<IdentityState, CommitFault> {
    read_strictly(inbox, before, entries.iter().map(Vec::as_slice)).ok_or(CommitFault::Identity)
}

/// Only active installations can be absent.
fn within(absent: &BTreeSet<InstallationId>, identity: &IdentityState) -> Result<(), CommitFault> {
    if absent.iter().all(|id| identity.installations.contains_key(id)) {
        Ok(())
    } else {
        Err(CommitFault::Delta)
    }
}

/// Following a log adds leaves, and removes those of revoked installations; it is no way to
/// remove a leaf whose installation is still active.
fn keeps_leaves(before: &RosterEntry, after: &RosterEntry) -> Result<(), CommitFault> {
    within(&after.absent, &after.identity)?;
    if before.leaves().any(|id| after.absent.contains(id)) {
        return Err(CommitFault::Right);
    }
    if before == after { Err(CommitFault::Delta) } else { Ok(()) }
}
