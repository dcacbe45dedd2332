//! Records of the log, in order, in one step.

use conclave_proto::{Envelope, Mark, Record, Timestamp, TransmitId};

use super::{Draft, Group, apply::Valid, outbox::Echo};
use crate::{
    event::{CommitFault, Parked, Rejection},
    mls::{Content, Fault, ForeignCommit, Inside, Mls, Parsed},
    step::{Effects, Step},
};

/// How much of a batch was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Records handled, from the front of the batch; the cursor stands behind them.
    pub count: usize,
    /// What the next one waits for, if it was not handled.
    pub parked: Option<Parked>,
    /// The MLS library failed in the middle of the batch. Drop the group, load it again, and
    /// hand in the records one by one.
    pub broken: bool,
}

/// Where an own envelope was found.
enum Own {
    Commit(TransmitId),
    Message(Echo),
}

impl Group {
    /// Handles records in log order, in one step. Never fails: what a peer did wrong is an event,
    /// and the cursor moves on.
    ///
    /// Records that were handled before are passed over. At a hole, at a record of another
    /// history, or at a commit that cannot be followed, the rest waits: see [`Taken`]. A group
    /// that waits before a commit looks for evidence in the whole batch: hand in everything that
    /// stands behind it, and an empty batch if the relay says that nothing does.
    pub fn handle_records(&mut self, now: Timestamp, batch: &[Record]) -> Step<Taken> {
        if self.begin().is_err() {
            self.begin_without_entropy();
            return self.end(Taken { count: 0, parked: Some(Parked::Entropy), broken: false });
        }
        if batch.iter().all(|record| record.seq <= self.cursor.seq) {
            // No record follows the cursor: what did not extend the log is gone.
            self.membership.follow(&mut self.draft);
        }
        let mut taken = Taken { count: 0, parked: self.unpark(batch), broken: false };
        for record in batch.iter().take(self.limits.batch_records) {
            if taken.parked.is_some() || self.draft.broken {
                break;
            }
            match self.take(now, record, taken.count == 0) {
                Ok(()) => taken.count += 1,
                Err(parked) => taken.parked = Some(parked),
            }
        }
        self.advance(now);
        self.checkpoint();
        if self.draft.broken {
            // The driver is told by the answer, so this is an ordinary step that stores nothing.
            self.draft = Draft::new(self.id);
            let taken = Taken { count: 0, parked: None, broken: true };
            return Step::new(self.lineage, Vec::new(), Effects::default(), taken);
        }
        self.end(taken)
    }

    /// One record: its place in the chain, its verdict, the cursor.
    fn take(&mut self, now: Timestamp, record: &Record, first: bool) -> Result<(), Parked> {
        let cursor = self.cursor;
        if record.seq <= cursor.seq {
            return Ok(());
        }
        if record.prev > cursor.seq {
            return Err(Parked::MissingRecords { at: record.seq });
        }
        if !record.follows(&self.topic, cursor.seq, &cursor.hash) {
            return Err(self.membership.fork(&mut self.draft, record.seq));
        }
        self.membership.follow(&mut self.draft);
        if self.standing().is_removed() {
            self.draft.reject(record.seq, Rejection::NotMember);
        } else {
            self.verdict(now, record, first)?;
        }
        self.cursor = record.cursor();
        self.draft.change_meta();
        self.timeline.extend_trail(self.cursor);
        Ok(())
    }

    fn verdict(&mut self, now: Timestamp, record: &Record, first: bool) -> Result<(), Parked> {
        let Ok((mark, message)) = Envelope::decode_group(&record.payload) else {
            self.draft.reject(record.seq, Rejection::Malformed);
            return Ok(());
        };
        match self.own(&message) {
            Some(Own::Commit(id)) => return self.own_commit(now, record, id, first),
            Some(Own::Message(echo)) => {
                self.settle_message(record, &echo);
                return Ok(());
            }
            None => {}
        }
        match Mls::parse(&message) {
            Some(parsed) => self.foreign(now, record, mark, parsed, first),
            None => {
                self.draft.reject(record.seq, Rejection::Malformed);
                Ok(())
            }
        }
    }

    /// The own commit or message that an MLS message is.
    fn own(&self, message: &[u8]) -> Option<Own> {
        let commit = self.commits.find(message).map(Own::Commit);
        commit.or_else(|| self.outbox.find(message).map(Own::Message))
    }

    fn own_commit(
        &mut self,
        now: Timestamp,
        record: &Record,
        id: TransmitId,
        first: bool,
    ) -> Result<(), Parked> {
        self.checkpoint();
        match self.apply_own(now, record, id) {
            Ok(()) => Ok(()),
            Err(_) => self.cannot_follow(now, record, first),
        }
    }

    /// The library failed at a commit that is valid for the others: it is never passed over.
    fn cannot_follow(
        &mut self,
        now: Timestamp,
        record: &Record,
        first: bool,
    ) -> Result<(), Parked> {
        if first && self.mls.rollback().is_ok() {
            self.mls.hold();
            return Err(self.park(now, record.seq, Vec::new()));
        }
        self.draft.broken = true;
        Ok(())
    }

    fn foreign(
        &mut self,
        now: Timestamp,
        record: &Record,
        mark: Mark,
        parsed: Parsed,
        first: bool,
    ) -> Result<(), Parked> {
        let outside = parsed.outside;
        let early = if outside.group != self.id {
            Some(Rejection::OtherGroup)
        } else if outside.epoch > self.epoch() {
            Some(Rejection::FutureEpoch)
        } else {
            match outside.content {
                Content::Proposal => Some(Rejection::Proposal),
                Content::Commit if outside.epoch < self.epoch() => Some(Rejection::LostRace),
                Content::Commit | Content::Application => None,
            }
        };
        if let Some(reason) = early {
            self.draft.reject(record.seq, reason);
            return Ok(());
        }
        if outside.content == Content::Commit {
            // A commit that the rules refuse is taken back whole: it uses up no key for anybody,
            // neither for those who could read its path nor for those who could not.
            self.checkpoint();
        }
        let unchanged = !self.mls.is_changed();
        match self.mls.process(parsed) {
            Ok(Inside::Application { sender, plaintext, .. }) => {
                let plaintext = zeroize::Zeroizing::new(plaintext);
                self.receive_message(record, outside.epoch, sender, &plaintext);
                Ok(())
            }
            Ok(Inside::Commit(commit)) => self.commit(now, record, commit, first),
            Ok(Inside::OwnLeaf) => {
                self.receive_on_own_leaf(record.seq, mark);
                Ok(())
            }
            Err(Fault::Undecidable) => Err(self.park(now, record.seq, Vec::new())),
            Err(Fault::Internal) if outside.content == Content::Commit => {
                self.cannot_follow(now, record, first)
            }
            Err(Fault::Internal) => {
                self.failed(record, first && unchanged);
                Ok(())
            }
            Err(fault) => {
                // One error of the library for two things: a used key, and an epoch whose keys
                // this installation never had or has no more.
                let known = outside.epoch == self.epoch() || self.past.keeps(outside.epoch);
                let reason = if known { rejection(fault) } else { Rejection::TooOld };
                self.draft.reject(record.seq, reason);
                Ok(())
            }
        }
    }

    fn commit(
        &mut self,
        now: Timestamp,
        record: &Record,
        commit: Box<ForeignCommit>,
        first: bool,
    ) -> Result<(), Parked> {
        let next = match self.judge().judge(&commit.facts) {
            Ok(next) => next,
            Err(fault) => {
                self.roll_back();
                self.draft.reject(record.seq, Rejection::InvalidCommit(fault));
                return Ok(());
            }
        };
        if commit.facts.removes_own {
            // The library reports one's own removal before it checks the tag: whether the others
            // follow it is seen in the log only.
            let removed = commit.facts.removes.iter().filter_map(|(_, credential)| *credential);
            let removed = removed.map(|credential| credential.installation).collect();
            return Err(self.park(now, record.seq, removed));
        }
        match self.apply(now, record, next, Valid::Foreign(commit)) {
            Ok(()) => Ok(()),
            Err(_) => self.cannot_follow(now, record, first),
        }
    }

    /// The library failed at a record. The first of a batch is skipped, for nothing else depends
    /// on it; behind others the whole step is given up and made again one by one.
    fn failed(&mut self, record: &Record, first: bool) {
        if first && self.mls.rollback().is_ok() {
            self.mls.hold();
            self.draft.reject(record.seq, Rejection::Internal);
        } else {
            self.draft.broken = true;
        }
    }
}

const fn rejection(fault: Fault) -> Rejection {
    match fault {
        Fault::InvalidCommit => Rejection::InvalidCommit(CommitFault::Mls),
        Fault::KeysGone => Rejection::KeysGone,
        Fault::TooFarAhead => Rejection::TooFarAhead,
        Fault::TooOld => Rejection::TooOld,
        Fault::WrongEpoch => Rejection::LostRace,
        Fault::Unverified => Rejection::Undecryptable,
        Fault::Undecidable | Fault::Internal => Rejection::Internal,
    }
}
