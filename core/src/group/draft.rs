//! The step that is being made.

use conclave_proto::{GroupId, Seq};

use super::place::Place;
use crate::{
    delivery::Transmit,
    event::{Event, Rejection},
    step::Effects,
    store::Write,
};

/// What one input has led to so far.
///
/// The parts of a group add to it what is to be stored and what is to be released; the group makes
/// a step of it. A part never reads it.
pub(super) struct Draft {
    group: GroupId,
    pub(super) writes: Vec<Write>,
    pub(super) effects: Effects,
    /// The group's own record ([`Meta`](super::stored::Meta)) is to be stored: it holds the small
    /// fields of all parts.
    pub(super) meta_changed: bool,
    /// The library failed in the middle of a batch: nothing of the step may be used.
    pub(super) broken: bool,
}

impl Draft {
    pub(super) fn new(group: GroupId) -> Self {
        let (writes, effects) = (Vec::new(), Effects::default());
        Self { group, writes, effects, meta_changed: false, broken: false }
    }

    /// The group that the step is of.
    pub(super) const fn group(&self) -> GroupId {
        self.group
    }

    /// A field of the group's own record has changed.
    pub(super) const fn change_meta(&mut self) {
        self.meta_changed = true;
    }

    pub(super) fn put(&mut self, place: Place<'_>, value: Vec<u8>) {
        self.writes.push(place.put(self.group, value));
    }

    pub(super) fn delete(&mut self, place: Place<'_>) {
        self.writes.push(place.delete(self.group));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.effects.events.push(event);
    }

    pub(super) fn reject(&mut self, seq: Seq, reason: Rejection) {
        self.event(Event::Rejected { group: self.group, seq, reason });
    }

    pub(super) fn transmit(&mut self, transmit: Transmit) {
        self.effects.transmits.push(transmit);
    }
}
