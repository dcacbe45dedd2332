//! Every limit in one place, each with its reason.

use conclave_proto::limits;

use crate::store::StoreLimits;

/// Limits of one engine. They bind what it sends and keeps; what it accepts from others is
/// bound by the group's rules version ([`conclave_proto::limits`]), the same for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest content of a message, in bytes. Larger content belongs into an attachment.
    pub content_bytes: usize,
    /// Most leaves in a group that this engine adds to. Above this a bulk add takes seconds.
    pub leaves: usize,
    /// Most wishes waiting in one group. They are batched into commits, so a queue this long
    /// means that the relay is gone.
    pub intents: usize,
    /// Most own messages waiting for their place in the log of one group. Each is kept encrypted
    /// and in the clear until then.
    pub unsettled: usize,
    /// Records handled in one step. Bounds the memory of a step and the time of a call.
    pub batch_records: usize,
    /// Bytes of payloads that one step encrypts of what has waited; the next step goes on. 4 MiB: with
    /// the ciphertexts beside them a fraction of what stores take at once, and a fraction of a
    /// second.
    pub flush_bytes: usize,
    /// Milliseconds between two path updates of this installation (S5): 3 months (90 days).
    pub path_update_ms: u64,
    /// Milliseconds after joining within which a path update is made even without sending (S5):
    /// 24 hours, less a jitter of up to half of it.
    pub join_update_ms: u64,
    /// Milliseconds that the secrets of an ended epoch are kept at most (S4): 7 days.
    pub past_epoch_ms: u64,
    /// Milliseconds after which an unsettled envelope is published again. Long enough for a
    /// round trip on a bad network.
    pub republish_ms: u64,
    /// Milliseconds that a Welcome waits for the commit and the body that it names: they travel in
    /// other topics and may come later. Short, because later Welcomes wait behind it.
    pub welcome_wait_ms: u64,
    /// Milliseconds after which the key package before goes although the relay says that there are
    /// Welcomes left to read: a day, for a relay may say so for ever.
    pub drain_ms: u64,
    /// Milliseconds a key package is offered for: 90 days, as senders check.
    pub package_ms: u64,
    /// Milliseconds between two rotations of the key package: later triggers join the next one.
    pub rotation_ms: u64,
}

/// Past epochs whose message secrets are kept (S4). Part of rules version 1: everybody's window
/// is the same, so nobody's late message is readable to some only.
pub const PAST_EPOCHS: usize = 3;
/// Generations that a sender may run ahead of what a receiver has seen (S4).
pub const FORWARD_GENERATIONS: u32 = 1_000;
/// Out-of-order tolerance: skipped message keys kept per sender and epoch. The relay's order is
/// total and a sender publishes in order, so only a hostile relay reorders further.
pub const OUT_OF_ORDER: u32 = 32;

/// Most records of one log that one look-up reads. No identity log that a group accepts is longer, so
/// a longer answer is an attack on the reader's memory.
pub(crate) const LOOK_UP_RECORDS: u32 = 10_000;
/// Most bytes that one look-up reads, to the end of a page. A log is verified as a whole, so all of it
/// is in memory first.
pub(crate) const LOOK_UP_BYTES: usize = 16 * 1024 * 1024;

/// The largest write and the largest batch of an engine; what a [`Store`](crate::store::Store) has
/// to take to be used as it is.
pub const STORE_NEEDS: StoreLimits = StoreLimits {
    // Scope, form and class, and the longest name: of a piece of an MLS record, which is a kind, a
    // public key and a number.
    key_bytes: 56,
    // A kept commit that invites: the GroupInfo and the tree of a Welcome body, the staged form,
    // which can hold each node of the tree again, and envelope, delta and sealed secrets.
    value_bytes: 3 * limits::WELCOME_BODY_BYTES,
    // Joining a group at its limit: 10,000 nodes of the tree, and for each of 5,000 leaves an
    // inbox, a sender, and its part of the message secrets in four epochs.
    batch_writes: 65_536,
    // Applying an own commit that invites, in a group at its limit: the kept commit goes, and tree,
    // message secrets, roster and the Welcome body for the outbox are written.
    batch_bytes: 8 * limits::WELCOME_BODY_BYTES,
};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;

impl Default for Limits {
    fn default() -> Self {
        Self {
            content_bytes: 256 * 1024,
            leaves: 1_000,
            intents: 256,
            unsettled: 1_024,
            batch_records: 256,
            flush_bytes: 4 * 1024 * 1024,
            path_update_ms: 90 * DAY,
            join_update_ms: DAY,
            past_epoch_ms: 7 * DAY,
            republish_ms: MINUTE,
            welcome_wait_ms: 10 * MINUTE,
            drain_ms: DAY,
            package_ms: 90 * DAY,
            rotation_ms: 10 * MINUTE,
        }
    }
}
