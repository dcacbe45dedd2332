//! What the service needs from whatever keeps the logs.

use conclave_core::bounds::{BoxFuture, MaybeSend, MaybeSync};
use conclave_proto::{
    Cursor, InboxId, InstallationId, Seq, Timestamp, Topic,
    identity::Account,
    relay::{PageLimit, PublishOutcome, TopicPage, Uploaded},
};

use crate::append::Append;
use crate::failure::WriteError;
use crate::founding::RelayIdentity;
use crate::logs::{Listener, Logs};
use crate::read::ReadError;

/// Keeps logs. [`Direct`] and [`RelayStore`](crate::RelayStore) keep them in a file; who has a
/// replicated engine implements this over it.
///
/// What was accepted is durable, keeps its place for ever, and is seen by every read that begins
/// later. Reads never see what may still be lost: a cursor never has a hole that fills later.
pub trait LogStore: MaybeSend + MaybeSync + 'static {
    /// As [`Logs::append`]. Dropping the future means [`PublishOutcome::Unknown`] for all.
    fn append(&self, items: Vec<Append>) -> BoxFuture<'_, Vec<PublishOutcome>>;

    /// As [`Logs::read`].
    fn read(
        &self,
        now: Timestamp,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, ReadError>>;

    /// As [`Logs::heads`].
    fn heads(
        &self,
        known: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, ReadError>>;

    /// As [`Logs::trim`].
    fn trim(&self, topic: Topic, upto: Seq) -> BoxFuture<'_, Result<Seq, WriteError>>;

    /// As [`Logs::upload`]. Dropping the future means [`PublishOutcome::Unknown`].
    fn upload(&self, bytes: Vec<u8>) -> BoxFuture<'_, Uploaded>;

    /// As [`Logs::key_packages`].
    fn key_packages(
        &self,
        of: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ReadError>>;

    /// As [`Logs::resolve`].
    fn resolve(
        &self,
        accounts: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, ReadError>>;

    /// Who the relay is.
    fn identity(&self) -> RelayIdentity;

    /// Puts a listener in the place of the one before. It hears of every record that is appended
    /// from here on, in the order of each log.
    fn listen(&self, listener: Listener);
}

/// [`Logs`] without a thread: every call does its work before it returns, so that the futures
/// never wait. For simulations, and for tools that have the logs to themselves.
#[derive(Debug)]
pub struct Direct(pub Logs);

impl LogStore for Direct {
    fn append(&self, items: Vec<Append>) -> BoxFuture<'_, Vec<PublishOutcome>> {
        ready(self.0.append(items))
    }

    fn read(
        &self,
        now: Timestamp,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, ReadError>> {
        ready(self.0.read(now, &after, limit))
    }

    fn heads(
        &self,
        known: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, ReadError>> {
        ready(self.0.heads(&known))
    }

    fn trim(&self, topic: Topic, upto: Seq) -> BoxFuture<'_, Result<Seq, WriteError>> {
        ready(self.0.trim(&topic, upto))
    }

    fn upload(&self, bytes: Vec<u8>) -> BoxFuture<'_, Uploaded> {
        ready(self.0.upload(bytes))
    }

    fn key_packages(
        &self,
        of: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, ReadError>> {
        ready(self.0.key_packages(&of))
    }

    fn resolve(
        &self,
        accounts: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, ReadError>> {
        ready(self.0.resolve(&accounts))
    }

    fn identity(&self) -> RelayIdentity {
        self.0.identity()
    }

    fn listen(&self, listener: Listener) {
        self.0.listen(listener);
    }
}

pub(crate) fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(core::future::ready(value))
}
