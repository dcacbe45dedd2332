//! From wishes to one commit, on the present state of a group.

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::{
    Epoch, InboxId, InstallationId, IntentId,
    codec::Wire,
    group::{InboxChange, LeafCredential, RosterEntry, StateDelta},
    limits,
};

use super::intents::{Wish, WishedInbox};
use crate::{
    event::{CommitFault, IntentFault, IntentOutcome},
    identity::{accepted, read_strictly},
    state::State,
};

/// What the wishes of one commit come to. `P` is an opened key package.
#[derive(Debug)]
pub(super) struct Plan<P> {
    pub(super) delta: StateDelta,
    pub(super) adds: BTreeMap<InstallationId, P>,
    pub(super) removes: BTreeSet<LeafCredential>,
    pub(super) intents: Vec<IntentId>,
}

/// What can be said of all wishes before a commit is made.
#[derive(Debug)]
pub(super) struct Planned<P> {
    /// The next commit, if there is anything to do.
    pub(super) plan: Option<Plan<P>>,
    /// The wishes that have ended without one.
    pub(super) settled: Vec<(IntentId, IntentOutcome)>,
}

/// What a commit of this installation would be made on.
pub(super) struct Planner<'a, O> {
    pub(super) state: &'a State,
    pub(super) committer: InboxId,
    /// The epoch that the commit leads to.
    pub(super) next: Epoch,
    /// Opens a key package that was checked when the wish was taken.
    pub(super) open: O,
}

/// What one wish comes to on a state.
enum Contribution<P> {
    Changes(Plan<P>),
    AlreadySo,
}

impl<P, O: Fn(&[u8]) -> Option<(InstallationId, P)>> Planner<'_, O> {
    /// All wishes that fit into one commit and touch different inboxes; the others are for the next
    /// commits. A wish that is true already, or cannot be carried out, ends.
    pub(super) fn plan<'w>(
        &self,
        wishes: impl Iterator<Item = (IntentId, &'w Wish)>,
    ) -> Planned<P> {
        let (mut plan, mut settled) = (Plan::default(), Vec::new());
        for (id, wish) in wishes {
            let joined = self.contribution(wish).and_then(|contribution| match contribution {
                Contribution::AlreadySo => Ok(Some(IntentOutcome::AlreadySo)),
                Contribution::Changes(part) => self.join_in(&mut plan, id, part).map(|()| None),
            });
            let outcome = joined.unwrap_or_else(|fault| Some(IntentOutcome::Failed(fault)));
            settled.extend(outcome.map(|outcome| (id, outcome)));
        }
        Planned { plan: (!plan.intents.is_empty()).then_some(plan), settled }
    }

    /// The state that a delta leads to.
    pub(super) fn next_state(&self, delta: &StateDelta) -> Result<State, IntentFault> {
        self.state.apply(delta, &self.committer, self.next).map_err(fault_of)
    }

    /// Adds a wish to the plan if it does not touch the same inbox and still fits; else it is left
    /// for the next commit. A wish that does not even fit alone has failed.
    fn join_in(&self, plan: &mut Plan<P>, id: IntentId, part: Plan<P>) -> Result<(), IntentFault> {
        if part.delta.inboxes.keys().any(|inbox| plan.delta.inboxes.contains_key(inbox)) {
            return Ok(());
        }
        let mut delta = plan.delta.clone();
        delta.inboxes.extend(part.delta.inboxes);
        if delta.encode().len() > limits::DELTA_BYTES {
            return if plan.intents.is_empty() { Err(IntentFault::TooLarge) } else { Ok(()) };
        }
        self.next_state(&delta)?;
        plan.delta = delta;
        plan.adds.extend(part.adds);
        plan.removes.extend(part.removes);
        plan.intents.push(id);
        Ok(())
    }

    fn contribution(&self, wish: &Wish) -> Result<Contribution<P>, IntentFault> {
        let mut plan = Plan::default();
        match wish {
            Wish::UpdateKeys => return Ok(Contribution::Changes(plan)),
            Wish::Remove(who) => {
                for entry in who.iter().filter_map(|inbox| self.state.inbox(inbox)) {
                    plan.removes.extend(entry.leaves().map(|id| leaf(entry, id)));
                    plan.delta.inboxes.insert(entry.identity.inbox, InboxChange::Leave);
                }
            }
            Wish::Add(who) => {
                for wished in who {
                    self.plan_addition(wished, &mut plan)?;
                }
            }
        }
        if plan.delta.inboxes.is_empty() {
            Ok(Contribution::AlreadySo)
        } else {
            Ok(Contribution::Changes(plan))
        }
    }

    fn plan_addition(&self, wished: &WishedInbox, plan: &mut Plan<P>) -> Result<(), IntentFault> {
        let packages = wished.packages.iter().map(|bytes| (self.open)(bytes));
        let packages = packages.collect::<Option<BTreeMap<_, _>>>().ok_or(IntentFault::BadInput)?;
        match self.state.inbox(&wished.inbox) {
            None => plan_join(wished, packages, plan),
            Some(entry) => plan_follow(wished, entry, packages, plan),
        }
    }
}

fn plan_join<P>(
    wished: &WishedInbox,
    packages: BTreeMap<InstallationId, P>,
    plan: &mut Plan<P>,
) -> Result<(), IntentFault> {
    let accepted = accepted(wished.inbox, None, wished.log.iter().map(Vec::as_slice));
    let (_, identity) = accepted.last().ok_or(IntentFault::BadInput)?;
    let active = identity.installations.keys();
    let absent = active.filter(|id| !packages.contains_key(*id)).copied().collect();
    let entries = accepted.iter().map(|(entry, _)| entry.clone()).collect();
    plan.delta.inboxes.insert(wished.inbox, InboxChange::Join { entries, absent });
    plan.adds.extend(packages);
    Ok(())
}

/// An inbox that is in the group: its new entries, its new installations, and the leaves that its
/// log has revoked.
fn plan_follow<P>(
    wished: &WishedInbox,
    entry: &RosterEntry,
    mut packages: BTreeMap<InstallationId, P>,
    plan: &mut Plan<P>,
) -> Result<(), IntentFault> {
    // The log has to go through the head that the group cites; what follows is new.
    let mut from_head = accepted(wished.inbox, None, wished.log.iter().map(Vec::as_slice))
        .into_iter()
        .skip_while(|(_, state)| state.head != entry.identity.head);
    from_head.next().ok_or(IntentFault::BadInput)?;
    let entries: Vec<Vec<u8>> = from_head.map(|(entry, _)| entry).collect();
    let read = entries.iter().map(Vec::as_slice);
    let identity =
        read_strictly(wished.inbox, Some(&entry.identity), read).ok_or(IntentFault::BadInput)?;
    let present: BTreeSet<InstallationId> = entry.leaves().copied().collect();
    packages.retain(|id, _| identity.installations.contains_key(id) && !present.contains(id));
    let active = identity.installations.keys();
    let absent = active.filter(|id| !present.contains(*id) && !packages.contains_key(*id));
    let absent: BTreeSet<InstallationId> = absent.copied().collect();
    if identity == entry.identity && absent == entry.absent {
        return Ok(());
    }
    let revoked = present.iter().filter(|id| !identity.installations.contains_key(*id));
    plan.removes.extend(revoked.map(|id| leaf(entry, id)));
    plan.delta.inboxes.insert(wished.inbox, InboxChange::Follow { entries, absent });
    plan.adds.extend(packages);
    Ok(())
}

fn leaf(entry: &RosterEntry, installation: &InstallationId) -> LeafCredential {
    LeafCredential { inbox: entry.identity.inbox, installation: *installation }
}

impl<P> Default for Plan<P> {
    fn default() -> Self {
        let (delta, adds) = (StateDelta::default(), BTreeMap::new());
        Self { delta, adds, removes: BTreeSet::new(), intents: Vec::new() }
    }
}

/// Why a wish failed whose commit would be invalid.
pub(super) const fn fault_of(fault: CommitFault) -> IntentFault {
    match fault {
        CommitFault::Right => IntentFault::NotAllowed,
        CommitFault::Limit => IntentFault::TooLarge,
        CommitFault::Mls
        | CommitFault::Proposal
        | CommitFault::Credential
        | CommitFault::Leaf
        | CommitFault::Context
        | CommitFault::Delta
        | CommitFault::Identity
        | CommitFault::Root
        | CommitFault::Leaves => IntentFault::BadInput,
    }
}

#[cfg(test)]
mod tests;
