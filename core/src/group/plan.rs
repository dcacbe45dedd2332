//! From wishes to one commit: planned on the present state, staged, kept and released.

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::{
    EnvelopeKind, InboxId, InstallationId, IntentId, Timestamp,
    codec::Wire,
    group::{InboxChange, RosterEntry, StateDelta},
    limits,
};

use super::{
    Group, Standing,
    outbox::Outgoing,
    place::Place,
    stored::{KeptCommit, KeptWelcome, Recipient, Wish, WishedInbox},
};
use crate::{
    event::{CommitFault, IntentFault, IntentOutcome},
    identity::{accepted, read_strictly},
    mls::{CommitPlan, StagedOwn, VerifiedPackage},
    state::State,
};

/// What the wishes of one commit come to.
#[derive(Default)]
struct Plan {
    delta: StateDelta,
    adds: BTreeMap<InstallationId, VerifiedPackage>,
    removes: BTreeSet<u32>,
    intents: Vec<IntentId>,
}

/// Own commits of one epoch that are kept. A relay that refuses them all makes no more than these;
/// they are published again until the epoch ends.
pub(super) const KEPT_COMMITS: usize = 4;

/// What one wish comes to on a state.
enum Contribution {
    Changes(Plan),
    AlreadySo,
    Failed(IntentFault),
}

impl Group {
    /// Carries on with what is wished: one commit at a time, everything that fits in one.
    pub(super) fn advance(&mut self, now: Timestamp) {
        if self.meta.standing != Standing::Member || self.draft.broken {
            return;
        }
        self.look_again = now.plus_ms(self.limits.republish_ms);
        self.send_waiting(now);
        if self.has_live_commit() || self.kept.len() >= KEPT_COMMITS {
            return;
        }
        // Here too, because the commit that was to renew the keys may have lost its race.
        if self.is_path_update_due(now) && self.outbox.values().any(Outgoing::is_waiting) {
            self.wish_key_update();
        }
        while let Some(plan) = self.plan() {
            match self.stage(now, &plan) {
                Ok(()) => return,
                // Planned and judged by the same code: only the library can still refuse.
                Err(fault) => {
                    for intent in plan.intents {
                        self.settle_intent(intent, IntentOutcome::Failed(fault));
                    }
                }
            }
        }
    }

    /// An own commit of this epoch is on its way.
    pub(super) fn has_live_commit(&self) -> bool {
        self.kept.values().any(|kept| !kept.refused)
    }

    fn plan(&mut self) -> Option<Plan> {
        let mut plan = Plan::default();
        let wishes: Vec<(IntentId, Wish)> =
            self.intents.iter().map(|(id, intent)| (*id, intent.wish.clone())).collect();
        for (id, wish) in wishes {
            match self.contribution(&wish) {
                Contribution::AlreadySo => self.settle_intent(id, IntentOutcome::AlreadySo),
                Contribution::Failed(fault) => {
                    self.settle_intent(id, IntentOutcome::Failed(fault));
                }
                Contribution::Changes(part) => self.join_in(&mut plan, id, part),
            }
        }
        (!plan.intents.is_empty()).then_some(plan)
    }

    /// Adds a wish to the plan if it does not touch the same inbox and still fits; else it is for
    /// the next commit. A wish that does not even fit alone has failed.
    fn join_in(&mut self, plan: &mut Plan, id: IntentId, part: Plan) {
        if part.delta.inboxes.keys().any(|inbox| plan.delta.inboxes.contains_key(inbox)) {
            return;
        }
        let mut delta = plan.delta.clone();
        delta.inboxes.extend(part.delta.inboxes);
        if delta.encode().len() > limits::DELTA_BYTES {
            if plan.intents.is_empty() {
                self.settle_intent(id, IntentOutcome::Failed(IntentFault::TooLarge));
            }
            return;
        }
        match self.state.apply(&delta, &self.installation.inbox(), self.epoch().next()) {
            Ok(_) => {
                plan.delta = delta;
                plan.adds.extend(part.adds);
                plan.removes.extend(part.removes);
                plan.intents.push(id);
            }
            Err(fault) => self.settle_intent(id, IntentOutcome::Failed(fault_of(fault))),
        }
    }

    fn contribution(&self, wish: &Wish) -> Contribution {
        let mut plan = Plan::default();
        match wish {
            Wish::UpdateKeys => return Contribution::Changes(plan),
            Wish::Remove(who) => {
                for inbox in who {
                    if let Some(entry) = self.state.inbox(inbox) {
                        plan.removes.extend(self.leaves_of_entry(entry));
                        plan.delta.inboxes.insert(*inbox, InboxChange::Leave);
                    }
                }
            }
            Wish::Add(who) => {
                for wished in who {
                    if let Err(fault) = self.plan_addition(wished, &mut plan) {
                        return Contribution::Failed(fault);
                    }
                }
            }
        }
        if plan.delta.inboxes.is_empty() {
            Contribution::AlreadySo
        } else {
            Contribution::Changes(plan)
        }
    }

    fn plan_addition(&self, wished: &WishedInbox, plan: &mut Plan) -> Result<(), IntentFault> {
        let mut packages = BTreeMap::new();
        for bytes in &wished.packages {
            let package = VerifiedPackage::from_mls(bytes).map_err(|_| IntentFault::BadInput)?;
            packages.insert(package.installation(), package);
        }
        match self.state.inbox(&wished.inbox) {
            None => Self::plan_join(wished, packages, plan),
            Some(entry) => self.plan_follow(wished, entry, packages, plan),
        }
    }

    fn plan_join(
        wished: &WishedInbox,
        packages: BTreeMap<InstallationId, VerifiedPackage>,
        plan: &mut Plan,
    ) -> Result<(), IntentFault> {
        let accepted = accepted(wished.inbox, None, wished.log.iter().map(Vec::as_slice));
        let (_, identity) = accepted.last().ok_or(IntentFault::BadInput)?;
        let active = identity.installations.keys();
        let absent = active.filter(|id| !packages.contains_key(*id)).copied().collect();
        let entries = accepted.iter().map(|(entry, _)| entry.clone()).collect();
        let change = InboxChange::Join { entries, absent };
        plan.delta.inboxes.insert(wished.inbox, change);
        plan.adds.extend(packages);
        Ok(())
    }

    /// An inbox that is there: its new entries, its new installations, and the leaves that its
    /// log has revoked.
    fn plan_follow(
        &self,
        wished: &WishedInbox,
        entry: &RosterEntry,
        mut packages: BTreeMap<InstallationId, VerifiedPackage>,
        plan: &mut Plan,
    ) -> Result<(), IntentFault> {
        // The log has to go through the head that the group cites; what follows is new.
        let mut behind = accepted(wished.inbox, None, wished.log.iter().map(Vec::as_slice))
            .into_iter()
            .skip_while(|(_, state)| state.head != entry.identity.head);
        behind.next().ok_or(IntentFault::BadInput)?;
        let entries: Vec<Vec<u8>> = behind.map(|(entry, _)| entry).collect();
        let read = entries.iter().map(Vec::as_slice);
        let identity = read_strictly(wished.inbox, Some(&entry.identity), read)
            .ok_or(IntentFault::BadInput)?;
        let present: BTreeSet<InstallationId> = entry.leaves().copied().collect();
        packages.retain(|id, _| identity.installations.contains_key(id) && !present.contains(id));
        let absent: BTreeSet<InstallationId> = identity
            .installations
            .keys()
            .filter(|id| !present.contains(*id) && !packages.contains_key(*id))
            .copied()
            .collect();
        if identity == entry.identity && absent == entry.absent {
            return Ok(());
        }
        let revoked = present.iter().filter(|id| !identity.installations.contains_key(*id));
        plan.removes.extend(revoked.filter_map(|id| self.leaf_index(&wished.inbox, id)));
        plan.delta.inboxes.insert(wished.inbox, InboxChange::Follow { entries, absent });
        plan.adds.extend(packages);
        Ok(())
    }

    fn leaves_of_entry<'a>(&'a self, entry: &'a RosterEntry) -> impl Iterator<Item = u32> + 'a {
        let inbox = entry.identity.inbox;
        entry.leaves().filter_map(move |id| self.leaf_index(&inbox, id))
    }

    fn leaf_index(&self, inbox: &InboxId, installation: &InstallationId) -> Option<u32> {
        let credential =
            conclave_proto::group::LeafCredential { inbox: *inbox, installation: *installation };
        self.leaves.get(&credential).copied()
    }

    /// Stages the plan, keeps its staged form and releases the commit. On error the group is as
    /// before.
    fn stage(&mut self, now: Timestamp, plan: &Plan) -> Result<(), IntentFault> {
        let changes = !plan.delta.inboxes.is_empty();
        let next = self.next_state(plan).map_err(fault_of)?;
        let commit = CommitPlan {
            adds: plan.adds.values().collect(),
            removes: plan.removes.iter().copied().collect(),
            delta: changes.then(|| plan.delta.encode()),
            context: changes.then(|| next.context()),
        };
        self.checkpoint();
        let staged = self.mls.stage(commit);
        let judged = staged
            .map_err(|_| CommitFault::Mls)
            .and_then(|staged| self.judge(&staged.facts).map(|_| staged));
        match judged {
            Ok(staged) => {
                self.keep(now, plan, staged);
                Ok(())
            }
            Err(fault) => {
                if self.mls.rollback().is_err() {
                    self.draft.broken = true;
                }
                self.mls.hold();
                Err(fault_of(fault))
            }
        }
    }

    fn next_state(&self, plan: &Plan) -> Result<State, CommitFault> {
        self.state.apply(&plan.delta, &self.installation.inbox(), self.epoch().next())
    }

    fn keep(&mut self, now: Timestamp, plan: &Plan, staged: StagedOwn) {
        let envelope = self.envelope(now, EnvelopeKind::Mls(staged.message));
        let welcome = staged.welcome.map(|parts| KeptWelcome {
            recipients: recipients(plan, &parts.secrets),
            group_info: parts.group_info,
            tree: parts.tree,
        });
        let kept = KeptCommit {
            epoch: self.epoch(),
            mark: envelope.mark,
            payload: envelope.payload,
            staged: staged.kept.to_vec(),
            delta: (!plan.delta.inboxes.is_empty()).then(|| plan.delta.encode()),
            intents: plan.intents.clone(),
            welcome,
            refused: false,
        };
        self.transmit(self.commit_transmit(envelope.id, kept.payload.clone()));
        self.put(Place::Kept(&envelope.id), kept.encode());
        self.kept.insert(envelope.id, kept);
        self.published.insert(envelope.id, now);
    }
}

fn recipients(plan: &Plan, secrets: &[([u8; 32], Vec<u8>)]) -> Vec<Recipient> {
    let by_reference: BTreeMap<[u8; 32], &Vec<u8>> =
        secrets.iter().map(|(reference, secrets)| (*reference, secrets)).collect();
    let recipient = |(installation, package): (&InstallationId, &VerifiedPackage)| {
        let reference = package.reference().ok()?;
        let (kem, key) = package.seal_key()?;
        Some(Recipient {
            installation: *installation,
            reference,
            algorithm: kem.id(),
            key: key.to_vec(),
            secrets: by_reference.get(&reference)?.to_vec(),
        })
    };
    plan.adds.iter().filter_map(recipient).collect()
}

const fn fault_of(fault: CommitFault) -> IntentFault {
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
