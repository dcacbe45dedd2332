//! Syncs that wait for the relay.

use std::collections::BTreeSet;

use crate::engine::ReplyToken;

/// The calls that wait until everything is read. The relay is asked one question at a time: if every
/// sync asked one of its own, and only the answer to the last question counted, syncs that are asked
/// faster than the relay answers would put off each other without end.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    /// Wait for the question that the relay was asked last.
    asked: BTreeSet<ReplyToken>,
    /// Came after that question; the next question is for them.
    next: BTreeSet<ReplyToken>,
}

impl Syncs {
    pub(super) fn push(&mut self, reply: ReplyToken) {
        self.next.insert(reply);
    }

    pub(super) fn withdraw(&mut self, reply: ReplyToken) {
        self.asked.remove(&reply);
        self.next.remove(&reply);
    }

    /// Whether a question is to be asked now, for all that came since the last one.
    pub(super) fn begin(&mut self) -> bool {
        if !self.asked.is_empty() || self.next.is_empty() {
            return false;
        }
        self.asked = std::mem::take(&mut self.next);
        true
    }

    /// Whether a sync waits for the question that is under way.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Takes the syncs whose question was answered.
    pub(super) fn take_answered(&mut self) -> BTreeSet<ReplyToken> {
        std::mem::take(&mut self.asked)
    }

    /// Takes all of them.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = ReplyToken> + use<> {
        let (asked, next) = (std::mem::take(&mut self.asked), std::mem::take(&mut self.next));
        asked.into_iter().chain(next)
    }
}
