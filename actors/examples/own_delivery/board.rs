//! A delivery service in memory: ordered logs, a directory, and one subscription for each engine.
//!
//! What engines rely on is one order for each log. The rest serves them: what is stored already
//! is accepted again in its place, an identity log takes an entry only at the head that its writer
//! knows, and a subscription brings everything or says how far a log has come.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use conclave::{
    Account, InboxId, InstallationId, Seq,
    core::{
        bounds::{BoxFuture, BoxStream},
        delivery::{
            Delivery, DeliveryService, PageLimit, PublishOutcome, TopicPage, Transmit,
            TransportError, Uploaded, Watch,
        },
        identity::fold,
        step::Upload,
    },
    proto::{
        Cursor, Record, Topic, codec::Wire, identity::IdentityState, limits,
        package::PackageUpload, record::transmit_id, welcome::body_address,
    },
};
use ed25519_dalek::{Signature, VerifyingKey};
use futures_core::Stream;

/// What everybody sees.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    logs: BTreeMap<Topic, Vec<Record>>,
    identities: BTreeMap<InboxId, IdentityState>,
    accounts: BTreeMap<Account, InboxId>,
    packages: BTreeMap<InstallationId, (u64, Seq, Vec<u8>)>,
    /// Subscribers that wait for something to be appended.
    waiting: Vec<Waker>,
}

/// One engine's way to the board.
pub(crate) struct Member {
    board: Board,
    /// The number of the subscription that counts.
    subscription: Arc<Mutex<u64>>,
}

impl Board {
    pub(crate) fn join(&self) -> Member {
        Member { board: self.clone(), subscription: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn log(&self, topic: &Topic) -> &[Record] {
        self.logs.get(topic).map_or(&[], Vec::as_slice)
    }

    fn head(&self, topic: &Topic) -> Cursor {
        self.log(topic).last().map_or(Cursor::START, Record::cursor)
    }

    /// Records behind a place.
    fn behind(&self, topic: &Topic, place: Seq) -> &[Record] {
        let log = self.log(topic);
        log.get(log.partition_point(|record| record.seq <= place)..).unwrap_or_default()
    }

    fn append(&mut self, item: Transmit) -> PublishOutcome {
        let Transmit { topic, id, expect, payload } = item;
        let max = longest(&topic);
        if payload.len() > max {
            let max = u32::try_from(max).unwrap_or(u32::MAX);
            return PublishOutcome::TooLarge { max };
        }
        // Before what is expected: a retry counts although the head has moved.
        if let Some(stored) = self.log(&topic).iter().find(|record| record.id == id) {
            return PublishOutcome::Accepted { seq: stored.seq, prev: stored.prev };
        }
        let head = self.head(&topic);
        if expect.is_some_and(|expect| expect != head.seq) {
            return PublishOutcome::Conflict { head: head.seq };
        }
        if id != transmit_id(&topic, &payload) || !self.takes(&topic, expect, &payload) {
            return PublishOutcome::Invalid;
        }
        let (prev, seq) = (head.seq, Seq(head.seq.0 + 1));
        let record = Record::chained(&topic, seq, prev, &head.hash, payload);
        self.logs.entry(topic).or_default().push(record);
        self.waiting.drain(..).for_each(Waker::wake);
        PublishOutcome::Accepted { seq, prev }
    }

    /// Bodies lie under their own hash; entries of identity logs are read as everybody reads them.
    fn takes(&mut self, topic: &Topic, expect: Option<Seq>, payload: &[u8]) -> bool {
        match topic {
            Topic::Group(_) | Topic::Welcome(_) => true,
            Topic::Blob(address) => body_address(payload) == *address,
            Topic::Identity(inbox) => {
                let read = fold(*inbox, self.identities.get(inbox), 0, payload);
                let (Some(state), None, Some(_)) = (read.state, read.skipped, expect) else {
                    return false;
                };
                self.accounts.retain(|_, of| of != inbox);
                self.accounts.extend(state.accounts.iter().map(|it| (it.clone(), *inbox)));
                self.identities.insert(*inbox, state);
                true
            }
        }
    }

    /// The highest counter wins, so that nobody replays an old upload.
    fn upload(&mut self, bytes: Vec<u8>) -> Option<(u64, Seq)> {
        let upload = PackageUpload::decode(&bytes).ok()?;
        let PackageUpload { inbox, installation, counter, package, signature } = upload;
        let signed = PackageUpload::signed_bytes(&inbox, &installation, counter, &package);
        let signature = Signature::from_slice(&signature).ok()?;
        VerifyingKey::from_bytes(&installation.0).ok()?.verify_strict(&signed, &signature).ok()?;
        let head = self.head(&Topic::Welcome(installation)).seq;
        match self.packages.get(&installation) {
            Some((latest, head, stored)) if *latest == counter && *stored == bytes => {
                return Some((counter, *head));
            }
            Some((latest, ..)) if *latest >= counter => return None,
            Some(_) | None => {}
        }
        self.packages.insert(installation, (counter, head, bytes));
        Some((counter, head))
    }

    fn page(&self, topic: Topic, after: Cursor, left: &mut Left) -> Option<TopicPage> {
        let behind = self.behind(&topic, after.seq);
        let count = behind.iter().take_while(|record| left.takes(record)).count();
        let (fits, rest) = behind.split_at(count);
        let (records, head, more) = (fits.to_vec(), self.head(&topic), !rest.is_empty());
        (!behind.is_empty()).then_some(TopicPage { topic, records, head, more, signed: None })
    }
}

/// What an answer may still hold. The first record fits, however long it is.
struct Left {
    records: usize,
    bytes: usize,
    empty: bool,
}

impl Left {
    fn takes(&mut self, record: &Record) -> bool {
        let (fits, bytes) = (self.records > 0, record.payload.len());
        let fits = self.empty || (fits && bytes <= self.bytes);
        if fits {
            self.records = self.records.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(bytes);
            self.empty = false;
        }
        fits
    }
}

fn longest(topic: &Topic) -> usize {
    match topic {
        Topic::Group(_) => limits::ENVELOPE_BYTES,
        // A mark, a beacon, and the tag of a sealed body.
        Topic::Welcome(_) => limits::SEALED_WELCOME_BYTES + 32,
        Topic::Identity(_) => limits::IDENTITY_UPDATE_BYTES,
        Topic::Blob(_) => limits::WELCOME_BODY_BYTES + 16,
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl DeliveryService for Member {
    fn publish(&self, batch: Vec<Transmit>) -> BoxFuture<'_, Vec<PublishOutcome>> {
        let (mut state, mut refused) = (self.board.state(), Vec::new());
        let outcomes = batch.into_iter().map(|item| {
            let topic = item.topic.clone();
            if refused.contains(&topic) {
                return PublishOutcome::Behind;
            }
            let outcome = state.append(item);
            if !matches!(outcome, PublishOutcome::Accepted { .. }) {
                refused.push(topic);
            }
            outcome
        });
        ready(outcomes.collect())
    }

    fn fetch(
        &self,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<TopicPage>, TransportError>> {
        let (records, bytes) = (limit.records as usize, limit.bytes as usize);
        let (state, mut left) = (self.board.state(), Left { records, bytes, empty: true });
        let pages = after.into_iter().filter_map(|(topic, at)| state.page(topic, at, &mut left));
        ready(Ok(pages.collect()))
    }

    fn heads(
        &self,
        known: Vec<(Topic, Seq)>,
    ) -> BoxFuture<'_, Result<Vec<(Topic, Cursor)>, TransportError>> {
        let state = self.board.state();
        let heads = known.into_iter().filter_map(|(topic, seq)| {
            let head = state.head(&topic);
            (head.seq != seq).then_some((topic, head))
        });
        ready(Ok(heads.collect()))
    }

    fn subscribe(
        &self,
        changes: BoxStream<'static, Watch>,
    ) -> BoxStream<'static, Result<Delivery, TransportError>> {
        let mut current = self.subscription.lock().unwrap_or_else(PoisonError::into_inner);
        *current += 1;
        Box::pin(Subscription {
            board: self.board.clone(),
            number: *current,
            current: Arc::clone(&self.subscription),
            changes,
            places: BTreeMap::new(),
            marks: Vec::new(),
        })
    }

    fn key_packages(
        &self,
        of: Vec<InstallationId>,
    ) -> BoxFuture<'_, Result<Vec<Option<Vec<u8>>>, TransportError>> {
        let state = self.board.state();
        let package = |id| state.packages.get(&id).map(|(_, _, bytes)| bytes.clone());
        ready(Ok(of.into_iter().map(package).collect()))
    }

    fn upload(&self, upload: Upload) -> BoxFuture<'_, Uploaded> {
        let (outcome, welcome_head) = match self.board.state().upload(upload.bytes) {
            Some((counter, head)) => {
                let prev = Seq(counter.saturating_sub(1));
                (PublishOutcome::Accepted { seq: Seq(counter), prev }, head)
            }
            None => (PublishOutcome::Invalid, Seq(0)),
        };
        ready(Uploaded { outcome, welcome_head })
    }

    fn resolve(
        &self,
        accounts: Vec<Account>,
    ) -> BoxFuture<'_, Result<Vec<Option<InboxId>>, TransportError>> {
        let state = self.board.state();
        ready(Ok(accounts.iter().map(|account| state.accounts.get(account).copied()).collect()))
    }
}

/// Pulls from the logs themselves, so it buffers nothing and loses nothing, however slowly it is
/// pulled.
struct Subscription {
    board: Board,
    number: u64,
    current: Arc<Mutex<u64>>,
    changes: BoxStream<'static, Watch>,
    /// How far each log has been delivered.
    places: BTreeMap<Topic, Seq>,
    marks: Vec<u64>,
}

impl Subscription {
    fn change(&mut self, change: Watch) {
        match change {
            Watch::Add(topics) => self.places.extend(topics),
            Watch::Remove(topics) => topics.iter().for_each(|topic| {
                self.places.remove(topic);
            }),
            Watch::Mark(mark) => self.marks.push(mark),
        }
    }
}

impl Stream for Subscription {
    type Item = Result<Delivery, TransportError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // A later one has taken its place.
        if *this.current.lock().unwrap_or_else(PoisonError::into_inner) != this.number {
            return Poll::Ready(None);
        }
        while let Poll::Ready(change) = this.changes.as_mut().poll_next(context) {
            match change {
                Some(change) => this.change(change),
                None => return Poll::Ready(None),
            }
        }
        let mut state = this.board.state();
        for (topic, place) in &mut this.places {
            if let [next, ..] = state.behind(topic, *place) {
                *place = next.seq;
                return Poll::Ready(Some(Ok(Delivery::Record(topic.clone(), next.clone()))));
            }
        }
        if !this.marks.is_empty() {
            return Poll::Ready(Some(Ok(Delivery::CaughtUp(this.marks.remove(0)))));
        }
        // Under the lock under which others append: nothing comes in between.
        state.waiting.push(context.waker().clone());
        Poll::Pending
    }
}
