//! The one route by which a commit changes a group, whoever made it (G7).

use conclave_proto::{Record, Timestamp, TransmitId, codec::Wire, group::StateDelta};

use super::{
    Group,
    commits::KeptCommit,
    create::leaves_of,
    roster::{self, RosterChange},
};
use crate::{
    event::{CommitFault, Event, IntentOutcome, Rejection},
    mls::{ForeignCommit, MlsError},
    state::State,
};

/// A commit that has been judged valid, and the state it leads to.
pub(super) enum Valid {
    Foreign(Box<ForeignCommit>),
    Own(TransmitId, Box<KeptCommit>),
}

impl Group {
    /// An own commit came back as the first of its epoch: apply its kept form.
    pub(super) fn apply_own(
        &mut self,
        now: Timestamp,
        record: &Record,
        id: TransmitId,
    ) -> Result<(), MlsError> {
        let Some(kept) = self.commits.get(&id).cloned() else { return Ok(()) };
        if kept.epoch != self.epoch() {
            self.draft.reject(record.seq, Rejection::LostRace);
            return Ok(());
        }
        match self.state_after(&kept) {
            Ok(next) => self.apply(now, record, next, Valid::Own(id, Box::new(kept))),
            Err(fault) => {
                // Judged valid when it was staged, on this very state.
                self.draft.reject(record.seq, Rejection::InvalidCommit(fault));
                Ok(())
            }
        }
    }

    fn state_after(&self, kept: &KeptCommit) -> Result<State, CommitFault> {
        let Some(delta) = &kept.delta else { return Ok(self.state.clone()) };
        let delta = StateDelta::decode_canonical(delta).map_err(|_| CommitFault::Delta)?;
        self.state.apply(&delta, &self.installation.inbox(), self.epoch().next())
    }

    /// Applies a valid commit that stands at a place of the log.
    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        record: &Record,
        next: State,
        commit: Valid,
    ) -> Result<(), MlsError> {
        let ended = self.epoch();
        let own = match commit {
            Valid::Foreign(commit) => {
                self.mls.merge(*commit)?;
                None
            }
            Valid::Own(id, kept) => {
                self.mls.merge_kept(&kept.staged)?;
                Some((id, kept))
            }
        };
        self.past.end(&mut self.draft, now, ended, &self.state, &next);
        self.replace_state(next);
        self.commits.clear(&mut self.draft);
        if let Some((_, kept)) = own {
            self.renewal.renewed(&mut self.draft, now);
            self.intents.settle_all(&mut self.draft, &kept.intents, IntentOutcome::Done);
            self.queue_welcomes(now, record, &kept)?;
        }
        Ok(())
    }

    fn replace_state(&mut self, next: State) {
        let before = std::mem::replace(&mut self.state, next);
        let RosterChange { added, removed } =
            roster::store_changes(&mut self.draft, &before, &self.state);
        if !before.is_same(&self.state) {
            let after = leaves_of(&self.mls);
            let before = std::mem::replace(&mut self.leaves, after);
            self.timeline.change_leaves(&mut self.draft, &before, &self.leaves);
        }
        let event = Event::EpochChanged { group: self.id, epoch: self.epoch(), added, removed };
        self.draft.event(event);
    }
}
