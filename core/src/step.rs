//! Persist, then release: the only way from a [`Pending`] to its effects is a [`Durable`] of the
//! same step, and only a [`Committer`] makes those (E2).

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};

use crate::{
    delivery::Transmit,
    event::Event,
    store::{Claim, Store, StoreError, StoreLimits, Write},
};

/// Who computed a step, since its last load.
///
/// Steps of one lineage build on each other: after one of them was not stored, the later ones
/// must not be either (the committer sees to it), until the value has been loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lineage {
    /// The value: a group id, the key ring.
    pub owner: [u8; 16],
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
    /// The value that made it is not what it was: nothing of it may be stored.
    broken: bool,
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

    /// Stores more in the same batch: what a driver keeps of the step itself, such as its log of
    /// events.
    pub fn extend(&mut self, writes: impl IntoIterator<Item = Write>) {
        self.writes.extend(writes);
    }

    fn size(&self) -> usize {
        self.writes.iter().map(Write::size).sum()
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
}

impl<T> Step<T> {
    /// A step of a lineage.
    pub fn new(lineage: Lineage, writes: Vec<Write>, effects: Effects, reply: T) -> Self {
        let seal = Arc::new(Seal);
        Self {
            set: WriteSet { lineage, writes, broken: false, seal: Arc::clone(&seal) },
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

    /// What it would store. For previews and tests; storing goes through a [`Committer`].
    pub fn writes(&self) -> &[Write] {
        self.set.writes()
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
    pub fn into_parts(self) -> (WriteSet, Pending<T>) {
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

/// Turns write sets into proofs: group commit, isolation of a bad set, and the rule about
/// lineages, once, for writer threads, simulators and examples alike.
///
/// Pure but for the [`Store`] it is given.
#[derive(Debug)]
pub struct Committer {
    claim: Claim,
    broken: BTreeSet<Lineage>,
}

impl Committer {
    /// A committer for the engine that made this claim.
    #[must_use]
    pub const fn new(claim: Claim) -> Self {
        Self { claim, broken: BTreeSet::new() }
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
        let mut group: Vec<WriteSet> = Vec::new();
        for set in sets {
            if set.broken {
                self.broken.insert(set.lineage);
            }
            if !group.is_empty() && !fits(&group, &set, limits) {
                self.commit_group(store, core::mem::take(&mut group), &mut results);
            }
            group.push(set);
        }
        self.commit_group(store, group, &mut results);
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

    /// Forgets a lineage that has no steps left on their way.
    pub fn forget(&mut self, lineage: Lineage) {
        self.broken.remove(&lineage);
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
        let live = group.iter().filter(|set| !self.broken.contains(&set.lineage));
        let all: Vec<Write> = live.flat_map(|set| set.writes.iter().cloned()).collect();
        let together = store.commit(self.claim, &all);
        for set in group {
            results.push(self.settle(store, set, &together));
        }
    }

    fn settle(
        &mut self,
        store: &dyn Store,
        set: WriteSet,
        together: &Result<(), StoreError>,
    ) -> Result<Durable, StoreError> {
        if self.broken.contains(&set.lineage) {
            return Err(StoreError::Unavailable);
        }
        let outcome = match together {
            // One bad set must not take the others with it.
            Err(StoreError::TooLarge { .. }) => store.commit(self.claim, &set.writes),
            other => other.clone(),
        };
        match outcome {
            Ok(()) => Ok(Durable { seal: set.seal }),
            Err(error) => {
                self.broken.insert(set.lineage);
                Err(error)
            }
        }
    }
}

fn fits(group: &[WriteSet], next: &WriteSet, limits: StoreLimits) -> bool {
    let writes: usize = group.iter().map(|set| set.writes.len()).sum();
    let bytes: usize = group.iter().map(WriteSet::size).sum();
    writes.saturating_add(next.writes.len()) <= limits.batch_writes
        && bytes.saturating_add(next.size()) <= limits.batch_bytes
}
