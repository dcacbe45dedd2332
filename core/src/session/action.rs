//! What a session says is to be done, and its limits.

use alloc::vec::Vec;

use conclave_proto::{
    Cursor, GroupId, Record, Seq, Topic, TransmitId,
    relay::{PageLimit, Watch},
};

use crate::{
    delivery::{PublishOutcome, Transmit, Uploaded},
    step::Upload,
};

/// Limits of a session.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SessionLimits {
    /// Milliseconds before the first retry. Longer than a round trip on a bad network.
    pub retry_ms: u64,
    /// Most milliseconds between two retries: somebody who comes out of a tunnel waits no longer.
    pub retry_max_ms: u64,
    /// Calls of one kind that wait for their answers. More gain nothing on one connection.
    pub calls: usize,
    /// Topics in one fetch.
    pub fetch_topics: usize,
    /// Records that an owner is given at once: enough to share what a step costs, and few enough
    /// that whatever else it is asked waits for some tens of milliseconds only.
    pub given_records: usize,
    /// Records kept for one owner that is busy; later ones are fetched when it is not.
    pub held_records: usize,
    /// Bytes of these records; one more record may exceed them.
    pub held_bytes: usize,
    /// Records collected for a parked owner, which looks at everything behind its cursor at once.
    /// One that waits before more than these, and a page, gets no further; nothing heals it yet.
    pub parked_records: usize,
    /// Bytes of these records; one more page may exceed them.
    pub parked_bytes: usize,
    /// Milliseconds after which a parked owner gets its records again although none came.
    pub parked_ms: u64,
    /// Milliseconds after which an owner that could not take its records gets them again.
    pub trouble_ms: u64,
    /// Envelopes of one topic in one call.
    pub batch_envelopes: usize,
    /// Bytes of envelopes in one call; a longer envelope goes alone.
    pub batch_bytes: usize,
    /// Envelopes that wait to be published, over all topics. Owners publish again what they still
    /// miss after a while, so what does not fit is not lost.
    pub queued_envelopes: usize,
    /// Topics in one change of the subscription.
    pub watch_topics: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            retry_ms: 250,
            retry_max_ms: 60_000,
            calls: 4,
            fetch_topics: 256,
            given_records: 256,
            held_records: 256,
            held_bytes: 4 * 1024 * 1024,
            parked_records: 16_384,
            parked_bytes: 32 * 1024 * 1024,
            parked_ms: 60_000,
            trouble_ms: 1_000,
            batch_envelopes: 64,
            batch_bytes: 1024 * 1024,
            queued_envelopes: 64 * 1024,
            watch_topics: 5_000,
        }
    }
}

/// A call of the delivery service, for matching its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// A question to the relay that an owner asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookUpId(pub u64);

/// What to do next. The first group are calls of the delivery service, the second is for owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a subscription; a [`Action::Watch`] follows. An older one is over.
    Subscribe,
    /// Change the subscription.
    Watch(Watch),
    /// Call `fetch`, and hand the answer to
    /// [`Session::handle_pages`](super::Session::handle_pages).
    Fetch {
        /// The call.
        call: CallId,
        /// What to fetch.
        after: Vec<(Topic, Cursor)>,
        /// How much.
        limit: PageLimit,
    },
    /// Call `publish`, and hand the answer to
    /// [`Session::handle_published`](super::Session::handle_published).
    Publish {
        /// The call.
        call: CallId,
        /// What to publish.
        batch: Vec<Transmit>,
    },
    /// Call `upload`, and hand the answer to
    /// [`Session::handle_uploaded`](super::Session::handle_uploaded).
    Upload {
        /// The call.
        call: CallId,
        /// What to upload.
        upload: Upload,
    },

    /// Hand records to the topic's owner, who answers with
    /// [`Session::handled`](super::Session::handled).
    Deliver {
        /// The topic.
        topic: Topic,
        /// The records that follow the owner's cursor.
        records: Vec<Record>,
    },
    /// Records before this one are gone: the owner cannot follow its log any more.
    Truncated {
        /// The topic.
        topic: Topic,
        /// The first record that is left.
        first: Seq,
    },
    /// Tell a group what became of an envelope.
    Outcome {
        /// The group.
        owner: GroupId,
        /// The topic that the envelope was for.
        topic: Topic,
        /// The envelope.
        id: TransmitId,
        /// What became of it.
        outcome: PublishOutcome,
    },
    /// Tell the key ring what became of its upload.
    Uploaded {
        /// The upload's counter.
        counter: u64,
        /// What became of it.
        uploaded: Uploaded,
    },
    /// The records that were looked up: all there were, or as many as were asked for.
    Found {
        /// The question.
        look_up: LookUpId,
        /// The records.
        records: Vec<Record>,
    },
    /// Everything that was stored before the session came up has been read by its owners or is
    /// with them now.
    CaughtUp,
    /// The relay cannot be used as it is set up; the session tries again, slowly.
    Misconfigured(&'static str),
    /// The relay cannot be reached; the session tries again.
    Unreachable,
}
