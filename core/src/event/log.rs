//! The log of events: durable, in the order in which the steps that caused them were stored (E8).
//!
//! The [`Committer`](crate::step::Committer) stores an event in the batch of the step that caused
//! it. An [`EventLog`] says how far the log may be read, reads it, and says what to erase. Each
//! reader keeps a position of its own.

use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::ControlFlow;

use conclave_proto::codec::Wire;

use super::Event;
use crate::{
    step::{Effects, EventRange, Lineage, Step, WriteSet},
    store::{Direction, Key, Range, Scope, Store, StoreError, Table, Write},
};

/// A position in the log of events: everything up to it has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventCursor(pub u64);

/// What reading the log returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// An event, and the position after it.
    Event(EventCursor, Event),
    /// Events up to this position were given up before they were read. Go on after it, and look
    /// at the groups themselves for what was missed.
    Lagged(EventCursor),
}

/// All events lie in one scope; their position is the order.
const SCOPE: Scope = *b"conclave events.";

/// Stored at the position of the last event that was erased: positions go on after it when no
/// event is left.
const ERASED: &[u8] = &[];

/// Events that one read takes from the store.
const BATCH: usize = 256;

/// Writes of one set that erases events: a fraction of what stores take at once.
const ERASED_AT_ONCE: usize = 1_024;

/// Length of [`key`]: scope, class and position.
pub(crate) const KEY_BYTES: usize = 16 + 1 + 8;

/// The key of the event at a position.
pub(crate) fn key(position: u64) -> Key {
    Key::numbered(SCOPE, 0, position)
}

fn position(key: &[u8]) -> Option<u64> {
    Key::number_of(key)
}

/// The position of the last event that a store holds; 0 if it holds none.
///
/// # Errors
/// [`StoreError`].
pub fn last_position(store: &dyn Store) -> Result<u64, StoreError> {
    Ok(end(store, Direction::Reverse)?.map_or(0, |(last, _)| last))
}

/// The first or last position that the store has, and whether it only marks what was erased.
fn end(store: &dyn Store, from: Direction) -> Result<Option<(u64, bool)>, StoreError> {
    let mut found = None;
    store.scan(Table::Event, Range::scope(SCOPE), from, &mut |key, value| {
        found = position(key).map(|at| (at, value == ERASED));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// How far the log may be read, and what of it is kept.
#[derive(Debug)]
pub struct EventLog {
    /// The first position that is kept.
    first: u64,
    /// Position of the last durable event.
    last: u64,
    /// Durable events whose step has not been handled by the value that made it: from each last
    /// position to the first. An application that reads of something finds it done.
    unhandled: BTreeMap<u64, u64>,
    /// Most events that are kept.
    max: u64,
}

impl EventLog {
    /// The log that a store holds; at most `max` events are kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(store: &dyn Store, max: u64) -> Result<Self, StoreError> {
        let first = end(store, Direction::Forward)?;
        let last = last_position(store)?;
        let first = first.map_or(last.saturating_add(1), |(at, erased)| at + u64::from(erased));
        Ok(Self { first, last, unhandled: BTreeMap::new(), max: max.max(1) })
    }

    /// Events were stored. They can be read after [`EventLog::handled`].
    pub fn stored(&mut self, range: EventRange) {
        self.unhandled.insert(range.last, range.first);
        self.last = self.last.max(range.last);
    }

    /// The value that made them has handled that they are stored, or has ended.
    pub fn handled(&mut self, range: EventRange) {
        self.unhandled.remove(&range.last);
    }

    /// Position of the last event that is stored.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// The last position that may be read.
    #[must_use]
    pub fn end(&self) -> EventCursor {
        let held = self.unhandled.values().next().map(|first| first.saturating_sub(1));
        EventCursor(held.unwrap_or(self.last).min(self.last))
    }

    /// The oldest events to erase when there are too many: no application reads them.
    #[must_use]
    pub fn excess(&self) -> Option<EventCursor> {
        let last = self.end().0;
        let most = self.max.saturating_add(self.max / 8);
        let kept = last.saturating_add(1).saturating_sub(self.first);
        (kept > most).then(|| EventCursor(last.saturating_sub(self.max)))
    }

    /// Erases events up to a position that may be read: the write sets that do it. A failure of
    /// one only keeps what it would have erased.
    pub fn erase(&mut self, upto: EventCursor) -> Vec<WriteSet> {
        let upto = upto.0.min(self.end().0);
        if self.first > upto {
            return Vec::new();
        }
        // The mark of what was erased before goes as well.
        let gone = (self.first.saturating_sub(1)..upto)
            .map(|at| Write::Delete { table: Table::Event, key: key(at) });
        let mark = Write::Put { table: Table::Event, key: key(upto), value: ERASED.to_vec() };
        let writes: Vec<Write> = gone.chain([mark]).collect();
        self.first = upto.saturating_add(1);
        let lineage = Lineage { owner: SCOPE, life: 0, load: upto };
        let set = |part: &[Write]| {
            Step::new(lineage, part.to_vec(), Effects::default(), ()).into_parts().0
        };
        writes.chunks(ERASED_AT_ONCE).map(set).collect()
    }

    /// What a reader at this position is told first if the next event is gone.
    #[must_use]
    pub fn lagged(&self, after: EventCursor) -> Option<Told> {
        let first = self.first;
        (after.0.saturating_add(1) < first)
            .then(|| Told::Lagged(EventCursor(first.saturating_sub(1))))
    }
}

/// Reads events after a position and up to another, some hundreds at once, in order. What a later
/// version of the engine wrote is passed over.
///
/// # Errors
/// [`StoreError`].
pub fn read(
    store: &dyn Store,
    after: EventCursor,
    upto: EventCursor,
) -> Result<Vec<Told>, StoreError> {
    let mut found = Vec::new();
    if after >= upto {
        return Ok(found);
    }
    let (from, to) = (key(after.0.saturating_add(1)), key(upto.0.saturating_add(1)));
    let mut passed = after;
    store.scan(
        Table::Event,
        Range::within(SCOPE, from.order(), to.order()),
        Direction::Forward,
        &mut |k, v| {
            if let Some(at) = position(k).map(EventCursor) {
                passed = at;
                if let Ok(event) = Event::decode(v) {
                    found.push(Told::Event(at, event));
                }
            }
            if found.len() < BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        },
    )?;
    if found.is_empty() {
        found.push(Told::Lagged(passed.max(upto)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use conclave_proto::GroupId;

    use super::*;

    fn range(first: u64, last: u64) -> EventRange {
        EventRange { first, last }
    }

    /// E4: a batch is as large as it was reckoned.
    #[test]
    fn keys_of_events_have_one_length() {
        for position in [0, u64::MAX] {
            assert_eq!(key(position).as_bytes().len(), KEY_BYTES);
        }
    }

    /// E8: an event can be read when everything before it is durable and its step was handled.
    #[test]
    fn events_show_in_order_when_their_steps_were_handled() {
        let mut log = EventLog { first: 1, last: 0, unhandled: BTreeMap::new(), max: 10 };
        log.stored(range(1, 2));
        log.stored(range(3, 3));
        assert_eq!(log.end(), EventCursor(0));
        log.handled(range(3, 3));
        assert_eq!(log.end(), EventCursor(0));
        log.handled(range(1, 2));
        assert_eq!(log.end(), EventCursor(3));
    }

    /// E8, scenario 141: the log is bounded, and a reader that lags is told so.
    #[test]
    fn the_oldest_events_go_when_there_are_too_many() {
        let mut log = EventLog { first: 1, last: 0, unhandled: BTreeMap::new(), max: 8 };
        for at in 1..=9 {
            log.stored(range(at, at));
            log.handled(range(at, at));
        }
        assert_eq!(log.excess(), None);
        log.stored(range(10, 10));
        log.handled(range(10, 10));
        let excess = log.excess().unwrap();
        assert_eq!(excess, EventCursor(2));
        let sets = log.erase(excess);
        assert_eq!(sets.iter().map(|set| set.writes().len()).sum::<usize>(), 3);
        assert_eq!(log.lagged(EventCursor(0)), Some(Told::Lagged(EventCursor(2))));
        assert_eq!(log.lagged(EventCursor(2)), None);
        assert!(log.erase(EventCursor(1)).is_empty());
    }

    /// E10: the form of an event's key is frozen.
    #[test]
    fn events_lie_in_the_order_of_their_positions() {
        assert_eq!(position(key(300).as_bytes()), Some(300));
        let event = Event::Removed { group: GroupId([1; 16]) };
        assert_eq!(Event::decode(&event.encode()), Ok(event));
    }
}
