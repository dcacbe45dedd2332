//! The judge: what makes a commit valid, for everybody the same (PROTOCOL 1).
//!
//! A pure function of the group's state in its epoch and the facts of the commit. No clock, no
//! configuration, no network: what is impure never decides here.

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::{
    Epoch,
    codec::Wire,
    group::{ContextExtension, LeafCredential, StateDelta},
    limits,
};

use crate::{event::CommitFault, mls::CommitFacts, state::State};

/// The judge of the commits of one epoch.
pub(super) struct Judge<'a> {
    pub(super) state: &'a State,
    pub(super) leaves: &'a BTreeMap<LeafCredential, u32>,
    pub(super) epoch: Epoch,
}

impl Judge<'_> {
    /// The state that a commit leads to.
    ///
    /// # Errors
    /// [`CommitFault`]: invalid for everybody.
    pub(super) fn judge(&self, facts: &CommitFacts) -> Result<State, CommitFault> {
        let committer = self.judge_committer(facts)?;
        if !facts.proposals_allowed {
            return Err(CommitFault::Proposal);
        }
        let next = self.judge_delta(facts, &committer)?;
        self.judge_leaves(facts, &next)?;
        Ok(next)
    }

    /// The committer sits in the tree, and its path leaf is the leaf that it had but for its keys.
    fn judge_committer(&self, facts: &CommitFacts) -> Result<LeafCredential, CommitFault> {
        let committer = facts.committer.ok_or(CommitFault::Credential)?;
        if self.leaves.get(&committer) != Some(&facts.leaf) {
            return Err(CommitFault::Credential);
        }
        match facts.path {
            None => Ok(committer),
            Some(Some(leaf)) if leaf == committer => Ok(committer),
            Some(Some(_)) => Err(CommitFault::Credential),
            Some(None) => Err(CommitFault::Leaf),
        }
    }

    /// Delta and context come together, and the context is that of the state that the delta
    /// gives.
    fn judge_delta(
        &self,
        facts: &CommitFacts,
        committer: &LeafCredential,
    ) -> Result<State, CommitFault> {
        match (facts.deltas.as_slice(), facts.contexts.as_slice()) {
            ([], []) => Ok(self.state.clone()),
            ([delta], [context]) => {
                let context = context.ok_or(CommitFault::Context)?;
                let delta = StateDelta::decode_canonical(delta).map_err(|_| CommitFault::Delta)?;
                let next = self.state.apply(&delta, &committer.inbox, self.epoch.next())?;
                self.judge_context(&context, &next)?;
                Ok(next)
            }
            _ => Err(CommitFault::Context),
        }
    }

    fn judge_context(&self, context: &ContextExtension, next: &State) -> Result<(), CommitFault> {
        let expected = next.context();
        if (context.rules, context.flags) != (expected.rules, expected.flags) {
            return Err(CommitFault::Context);
        }
        if context.root == expected.root { Ok(()) } else { Err(CommitFault::Root) }
    }

    /// The leaves after the commit are those that the roster after it expects.
    fn judge_leaves(&self, facts: &CommitFacts, next: &State) -> Result<(), CommitFault> {
        if facts.adds.is_empty() && facts.removes.is_empty() && facts.deltas.is_empty() {
            return Ok(());
        }
        let mut leaves: BTreeSet<LeafCredential> = self.leaves.keys().copied().collect();
        let mut removed = BTreeSet::new();
        for (_, credential) in &facts.removes {
            let credential = credential.ok_or(CommitFault::Leaves)?;
            if !leaves.remove(&credential) {
                return Err(CommitFault::Leaves);
            }
            removed.insert(credential);
        }
        let flags = self.state.settings().flags;
        for added in &facts.adds {
            let added = added.ok_or(CommitFault::Leaf)?;
            if !added.fits(flags) {
                return Err(CommitFault::Leaf);
            }
            // Removing and adding one credential in one commit would be an eviction and a return
            // with an old key package (scenario 26).
            if removed.contains(&added.credential) || !leaves.insert(added.credential) {
                return Err(CommitFault::Leaves);
            }
        }
        if leaves.len() > limits::LEAVES_PER_GROUP {
            return Err(CommitFault::Limit);
        }
        if leaves == next.expected_leaves() { Ok(()) } else { Err(CommitFault::Leaves) }
    }
}

#[cfg(test)]
mod tests;
