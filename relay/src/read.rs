//! Reading logs: pages, heads, and what the relay signs of them.

use conclave_core::{BlockedOn, Class};
use conclave_proto::{
    Cursor, Record, Seq, Timestamp, Topic,
    relay::{PageLimit, SignedHead, TopicPage},
};
use ed25519_dalek::Signer as _;
use redb::{ReadOnlyTable, ReadTransaction};

use crate::format::{self, HEADS, Head, RECORDS};
use crate::founding::Signer;
use conclave_redb_file::Failure;

/// Why logs could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The records behind the reader's cursor are gone.
    #[error("records before {} are gone", .first.0)]
    Truncated {
        /// Whose.
        topic: Topic,
        /// The first that is left; one behind the head if none is.
        first: Seq,
    },
    /// The medium fails, or did before; the logs have to be opened again.
    #[error("the logs cannot be read")]
    Unavailable,
    /// The stored bytes are not those that were written.
    #[error("the logs are damaged")]
    Corrupt,
}

impl ReadError {
    /// What a driver does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Truncated { .. } => Class::Blocked(BlockedOn::Readd),
            Self::Unavailable => Class::Transient,
            Self::Corrupt => Class::Permanent,
        }
    }
}

/// Why reading stopped.
pub(crate) enum Stop {
    Truncated { topic: Topic, first: Seq },
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Pages of several logs out of one snapshot.
pub(crate) struct Reading<'a> {
    heads: ReadOnlyTable<&'static [u8], &'static [u8]>,
    records: ReadOnlyTable<&'static [u8], &'static [u8]>,
    signer: &'a Signer,
    now: Timestamp,
    left: Left,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(
        snapshot: &ReadTransaction,
        signer: &'a Signer,
        now: Timestamp,
        limit: PageLimit,
    ) -> Result<Self, Failure> {
        let bytes = usize::try_from(limit.bytes).unwrap_or(usize::MAX);
        let records = usize::try_from(limit.records).unwrap_or(usize::MAX).max(1);
        Ok(Self {
            heads: snapshot.open_table(HEADS)?,
            records: snapshot.open_table(RECORDS)?,
            signer,
            now,
            left: Left { records, bytes, untouched: true },
        })
    }

    /// The page of a log, or nothing if there is nothing to say.
    pub(crate) fn page(&mut self, topic: &Topic, after: Cursor) -> Result<Option<TopicPage>, Stop> {
        let head = format::head(&self.heads, topic)?;
        if after.seq.0.saturating_add(1) < head.first.0 {
            return Err(Stop::Truncated { topic: topic.clone(), first: head.first });
        }
        let records = self.records_behind(topic, after.seq, &head)?;
        let signed = self.signed(topic, &head);
        if after == head.cursor && signed.is_none() {
            return Ok(None);
        }
        let reached = records.last().map_or(after.seq, |record| record.seq);
        let more = reached < head.cursor.seq;
        Ok(Some(TopicPage { topic: topic.clone(), records, head: head.cursor, more, signed }))
    }

    fn records_behind(
        &mut self,
        topic: &Topic,
        after: Seq,
        head: &Head,
    ) -> Result<Vec<Record>, Failure> {
        let mut page = Vec::new();
        if after >= head.cursor.seq || self.left.is_nothing() {
            return Ok(page);
        }
        let topic = topic.to_bytes();
        let from = format::record_key(&topic, Seq(after.0.saturating_add(1)));
        let to = format::record_key(&topic, head.cursor.seq);
        for entry in self.records.range(from.as_slice()..=to.as_slice())? {
            let (key, value) = entry?;
            let record_bytes = value.value().len().saturating_sub(format::RECORD_OVERHEAD);
            if !self.left.take(record_bytes) {
                break;
            }
            page.push(format::decode_record(key.value(), value.value())?);
        }
        Ok(page)
    }

    /// The relay's word on an identity log, also on one that is empty.
    fn signed(&self, topic: &Topic, head: &Head) -> Option<SignedHead> {
        let Topic::Identity(inbox) = *topic else {
            return None;
        };
        let Cursor { seq, hash } = head.cursor;
        let bytes = SignedHead::signed_bytes(&inbox, seq, &hash, self.now);
        let signature = self.signer.key.sign(&bytes).to_vec();
        Some(SignedHead { inbox, seq, hash, time: self.now, signature })
    }
}

/// What an answer may still hold. Once a record did not fit, none does: later topics wait.
struct Left {
    records: usize,
    bytes: usize,
    untouched: bool,
}

impl Left {
    fn is_nothing(&self) -> bool {
        self.records == 0
    }

    fn take(&mut self, bytes: usize) -> bool {
        if self.records == 0 || (bytes > self.bytes && !self.untouched) {
            self.records = 0;
            return false;
        }
        self.untouched = false;
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// Those of the logs that stand elsewhere than said.
pub(crate) fn moved(
    snapshot: &ReadTransaction,
    known: &[(Topic, Seq)],
) -> Result<Vec<(Topic, Cursor)>, Failure> {
    let heads = snapshot.open_table(HEADS)?;
    let mut moved = Vec::new();
    for (topic, seq) in known {
        let Head { cursor, .. } = format::head(&heads, topic)?;
        if cursor.seq != *seq {
            moved.push((topic.clone(), cursor));
        }
    }
    Ok(moved)
}
