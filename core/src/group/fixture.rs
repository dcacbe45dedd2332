//! People, states and stored bytes for the tests of a group's parts.

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::{
    Cursor, Epoch, GroupId, InboxId, Seq, Timestamp, Topic,
    group::{Flags, LeafCredential, Policy, RULES, RosterEntry, Settings},
    message::{Body, Payload},
};

use super::{draft::Draft, place::Place};
use crate::{
    event::Event,
    state::{Entry, State},
    store::{Table, Write},
};

pub(super) use crate::identity::people::{account, installation, key, person};

pub(super) const GROUP: GroupId = GroupId([7; 16]);
pub(super) const TOPIC: Topic = Topic::Group(GROUP);
pub(super) const NOW: Timestamp = Timestamp(1_000_000);

pub(super) fn draft() -> Draft {
    Draft::new(GROUP)
}

pub(super) fn inbox(seed: u8) -> InboxId {
    person(seed).1.inbox
}

pub(super) fn leaf(seed: u8) -> LeafCredential {
    LeafCredential { inbox: inbox(seed), installation: installation(seed + 100) }
}

/// A group of these people since its first epoch; the first one is its super-admin.
pub(super) fn state(people: &[u8], policy: Policy) -> State {
    let entry = |seed: &u8| {
        let entry = entry(*seed, Epoch(0));
        (entry.identity.inbox, Entry::new(entry))
    };
    let settings = Settings {
        rules: RULES,
        flags: Flags::POST_QUANTUM,
        policy,
        admins: BTreeSet::new(),
        super_admins: people.first().map(|seed| inbox(*seed)).into_iter().collect(),
        fields: BTreeMap::new(),
        home: Vec::new(),
    };
    State::new(settings, people.iter().map(entry).collect())
}

pub(super) fn entry(seed: u8, incarnation: Epoch) -> RosterEntry {
    RosterEntry { identity: person(seed).1, incarnation, absent: BTreeSet::new() }
}

pub(super) fn payload(counter: u64) -> Payload {
    Payload {
        counter,
        previous: conclave_proto::MessageId([0; 32]),
        key: [5; 16],
        time: NOW,
        read: Cursor { seq: Seq(0), ..Cursor::START },
        body: Body::Content(counter.to_be_bytes().to_vec()),
    }
}

/// The events of a draft.
pub(super) fn events(draft: &Draft) -> &[Event] {
    &draft.effects.events
}

/// What a store holds of the group after some drafts.
#[derive(Default)]
pub(super) struct Stored(BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl Stored {
    pub(super) fn apply(&mut self, draft: &Draft) {
        for write in &draft.writes {
            match write {
                Write::Put { table, key, value } => {
                    self.0.insert((*table, key.as_bytes().to_vec()), value.clone());
                }
                Write::Delete { table, key } => {
                    self.0.remove(&(*table, key.as_bytes().to_vec()));
                }
                Write::DeleteScope { .. } => panic!("no part deletes a whole group"),
            }
        }
    }

    pub(super) fn get(&self, place: Place<'_>) -> Option<&Vec<u8>> {
        let Write::Put { table, key, .. } = place.put(GROUP, Vec::new()) else { return None };
        self.0.get(&(table, key.as_bytes().to_vec()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
