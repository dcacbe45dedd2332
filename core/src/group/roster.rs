//! How the state of a group is stored: its settings, and each inbox under a key of its own.

use std::sync::Arc;

use conclave_proto::{InboxId, codec::Wire};

use super::{
    draft::Draft,
    place::Place,
    stored::{StoredEntry, StoredSettings},
};
use crate::state::{Entry, State};

/// What an epoch changed in the roster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RosterChange {
    pub(super) added: Vec<InboxId>,
    pub(super) removed: Vec<InboxId>,
}

/// Stores a state of which the store holds nothing.
pub(super) fn store(draft: &mut Draft, state: &State) {
    store_settings(draft, state);
    for (inbox, entry) in state.roster() {
        store_entry(draft, inbox, entry);
    }
}

/// Stores what differs between two states of one group. Entries are shared between states, so those
/// that did not change are not even looked at.
pub(super) fn store_changes(draft: &mut Draft, before: &State, after: &State) -> RosterChange {
    let (old, new) = (before.roster(), after.roster());
    for (inbox, entry) in new {
        if old.get(inbox).is_none_or(|old| !Arc::ptr_eq(old, entry)) {
            store_entry(draft, inbox, entry);
        }
    }
    let added = new.keys().filter(|inbox| !old.contains_key(*inbox)).copied().collect();
    let removed: Vec<InboxId> =
        old.keys().filter(|inbox| !new.contains_key(*inbox)).copied().collect();
    for inbox in &removed {
        draft.delete(Place::Roster(inbox));
    }
    if before.settings() != after.settings() {
        store_settings(draft, after);
    }
    RosterChange { added, removed }
}

fn store_settings(draft: &mut Draft, state: &State) {
    draft.put(Place::Settings, StoredSettings(state.settings().clone()).encode());
}

fn store_entry(draft: &mut Draft, inbox: &InboxId, entry: &Entry) {
    draft.put(Place::Roster(inbox), StoredEntry(entry.entry.clone()).encode());
}

#[cfg(test)]
mod tests {
    use conclave_proto::{
        Epoch,
        codec::Wire,
        group::{InboxChange, Policy, SettingChange, StateDelta},
    };

    use super::{RosterChange, store, store_changes};
    use crate::{
        group::{
            fixture::{Stored, draft, inbox, person, state},
            place::Place,
            stored::{StoredEntry, StoredSettings},
        },
        state::State,
    };

    fn stored(state: &State) -> Stored {
        let (mut stored, mut draft) = (Stored::default(), draft());
        store(&mut draft, state);
        stored.apply(&draft);
        stored
    }

    fn assert_holds(stored: &Stored, state: &State) {
        let settings = StoredSettings::decode(stored.get(Place::Settings).unwrap()).unwrap();
        assert_eq!(&settings.0, state.settings());
        for entry in state.inboxes() {
            let value = stored.get(Place::Roster(&entry.identity.inbox)).unwrap();
            assert_eq!(&StoredEntry::decode(value).unwrap().0, entry);
        }
        assert_eq!(stored.len(), state.inboxes().count() + 1);
    }

    /// E4: after a change the store holds the state that the commit led to, and only what changed
    /// was written.
    #[test]
    fn a_change_stores_the_state_that_it_leads_to() {
        let before = state(&[1, 2, 3], Policy::OPEN);
        assert_holds(&stored(&before), &before);
        let join = InboxChange::Join { entries: vec![person(4).0], absent: [].into() };
        let inboxes = [(inbox(2), InboxChange::Leave), (inbox(4), join)].into();
        let settings = vec![SettingChange::Field(1, Some(b"name".to_vec()))];
        let roster = StateDelta { inboxes, ..StateDelta::default() };
        let named = StateDelta { settings, ..StateDelta::default() };
        for (delta, writes, added, removed) in [
            (StateDelta::default(), 0, vec![], vec![]),
            (named, 1, vec![], vec![]),
            (roster, 2, vec![inbox(4)], vec![inbox(2)]),
        ] {
            let after = before.apply(&delta, &inbox(1), Epoch(5)).unwrap();
            let (mut stored, mut draft) = (stored(&before), draft());
            let change = store_changes(&mut draft, &before, &after);
            assert_eq!(change, RosterChange { added, removed });
            assert_eq!(draft.writes.len(), writes);
            stored.apply(&draft);
            assert_holds(&stored, &after);
        }
    }
}
