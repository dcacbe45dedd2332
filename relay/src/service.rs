//! Answers to requests.

use conclave_proto::{
    Cursor, Seq, Timestamp, Topic,
    limits::{ENVELOPES_PER_PUBLISH, RELAY_MESSAGE_BYTES, TOPICS_PER_REQUEST},
    relay::{Answer, Failure, PageLimit, Publish, Request},
};

use crate::append::Append;
use crate::limits::RelayLimits;
use crate::read::ReadError;
use crate::store::LogStore;

/// Answers requests out of a store. Who may ask, and how often, is decided before.
#[derive(Clone, Debug)]
pub struct Service<S> {
    store: S,
    limits: RelayLimits,
}

impl<S: LogStore> Service<S> {
    /// Over a store.
    pub const fn new(store: S, limits: RelayLimits) -> Self {
        Self { store, limits }
    }

    /// The store.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Answers one request; identity logs are signed as of `now`.
    ///
    /// Dropping the future may leave what it asked for done.
    pub async fn answer(&self, now: Timestamp, request: Request) -> Answer {
        if self.is_too_much(&request) {
            return Answer::Failed(Failure::TooMuch);
        }
        match request {
            Request::Publish(items) => self.publish(items).await,
            Request::Fetch { after, limit } => self.fetch(now, after, limit).await,
            Request::Heads(known) => self.heads(known).await,
            Request::KeyPackages(of) => {
                self.found(self.store.key_packages(of).await, Answer::KeyPackages)
            }
            Request::Upload(bytes) => Answer::Uploaded(self.store.upload(bytes).await),
            Request::Resolve(accounts) => {
                self.found(self.store.resolve(accounts).await, Answer::Inboxes)
            }
        }
    }

    /// Whether a request asks for more than one may; decided before anything is done.
    fn is_too_much(&self, request: &Request) -> bool {
        match request {
            Request::Publish(items) => {
                let bytes: usize = items.iter().map(|item| item.payload.len()).sum();
                items.len() > ENVELOPES_PER_PUBLISH || bytes > RELAY_MESSAGE_BYTES
            }
            Request::Fetch { after, .. } => {
                let has_body = after.iter().any(|(topic, _)| matches!(topic, Topic::Blob(_)));
                let most = if has_body { self.limits.topics_with_body } else { TOPICS_PER_REQUEST };
                after.len() > most
            }
            Request::Heads(known) => known.len() > TOPICS_PER_REQUEST,
            Request::KeyPackages(of) => of.len() > self.limits.packages_per_request,
            Request::Upload(bytes) => bytes.len() > RELAY_MESSAGE_BYTES,
            Request::Resolve(accounts) => accounts.len() > TOPICS_PER_REQUEST,
        }
    }

    async fn publish(&self, items: Vec<Publish>) -> Answer {
        let items = items.into_iter().map(Append::from).collect();
        Answer::Published(self.store.append(items).await)
    }

    async fn fetch(&self, now: Timestamp, after: Vec<(Topic, Cursor)>, limit: PageLimit) -> Answer {
        self.found(self.store.read(now, after, limit).await, Answer::Pages)
    }

    async fn heads(&self, known: Vec<(Topic, Seq)>) -> Answer {
        self.found(self.store.heads(known).await, Answer::Heads)
    }

    fn found<T>(&self, found: Result<T, ReadError>, answer: impl FnOnce(T) -> Answer) -> Answer {
        match found {
            Ok(found) => answer(found),
            Err(ReadError::Truncated { topic, first }) => {
                Answer::Failed(Failure::Truncated { topic, first })
            }
            Err(ReadError::Unavailable) => self.unavailable(self.limits.retry_ms),
            // Nothing that a client can do anything about; somebody has to look at the file.
            Err(ReadError::Corrupt) => self.unavailable(self.limits.retry_full_ms),
        }
    }

    fn unavailable(&self, retry_ms: u32) -> Answer {
        Answer::Failed(Failure::Unavailable { retry_ms })
    }
}
