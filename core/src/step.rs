//! Persist, then release: the only way from a [`Pending`] to its effects is a [`Durable`] of the
//! same step, and only a [`Committer`] makes those (E2).

mod committer;

use alloc::{sync::Arc, vec::Vec};

pub use committer::Committer;
use conclave_proto::codec::Wire;

use crate::{
    delivery::Transmit,
    event::{Event, log},
    store::{Scope, Write},
};

/// Who computed a step, since its last load.
///
/// Steps of one lineage build on each other: after one of them was not stored, the later ones
/// must not be either (the committer sees to it), until the value has been loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lineage {
    /// The value: a group id, the key ring.
    pub owner: Scope,
    /// Position at which the membership began that the value was loaded in; 0 for values that
    /// have none. A join ends the lineages of all earlier memberships.
    pub life: u64,
    /// How many times it has been loaded by this engine.
    pub load: u64,
}

#[derive(Debug)]
struct Seal;

/// What a step stores, in one atomic batch.
#[derive(Debug)]
pub struct WriteSet {
    lineage: Lineage,
    writes: Vec<Write>,
    /// Encoded events, which the committer stores at the next positions of the event log.
    events: Vec<Vec<u8>>,
    /// The value that made it is half changed: nothing of it may be stored.
    broken: bool,
    /// A membership that begins with this set: earlier lineages of its group end.
    supersedes: Option<Lineage>,
    seal: Arc<Seal>,
}

impl WriteSet {
    /// Who computed it.
    #[must_use]
    pub const fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// The writes, in order.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The encoded events that are stored with it.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        self.events.iter().map(Vec::as_slice)
    }

    /// Stores more in the same batch: what a driver keeps of the step itself.
    pub fn extend(&mut self, writes: impl IntoIterator<Item = Write>) {
        self.writes.extend(writes);
    }

    /// How many writes it is, events included.
    const fn count(&self) -> usize {
        self.writes.len().saturating_add(self.events.len())
    }

    /// Bytes of its keys and values, events included.
    #[must_use]
    pub fn size(&self) -> usize {
        let event = |event: &Vec<u8>| event.len().saturating_add(log::KEY_BYTES);
        let events = self.events.iter().map(event).sum::<usize>();
        self.writes.iter().map(Write::size).sum::<usize>().saturating_add(events)
    }
}

/// What a step lets happen once it is durable.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Envelopes to publish, those of one topic in this order.
    pub transmits: Vec<Transmit>,
    /// Key packages to upload.
    pub uploads: Vec<Upload>,
    /// What the application should know.
    pub events: Vec<Event>,
}

/// A key package for the relay's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Counter of the upload; higher than all before.
    pub counter: u64,
    /// The encoded [`conclave_proto::package::PackageUpload`].
    pub bytes: Vec<u8>,
}

/// What one input caused. `T` is the answer to the caller (a message id, a joined group): it too
/// waits for the disk.
///
/// A step may be dropped unreleased without harm, if the value that made it is dropped too and
/// loaded again: nothing of it has left the process.
#[must_use = "an undriven step is lost work"]
#[derive(Debug)]
pub struct Step<T = ()> {
    set: WriteSet,
    pending: Pending<T>,
}

/// The effects of a step, waiting for its proof.
#[must_use = "effects that are not released are lost until the next load"]
#[derive(Debug)]
pub struct Pending<T = ()> {
    effects: Effects,
    reply: T,
    seal: Arc<Seal>,
}

/// The effects of a durable step.
#[derive(Debug)]
pub struct Released<T = ()> {
    /// What may happen.
    pub effects: Effects,
    /// The answer to the caller.
    pub reply: T,
}

/// Proof that one step's write set is stored for good; used up by [`Pending::release`].
#[must_use = "the effects of the step wait for it"]
#[derive(Debug)]
pub struct Durable {
    seal: Arc<Seal>,
    events: Option<EventRange>,
}

/// Positions of the events of one step in the event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRange {
    /// Position of the first.
    pub first: u64,
    /// Position of the last.
    pub last: u64,
}

impl Durable {
    /// Where the events of the step stand in the event log; `None` if it has none, or if the
    /// committer keeps no event log.
    #[must_use]
    pub const fn events(&self) -> Option<EventRange> {
        self.events
    }
}

impl<T> Step<T> {
    /// A step of a lineage.
    pub fn new(lineage: Lineage, writes: Vec<Write>, effects: Effects, reply: T) -> Self {
        let seal = Arc::new(Seal);
        Self {
            set: WriteSet {
                lineage,
                writes,
                events: Vec::new(),
                broken: false,
                supersedes: None,
                seal: Arc::clone(&seal),
            },
            pending: Pending { effects, reply, seal },
        }
    }

    /// A step that failed inside after its value had changed: a committer refuses it and ends the
    /// lineage, so that the driver does what it does after a store failure: drop and load again.
    #[cfg(feature = "std")]
    pub(crate) fn broken(lineage: Lineage, reply: T) -> Self {
        let mut step = Self::new(lineage, Vec::new(), Effects::default(), reply);
        step.set.broken = true;
        step
    }

    /// A step that begins a membership: once it is stored, the committer refuses the steps of all
    /// values of that group that were loaded before.
    pub fn superseding(mut self, joined: Lineage) -> Self {
        self.set.supersedes = Some(joined);
        self
    }

    /// Whether it stores nothing and lets nothing happen, so that only its answer is of interest.
    pub fn is_idle(&self) -> bool {
        let effects = &self.pending.effects;
        let quiet = effects.transmits.is_empty() && effects.uploads.is_empty();
        quiet && effects.events.is_empty() && self.set.writes.is_empty() && !self.set.broken
    }

    /// The answer of a step that is idle; a step that is not comes back.
    ///
    /// # Errors
    /// The step itself.
    #[allow(clippy::result_large_err, reason = "the step is moved on at once")]
    pub fn into_idle(self) -> Result<T, Self> {
        if self.is_idle() { Ok(self.pending.reply) } else { Err(self) }
    }

    /// What it would store. For previews and tests; storing goes through a [`Committer`].
    pub fn writes(&self) -> &[Write] {
        self.set.writes()
    }

    /// Its writes, as part of another step; `None` if it may not be stored.
    #[cfg(feature = "std")]
    pub(crate) fn into_writes(self) -> Option<Vec<Write>> {
        (!self.set.broken).then_some(self.set.writes)
    }

    /// The events that wait for its proof, for a driver that stores them in the same batch.
    /// Showing them to anybody before the release would be a promise that a crash breaks.
    pub fn events(&self) -> &[Event] {
        &self.pending.effects.events
    }

    /// The answer that waits for its proof, for a driver that stores something about it in the
    /// same batch.
    pub fn reply(&self) -> &T {
        &self.pending.reply
    }

    /// The part to store and the part that waits.
    pub fn into_parts(mut self) -> (WriteSet, Pending<T>) {
        self.set.events = self.pending.effects.events.iter().map(Wire::encode).collect();
        (self.set, self.pending)
    }

    /// The same step with another answer.
    pub fn map<U>(self, answer: impl FnOnce(T) -> U) -> Step<U> {
        let Pending { effects, reply, seal } = self.pending;
        Step { set: self.set, pending: Pending { effects, reply: answer(reply), seal } }
    }
}

impl<T> Pending<T> {
    /// Lets the effects happen.
    ///
    /// # Panics
    /// If the proof is of another step: a bug of the driver.
    #[must_use = "the effects are what the step was made for"]
    pub fn release(self, proof: Durable) -> Released<T> {
        assert!(Arc::ptr_eq(&self.seal, &proof.seal), "the proof is of another step");
        Released { effects: self.effects, reply: self.reply }
    }
}
