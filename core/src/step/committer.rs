//! The committer: write sets in, proofs out.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Durable, EventRange, Lineage, Released, Step, WriteSet};
use crate::{
    event::log,
    store::{Claim, Scope, Store, StoreError, StoreLimits, Table, Write},
};

/// Turns write sets into proofs: group commit, isolation of a bad set, the order of lineages and
/// the positions of events, once, for writer threads, simulators and examples alike.
///
/// Pure but for the [`Store`] it is given.
#[derive(Debug)]
pub struct Committer {
    claim: Claim,
    /// The newest lineage of each owner that has ended: it and all before it are refused. One
    /// entry for each owner that ever lost a step or was joined again.
    ended: BTreeMap<Scope, Age>,
    /// Joins of which it is not known whether they are stored.
    doubts: BTreeMap<Scope, Doubt>,
    events: EventLog,
}

/// Lineages of one owner, in the order in which they were loaded: by membership, then by load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    life: u64,
    load: u64,
}

impl Age {
    const fn of(lineage: Lineage) -> Self {
        Self { life: lineage.life, load: lineage.load }
    }

    /// Everything before a membership.
    const fn before(life: u64) -> Self {
        Self { life: life.saturating_sub(1), load: u64::MAX }
    }
}

/// A join whose commit had no answer, and one of its writes, by which the store shows what
/// became of it.
#[derive(Debug)]
struct Doubt {
    life: u64,
    probe: Option<Write>,
}

/// Where the next event stands.
#[derive(Clone, Copy, Debug)]
enum EventLog {
    /// Events are not stored: whoever drives steps by hand reads them from the effects.
    None,
    /// At this position.
    Next(u64),
    /// Behind what the store holds: a commit with events had no answer.
    Unknown,
}

impl Committer {
    /// A committer for the engine that made this claim. It keeps no event log.
    #[must_use]
    pub const fn new(claim: Claim) -> Self {
        Self { claim, ended: BTreeMap::new(), doubts: BTreeMap::new(), events: EventLog::None }
    }

    /// As [`Committer::new`], and events are stored after position `last`, see
    /// [`last_position`](log::last_position).
    #[must_use]
    pub const fn with_event_log(claim: Claim, last: u64) -> Self {
        let events = EventLog::Next(last.saturating_add(1));
        Self { claim, ended: BTreeMap::new(), doubts: BTreeMap::new(), events }
    }

    /// Stores write sets, in order, in as few batches as the store's limits allow.
    ///
    /// Result `i` belongs to set `i`. On `Err` the owner drops its value and loads it again,
    /// under a new lineage; sets of the old lineage are refused from then on.
    pub fn commit(
        &mut self,
        store: &dyn Store,
        sets: Vec<WriteSet>,
    ) -> Vec<Result<Durable, StoreError>> {
        let limits = store.limits();
        let mut results = Vec::with_capacity(sets.len());
        let mut group = Batch::default();
        for set in sets {
            if set.broken {
                self.end(set.lineage.owner, Age::of(set.lineage));
            }
            if !group.sets.is_empty() && !group.fits(&set, limits) {
                self.commit_group(store, core::mem::take(&mut group).sets, &mut results);
            }
            let supersedes = set.supersedes.is_some();
            group.push(set);
            // What follows is judged by what became of the join.
            if supersedes {
                self.commit_group(store, core::mem::take(&mut group).sets, &mut results);
            }
        }
        self.commit_group(store, group.sets, &mut results);
        results
    }

    /// Stores one step and releases its effects.
    ///
    /// # Errors
    /// [`StoreError`]; the value that made the step is to be dropped and loaded again.
    pub fn drive<T>(
        &mut self,
        store: &dyn Store,
        step: Step<T>,
    ) -> Result<Released<T>, StoreError> {
        let (set, pending) = step.into_parts();
        let proof = self.commit(store, Vec::from([set])).pop();
        proof.unwrap_or(Err(StoreError::Unavailable)).map(|proof| pending.release(proof))
    }

    fn commit_group(
        &mut self,
        store: &dyn Store,
        group: Vec<WriteSet>,
        results: &mut Vec<Result<Durable, StoreError>>,
    ) {
        if group.is_empty() {
            return;
        }
        for owner in group.iter().map(|set| set.lineage.owner) {
            self.resolve(store, owner);
        }
        let mut next = self.next_event(store);
        let mut all = Vec::new();
        let mut ranges = Vec::with_capacity(group.len());
        for set in &group {
            let live = !self.is_ended(set.lineage);
            let range = live.then(|| place(&set.events, &mut next, &mut all)).flatten();
            ranges.push(range);
            if live {
                all.extend(set.writes.iter().cloned());
            }
        }
        let placed =
            !matches!(next, EventLog::Unknown) || group.iter().all(|s| s.events.is_empty());
        // Nothing is stored without the events that tell of it.
        let together =
            if placed { store.commit(self.claim, &all) } else { Err(StoreError::Unavailable) };
        self.note_events(&together, next);
        for (set, range) in group.into_iter().zip(ranges) {
            results.push(self.settle(store, set, range, &together));
        }
    }

    fn settle(
        &mut self,
        store: &dyn Store,
        set: WriteSet,
        range: Option<EventRange>,
        together: &Result<(), StoreError>,
    ) -> Result<Durable, StoreError> {
        if self.is_ended(set.lineage) {
            return Err(StoreError::Unavailable);
        }
        let (outcome, events) = match together {
            // One bad set must not take the others with it.
            Err(StoreError::TooLarge { .. }) => self.commit_alone(store, &set),
            other => (other.clone(), range),
        };
        match outcome {
            Ok(()) => {
                if let Some(joined) = set.supersedes {
                    self.end(joined.owner, Age::before(joined.life));
                }
                Ok(Durable { seal: set.seal, events })
            }
            Err(error) => {
                self.end(set.lineage.owner, Age::of(set.lineage));
                if let (Some(joined), StoreError::Unknown) = (set.supersedes, &error) {
                    let probe = set.writes.into_iter().find(|it| matches!(it, Write::Put { .. }));
                    self.doubts.insert(joined.owner, Doubt { life: joined.life, probe });
                }
                Err(error)
            }
        }
    }

    fn commit_alone(
        &mut self,
        store: &dyn Store,
        set: &WriteSet,
    ) -> (Result<(), StoreError>, Option<EventRange>) {
        let mut next = self.next_event(store);
        let mut all = Vec::new();
        let range = place(&set.events, &mut next, &mut all);
        all.extend(set.writes.iter().cloned());
        let outcome = store.commit(self.claim, &all);
        self.note_events(&outcome, next);
        (outcome, range)
    }

    fn is_ended(&self, lineage: Lineage) -> bool {
        self.ended.get(&lineage.owner).is_some_and(|ended| Age::of(lineage) <= *ended)
            || self.doubts.get(&lineage.owner).is_some_and(|doubt| lineage.life < doubt.life)
    }

    fn end(&mut self, owner: Scope, age: Age) {
        let ended = self.ended.entry(owner).or_insert(age);
        *ended = (*ended).max(age);
    }

    /// Looks what became of a join that had no answer. Without an answer the doubt stays, and
    /// nothing of the membership before is stored.
    fn resolve(&mut self, store: &dyn Store, owner: Scope) {
        let Some(Doubt { life, probe: Some(Write::Put { table, key, value }) }) =
            self.doubts.get(&owner)
        else {
            return;
        };
        let Ok(found) = store.get(*table, key) else { return };
        let (life, stored) = (*life, found.as_deref() == Some(value.as_slice()));
        self.doubts.remove(&owner);
        if stored {
            self.end(owner, Age::before(life));
        }
    }

    fn next_event(&mut self, store: &dyn Store) -> EventLog {
        if matches!(self.events, EventLog::Unknown)
            && let Ok(last) = log::last_position(store)
        {
            self.events = EventLog::Next(last.saturating_add(1));
        }
        self.events
    }

    /// Positions of a batch that was certainly not stored are used again; where it is not
    /// certain, the store is asked before the next batch.
    const fn note_events(&mut self, outcome: &Result<(), StoreError>, next: EventLog) {
        match outcome {
            Ok(()) => self.events = next,
            Err(StoreError::Unknown) if !matches!(self.events, EventLog::None) => {
                self.events = EventLog::Unknown;
            }
            Err(_) => {}
        }
    }
}

/// Gives events the next positions.
fn place(events: &[Vec<u8>], next: &mut EventLog, all: &mut Vec<Write>) -> Option<EventRange> {
    let EventLog::Next(at) = next else { return None };
    let first = *at;
    for event in events {
        all.push(Write::Put { table: Table::Event, key: log::key(*at), value: event.clone() });
        *at = at.saturating_add(1);
    }
    (*at > first).then(|| EventRange { first, last: at.saturating_sub(1) })
}

/// Write sets that go to the store together.
#[derive(Default)]
struct Batch {
    sets: Vec<WriteSet>,
    writes: usize,
    bytes: usize,
}

impl Batch {
    fn fits(&self, next: &WriteSet, limits: StoreLimits) -> bool {
        self.writes.saturating_add(next.count()) <= limits.batch_writes
            && self.bytes.saturating_add(next.size()) <= limits.batch_bytes
    }

    fn push(&mut self, set: WriteSet) {
        self.writes = self.writes.saturating_add(set.count());
        self.bytes = self.bytes.saturating_add(set.size());
        self.sets.push(set);
    }
}
