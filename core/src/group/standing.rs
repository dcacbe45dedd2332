//! Standing: whether a group takes part, waits, or is over (PROTOCOL 1, "Three verdicts").

use std::collections::BTreeMap;

use conclave_proto::{ChainHash, Cursor, Epoch, InstallationId, Record, Seq, Timestamp, Topic};
use serde::{Deserialize, Serialize};

use super::{ChangeError, SendError, draft::Draft};
use crate::event::{CommitFault, Event, Parked, Rejection};

/// Whether this installation takes part in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It does.
    Member,
    /// It stands before a commit that it cannot follow; no own commits and messages.
    Stuck {
        /// The commit.
        at: Seq,
        /// Whether the commit removes this installation.
        removal: bool,
        /// When it was met.
        since: Timestamp,
    },
    /// It was removed. Final, until a Welcome of a later commit makes it a member again.
    Removed {
        /// The commit that removed it: an older Welcome is a replayed one.
        at: Seq,
    },
    /// The relay shows another log than it showed before; no new wishes and messages until it shows
    /// the log again that the group has read.
    Forked {
        /// The first record that does not extend the log.
        at: Seq,
    },
}

impl Standing {
    /// Whether the membership is over.
    #[must_use]
    pub const fn is_removed(self) -> bool {
        matches!(self, Self::Removed { .. })
    }

    /// The commit that ended the membership, if it is over.
    #[must_use]
    pub const fn removed_at(self) -> Option<Seq> {
        match self {
            Self::Removed { at } => Some(at),
            Self::Member | Self::Stuck { .. } | Self::Forked { .. } => None,
        }
    }

    /// Why the group is parked, if it is.
    #[must_use]
    pub const fn parked(self) -> Option<Parked> {
        match self {
            Self::Stuck { removal: true, .. } => Some(Parked::Removal),
            Self::Stuck { removal: false, .. } => Some(Parked::Undecidable),
            Self::Forked { at } => Some(Parked::OtherHistory { at }),
            Self::Member | Self::Removed { .. } => None,
        }
    }
}

/// The standing of this installation in its group, and how it changes.
pub(super) struct Membership {
    standing: Standing,
    /// The installations that the commit removes that the group is parked before; empty if the
    /// commit could not be read so far.
    removes: Vec<InstallationId>,
}

/// Why an installation may neither send nor wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Barred {
    NotMember,
    Parked(Parked),
}

/// A message of the present epoch that is decrypted in search of evidence: who sent it, and how
/// far the sender had read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witness {
    pub(super) sender: InstallationId,
    pub(super) read: Cursor,
}

/// A record after the commit that the group is parked before, as it looks without keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting<M> {
    pub(super) epoch: Epoch,
    /// The message to decrypt, if it is one.
    pub(super) message: Option<M>,
}

/// What the records after a commit that cannot be followed say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// A record is of a later epoch: the others followed the commit.
    Followed,
    /// A member who had read the commit still writes in the epoch before it: it is invalid.
    Passed,
    /// The records do not tell.
    None,
}

/// Messages that are decrypted in search of evidence, per call. The newest are the likeliest to
/// have read as far as the commit.
const PEEKS: usize = 64;

impl Membership {
    /// The membership of a group that has just been founded or joined.
    pub(super) const fn new() -> Self {
        Self { standing: Standing::Member, removes: Vec::new() }
    }

    /// The membership as it was stored.
    pub(super) const fn restore(standing: Standing, removes: Vec<InstallationId>) -> Self {
        Self { standing, removes }
    }

    pub(super) const fn standing(&self) -> Standing {
        self.standing
    }

    pub(super) fn removes(&self) -> &[InstallationId] {
        &self.removes
    }

    pub(super) const fn is_member(&self) -> bool {
        matches!(self.standing, Standing::Member)
    }

    /// Whether a message may be sent and a change wished.
    pub(super) fn may_act(&self) -> Result<(), Barred> {
        if let Some(reason) = self.standing.parked() {
            return Err(Barred::Parked(reason));
        }
        if self.standing.is_removed() { Err(Barred::NotMember) } else { Ok(()) }
    }

    /// Parks before a commit. `removes` names the installations that it removes, this one among
    /// them; it is empty if the commit could not be read so far.
    pub(super) fn park(
        &mut self,
        draft: &mut Draft,
        now: Timestamp,
        at: Seq,
        removes: Vec<InstallationId>,
    ) -> Parked {
        let removal = !removes.is_empty();
        let reason = if removal { Parked::Removal } else { Parked::Undecidable };
        self.removes = removes;
        self.change(draft, Standing::Stuck { at, removal, since: now });
        draft.event(Event::Parked { group: draft.group(), reason });
        reason
    }

    /// The next record does not extend the log. The application is told once.
    pub(super) fn fork(&mut self, draft: &mut Draft, at: Seq) -> Parked {
        let reason = Parked::OtherHistory { at };
        if self.is_member() {
            self.change(draft, Standing::Forked { at });
            draft.event(Event::Parked { group: draft.group(), reason });
        }
        reason
    }

    /// The next record extends the log: a fork has ended.
    pub(super) fn follow(&mut self, draft: &mut Draft) {
        if matches!(self.standing, Standing::Forked { .. }) {
            self.change(draft, Standing::Member);
            draft.event(Event::Resumed { group: draft.group() });
        }
    }

    /// The others are in an epoch without this installation.
    pub(super) fn end(&mut self, draft: &mut Draft, at: Seq) {
        self.change(draft, Standing::Removed { at });
    }

    /// The others passed over the commit at `at`, and so does this installation.
    pub(super) fn pass_over(&mut self, draft: &mut Draft, at: Seq) {
        self.removes.clear();
        self.change(draft, Standing::Member);
        draft.reject(at, Rejection::InvalidCommit(CommitFault::Mls));
        draft.event(Event::Resumed { group: draft.group() });
    }

    /// Judges the records after the commit that the group is parked before.
    ///
    /// Only the log decides, and no clock. Another commit of the epoch says nothing: its sender
    /// may have made it before seeing this one. A record of a later epoch outweighs any message of
    /// this one: a member that the commit removes too could still write those. `heads` are the
    /// positions that the log has led to, and `peek` decrypts a message of a present member.
    pub(super) fn evidence<M>(
        &self,
        at: Seq,
        epoch: Epoch,
        heads: &BTreeMap<Seq, ChainHash>,
        seen: impl Iterator<Item = Sighting<M>>,
        mut peek: impl FnMut(M) -> Option<Witness>,
    ) -> Evidence {
        let mut present = Vec::new();
        for sighting in seen {
            if sighting.epoch > epoch {
                return Evidence::Followed;
            }
            if sighting.epoch == epoch {
                present.extend(sighting.message);
            }
        }
        let passed = present.into_iter().rev().take(PEEKS).filter_map(&mut peek).any(|witness| {
            let Witness { sender, read } = witness;
            let stays = !self.removes.contains(&sender);
            stays && read.seq >= at && heads.get(&read.seq) == Some(&read.hash)
        });
        if passed { Evidence::Passed } else { Evidence::None }
    }

    fn change(&mut self, draft: &mut Draft, standing: Standing) {
        self.standing = standing;
        draft.change_meta();
    }
}

/// The records of a batch that extend the log from a cursor on. Only these are evidence: the relay
/// could have made up any other.
pub(super) fn chained<'a>(topic: &Topic, cursor: Cursor, batch: &'a [Record]) -> Vec<&'a Record> {
    let mut head = cursor;
    let mut chained = Vec::new();
    for record in batch.iter().filter(|record| record.seq > cursor.seq) {
        if !record.follows(topic, head.seq, &head.hash) {
            break;
        }
        head = record.cursor();
        chained.push(record);
    }
    chained
}

impl From<Barred> for SendError {
    fn from(barred: Barred) -> Self {
        match barred {
            Barred::NotMember => Self::NotMember,
            Barred::Parked(reason) => Self::Parked(reason),
        }
    }
}

impl From<Barred> for ChangeError {
    fn from(barred: Barred) -> Self {
        match barred {
            Barred::NotMember => Self::NotMember,
            Barred::Parked(reason) => Self::Parked(reason),
        }
    }
}

#[cfg(test)]
mod tests;
