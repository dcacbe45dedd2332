//! Standing: whether a group takes part, waits, or is over (PROTOCOL 1, "Three verdicts").

use conclave_proto::{Envelope, Record, Seq, Timestamp};
use serde::{Deserialize, Serialize};

use super::Group;
use crate::{
    delivery::{Event, IntentFault, Parked, Rejection},
    mls::{Content, Mls},
};

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
    /// It was removed. Final, until a Welcome makes it a member again.
    Removed,
}

impl Standing {
    /// Why the group is parked, if it is.
    #[must_use]
    pub const fn parked(self) -> Option<Parked> {
        match self {
            Self::Stuck { removal: true, .. } => Some(Parked::Removal),
            Self::Stuck { removal: false, .. } => Some(Parked::Undecidable),
            Self::Member | Self::Removed => None,
        }
    }
}

/// What the records behind a commit that cannot be followed say about it.
enum Evidence {
    /// Somebody is in a later epoch: the others followed it.
    Followed,
    /// Somebody committed again in the same epoch.
    AnotherCommit,
    None,
}

impl Group {
    /// Parks before a record.
    pub(super) fn park(&mut self, now: Timestamp, at: Seq, removal: bool) -> Parked {
        let standing = Standing::Stuck { at, removal, since: now };
        self.meta().standing = standing;
        let reason = if removal { Parked::Removal } else { Parked::Undecidable };
        self.event(Event::Parked { group: self.id, reason });
        reason
    }

    /// Looks whether a parked group can go on. `Some` says why it still waits.
    pub(super) fn unpark(&mut self, now: Timestamp, batch: &[Record]) -> Option<Parked> {
        let Standing::Stuck { at, removal, since } = self.meta.standing else { return None };
        let reason = if removal { Parked::Removal } else { Parked::Undecidable };
        let behind = batch.iter().skip_while(|record| record.seq <= at);
        match self.evidence(behind) {
            Evidence::Followed if removal => {
                self.leave_behind();
                None
            }
            Evidence::AnotherCommit if now.since_ms(since) >= self.limits.parked_ms => {
                self.skip_stuck(batch, at);
                None
            }
            Evidence::Followed | Evidence::AnotherCommit | Evidence::None => Some(reason),
        }
    }

    /// The others are in an epoch without this installation: wishes and messages end, and so do
    /// the secrets of past epochs.
    fn leave_behind(&mut self) {
        self.meta().standing = Standing::Removed;
        self.fail_intents(IntentFault::NotMember);
        let messages: Vec<u64> = self
            .outbox
            .iter()
            .filter(|(_, outgoing)| outgoing.message().is_some())
            .map(|(number, _)| *number)
            .collect();
        for number in messages {
            self.unqueue(number);
        }
        if self.mls.keep_past_epochs(0).is_err() {
            self.draft.broken = true;
        }
        self.meta().past.clear();
        self.event(Event::Removed { group: self.id });
    }

    /// Nobody followed the commit: it counts as invalid, and the next one counts.
    fn skip_stuck(&mut self, batch: &[Record], at: Seq) {
        let Some(record) = batch.iter().find(|record| record.seq == at) else { return };
        self.meta().standing = Standing::Member;
        self.meta().cursor = record.cursor();
        self.reject(at, Rejection::InvalidCommit(crate::delivery::CommitFault::Mls));
        self.event(Event::Resumed { group: self.id });
    }

    fn evidence<'a>(&self, behind: impl Iterator<Item = &'a Record>) -> Evidence {
        let mut evidence = Evidence::None;
        for record in behind {
            let Ok((_, message)) = Envelope::decode_group(&record.payload) else { continue };
            let Some(parsed) = Mls::parse(&message) else { continue };
            if parsed.outside.group != self.id {
                continue;
            }
            if parsed.outside.epoch > self.epoch() {
                return Evidence::Followed;
            }
            if parsed.outside.content == Content::Commit && parsed.outside.epoch == self.epoch() {
                evidence = Evidence::AnotherCommit;
            }
        }
        evidence
    }
}
