//! Standing: whether a group takes part, waits, or is over (PROTOCOL 1, "Three verdicts").

use std::collections::BTreeMap;

use conclave_proto::{
    ChainHash, Cursor, Envelope, InstallationId, Record, Seq, Timestamp, codec::Wire,
    message::Payload,
};
use serde::{Deserialize, Serialize};

use super::Group;
use crate::{
    event::{CommitFault, Event, IntentFault, Parked, Rejection},
    mls::{Content, Inside, Mls, Parsed},
    padding,
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

/// Messages that are decrypted in search of evidence, per call.
const PEEKS: usize = 64;

/// What the records behind a commit that cannot be followed say about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Evidence {
    /// Somebody is in a later epoch: the others followed it.
    Followed,
    /// A member who had read the commit still writes in the epoch before it: it is invalid.
    Passed,
    None,
}

impl Group {
    /// Parks before a commit; `removes` says whom it removes, this installation among them, or is
    /// empty if the commit could not be read so far.
    pub(super) fn park(&mut self, now: Timestamp, at: Seq, removes: Vec<InstallationId>) -> Parked {
        let removal = !removes.is_empty();
        self.meta().standing = Standing::Stuck { at, removal, since: now };
        self.meta().stuck_removes = removes;
        let reason = if removal { Parked::Removal } else { Parked::Undecidable };
        self.event(Event::Parked { group: self.id, reason });
        reason
    }

    /// The next record does not extend the log. That is told once.
    pub(super) fn fork(&mut self, at: Seq) -> Parked {
        let reason = Parked::OtherHistory { at };
        if self.meta.standing == Standing::Member {
            self.meta().standing = Standing::Forked { at };
            self.event(Event::Parked { group: self.id, reason });
        }
        reason
    }

    /// The next record extends the log, perhaps again.
    pub(super) fn follow(&mut self) {
        if matches!(self.meta.standing, Standing::Forked { .. }) {
            self.meta().standing = Standing::Member;
            self.event(Event::Resumed { group: self.id });
        }
    }

    /// Looks whether a parked group can go on. `Some` says why it still waits.
    ///
    /// Only the log decides, and no clock. That another commit of the epoch stands behind says
    /// nothing: its sender may have made it before it saw this one. A message tells, for it says
    /// how far its sender had read.
    pub(super) fn unpark(&mut self, batch: &[Record]) -> Option<Parked> {
        let Standing::Stuck { at, removal, .. } = self.meta.standing else { return None };
        let reason = if removal { Parked::Removal } else { Parked::Undecidable };
        let behind = self.chained(batch);
        match self.evidence(at, &behind) {
            Evidence::Followed if removal => {
                self.leave_behind(at);
                None
            }
            Evidence::Passed => {
                self.skip_stuck(&behind, at);
                None
            }
            Evidence::Followed | Evidence::None => Some(reason),
        }
    }

    /// The records of a batch that extend the chain from the cursor on.
    fn chained<'a>(&self, batch: &'a [Record]) -> Vec<&'a Record> {
        let mut head = self.meta.cursor;
        let mut chained = Vec::new();
        for record in batch.iter().filter(|record| record.seq > self.meta.cursor.seq) {
            if !record.follows(&self.topic, head.seq, &head.hash) {
                break;
            }
            head = record.cursor();
            chained.push(record);
        }
        chained
    }

    /// The others are in an epoch without this installation: wishes and messages end, and so do
    /// the secrets of past epochs.
    fn leave_behind(&mut self, at: Seq) {
        self.meta().standing = Standing::Removed { at };
        self.fail_intents(IntentFault::NotMember);
        self.drop_kept();
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

    /// The others passed the commit over: so does this installation.
    fn skip_stuck(&mut self, behind: &[&Record], at: Seq) {
        let Some(record) = behind.iter().find(|record| record.seq == at) else { return };
        self.meta().standing = Standing::Member;
        self.meta().stuck_removes.clear();
        self.meta().cursor = record.cursor();
        self.reject(at, Rejection::InvalidCommit(CommitFault::Mls));
        self.event(Event::Resumed { group: self.id });
    }

    /// A record of a later epoch outweighs any message of this one: somebody that the commit
    /// removes too could still write those.
    fn evidence(&mut self, at: Seq, chained: &[&Record]) -> Evidence {
        let mut present = Vec::new();
        for record in chained.iter().filter(|record| record.seq > at) {
            let Ok((_, message)) = Envelope::decode_group(&record.payload) else { continue };
            let parsed = Mls::parse(&message).filter(|parsed| parsed.outside.group == self.id);
            let Some(parsed) = parsed else { continue };
            if parsed.outside.epoch > self.epoch() {
                return Evidence::Followed;
            }
            let message = parsed.outside.content == Content::Application;
            if message && parsed.outside.epoch == self.epoch() {
                present.push(parsed);
            }
        }
        let heads: BTreeMap<Seq, ChainHash> =
            chained.iter().map(|record| (record.seq, record.hash)).collect();
        // The newest are the likeliest to have read as far, and a bound on the work.
        let passed = present.into_iter().rev().take(PEEKS).any(|parsed| {
            let read = self.peek(parsed);
            read.is_some_and(|read| read.seq >= at && heads.get(&read.seq) == Some(&read.hash))
        });
        if passed { Evidence::Passed } else { Evidence::None }
    }

    /// How far the sender of a message had read. The message is decrypted, and the group put back
    /// to where it was: it is received for good at its place in the log.
    fn peek(&mut self, parsed: Parsed) -> Option<Cursor> {
        let inside = self.mls.process(parsed);
        if inside.is_ok() {
            if self.mls.rollback().is_err() {
                self.draft.broken = true;
            }
            self.mls.hold();
        }
        let Ok(Inside::Application { sender, plaintext, .. }) = inside else { return None };
        let plaintext = zeroize::Zeroizing::new(plaintext);
        let payload = Payload::decode(padding::unpad(&plaintext)?).ok()?;
        let stays = self.leaves.contains_key(&sender)
            && !self.meta.stuck_removes.contains(&sender.installation);
        stays.then_some(payload.read)
    }
}
