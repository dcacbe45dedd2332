//! The timeline of a group: which messages of which sender have been received, what this
//! installation has sent, and how far the log has been seen.

use std::collections::{BTreeMap, VecDeque};

use conclave_proto::{
    ChainHash, Cursor, Epoch, InstallationId, MessageId, Seq, Timestamp,
    codec::Wire,
    group::LeafCredential,
    message::{Body, IdempotencyKey, Payload, message_id},
};
use serde::{Deserialize, Serialize};

use super::{draft::Draft, outbox::OwnMessage, place::Place, stored::StoredMessage};
use crate::event::{Event, Rejection};

/// The messages of a group at their positions in the log.
pub(super) struct Timeline {
    senders: BTreeMap<InstallationId, SenderLog>,
    sent: Sent,
    /// Chain hashes of records handled since the load, to compare with what senders had read.
    trail: VecDeque<(Seq, ChainHash)>,
    /// Ids of own messages settled since the load, so that a retry with the same key is recognised.
    recently_settled: VecDeque<MessageId>,
}

/// The messages that this installation has sent: how many, and the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) count: u64,
    pub(super) last: MessageId,
}

/// Where a message stands in the log, and who sent it in which epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) seq: Seq,
    pub(super) epoch: Epoch,
    pub(super) sender: LeafCredential,
}

/// Which messages of a sender have been received, by their counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SenderLog {
    /// Ranges of received counters, ascending, apart from each other.
    ranges: Vec<(u64, u64)>,
}

/// Chain hashes that are remembered. A sender has rarely read less than this many records up to
/// its message; where it has, its log is not compared.
const TRAIL: usize = 512;

/// Own settled messages that are remembered: more than an application retries at once.
const RECENTLY_SETTLED: usize = 256;

/// Holes that are remembered per sender; older ones count as lost.
const HOLES: usize = 64;

impl Timeline {
    /// The timeline as it was stored.
    pub(super) const fn new(senders: BTreeMap<InstallationId, SenderLog>, sent: Sent) -> Self {
        Self { senders, sent, trail: VecDeque::new(), recently_settled: VecDeque::new() }
    }

    pub(super) const fn sent(&self) -> Sent {
        self.sent
    }

    /// A decrypted message of another member that counts at its position. A message whose counter
    /// was received before does not (G14).
    pub(super) fn receive(&mut self, draft: &mut Draft, origin: Origin, payload: Payload) {
        let sender = origin.sender.installation;
        let log = self.senders.entry(sender).or_default();
        if log.has(payload.counter) {
            return draft.reject(origin.seq, Rejection::Duplicate);
        }
        if let Some((first, last)) = log.note(payload.counter) {
            draft.event(Event::Gap { group: draft.group(), sender, first, last });
        }
        draft.put(Place::Sender(&sender), log.encode());
        if self.read_another_log(payload.read) {
            let seq = payload.read.seq;
            draft.event(Event::LogDiffers { group: draft.group(), sender, seq });
        }
        store(draft, origin, payload, false);
    }

    /// An own message has its position in the log and counts there.
    pub(super) fn settle(&mut self, draft: &mut Draft, origin: Origin, message: &OwnMessage) {
        push_bounded(&mut self.recently_settled, message.id, RECENTLY_SETTLED);
        if let Ok(payload) = Payload::decode(&message.payload) {
            store(draft, origin, payload, true);
        }
    }

    /// Whether an own message was settled since the load.
    pub(super) fn has_settled(&self, id: &MessageId) -> bool {
        self.recently_settled.contains(id)
    }

    /// A record of the log was handled: senders that had read up to it are compared with it.
    pub(super) fn extend_trail(&mut self, cursor: Cursor) {
        push_bounded(&mut self.trail, (cursor.seq, cursor.hash), TRAIL);
    }

    /// An epoch has other leaves than the one before it. Counters belong to a leaf: one that left,
    /// or has joined, starts over.
    pub(super) fn change_leaves(
        &mut self,
        draft: &mut Draft,
        before: &BTreeMap<LeafCredential, u32>,
        after: &BTreeMap<LeafCredential, u32>,
    ) {
        let left = before.keys().filter(|leaf| !after.contains_key(*leaf));
        let joined = after.keys().filter(|leaf| !before.contains_key(*leaf));
        for leaf in left.chain(joined) {
            if self.senders.remove(&leaf.installation).is_some() {
                draft.delete(Place::Sender(&leaf.installation));
            }
        }
    }

    /// The payload of the next own message.
    pub(super) const fn next_payload(
        &self,
        now: Timestamp,
        key: IdempotencyKey,
        read: Cursor,
        body: Body,
    ) -> Payload {
        let counter = self.sent.count.saturating_add(1);
        Payload { counter, previous: self.sent.last, key, time: now, read, body }
    }

    /// An own message was taken for sending.
    pub(super) fn count(&mut self, draft: &mut Draft, id: MessageId) {
        self.sent = Sent { count: self.sent.count.saturating_add(1), last: id };
        draft.change_meta();
    }

    /// Whether the log held another record than here where a sender had read up to.
    fn read_another_log(&self, read: Cursor) -> bool {
        let ours = self.trail.iter().rev().find(|(seq, _)| *seq == read.seq);
        ours.is_some_and(|(_, hash)| *hash != read.hash)
    }
}

impl SenderLog {
    pub(super) fn has(&self, counter: u64) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&counter))
    }

    /// Notes a counter; returns the hole that it leaves before it, if that is new. The first
    /// message that is seen of a sender leaves none: what was before it was not for us.
    pub(super) fn note(&mut self, counter: u64) -> Option<(u64, u64)> {
        let newest = self.ranges.last().map(|(_, last)| *last);
        let hole = newest
            .filter(|newest| counter > newest.saturating_add(1))
            .map(|newest| (newest.saturating_add(1), counter.saturating_sub(1)));
        self.insert(counter);
        hole
    }

    fn insert(&mut self, counter: u64) {
        let at = self.ranges.partition_point(|(first, _)| *first <= counter);
        self.ranges.insert(at, (counter, counter));
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(self.ranges.len());
        for (first, last) in self.ranges.drain(..) {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => merged.push((first, last)),
            }
        }
        while merged.len() > HOLES {
            let (first, _) = merged.remove(0);
            if let Some(next) = merged.first_mut() {
                next.0 = first;
            }
        }
        self.ranges = merged;
    }
}

fn store(draft: &mut Draft, origin: Origin, payload: Payload, own: bool) {
    let Origin { seq, epoch, sender } = origin;
    let group = draft.group();
    let id = message_id(&group, &sender.installation, &payload.key, &payload.body);
    let message = StoredMessage {
        id,
        inbox: sender.inbox,
        installation: sender.installation,
        epoch,
        counter: payload.counter,
        key: payload.key,
        time: payload.time,
        body: payload.body,
    };
    draft.put(Place::Message(seq), message.encode());
    draft.put(Place::MessageId(&id), seq.0.to_be_bytes().to_vec());
    draft.event(Event::Message { group, id, seq, own });
}

fn push_bounded<T>(queue: &mut VecDeque<T>, value: T, most: usize) {
    queue.push_back(value);
    if queue.len() > most {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests;
