//! The one route by which a commit changes a group, whoever made it (G7).

use std::collections::BTreeSet;

use conclave_proto::{
    InboxId, Record, Timestamp, TransmitId,
    codec::Wire,
    group::{LeafCredential, StateDelta},
};

use super::{
    Group,
    commits::KeptCommit,
    create::leaves_of,
    place::Place,
    stored::{StoredEntry, StoredSettings},
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
        let (added, removed) = self.store_roster_changes(&before);
        if before.settings() != self.state.settings() {
            self.draft.put(Place::Settings, StoredSettings(self.state.settings().clone()).encode());
        }
        if !before.is_same(&self.state) {
            let leaves = leaves_of(&self.mls);
            let old = std::mem::replace(&mut self.leaves, leaves);
            self.forget_senders(old.into_keys().collect());
        }
        let event = Event::EpochChanged { group: self.id, epoch: self.epoch(), added, removed };
        self.draft.event(event);
    }

    /// Stores the entries that changed; gives who came and who went.
    fn store_roster_changes(&mut self, before: &State) -> (Vec<InboxId>, Vec<InboxId>) {
        let old = before.roster();
        let new = self.state.roster();
        let removed: Vec<InboxId> =
            old.keys().filter(|inbox| !new.contains_key(*inbox)).copied().collect();
        let added: Vec<InboxId> =
            new.keys().filter(|inbox| !old.contains_key(*inbox)).copied().collect();
        let changed: Vec<(InboxId, Vec<u8>)> = new
            .iter()
            .filter(|(inbox, entry)| {
                old.get(*inbox).is_none_or(|o| !std::sync::Arc::ptr_eq(o, entry))
            })
            .map(|(inbox, entry)| (*inbox, StoredEntry(entry.entry.clone()).encode()))
            .collect();
        for (inbox, value) in changed {
            self.draft.put(Place::Roster(&inbox), value);
        }
        for inbox in &removed {
            self.draft.delete(Place::Roster(inbox));
        }
        (added, removed)
    }

    /// Counters belong to a leaf: one that went, or came anew, starts over.
    fn forget_senders(&mut self, before: BTreeSet<LeafCredential>) {
        let after: BTreeSet<LeafCredential> = self.leaves.keys().copied().collect();
        for leaf in before.symmetric_difference(&after) {
            self.timeline.forget(&mut self.draft, &leaf.installation);
        }
    }
}
