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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use conclave_proto::{
        Envelope, EnvelopeKind, Epoch, IntentId, Mark, Timestamp, TransmitId, codec::Wire,
    };

    use super::{Commits, KEPT_COMMITS, KeptCommit};
    use crate::group::{
        draft::Draft,
        fixture::{NOW, Stored, TOPIC, draft},
        place::Place,
    };

    fn none() -> Commits {
        Commits::new(TOPIC, BTreeMap::new())
    }

    const fn id(n: u8) -> TransmitId {
        TransmitId([n; 16])
    }

    fn commit(n: u8) -> KeptCommit {
        let (mark, kind) = (Mark([n; 16]), EnvelopeKind::Mls(vec![n; 4]));
        KeptCommit {
            epoch: Epoch(1),
            mark,
            payload: Envelope { mark, beacon: None, kind }.encode(),
            staged: vec![n],
            delta: None,
            intents: vec![IntentId(n.into())],
            welcome: None,
            refused: false,
        }
    }

    fn published(draft: &Draft) -> Vec<TransmitId> {
        draft.effects.transmits.iter().map(|transmit| transmit.id).collect()
    }

    /// G6: one commit at a time; a released one is stored first, and found in the log by what it
    /// carries.
    #[test]
    fn a_kept_commit_is_stored_released_and_found() {
        let (mut commits, mut stored, mut draft) = (none(), Stored::default(), draft());
        assert!(commits.may_make());
        commits.keep(&mut draft, NOW, id(1), commit(1));
        stored.apply(&draft);
        let kept = KeptCommit::decode(stored.get(Place::Kept(&id(1))).unwrap()).unwrap();
        assert_eq!(kept.payload, commit(1).payload);
        assert_eq!(published(&draft), [id(1)]);
        assert!(commits.has_live() && !commits.may_make());
        assert_eq!(commits.find(&[1; 4]), Some(id(1)));
        assert_eq!(commits.find(&[2; 4]), None);
        assert_eq!(commits.get(&id(1)).map(|commit| commit.epoch), Some(Epoch(1)));
    }

    /// Scenarios 8, 99: a refused commit fails its wishes once and stays kept, also after a
    /// restart.
    #[test]
    fn a_refused_commit_stays_kept_and_fails_its_wishes_once() {
        let (mut commits, mut stored, mut draft) = (none(), Stored::default(), draft());
        commits.keep(&mut draft, NOW, id(1), commit(1));
        assert_eq!(commits.refuse(&mut draft, id(1)), [IntentId(1)]);
        assert_eq!(commits.refuse(&mut draft, id(1)), []);
        assert_eq!(commits.refuse(&mut draft, id(2)), []);
        stored.apply(&draft);
        let kept = KeptCommit::decode(stored.get(Place::Kept(&id(1))).unwrap()).unwrap();
        for mut commits in [commits, Commits::new(TOPIC, BTreeMap::from([(id(1), kept)]))] {
            assert!(commits.get(&id(1)).is_some() && commits.find(&[1; 4]).is_some());
            assert!(!commits.has_live() && commits.may_make());
            assert_eq!(commits.live().count(), 0);
            assert_eq!(commits.republish_due(60), None);
            let mut again = crate::group::fixture::draft();
            commits.republish(&mut again, NOW.plus_ms(1_000), 60);
            assert_eq!(published(&again), []);
        }
    }

    /// A relay that refuses every commit makes this installation keep a bounded number of them; the
    /// refused ones are then published again, for one of them has to end the epoch.
    #[test]
    fn refused_commits_are_bounded_and_then_published_again() {
        let mut commits = none();
        for n in 0..KEPT_COMMITS {
            let n = u8::try_from(n).unwrap();
            assert!(commits.may_make());
            commits.keep(&mut draft(), NOW, id(n), commit(n));
            commits.refuse(&mut draft(), id(n));
        }
        assert!(!commits.may_make() && !commits.has_live());
        assert_eq!(commits.republish_due(60), Some(NOW.plus_ms(60)));
        let mut draft = draft();
        commits.republish(&mut draft, NOW.plus_ms(60), 60);
        assert_eq!(published(&draft).len(), KEPT_COMMITS);
    }

    /// Scenario 9: an answer may have been a lie, so a commit is published again until the log
    /// shows it.
    #[test]
    fn a_commit_is_published_again_when_its_time_has_passed() {
        let mut commits = none();
        commits.keep(&mut draft(), NOW, id(1), commit(1));
        for (ms, due) in [(59, false), (60, true), (119, false), (120, true)] {
            let mut draft = draft();
            commits.republish(&mut draft, NOW.plus_ms(ms), 60);
            assert_eq!(published(&draft).len(), usize::from(due), "{ms}");
        }
        assert_eq!(commits.republish_due(60), Some(NOW.plus_ms(180)));
        let loaded = Commits::new(TOPIC, BTreeMap::from([(id(1), commit(1))]));
        assert_eq!(loaded.republish_due(60), Some(Timestamp(60)));
        assert_eq!(loaded.live().map(|transmit| transmit.id).collect::<Vec<_>>(), [id(1)]);
    }

    /// Scenario 100: the epoch has ended, and with it every commit that was kept for it.
    #[test]
    fn the_end_of_an_epoch_drops_what_was_kept() {
        let (mut commits, mut stored, mut draft) = (none(), Stored::default(), draft());
        for n in 1..4 {
            commits.keep(&mut draft, NOW, id(n), commit(n));
        }
        commits.clear(&mut draft);
        stored.apply(&draft);
        assert_eq!(stored.len(), 0);
        assert!(commits.may_make() && commits.find(&[1; 4]).is_none());
    }
}
