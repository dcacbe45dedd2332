//! Wishes to change a group: stored first, carried out by commits, each with a reported outcome
//! (G5).

use std::collections::BTreeSet;

use conclave_proto::{
    InboxId, IntentId, Timestamp,
    group::{Flags, Right},
};

use super::{
    ChangeError, Group,
    intents::{Wish, WishedInbox},
};
use crate::{identity::read_log, mls::VerifiedPackage, state::State, step::Step};

/// An inbox to add, with everything that the commit has to carry: gathered by the caller.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The inbox.
    pub inbox: InboxId,
    /// Its whole identity log, oldest entry first.
    pub log: Vec<Vec<u8>>,
    /// A checked key package of each installation that is to get a leaf. Active installations
    /// without one are stated in the group to be absent.
    pub packages: Vec<VerifiedPackage>,
}

impl Group {
    /// Adds inboxes, or new installations of inboxes that are in the group already; one commit
    /// for all, if possible with other wishes.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed.
    pub fn add(
        &mut self,
        now: Timestamp,
        who: Vec<Candidate>,
    ) -> Result<Step<IntentId>, ChangeError> {
        self.may_change(right_to_add(&self.state, &who))?;
        let inboxes: BTreeSet<InboxId> = who.iter().map(|candidate| candidate.inbox).collect();
        if who.is_empty() || inboxes.len() != who.len() {
            return Err(ChangeError::Misuse("each inbox to add has to be named once"));
        }
        let mut added = 0;
        for candidate in &who {
            check_candidate(&self.state, candidate)?;
            added += candidate.packages.len();
        }
        if self.leaves.len().saturating_add(added) > self.limits.leaves {
            return Err(ChangeError::TooManyLeaves { max: self.limits.leaves });
        }
        let wished = who.into_iter().map(wished).collect::<Result<_, _>>()?;
        self.wish(now, Wish::Add(wished))
    }

    /// Removes inboxes with all their installations.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed.
    pub fn remove(
        &mut self,
        now: Timestamp,
        who: Vec<InboxId>,
    ) -> Result<Step<IntentId>, ChangeError> {
        self.may_change(self.state.settings().policy.remove)?;
        if who.is_empty() || who.iter().any(|inbox| self.state.inbox(inbox).is_none()) {
            return Err(ChangeError::Misuse("only members can be removed"));
        }
        if who.contains(&self.installation.inbox()) {
            return Err(ChangeError::Misuse("nobody can remove the own inbox"));
        }
        if who.iter().any(|inbox| self.state.settings().super_admins.contains(inbox)) {
            return Err(ChangeError::Protected);
        }
        self.wish(now, Wish::Remove(who))
    }

    /// Renews this installation's keys in the group by a commit with a path (S5).
    ///
    /// # Errors
    /// [`ChangeError`]; nothing has changed.
    pub fn update_keys(&mut self, now: Timestamp) -> Result<Step<IntentId>, ChangeError> {
        self.may_change(Right::Everyone)?;
        self.wish(now, Wish::UpdateKeys)
    }

    fn may_change(&self, right: Right) -> Result<(), ChangeError> {
        self.membership.may_act()?;
        if !self.state.may(&self.installation.inbox(), right) {
            return Err(ChangeError::NotAllowed);
        }
        if self.intents.len() >= self.limits.intents {
            return Err(ChangeError::QueueFull { max: self.limits.intents });
        }
        Ok(())
    }

    fn wish(&mut self, now: Timestamp, wish: Wish) -> Result<Step<IntentId>, ChangeError> {
        self.begin()?;
        let id = self.intents.add(&mut self.draft, wish);
        self.advance(now);
        Ok(self.end(id))
    }
}

/// Adding an inbox needs the right to; following the log of one that is in the group needs none.
fn right_to_add(state: &State, who: &[Candidate]) -> Right {
    if who.iter().all(|candidate| state.inbox(&candidate.inbox).is_some()) {
        Right::Everyone
    } else {
        state.settings().policy.add
    }
}

fn check_candidate(state: &State, candidate: &Candidate) -> Result<(), ChangeError> {
    let entries = candidate.log.iter().map(Vec::as_slice);
    let identity = read_log(candidate.inbox, None, entries)
        .ok_or(ChangeError::Misuse("the log founds no inbox"))?;
    for package in &candidate.packages {
        let id = package.installation();
        if package.inbox() != identity.inbox || !identity.installations.contains_key(&id) {
            return Err(ChangeError::Misuse("a key package of somebody else"));
        }
        if state.settings().flags.has(Flags::POST_QUANTUM) && !package.is_post_quantum() {
            return Err(ChangeError::NotPostQuantum(id));
        }
    }
    Ok(())
}

fn wished(candidate: Candidate) -> Result<WishedInbox, ChangeError> {
    let packages = candidate.packages.iter().map(VerifiedPackage::to_mls);
    Ok(WishedInbox {
        inbox: candidate.inbox,
        log: candidate.log,
        packages: packages.collect::<Result<_, _>>()?,
    })
}
