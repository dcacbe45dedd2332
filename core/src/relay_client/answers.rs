//! Between the words of the engine and those of the wire: requests made of calls, and answers
//! turned into results. A relay is not trusted to answer what it was asked.

use alloc::{collections::BTreeSet, vec::Vec};
use core::time::Duration;

use conclave_proto::{
    Cursor, InboxId, Record, Seq, Topic,
    relay::{Answer, Failure, Publish, Request, TopicPage},
};

use crate::delivery::{PublishOutcome, Transmit, TransportError, Uploaded};

/// What an answer has to look like.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Hello,
    Published(usize),
    /// At most so many pages, of these topics from behind these places.
    Pages(usize, BTreeSet<(Topic, Seq)>),
    /// At most so many heads, of these topics.
    Heads(usize, BTreeSet<Topic>),
    KeyPackages(usize),
    Uploaded,
    Inboxes(usize),
}

impl Shape {
    pub(super) fn of(request: &Request) -> Self {
        match request {
            Request::Publish(items) => Self::Published(items.len()),
            Request::Fetch { after, .. } => {
                let places = after.iter().map(|(topic, at)| (topic.clone(), at.seq));
                Self::Pages(after.len(), places.collect())
            }
            Request::Heads(known) => {
                let topics = known.iter().map(|(topic, _)| topic.clone());
                Self::Heads(known.len(), topics.collect())
            }
            Request::KeyPackages(of) => Self::KeyPackages(of.len()),
            Request::Upload(_) => Self::Uploaded,
            Request::Resolve(accounts) => Self::Inboxes(accounts.len()),
        }
    }

    pub(super) fn fits(&self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Hello, _) => false,
            (_, Answer::Failed(_)) | (Self::Uploaded, Answer::Uploaded(_)) => true,
            (Self::Heads(count, topics), Answer::Heads(heads)) => {
                heads.len() <= *count && heads.iter().all(|(topic, _)| topics.contains(topic))
            }
            (Self::Published(count), Answer::Published(outcomes)) => outcomes.len() == *count,
            (Self::Pages(count, asked), Answer::Pages(pages)) => {
                pages.len() <= *count && pages.iter().all(|page| is_asked(page, asked))
            }
            (Self::KeyPackages(count), Answer::KeyPackages(found)) => found.len() == *count,
            (Self::Inboxes(count), Answer::Inboxes(found)) => found.len() == *count,
            (
                Self::Published(_)
                | Self::Pages(..)
                | Self::Heads(..)
                | Self::KeyPackages(_)
                | Self::Uploaded
                | Self::Inboxes(_),
                _,
            ) => false,
        }
    }
}

/// Whether a page belongs to a topic that was asked for, starts behind the reader's place and has
/// no hole. Whether it extends the reader's hash chain is judged where the reader stands.
fn is_asked(page: &TopicPage, asked: &BTreeSet<(Topic, Seq)>) -> bool {
    let places = (page.topic.clone(), Seq(0))..=(page.topic.clone(), Seq(u64::MAX));
    asked.range(places).any(|(_, from)| follows_without_hole(page, *from))
}

fn follows_without_hole(page: &TopicPage, mut last: Seq) -> bool {
    page.records.iter().all(|record: &Record| {
        let fits = record.prev == last && record.seq > last;
        last = record.seq;
        fits
    })
}

/// A request to publish.
#[must_use]
pub fn publish_request(batch: Vec<Transmit>) -> Request {
    let items = batch.into_iter().map(|transmit| Publish {
        topic: transmit.topic,
        id: transmit.id,
        expect: transmit.expect,
        payload: transmit.payload,
        write: None,
    });
    Request::Publish(items.collect())
}

/// What became of `count` envelopes; `None` is a lost answer.
#[must_use]
pub fn publish_outcomes(answer: Option<Answer>, count: usize) -> Vec<PublishOutcome> {
    match answer {
        Some(Answer::Published(outcomes)) => outcomes,
        Some(Answer::Failed(failure)) => {
            let all = match failure {
                Failure::Unavailable { retry_ms } => PublishOutcome::NotStored { retry_ms },
                // The same request will not fare better, but smaller ones may.
                Failure::TooMuch | Failure::Truncated { .. } | Failure::NotAdmitted => {
                    PublishOutcome::not_stored(REFUSED_FOR)
                }
            };
            core::iter::repeat_n(all, count).collect()
        }
        Some(_) | None => core::iter::repeat_n(PublishOutcome::Unknown, count).collect(),
    }
}

/// How long to wait with a call that a relay does not take for now.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// What became of an upload; `None` is a lost answer.
#[must_use]
pub fn uploaded(answer: Option<Answer>) -> Uploaded {
    match answer {
        Some(Answer::Uploaded(uploaded)) => uploaded,
        other => {
            let outcome = publish_outcomes(other, 1).pop();
            Uploaded::failed(outcome.unwrap_or(PublishOutcome::Unknown))
        }
    }
}

/// Why nothing was stored, if the relay says so itself; `None` if it stored, refused for good, or
/// did not answer.
#[must_use]
pub fn not_stored(answer: &Answer) -> Option<TransportError> {
    let outcomes = match answer {
        Answer::Published(outcomes) => &outcomes[..],
        Answer::Uploaded(uploaded) => core::slice::from_ref(&uploaded.outcome),
        Answer::Failed(Failure::Unavailable { .. }) => return Some(failed(Some(answer.clone()))),
        Answer::Failed(_)
        | Answer::Pages(_)
        | Answer::Heads(_)
        | Answer::KeyPackages(_)
        | Answer::Inboxes(_) => return None,
    };
    let retry_after = outcomes.iter().find_map(PublishOutcome::retry_after)?;
    Some(TransportError::RelayTrouble { retry_after })
}

/// The pages; `None` is a lost answer.
///
/// # Errors
/// [`TransportError`].
pub fn pages_result(answer: Option<Answer>) -> Result<Vec<TopicPage>, TransportError> {
    match answer {
        Some(Answer::Pages(pages)) => Ok(pages),
        other => Err(failed(other)),
    }
}

/// The heads that differ; `None` is a lost answer.
///
/// # Errors
/// [`TransportError`].
pub fn heads_result(answer: Option<Answer>) -> Result<Vec<(Topic, Cursor)>, TransportError> {
    match answer {
        Some(Answer::Heads(heads)) => Ok(heads),
        other => Err(failed(other)),
    }
}

/// The key packages; `None` is a lost answer.
///
/// # Errors
/// [`TransportError`].
pub fn packages_result(answer: Option<Answer>) -> Result<Vec<Option<Vec<u8>>>, TransportError> {
    match answer {
        Some(Answer::KeyPackages(found)) => Ok(found),
        other => Err(failed(other)),
    }
}

/// The inboxes; `None` is a lost answer.
///
/// # Errors
/// [`TransportError`].
pub fn inboxes_result(answer: Option<Answer>) -> Result<Vec<Option<InboxId>>, TransportError> {
    match answer {
        Some(Answer::Inboxes(found)) => Ok(found),
        other => Err(failed(other)),
    }
}

fn failed(answer: Option<Answer>) -> TransportError {
    match answer {
        Some(Answer::Failed(Failure::Unavailable { retry_ms })) => {
            TransportError::RelayTrouble { retry_after: Duration::from_millis(retry_ms.into()) }
        }
        Some(Answer::Failed(Failure::TooMuch)) => TransportError::TooMuch,
        Some(Answer::Failed(Failure::NotAdmitted)) => TransportError::NotAdmitted,
        Some(Answer::Failed(Failure::Truncated { topic, first })) => {
            TransportError::Truncated { topic, first }
        }
        Some(_) | None => TransportError::NO_ANSWER,
    }
}
