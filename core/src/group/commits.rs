//! Own commits that were released: kept until their epoch ends in the log.

use std::collections::BTreeMap;

use conclave_proto::{
    Epoch, InstallationId, IntentId, Mark, Timestamp, Topic, TransmitId, codec::Wire,
};
use serde::{Deserialize, Serialize};

use super::{draft::Draft, envelope::carries, place::Place};
use crate::delivery::Transmit;

/// The own commits of the present epoch. No answer of the relay settles one, only the log.
pub(super) struct Commits {
    topic: Topic,
    kept: BTreeMap<TransmitId, Kept>,
}

struct Kept {
    commit: KeptCommit,
    /// When it was last given to the driver; the beginning of time after a load.
    published: Timestamp,
}

/// An own commit that was released: no answer settles it, so its staged form is kept until the
/// epoch ends in the log.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeptCommit {
    pub(super) epoch: Epoch,
    pub(super) mark: Mark,
    /// The envelope.
    pub(super) payload: Vec<u8>,
    /// The library's staged form.
    pub(super) staged: Vec<u8>,
    /// The encoded state delta.
    pub(super) delta: Option<Vec<u8>>,
    pub(super) intents: Vec<IntentId>,
    pub(super) welcome: Option<KeptWelcome>,
    /// The relay says that it will not take the commit. It is not sent again, but still applied if
    /// the log shows it.
    pub(super) refused: bool,
}

/// What the invited get once the commit is in the log.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeptWelcome {
    pub(super) group_info: Vec<u8>,
    pub(super) tree: Vec<u8>,
    pub(super) recipients: Vec<Recipient>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Recipient {
    pub(super) installation: InstallationId,
    pub(super) reference: [u8; 32],
    pub(super) algorithm: u16,
    pub(super) key: Vec<u8>,
    pub(super) secrets: Vec<u8>,
}

impl Drop for KeptCommit {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.staged);
    }
}

/// Own commits of one epoch that are kept. A relay that refuses them all makes no more than these;
/// they are published again until the epoch ends.
const KEPT_COMMITS: usize = 4;

impl Commits {
    /// The kept commits of a group, as they were stored.
    pub(super) fn new(topic: Topic, stored: BTreeMap<TransmitId, KeptCommit>) -> Self {
        let kept = |(id, commit)| (id, Kept { commit, published: Timestamp(0) });
        Self { topic, kept: stored.into_iter().map(kept).collect() }
    }

    /// Whether another commit may be made in this epoch: none waits for the log's verdict, and not
    /// too many were refused.
    pub(super) fn may_make(&self) -> bool {
        !self.has_live() && !self.is_full()
    }

    /// Whether a commit of this epoch waits for the log's verdict and was not refused.
    pub(super) fn has_live(&self) -> bool {
        self.kept.values().any(|kept| !kept.commit.refused)
    }

    pub(super) fn get(&self, id: &TransmitId) -> Option<&KeptCommit> {
        self.kept.get(id).map(|kept| &kept.commit)
    }

    /// The own commit that an MLS message of the log is.
    pub(super) fn find(&self, mls_message: &[u8]) -> Option<TransmitId> {
        let carried = |kept: &Kept| carries(&kept.commit.payload, kept.commit.mark, mls_message);
        self.kept.iter().find(|(_, kept)| carried(kept)).map(|(id, _)| *id)
    }

    /// Keeps a commit, and releases it.
    pub(super) fn keep(
        &mut self,
        draft: &mut Draft,
        now: Timestamp,
        id: TransmitId,
        commit: KeptCommit,
    ) {
        draft.transmit(self.transmit(id, &commit));
        draft.put(Place::Kept(&id), commit.encode());
        self.kept.insert(id, Kept { commit, published: now });
    }

    /// The relay will not take a commit. It stays kept: the log may show it all the same (scenarios
    /// 8, 99). Returns the wishes that it carried, which have failed, at the first refusal.
    pub(super) fn refuse(&mut self, draft: &mut Draft, id: TransmitId) -> Vec<IntentId> {
        match self.kept.get_mut(&id) {
            Some(Kept { commit, .. }) if !commit.refused => {
                commit.refused = true;
                draft.put(Place::Kept(&id), commit.encode());
                commit.intents.clone()
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// The epoch has ended in the log: what was kept for it can never be applied any more, and its
    /// Welcomes go with it (scenario 100).
    pub(super) fn clear(&mut self, draft: &mut Draft) {
        for id in std::mem::take(&mut self.kept).into_keys() {
            draft.delete(Place::Kept(&id));
        }
    }

    /// What is to be published after a load.
    pub(super) fn live(&self) -> impl Iterator<Item = Transmit> + '_ {
        let live = self.kept.iter().filter(|(_, kept)| !kept.commit.refused);
        live.map(|(id, kept)| self.transmit(*id, &kept.commit))
    }

    /// When the commit that was released first is published again.
    pub(super) fn republish_due(&self, patience_ms: u64) -> Option<Timestamp> {
        let all = self.is_full();
        let repeated = self.kept.values().filter(|kept| all || !kept.commit.refused);
        repeated.map(|kept| kept.published.plus_ms(patience_ms)).min()
    }

    /// Publishes again what was released too long ago: an answer may have been a lie (scenario 9).
    /// If no other commit can be made in this epoch, that includes the refused ones.
    pub(super) fn republish(&mut self, draft: &mut Draft, now: Timestamp, patience_ms: u64) {
        let all = self.is_full();
        for (id, kept) in &mut self.kept {
            let repeated = all || !kept.commit.refused;
            if repeated && now.since_ms(kept.published) >= patience_ms {
                kept.published = now;
                draft.transmit(transmit(&self.topic, *id, &kept.commit));
            }
        }
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= KEPT_COMMITS
    }

    fn transmit(&self, id: TransmitId, commit: &KeptCommit) -> Transmit {
        transmit(&self.topic, id, commit)
    }
}

fn transmit(topic: &Topic, id: TransmitId, commit: &KeptCommit) -> Transmit {
    Transmit { topic: topic.clone(), id, expect: None, payload: commit.payload.clone() }
}
