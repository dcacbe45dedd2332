//! What the engine needs from whatever carries its envelopes. Definitions only: nothing here
//! waits.

use alloc::vec::Vec;
use core::time::Duration;

use conclave_proto::{
    Cursor, InboxId, InstallationId, Seq, Topic,
    identity::Account,
    relay::{Delivery, PageLimit, PublishOutcome, TopicPage, Uploaded, Watch},
};

use super::Transmit;
use crate::{
    BlockedOn, Class,
    bounds::{BoxFuture, BoxStream, MaybeSend, MaybeSync},
    step::Upload,
};

/// Why a delivery service did not answer. Publishing has its own outcomes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No relay was reached, or its answer did not come: try again, here or elsewhere.
    #[error("the relay cannot be reached")]
    Unavailable {
        /// Not before this has passed.
        retry_after: Duration,
    },
    /// The relay was reached and answered that it cannot do this for now: its disk is full or
    /// fails, or it has too much to do. Its operator can change that; trying again helps then.
    #[error("the relay is in trouble of its own")]
    RelayTrouble {
        /// Not before this has passed.
        retry_after: Duration,
    },
    /// Wrong certificate, unknown version: no retry helps.
    #[error("the relay cannot be used: {0}")]
    Misconfigured(&'static str),
    /// More than one call may ask for: ask for less.
    #[error("more than one request may ask for")]
    TooMuch,
    /// The log was trimmed past the reader's cursor.
    #[error("records before {} are gone", .first.0)]
    Truncated {
        /// Whose log.
        topic: Topic,
        /// The first record that is left.
        first: Seq,
    },
    /// The operator admits nobody without a proof.
    #[error("the relay asks for an admission")]
    NotAdmitted,
}

impl TransportError {
    /// No answer came, and nothing says how long to wait before the next attempt.
    pub const NO_ANSWER: Self = Self::Unavailable { retry_after: Duration::ZERO };

    /// What a driver does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Unavailable { .. } | Self::RelayTrouble { .. } => Class::Transient,
            Self::Misconfigured(_) | Self::TooMuch | Self::NotAdmitted => Class::Permanent,
            Self::Truncated { .. } => Class::Blocked(BlockedOn::Readd),
        }
    }
}

/// Carries envelopes: ordered logs, a directory of key packages, and one subscription.
///
/// Whoever replaces the relay implements this. Commits need what it promises about order: one
/// log per group, the same for everybody. Nothing else is trusted.
pub trait DeliveryService: MaybeSend + MaybeSync + 'static {
    /// Result `i` belongs to item `i`. Items of one topic are stored in the order given; after
    /// one that is not accepted the later ones of its topic are refused as `Behind`. An item that
    /// is stored already is `Accepted` again. Dropping the future means `Unknown` for all.
    fn publish(&self, batch: Vec<Transmit>) -> BoxFuture<'_, Vec<PublishOutcome>>;

    /// Records of several topics, as much as the limit allows; what does not fit has `more`. A
    /// topic without news may be left out.
    fn fetch(
        &self,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, TransportError>>;

    /// Of these topics, those whose head is not what the caller says, with the head they have.
    fn heads(
        &self,
        known: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, TransportError>>;

    /// One long-lived subscription; topics come and go through `changes`. Ends after an `Err`, or
    /// when `changes` ends; the caller subscribes again from its stored cursors. Not pulling it is
    /// the back-pressure: records are then dropped, and a `Head` says so later. There is one
    /// subscription at a time: a new one ends the one before.
    fn subscribe(
        &self,
        changes: BoxStream<'static, Watch>,
    ) -> BoxStream<'static, Result<Delivery, TransportError>>;

    /// The encoded key package upload of each installation, in the order asked; a missing one is
    /// `None`, never left out.
    fn key_packages(
        &self,
        of: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, TransportError>>;

    /// Publishes this installation's key package in place of the one before. Dropping the future
    /// means `Unknown`.
    fn upload(&self, upload: Upload) -> BoxFuture<'_, Uploaded>;

    /// The inbox of each account, in the order asked. A hint that nobody vouches for (I8).
    fn resolve(
        &self,
        accounts: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, TransportError>>;
}
