//! Own commits: planned from what is wished, staged, kept and released.

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::{EnvelopeKind, InstallationId, Timestamp, codec::Wire};

use super::{
    Group,
    commits::{KeptCommit, KeptWelcome, Recipient},
    intents::Wish,
    plan::{Plan, Planned, Planner, fault_of},
};
use crate::{
    event::{CommitFault, IntentFault, IntentOutcome},
    mls::{CommitPlan, StagedOwn, VerifiedPackage},
};

impl Group {
    /// Carries on with what is wished: one commit at a time, everything that fits in one.
    pub(super) fn advance(&mut self, now: Timestamp) {
        if !self.membership.is_member() || self.draft.broken {
            return;
        }
        self.outbox.look_again_at(now.plus_ms(self.limits.republish_ms));
        self.send_waiting(now);
        if !self.commits.may_make() {
            return;
        }
        // Here too, because the commit that was to renew the keys may have lost its race.
        if self.is_path_update_due(now) && self.outbox.has_waiting() {
            self.wish_key_update();
        }
        while let Some(plan) = self.plan() {
            let Err(fault) = self.stage(now, &plan) else { return };
            // Planned and judged by the same code: only the library can still refuse.
            let failed = IntentOutcome::Failed(fault);
            self.intents.settle_all(&mut self.draft, &plan.intents, failed);
        }
    }

    /// Wishes a path update, unless one is wished or on its way.
    pub(super) fn wish_key_update(&mut self) {
        if !self.intents.has_key_update() && !self.commits.has_live() {
            self.intents.add(&mut self.draft, Wish::UpdateKeys);
        }
    }

    fn plan(&mut self) -> Option<Plan<VerifiedPackage>> {
        let Planned { plan, settled } = self.planner().plan(self.intents.iter());
        for (intent, outcome) in settled {
            self.intents.settle(&mut self.draft, intent, outcome);
        }
        plan
    }

    fn planner(
        &self,
    ) -> Planner<'_, impl Fn(&[u8]) -> Option<(InstallationId, VerifiedPackage)> + use<>> {
        let open = |bytes: &[u8]| {
            let package = VerifiedPackage::from_mls(bytes).ok()?;
            Some((package.installation(), package))
        };
        let (committer, next) = (self.installation.inbox(), self.epoch().next());
        Planner { state: &self.state, committer, next, open }
    }

    /// Stages the plan, keeps its staged form and releases the commit. On error the group is as
    /// before.
    fn stage(&mut self, now: Timestamp, plan: &Plan<VerifiedPackage>) -> Result<(), IntentFault> {
        let changes = !plan.delta.inboxes.is_empty();
        let next = self.planner().next_state(&plan.delta)?;
        let removes = plan.removes.iter().filter_map(|leaf| self.leaves.get(leaf));
        let commit = CommitPlan {
            adds: plan.adds.values().collect(),
            removes: removes.copied().collect::<BTreeSet<u32>>().into_iter().collect(),
            delta: changes.then(|| plan.delta.encode()),
            context: changes.then(|| next.context()),
        };
        self.checkpoint();
        let staged = self.mls.stage(commit);
        let judged = staged
            .map_err(|_| CommitFault::Mls)
            .and_then(|staged| self.judge().judge(&staged.facts).map(|_| staged));
        match judged {
            Ok(staged) => {
                self.keep(now, plan, staged);
                Ok(())
            }
            Err(fault) => {
                self.roll_back();
                Err(fault_of(fault))
            }
        }
    }

    fn keep(&mut self, now: Timestamp, plan: &Plan<VerifiedPackage>, staged: StagedOwn) {
        let envelope = self.envelope(now, EnvelopeKind::Mls(staged.message));
        let welcome = staged.welcome.map(|parts| KeptWelcome {
            recipients: recipients(plan, &parts.secrets),
            group_info: parts.group_info,
            tree: parts.tree,
        });
        let commit = KeptCommit {
            epoch: self.epoch(),
            mark: envelope.mark,
            payload: envelope.payload,
            staged: staged.kept.to_vec(),
            delta: (!plan.delta.inboxes.is_empty()).then(|| plan.delta.encode()),
            intents: plan.intents.clone(),
            welcome,
            refused: false,
        };
        self.commits.keep(&mut self.draft, now, envelope.id, commit);
    }
}

fn recipients(plan: &Plan<VerifiedPackage>, secrets: &[([u8; 32], Vec<u8>)]) -> Vec<Recipient> {
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
