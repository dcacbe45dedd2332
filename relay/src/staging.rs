//! What one commit does: appends of several callers, uploads, trims.

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::{
    Record, Seq, Topic,
    relay::{PublishOutcome, Uploaded},
};
use redb::{ReadableTable, Table, WriteTransaction};

use crate::append::{Append, Call};
use crate::directory::{self, CheckedUpload};
use crate::failure::WriteError;
use crate::format::{self, HEADS, Head, IDS, RECORDS};
use crate::identity;
use crate::limits::RelayLimits;
use conclave_redb_file::Failure;

/// Something to do in a commit.
#[derive(Clone, Debug)]
pub enum Job {
    /// The appends of one caller.
    Append(Call),
    /// A key package.
    Upload(CheckedUpload),
    /// Forget records from the start of a log up to this one; a bounded number at a time.
    Trim(Topic, Seq),
}

impl Job {
    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Append(call) => call.bytes(),
            Self::Upload(upload) => upload.bytes(),
            Self::Trim(..) => 0,
        }
    }

    /// The answer if nothing of the commit was done, or nobody knows.
    pub(crate) fn failed(&self, limits: &RelayLimits, error: WriteError) -> Done {
        match self {
            Self::Append(call) => Done::Appended(vec![error.outcome(limits); call.len()]),
            Self::Upload(_) => Done::Uploaded(Uploaded::failed(error.outcome(limits))),
            Self::Trim(..) => Done::Trimmed(Err(error)),
        }
    }
}

/// What became of a [`Job`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Answer `i` belongs to item `i`.
    Appended(Vec<PublishOutcome>),
    /// An upload.
    Uploaded(Uploaded),
    /// The first record that is left; one behind the head if none is.
    Trimmed(Result<Seq, WriteError>),
}

/// Why something is not part of the commit, or the whole commit cannot be.
pub(crate) enum Refused {
    Item(PublishOutcome),
    Commit(Failure),
}

impl<E: Into<Failure>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Commit(error.into())
    }
}

/// Lets the refusal of one item be its answer, and a failure that of everybody.
fn settle<T>(
    done: Result<T, Refused>,
    refused: impl FnOnce(PublishOutcome) -> T,
) -> Result<T, Failure> {
    match done {
        Ok(done) => Ok(done),
        Err(Refused::Item(outcome)) => Ok(refused(outcome)),
        Err(Refused::Commit(failure)) => Err(failure),
    }
}

/// What a staged commit will have done.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(crate) done: Vec<Done>,
    pub(crate) appended: Vec<(Topic, Record)>,
    /// Whether there is anything to commit.
    pub(crate) dirty: bool,
}

/// Does jobs in order, up to the commit itself.
pub(crate) fn stage(
    transaction: &WriteTransaction,
    limits: &RelayLimits,
    jobs: &mut [Job],
) -> Result<Staged, Failure> {
    let mut staged = Staged::default();
    for run in jobs.chunk_by_mut(|one, next| is_append(one) && is_append(next)) {
        match run {
            [Job::Upload(upload)] => {
                let refused = |outcome| (Uploaded::failed(outcome), false);
                let (uploaded, dirty) = settle(directory::store(transaction, upload), refused)?;
                staged.dirty |= dirty;
                staged.done.push(Done::Uploaded(uploaded));
            }
            [Job::Trim(topic, upto)] => {
                let first = trim(transaction, topic, *upto, limits.trim_records, &mut staged)?;
                staged.done.push(Done::Trimmed(Ok(first)));
            }
            calls => append_all(transaction, limits, calls, &mut staged)?,
        }
    }
    Ok(staged)
}

fn is_append(job: &Job) -> bool {
    matches!(job, Job::Append(_))
}

fn append_all(
    transaction: &WriteTransaction,
    limits: &RelayLimits,
    calls: &mut [Job],
    staged: &mut Staged,
) -> Result<(), Failure> {
    let mut logs = Logs::open(transaction, limits)?;
    for job in calls {
        if let Job::Append(call) = job {
            staged.done.push(Done::Appended(logs.append_call(call)?));
        }
    }
    staged.dirty |= !logs.moved.is_empty();
    staged.appended.append(&mut logs.appended);
    logs.write_heads()
}

/// The logs as one run of appends sees them.
struct Logs<'t> {
    transaction: &'t WriteTransaction,
    limits: &'t RelayLimits,
    heads: Table<'t, &'static [u8], &'static [u8]>,
    records: Table<'t, &'static [u8], &'static [u8]>,
    ids: Table<'t, &'static [u8], u64>,
    /// Heads of logs that were appended to; each is written once.
    moved: BTreeMap<Topic, Head>,
    appended: Vec<(Topic, Record)>,
}

impl<'t> Logs<'t> {
    fn open(transaction: &'t WriteTransaction, limits: &'t RelayLimits) -> Result<Self, Failure> {
        Ok(Self {
            transaction,
            limits,
            heads: transaction.open_table(HEADS)?,
            records: transaction.open_table(RECORDS)?,
            ids: transaction.open_table(IDS)?,
            moved: BTreeMap::new(),
            appended: Vec::new(),
        })
    }

    /// Appends the items of one caller. The payloads are moved out of the call; that of a refused
    /// item stays.
    fn append_call(&mut self, call: &mut Call) -> Result<Vec<PublishOutcome>, Failure> {
        let mut refused = BTreeSet::new();
        let mut outcomes = Vec::with_capacity(call.items.len());
        for (item, verdict) in &mut call.items {
            let outcome = if refused.contains(&item.topic) {
                PublishOutcome::Behind
            } else {
                match *verdict {
                    Ok(()) => settle(self.append(item), |refused| refused)?,
                    Err(refused) => refused,
                }
            };
            if !outcome.is_accepted() {
                refused.insert(item.topic.clone());
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// The id comes before the expectation, so that a retry finds what it had stored.
    fn append(&mut self, item: &mut Append) -> Result<PublishOutcome, Refused> {
        let topic = item.topic.to_bytes();
        let id = format::id_key(&topic, &item.id);
        if let Some(seq) = self.ids.get(id.as_slice())?.map(|seq| seq.value()) {
            return Ok(PublishOutcome::Accepted { seq: Seq(seq), prev: before(seq)? });
        }
        let head = self.head(&item.topic)?;
        let prev = head.cursor.seq;
        if item.expect.is_some_and(|expected| expected != prev) {
            return Err(Refused::Item(PublishOutcome::Conflict { head: prev }));
        }
        self.fits(item, prev)?;
        let seq = Seq(prev.0.checked_add(1).ok_or(Failure::Damaged)?);
        let payload = std::mem::take(&mut item.payload);
        let record = Record::chained(&item.topic, seq, prev, &head.cursor.hash, payload);
        let key = format::record_key(&topic, seq);
        self.records.insert(key.as_slice(), format::encode_record(&record).as_slice())?;
        self.ids.insert(id.as_slice(), seq.0)?;
        self.moved.insert(item.topic.clone(), Head { cursor: record.cursor(), ..head });
        self.appended.push((item.topic.clone(), record));
        Ok(PublishOutcome::Accepted { seq, prev })
    }

    /// What the topic asks of its next record.
    fn fits(&self, item: &Append, head: Seq) -> Result<(), Refused> {
        match item.topic {
            Topic::Group(_) | Topic::Welcome(_) => Ok(()),
            // A second record would be the first one again. It is not there, so it was trimmed.
            Topic::Blob(_) if head > Seq(0) => Err(Refused::Item(PublishOutcome::Invalid)),
            Topic::Blob(_) => Ok(()),
            Topic::Identity(inbox) => {
                let entries_max = self.limits.identity_entries;
                identity::accept(self.transaction, inbox, &item.payload, entries_max)
            }
        }
    }

    fn head(&self, topic: &Topic) -> Result<Head, Failure> {
        match self.moved.get(topic) {
            Some(head) => Ok(*head),
            None => format::head(&self.heads, topic),
        }
    }

    fn write_heads(mut self) -> Result<(), Failure> {
        for (topic, head) in &self.moved {
            self.heads.insert(topic.to_bytes().as_slice(), head.encode().as_slice())?;
        }
        Ok(())
    }
}

fn before(seq: u64) -> Result<Seq, Failure> {
    seq.checked_sub(1).map(Seq).ok_or(Failure::Damaged)
}

/// Forgets records and their ids; the chain goes on from the head. Gives the first that is left.
fn trim(
    transaction: &WriteTransaction,
    topic: &Topic,
    upto: Seq,
    records_max: usize,
    staged: &mut Staged,
) -> Result<Seq, Failure> {
    let mut heads = transaction.open_table(HEADS)?;
    let head = format::head(&heads, topic)?;
    let room = u64::try_from(records_max).unwrap_or(u64::MAX);
    let end = upto.min(head.cursor.seq).0.min(head.first.0.saturating_add(room) - 1);
    if end < head.first.0 {
        return Ok(head.first);
    }
    let bytes = topic.to_bytes();
    let mut records = transaction.open_table(RECORDS)?;
    let mut ids = transaction.open_table(IDS)?;
    for seq in head.first.0..=end {
        let key = format::record_key(&bytes, Seq(seq));
        let stored = records.remove(key.as_slice())?.ok_or(Failure::Damaged)?;
        let record = format::decode_record(&key, stored.value())?;
        ids.remove(format::id_key(&bytes, &record.id).as_slice())?;
    }
    let first = Seq(end.saturating_add(1));
    heads.insert(bytes.as_slice(), Head { first, ..head }.encode().as_slice())?;
    staged.dirty = true;
    Ok(first)
}
