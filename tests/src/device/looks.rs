//! What a test sees of a device.

use conclave_core::{
    event::{
        Event,
        log::{self, EventCursor, Told},
    },
    group::{Group, Held, Standing},
    keyring::KeyRing,
};
use conclave_proto::{Cursor, GroupId, Timestamp, Topic};

use super::Device;

impl Device {
    /// The value of a group that is awake.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn group(&self, id: GroupId) -> &Group {
        self.find_group(id).expect("the device holds the group, and it is awake")
    }

    /// The value of a group, if it is awake.
    #[must_use]
    pub fn find_group(&self, id: GroupId) -> Option<&Group> {
        self.engine.group(id)?.group()
    }

    /// The groups that are awake.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.engine.groups().filter_map(|group| group.group())
    }

    /// The key ring.
    ///
    /// # Panics
    /// If it is not in memory.
    #[must_use]
    pub fn ring(&self) -> &KeyRing {
        self.engine.invitations().ring().expect("the key ring is in memory")
    }

    /// Everything it has told the application, from its store.
    ///
    /// # Panics
    /// If the store does not read.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events_after(&mut EventCursor(0))
    }

    /// How often it was opened after the first time.
    #[must_use]
    pub const fn openings(&self) -> u64 {
        self.openings
    }

    /// Everything it has told the application since a position, which moves on.
    ///
    /// # Panics
    /// If the store does not read.
    pub fn events_after(&self, at: &mut EventCursor) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            let more = log::read(self.store.inner(), *at, self.events.end()).expect("it reads");
            if more.is_empty() {
                return all;
            }
            for told in more {
                let (Told::Event(next, _) | Told::Lagged(next)) = &told;
                *at = *next;
                if let Told::Event(_, event) = told {
                    all.push(event);
                }
            }
        }
    }

    /// How this installation stands in a group by its store.
    ///
    /// # Panics
    /// If the store does not read.
    #[must_use]
    pub fn held(&self, group: GroupId) -> Option<Held> {
        Held::read(self.store.inner(), group).expect("the store reads")
    }

    /// When something is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.engine.next_timeout()
    }

    /// Whether nothing of its own is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let waits = |group: &Group| {
            group.standing() == Standing::Member
                && (!group.unsettled().is_empty()
                    || group.unsettled_messages() > 0
                    || group.pending_intents().next().is_some())
        };
        self.outgoing.is_empty()
            && self.handed_in.is_empty()
            && self.engine.session().session().is_idle()
            && !self.engine.invitations().is_busy()
            && !self.groups().any(waits)
    }

    /// How far its Welcomes have been handled.
    #[must_use]
    pub fn welcomes(&self) -> (Topic, Cursor) {
        (self.ring().topic(), self.ring().cursor())
    }
}
