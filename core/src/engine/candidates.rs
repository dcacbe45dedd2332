//! Gathering what adding an inbox takes: its identity log and the key packages of its devices.

use conclave_proto::{Cursor, InboxId, InstallationId, Record, Timestamp, Topic, relay::PageLimit};

use super::{CallAnswer, Context, DeliveryCall, Effect, Error, Token};
use crate::{
    config::{LOOK_UP_BYTES, LOOK_UP_RECORDS},
    delivery::TransportError,
    group::Candidate,
    identity::read_log,
    keyring::VerifiedPackage,
};

/// Reads an identity log, oldest entry first, and checks its hash chain.
#[derive(Debug)]
pub(super) struct LogReader {
    inbox: InboxId,
    log: Vec<Record>,
    bytes: usize,
}

impl LogReader {
    pub(super) const fn new(inbox: InboxId) -> Self {
        Self { inbox, log: Vec::new(), bytes: 0 }
    }

    /// The next call to make.
    pub(super) fn call(&self) -> DeliveryCall {
        let after = vec![(Topic::Identity(self.inbox), self.cursor())];
        DeliveryCall::Fetch { after, limit: PageLimit::default() }
    }

    fn cursor(&self) -> Cursor {
        self.log.last().map_or(Cursor::START, Record::cursor)
    }

    /// Takes the answer to it; whether the log is read to its end.
    pub(super) fn take(&mut self, answer: CallAnswer) -> Result<bool, Error> {
        let topic = Topic::Identity(self.inbox);
        let CallAnswer::Fetched(pages) = answer else { return Err(unanswered()) };
        let Some(page) = pages?.into_iter().find(|page| page.topic == topic) else {
            return Ok(true);
        };
        let before = self.log.len();
        for record in page.records {
            let cursor = self.cursor();
            if !record.follows(&topic, cursor.seq, &cursor.hash) {
                let why = "it shows an identity log whose parts do not fit";
                return Err(TransportError::Misconfigured(why).into());
            }
            self.bytes = self.bytes.saturating_add(record.payload.len());
            self.log.push(record);
        }
        let full = self.log.len() >= LOOK_UP_RECORDS as usize || self.bytes >= LOOK_UP_BYTES;
        Ok(!page.more || self.log.len() == before || full)
    }

    /// The log.
    pub(super) fn into_log(self) -> Vec<Record> {
        self.log
    }
}

/// No answer came, or one to another question.
pub(super) const fn unanswered() -> Error {
    Error::Transport(TransportError::NO_ANSWER)
}

/// Gathers some inboxes at the same time.
#[derive(Debug)]
pub(super) struct Gatherer {
    inboxes: Vec<Gathering>,
    deadline: Timestamp,
}

#[derive(Debug)]
struct Gathering {
    inbox: InboxId,
    state: State,
}

#[derive(Debug)]
enum State {
    ReadingLog(Token, LogReader),
    AskingPackages(Token, Vec<Vec<u8>>, Vec<InstallationId>),
    Ready(Candidate),
}

impl Gatherer {
    /// Starts; the calls to make are added to `effects`.
    pub(super) fn begin(
        now: Timestamp,
        inboxes: Vec<InboxId>,
        context: &Context,
        effects: &mut impl Extend<Effect>,
    ) -> Self {
        let mut begin = |inbox| {
            let (token, reader) = (context.next_token(), LogReader::new(inbox));
            effects.extend([Effect::Call { token, call: reader.call() }]);
            Gathering { inbox, state: State::ReadingLog(token, reader) }
        };
        let inboxes = inboxes.into_iter().map(&mut begin).collect();
        Self { inboxes, deadline: now.plus_ms(context.limits.call_ms) }
    }

    /// Until when an answer has to come.
    pub(super) const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Whether it waits for this call.
    pub(super) fn waits_for(&self, token: Token) -> bool {
        self.inboxes.iter().any(|gathering| gathering.waits_for(token))
    }

    /// Takes an answer.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        token: Token,
        answer: CallAnswer,
        context: &Context,
        effects: &mut impl Extend<Effect>,
    ) -> Result<(), Error> {
        let Some(at) = self.inboxes.iter().position(|it| it.waits_for(token)) else {
            return Ok(());
        };
        self.deadline = now.plus_ms(context.limits.call_ms);
        let gathering = self.inboxes.remove(at);
        let gathering = gathering.take(now, answer, context, effects)?;
        self.inboxes.insert(at, gathering);
        Ok(())
    }

    /// Whether everything is there.
    pub(super) fn is_ready(&self) -> bool {
        self.inboxes.iter().all(|gathering| matches!(gathering.state, State::Ready(_)))
    }

    /// What was gathered, in the order asked.
    pub(super) fn into_candidates(self) -> Vec<Candidate> {
        let ready = |gathering: Gathering| match gathering.state {
            State::Ready(candidate) => Some(candidate),
            State::ReadingLog(..) | State::AskingPackages(..) => None,
        };
        self.inboxes.into_iter().filter_map(ready).collect()
    }
}

impl Gathering {
    fn waits_for(&self, of: Token) -> bool {
        match &self.state {
            State::ReadingLog(token, _) | State::AskingPackages(token, ..) => *token == of,
            State::Ready(_) => false,
        }
    }

    fn take(
        self,
        now: Timestamp,
        answer: CallAnswer,
        context: &Context,
        effects: &mut impl Extend<Effect>,
    ) -> Result<Self, Error> {
        let inbox = self.inbox;
        let state = match self.state {
            State::ReadingLog(_, mut reader) => {
                let token = context.next_token();
                if reader.take(answer)? {
                    let log = reader.into_log().into_iter().map(|record| record.payload);
                    let log: Vec<Vec<u8>> = log.collect();
                    let state = read_log(inbox, None, log.iter().map(Vec::as_slice));
                    let state = state.ok_or(Error::UnknownInbox(inbox))?;
                    let of: Vec<_> = state.installations.into_keys().collect();
                    let call = DeliveryCall::KeyPackages(of.clone());
                    effects.extend([Effect::Call { token, call }]);
                    State::AskingPackages(token, log, of)
                } else {
                    effects.extend([Effect::Call { token, call: reader.call() }]);
                    State::ReadingLog(token, reader)
                }
            }
            State::AskingPackages(_, log, of) => {
                let CallAnswer::KeyPackages(uploads) = answer else { return Err(unanswered()) };
                let packages = of.into_iter().zip(uploads?).filter_map(|(of, upload)| {
                    VerifiedPackage::check(now, inbox, of, &upload?).ok()
                });
                let packages: Vec<VerifiedPackage> = packages.collect();
                if packages.is_empty() {
                    return Err(Error::NoPackages(inbox));
                }
                State::Ready(Candidate { inbox, log, packages })
            }
            ready @ State::Ready(_) => ready,
        };
        Ok(Self { inbox, state })
    }
}

#[cfg(test)]
mod tests {
    use conclave_proto::{Seq, relay::TopicPage};

    use super::*;

    /// How many entries are read, and in how many pages, of a relay that has ever more.
    fn read(records: usize, bytes: usize) -> (usize, usize) {
        let topic = Topic::Identity(InboxId([1; 32]));
        let mut reader = LogReader::new(InboxId([1; 32]));
        for pages in 1.. {
            let mut head = reader.cursor();
            let mut append = |number: usize| {
                let mut payload = vec![0; bytes];
                payload[..8].copy_from_slice(&number.to_be_bytes());
                let (seq, prev) = (Seq(head.seq.0 + 1), head.seq);
                let record = Record::chained(&topic, seq, prev, &head.hash, payload);
                head = record.cursor();
                record
            };
            let records = (0..records).map(|n| append(pages * records + n)).collect();
            let page = TopicPage { topic: topic.clone(), records, head, more: true, signed: None };
            if reader.take(CallAnswer::Fetched(Ok(vec![page]))).unwrap() {
                return (reader.into_log().len(), pages);
            }
        }
        unreachable!("it ends");
    }

    /// I6: a relay that has ever more entries of a log does not fill the memory of who reads it.
    #[test]
    fn reading_a_log_ends_however_much_the_relay_has() {
        assert_eq!(read(1_000, 8), (LOOK_UP_RECORDS as usize, 10));
        assert_eq!(read(1, LOOK_UP_BYTES / 4), (4, 4));
    }
}
