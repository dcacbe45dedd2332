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
