//! What is wished of a group: stored until it has an outcome (G5).

use std::collections::BTreeMap;

use conclave_proto::{InboxId, IntentId, codec::Wire};
use serde::{Deserialize, Serialize};

use super::{draft::Draft, place::Place};
use crate::event::{Event, IntentFault, IntentOutcome};

/// The wishes of this installation that have no outcome, in the order of wishing.
pub(super) struct Intents {
    intents: BTreeMap<IntentId, Intent>,
    next: IntentId,
}

/// A stored wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) wish: Wish,
}

/// What is wished. Grows at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wish {
    Add(Vec<WishedInbox>),
    Remove(Vec<InboxId>),
    UpdateKeys,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WishedInbox {
    pub(super) inbox: InboxId,
    /// The whole identity log.
    pub(super) log: Vec<Vec<u8>>,
    /// MLS key packages, checked when the wish was taken.
    pub(super) packages: Vec<Vec<u8>>,
}

impl Intents {
    /// The wishes as they were stored; `next` is the id of the next one.
    pub(super) const fn new(intents: BTreeMap<IntentId, Intent>, next: IntentId) -> Self {
        Self { intents, next }
    }

    pub(super) const fn next(&self) -> IntentId {
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.intents.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.intents.is_empty()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = IntentId> + '_ {
        self.intents.keys().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (IntentId, &Wish)> {
        self.intents.iter().map(|(id, intent)| (*id, &intent.wish))
    }

    /// Whether a path update is wished.
    pub(super) fn has_key_update(&self) -> bool {
        self.intents.values().any(|intent| matches!(intent.wish, Wish::UpdateKeys))
    }

    pub(super) fn add(&mut self, draft: &mut Draft, wish: Wish) -> IntentId {
        let id = self.next;
        self.next = IntentId(id.0.saturating_add(1));
        draft.change_meta();
        let intent = Intent { wish };
        draft.put(Place::Intent(id), intent.encode());
        self.intents.insert(id, intent);
        id
    }

    /// A wish has ended. One that has an outcome already keeps it.
    pub(super) fn settle(&mut self, draft: &mut Draft, intent: IntentId, outcome: IntentOutcome) {
        if self.intents.remove(&intent).is_some() {
            draft.delete(Place::Intent(intent));
            draft.event(Event::IntentSettled { group: draft.group(), intent, outcome });
        }
    }

    /// Several wishes have ended in the same way.
    pub(super) fn settle_all(
        &mut self,
        draft: &mut Draft,
        intents: &[IntentId],
        outcome: IntentOutcome,
    ) {
        for intent in intents {
            self.settle(draft, *intent, outcome);
        }
    }

    /// Every wish has failed: this installation cannot carry out any more.
    pub(super) fn fail(&mut self, draft: &mut Draft, fault: IntentFault) {
        let all: Vec<IntentId> = self.ids().collect();
        self.settle_all(draft, &all, IntentOutcome::Failed(fault));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use conclave_proto::{IntentId, codec::Wire};

    use super::{Intent, Intents, Wish};
    use crate::{
        event::{Event, IntentFault, IntentOutcome},
        group::{
            fixture::{GROUP, Stored, draft, events, inbox},
            place::Place,
        },
    };

    fn none() -> Intents {
        Intents::new(BTreeMap::new(), IntentId(0))
    }

    const fn settled(intent: IntentId, outcome: IntentOutcome) -> Event {
        Event::IntentSettled { group: GROUP, intent, outcome }
    }

    /// G5: a wish is stored until it has an outcome, which is told once.
    #[test]
    fn a_wish_is_stored_until_it_is_settled_and_settled_once() {
        let (mut intents, mut stored, mut draft) = (none(), Stored::default(), draft());
        let id = intents.add(&mut draft, Wish::Remove(vec![inbox(1)]));
        stored.apply(&draft);
        let intent = Intent::decode(stored.get(Place::Intent(id)).unwrap()).unwrap();
        assert_eq!(intent.wish, Wish::Remove(vec![inbox(1)]));
        assert!(draft.meta_changed && events(&draft).is_empty());
        let mut draft = crate::group::fixture::draft();
        intents.settle(&mut draft, id, IntentOutcome::Done);
        intents.settle(&mut draft, id, IntentOutcome::AlreadySo);
        stored.apply(&draft);
        assert_eq!(events(&draft), [settled(id, IntentOutcome::Done)]);
        assert!(stored.get(Place::Intent(id)).is_none() && intents.is_empty());
    }

    #[test]
    fn wishes_have_ids_of_their_own_also_after_a_load() {
        let mut intents = Intents::new(BTreeMap::new(), IntentId(7));
        let ids = [0; 2].map(|_| intents.add(&mut draft(), Wish::UpdateKeys));
        assert_eq!(ids, [IntentId(7), IntentId(8)]);
        assert_eq!(intents.next(), IntentId(9));
        assert_eq!(intents.ids().collect::<Vec<_>>(), ids);
        assert_eq!(intents.len(), 2);
    }

    /// G5: an installation that was removed carries out no wish, and says so of each.
    #[test]
    fn all_wishes_fail_with_the_membership() {
        let (mut intents, mut draft) = (none(), draft());
        let ids = [0; 3].map(|_| intents.add(&mut draft, Wish::UpdateKeys));
        intents.fail(&mut draft, IntentFault::NotMember);
        let failed = IntentOutcome::Failed(IntentFault::NotMember);
        assert_eq!(events(&draft), ids.map(|id| settled(id, failed)));
        assert!(intents.is_empty());
    }

    #[test]
    fn only_a_key_update_is_one() {
        let mut intents = none();
        intents.add(&mut draft(), Wish::Remove(vec![inbox(1)]));
        assert!(!intents.has_key_update());
        intents.add(&mut draft(), Wish::UpdateKeys);
        assert!(intents.has_key_update());
    }
}
