//! Envelopes on their way out: one queue for each topic, and at most one call at a time that
//! carries envelopes of it, so that they are stored in the order they were given.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::{ops::Bound, time::Duration};

use conclave_proto::{GroupId, Timestamp, Topic, TransmitId, limits::ENVELOPES_PER_PUBLISH};

use super::{
    CallId, SessionLimits,
    backoff::{Dice, Wait},
    index::mark,
};
use crate::{
    delivery::{PublishOutcome, Transmit},
    timetable::Timetable,
};

#[derive(Debug)]
pub(super) struct Outbound {
    topics: BTreeMap<Topic, Queue>,
    /// Topics whose envelopes the next call can carry.
    ready: BTreeSet<Topic>,
    /// Topics that wait for a retry.
    retries: Timetable<Topic>,
    /// What each call carries: so many from the front of these queues, in this order.
    calls: BTreeMap<CallId, Vec<(Topic, usize)>>,
    /// Envelopes in all queues.
    len: usize,
    /// The topic that was served last: others come first next time.
    last: Option<Topic>,
    dice: Dice,
}

/// An envelope that has its answer.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) owner: GroupId,
    pub(super) topic: Topic,
    pub(super) id: TransmitId,
    pub(super) outcome: PublishOutcome,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(GroupId, Transmit)>,
    ids: BTreeSet<TransmitId>,
    /// Whether a call carries envelopes of it.
    called: bool,
    wait: Wait,
}

impl Outbound {
    pub(super) fn new(dice: Dice) -> Self {
        Self {
            topics: BTreeMap::new(),
            ready: BTreeSet::new(),
            retries: Timetable::default(),
            calls: BTreeMap::new(),
            len: 0,
            last: None,
            dice,
        }
    }

    /// Files a topic under what its queue waits for; to be called after every change of the queue.
    fn note(&mut self, topic: &Topic) {
        let free = self.topics.get(topic).filter(|queue| !queue.called);
        let retry = free.and_then(|queue| queue.wait.due());
        mark(&mut self.ready, topic, free.is_some() && retry.is_none());
        self.retries.set(topic, retry);
    }

    /// Queues an envelope, unless it waits already or the queues are full.
    pub(super) fn queue(&mut self, owner: GroupId, transmit: Transmit, most: usize) {
        if self.len >= most {
            return;
        }
        let topic = transmit.topic.clone();
        let queue = self.topics.entry(topic.clone()).or_default();
        if queue.ids.insert(transmit.id) {
            queue.waiting.push_back((owner, transmit));
            self.len += 1;
        }
        self.note(&topic);
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// When a queue that waits for a retry may go on.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.retries.first()
    }

    /// A clock that went back must not turn short waits into long ones.
    pub(super) fn tame(&mut self, now: Timestamp) {
        for queue in self.topics.values_mut() {
            queue.wait.tame(now);
        }
        for topic in self.topics.keys().cloned().collect::<Vec<_>>() {
            self.note(&topic);
        }
    }

    /// What the next call carries, if there is anything for it: topics take turns.
    pub(super) fn next_batch(
        &mut self,
        now: Timestamp,
        call: CallId,
        limits: &SessionLimits,
    ) -> Option<Vec<Transmit>> {
        while let Some(topic) = self.retries.take(now) {
            self.ready.insert(topic);
        }
        let mut batch = Batch::default();
        for topic in self.in_turn() {
            let Some(queue) = self.topics.get_mut(&topic) else { continue };
            let taken = batch.take(queue, limits);
            if taken == 0 {
                break;
            }
            queue.called = true;
            self.note(&topic);
            batch.topics.push((topic.clone(), taken));
            self.last = Some(topic);
        }
        if batch.topics.is_empty() {
            return None;
        }
        self.calls.insert(call, batch.topics);
        Some(batch.transmits)
    }

    /// Topics with something to publish, starting after the one that was served last.
    fn in_turn(&self) -> Vec<Topic> {
        let (after, upto) = match &self.last {
            Some(last) => {
                let after = (Bound::Excluded(last.clone()), Bound::Unbounded);
                (self.ready.range(after), Some(self.ready.range(..=last.clone())))
            }
            None => (self.ready.range(..), None),
        };
        after.chain(upto.into_iter().flatten()).take(ENVELOPES_PER_PUBLISH).cloned().collect()
    }

    /// What a call brought: envelopes that are settled, with their owners. The others stay.
    pub(super) fn settle(
        &mut self,
        now: Timestamp,
        call: CallId,
        outcomes: Vec<PublishOutcome>,
    ) -> Vec<Settled> {
        let mut settled = Vec::new();
        let mut outcomes = outcomes.into_iter();
        for (topic, count) in self.calls.remove(&call).unwrap_or_default() {
            let Some(queue) = self.topics.get_mut(&topic) else { continue };
            // A service that answers too little has said nothing about the rest.
            let answers = outcomes.by_ref().take(count);
            let answers: Vec<_> =
                answers.chain(core::iter::repeat(PublishOutcome::Unknown)).take(count).collect();
            queue.settle(now, answers, &mut settled, &mut self.dice);
            if queue.waiting.is_empty() {
                self.topics.remove(&topic);
            }
            self.note(&topic);
        }
        self.len = self.len.saturating_sub(settled.len());
        settled
    }
}

impl Queue {
    fn settle(
        &mut self,
        now: Timestamp,
        answers: Vec<PublishOutcome>,
        settled: &mut Vec<Settled>,
        dice: &mut Dice,
    ) {
        self.called = false;
        let rest = self.waiting.split_off(answers.len().min(self.waiting.len()));
        let called = core::mem::take(&mut self.waiting);
        let mut again = None;
        let before = settled.len();
        for ((owner, transmit), outcome) in called.into_iter().zip(answers) {
            match outcome {
                PublishOutcome::NotStored { .. } => {
                    again = again.max(outcome.retry_after());
                    self.waiting.push_back((owner, transmit));
                }
                PublishOutcome::Unknown => {
                    again = again.max(Some(Duration::ZERO));
                    self.waiting.push_back((owner, transmit));
                }
                // What stood in its way has an answer of its own.
                PublishOutcome::Behind => {
                    self.waiting.push_back((owner, transmit));
                }
                PublishOutcome::Accepted { .. }
                | PublishOutcome::Conflict { .. }
                | PublishOutcome::TooLarge { .. }
                | PublishOutcome::Invalid => {
                    self.ids.remove(&transmit.id);
                    let Transmit { topic, id, .. } = transmit;
                    settled.push(Settled { owner, topic, id, outcome });
                }
            }
        }
        let progress = settled.len() > before;
        self.waiting.extend(rest);
        match again {
            Some(least) => self.wait.fail(now, least, dice),
            // What stood in the way of the others, if anything did, is settled.
            None if progress => self.wait.reset(),
            // Only `Behind` without a reason: a service that does not keep its word is asked
            // again as slowly as one that fails.
            None => self.wait.fail(now, Duration::ZERO, dice),
        }
    }
}

/// A call that is being filled.
#[derive(Default)]
struct Batch {
    transmits: Vec<Transmit>,
    topics: Vec<(Topic, usize)>,
    bytes: usize,
}

impl Batch {
    /// Takes from the front of a queue what fits; gives how many.
    fn take(&mut self, queue: &Queue, limits: &SessionLimits) -> usize {
        let mut taken = 0;
        for (_, transmit) in queue.waiting.iter().take(limits.batch_envelopes.max(1)) {
            let len = transmit.payload.len();
            let fits = self.transmits.len() < ENVELOPES_PER_PUBLISH
                && self.bytes.saturating_add(len) <= limits.batch_bytes;
            // The first goes along however long it is.
            if !fits && !self.transmits.is_empty() {
                break;
            }
            self.bytes = self.bytes.saturating_add(len);
            self.transmits.push(transmit.clone());
            taken += 1;
        }
        taken
    }
}
