//! What the application should know, in a log of its own that outlives the process (E8).
//!
//! An event is stored in the write set of the step that caused it, so that a crash loses neither
//! or both. Whoever reads keeps a place in the log, and goes on from there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    ops::ControlFlow,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use conclave_core::{
    event::Event,
    step::{Durable, Effects, Lineage, Pending, Step, WriteSet},
    store::{Direction, Key, Range, Store, StoreError, Table, Write},
};
use conclave_proto::Wire;

use crate::{lock::lock, writer::WriterHandle};

/// A place in the log of events: everything up to it has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventCursor(pub u64);

/// What reading the log gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// An event, and the place behind it.
    Event(EventCursor, Event),
    /// Events up to this place are gone: they were given up before they were read. Go on behind
    /// it, and look at the groups themselves for what was missed.
    Lagged(EventCursor),
}

/// All events lie in one scope; their number is the order.
const SCOPE: [u8; 16] = *b"conclave events.";

/// In the place of the last event that is gone: numbers go on behind it, also if no other is left.
const FORGOTTEN: &[u8] = &[];

/// Events that one read takes from the store.
const BATCH: usize = 256;

pub(crate) struct EventLog {
    store: Arc<dyn Store>,
    writer: WriterHandle,
    /// Held while a write set is handed in, so that numbers become durable in their order.
    numbers: Mutex<Numbers>,
    /// The number up to which everything may be read: it is durable, and what it tells of has
    /// happened in memory too; or it was given up.
    visible: AtomicU64,
    /// The first that is kept.
    first: AtomicU64,
    /// Most events that are kept.
    most: u64,
    readers: Mutex<Readers>,
}

struct Numbers {
    /// Of the next event.
    next: u64,
    /// The last one that is durable. Behind it are those whose steps failed: they were not seen, and
    /// the next engine on this store uses their numbers.
    last: u64,
    /// First numbers of the steps that are on their way.
    held: BTreeSet<u64>,
}

/// Keeps the events of a step, and those behind them, from being read until it is dropped: who
/// reads of something shall find it done.
pub(crate) struct Hold {
    log: Arc<EventLog>,
    first: u64,
    last: u64,
    /// Whether the step is durable.
    stored: Arc<AtomicBool>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut numbers = lock(&self.log.numbers);
        numbers.held.remove(&self.first);
        if self.stored.load(Ordering::SeqCst) {
            numbers.last = numbers.last.max(self.last);
        }
        let held = numbers.held.first().map_or(numbers.last, |first| *first - 1);
        let visible = held.min(numbers.last);
        drop(numbers);
        self.log.visible.fetch_max(visible, Ordering::SeqCst);
        self.log.wake();
        self.log.trim(visible);
    }
}

#[derive(Default)]
struct Readers {
    wakers: BTreeMap<u64, Waker>,
    next: u64,
    closed: bool,
}

impl EventLog {
    pub(crate) fn open(
        store: Arc<dyn Store>,
        writer: WriterHandle,
        most: u64,
    ) -> Result<Self, StoreError> {
        let (mut first, mut last) = (None, None);
        store.scan(Table::Event, Range::scope(SCOPE), Direction::Forward, &mut |key, value| {
            first = Key::number_of(key).map(|number| number + u64::from(value == FORGOTTEN));
            ControlFlow::Break(())
        })?;
        store.scan(Table::Event, Range::scope(SCOPE), Direction::Reverse, &mut |key, _| {
            last = Key::number_of(key);
            ControlFlow::Break(())
        })?;
        let last = last.unwrap_or_default();
        Ok(Self {
            store,
            writer,
            numbers: Mutex::new(Numbers { next: last + 1, last, held: BTreeSet::new() }),
            visible: AtomicU64::new(last),
            first: AtomicU64::new(first.unwrap_or(last + 1)),
            most: most.max(1),
            readers: Mutex::default(),
        })
    }

    /// Hands a step to the writer, with its events in the same batch. `answer` runs on the
    /// writer's thread. The hold is to be dropped when what the step did has been done here as
    /// well, or will never be.
    pub(crate) fn submit<T>(
        self: &Arc<Self>,
        step: Step<T>,
        also: Vec<Write>,
        answer: impl FnOnce(Result<Durable, StoreError>) + Send + 'static,
    ) -> (Pending<T>, Option<Hold>) {
        let events: Vec<Vec<u8>> = step.events().iter().map(Wire::encode).collect();
        let (mut set, pending) = step.into_parts();
        set.extend(also);
        let hold = self.hand_in(set, events, answer);
        (pending, hold)
    }

    fn hand_in(
        self: &Arc<Self>,
        mut set: WriteSet,
        events: Vec<Vec<u8>>,
        answer: impl FnOnce(Result<Durable, StoreError>) + Send + 'static,
    ) -> Option<Hold> {
        if events.is_empty() {
            // Its order among the events does not matter.
            self.writer.submit(set, answer);
            return None;
        }
        let mut numbers = lock(&self.numbers);
        let first = numbers.next;
        for value in events {
            set.extend([Write::Put { table: Table::Event, key: key(numbers.next), value }]);
            numbers.next += 1;
        }
        let last = numbers.next - 1;
        numbers.held.insert(first);
        let stored = Arc::new(AtomicBool::new(false));
        let is_stored = Arc::clone(&stored);
        self.writer.submit(set, move |durable| {
            is_stored.store(durable.is_ok(), Ordering::SeqCst);
            answer(durable);
        });
        drop(numbers);
        Some(Hold { log: Arc::clone(self), first, last, stored })
    }

    /// Gives up the oldest events when there are too many: nobody reads them.
    fn trim(self: &Arc<Self>, last: u64) {
        let first = self.first.load(Ordering::SeqCst);
        if last.saturating_sub(first) > self.most.saturating_add(self.most / 8) {
            self.forget(EventCursor(last.saturating_sub(self.most)));
        }
    }

    /// Erases events up to a place.
    pub(crate) fn forget(self: &Arc<Self>, upto: EventCursor) {
        let upto = upto.0.min(self.visible.load(Ordering::SeqCst));
        let first = self.first.fetch_max(upto + 1, Ordering::SeqCst);
        if first > upto {
            return;
        }
        // Also what stands for those that were forgotten before.
        let gone = (first.saturating_sub(1)..upto)
            .map(|number| Write::Delete { table: Table::Event, key: key(number) });
        let put = Write::Put { table: Table::Event, key: key(upto), value: FORGOTTEN.to_vec() };
        let gone: Vec<Write> = gone.chain([put]).collect();
        for part in gone.chunks(1_024) {
            let lineage = Lineage { owner: SCOPE, load: upto };
            let step = Step::new(lineage, part.to_vec(), Effects::default(), ());
            let (set, pending) = step.into_parts();
            // Events that stay because this failed are only erased later.
            drop(pending);
            self.writer.submit(set, drop);
        }
    }

    /// Events behind a place, in order; what is not to be seen yet does not show.
    pub(crate) fn read(&self, after: EventCursor) -> Result<Vec<Told>, StoreError> {
        let visible = self.visible.load(Ordering::SeqCst);
        if let Some(lagged) = self.lagged(after) {
            return Ok(vec![lagged]);
        }
        if after.0 >= visible {
            return Ok(Vec::new());
        }
        let (from, to) = (key(after.0 + 1), key(visible + 1));
        let mut found = Vec::new();
        let range = Range::within(SCOPE, from.order(), to.order());
        self.store.scan(Table::Event, range, Direction::Forward, &mut |key, value| {
            // One that a later version wrote is not for us.
            if let (Some(number), Ok(event)) = (Key::number_of(key), Event::decode(value)) {
                found.push(Told::Event(EventCursor(number), event));
            }
            if found.len() < BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        // Some may have been given up while the store was read.
        if let Some(lagged) = self.lagged(after) {
            return Ok(vec![lagged]);
        }
        if found.is_empty() {
            // Only holes: step over them.
            found.push(Told::Lagged(EventCursor(visible)));
        }
        Ok(found)
    }

    /// What a reader behind that place hears first if the next event is gone.
    fn lagged(&self, after: EventCursor) -> Option<Told> {
        let first = self.first.load(Ordering::SeqCst);
        (after.0 + 1 < first).then(|| Told::Lagged(EventCursor(first - 1)))
    }

    /// The place behind the newest event.
    pub(crate) fn end(&self) -> EventCursor {
        EventCursor(self.visible.load(Ordering::SeqCst))
    }

    pub(crate) fn close(&self) {
        lock(&self.readers).closed = true;
        self.wake();
    }

    fn wake(&self) {
        let wakers = std::mem::take(&mut lock(&self.readers).wakers);
        wakers.into_values().for_each(Waker::wake);
    }
}

/// Reads the log of events and waits for more. Each reader has its own place.
pub struct Events {
    log: Arc<EventLog>,
    id: u64,
    cursor: EventCursor,
    read: std::vec::IntoIter<Told>,
}

impl Events {
    pub(crate) fn new(log: Arc<EventLog>, after: EventCursor) -> Self {
        let id = {
            let mut readers = lock(&log.readers);
            readers.next += 1;
            readers.next
        };
        Self { log, id, cursor: after, read: Vec::new().into_iter() }
    }

    /// The place behind everything that was given: store it with what you made of it.
    #[must_use]
    pub const fn cursor(&self) -> EventCursor {
        self.cursor
    }

    /// What comes next, if it is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn try_event(&mut self) -> Result<Option<Told>, StoreError> {
        loop {
            if let Some(told) = self.read.next() {
                let (Told::Event(at, _) | Told::Lagged(at)) = &told;
                self.cursor = *at;
                return Ok(Some(told));
            }
            let more = match self.log.read(self.cursor) {
                // The store has been let go of.
                Err(_) if lock(&self.log.readers).closed => return Ok(None),
                more => more?,
            };
            // A hole at the end is nothing that anybody missed.
            if let [Told::Lagged(at)] = more.as_slice()
                && *at == self.log.end()
                && at.0 + 1 >= self.log.first.load(Ordering::SeqCst)
                && self.cursor.0 + 1 >= self.log.first.load(Ordering::SeqCst)
            {
                self.cursor = *at;
                return Ok(None);
            }
            if more.is_empty() {
                return Ok(None);
            }
            self.read = more.into_iter();
        }
    }

    /// What comes next; `None` once the engine is shut down: what was not read by then is read
    /// from the next engine on this store. Waits on this thread.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn wait_event(&mut self) -> Result<Option<Told>, StoreError> {
        futures_executor::block_on(self.next_event())
    }

    /// What comes next; `None` once the engine is shut down, as for
    /// [`wait_event`](Self::wait_event). Works in any runtime; dropping the future loses nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn next_event(&mut self) -> impl Future<Output = Result<Option<Told>, StoreError>> + '_ {
        Next(self)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        lock(&self.log.readers).wakers.remove(&self.id);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

struct Next<'a>(&'a mut Events);

impl Future for Next<'_> {
    type Output = Result<Option<Told>, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let events = &mut *self.0;
        {
            // Registered first: what becomes durable from here on wakes this task.
            let mut readers = lock(&events.log.readers);
            if !readers.closed {
                readers.wakers.insert(events.id, context.waker().clone());
            }
        }
        match events.try_event() {
            Ok(None) if !lock(&events.log.readers).closed => Poll::Pending,
            other => Poll::Ready(other),
        }
    }
}

fn key(number: u64) -> Key {
    Key::numbered(SCOPE, 0, number)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use conclave_conformance::faulty_store::{Fault, Faulty};
    use conclave_core::store::Claim;
    use conclave_proto::GroupId;

    use super::*;
    use crate::writer::Writer;

    const CLAIM: Claim = Claim([1; 16]);

    /// Hands in a step with two events; gives whether it was stored.
    fn happen(log: &Arc<EventLog>, load: u64) -> bool {
        let event = Event::Removed { group: GroupId([1; 16]) };
        let effects = Effects { events: vec![event.clone(), event], ..Effects::default() };
        let step = Step::new(Lineage { owner: [9; 16], load }, Vec::new(), effects, ());
        let (tell, told) = mpsc::channel();
        let (_, hold) = log.submit(step, Vec::new(), move |stored: Result<Durable, StoreError>| {
            tell.send(stored.is_ok()).unwrap();
        });
        let stored = told.recv().unwrap();
        drop(hold);
        stored
    }

    fn seen(log: &EventLog, after: EventCursor) -> Vec<u64> {
        let told = log.read(after).unwrap();
        let place = |told| match told {
            Told::Event(at, _) | Told::Lagged(at) => at.0,
        };
        told.into_iter().map(place).collect()
    }

    /// E8: nobody has a place in the log of events that a step would have had which
    /// was not stored: the next engine gives it to another.
    #[test]
    fn places_of_steps_that_failed_are_not_seen() {
        let store = Arc::new(Faulty::new(conclave_store_memory::MemoryStore::new()));
        store.claim(CLAIM).unwrap();
        let writer = Writer::spawn(Arc::<Faulty<_>>::clone(&store), CLAIM).unwrap();
        let open = || Arc::new(EventLog::open(store.clone(), writer.handle(), 100).unwrap());
        let log = open();
        assert!(happen(&log, 1));
        assert_eq!((log.end(), seen(&log, EventCursor(0))), (EventCursor(2), vec![1, 2]));
        store.restart();
        store.fail_at(0, Fault::Refuse(StoreError::Full));
        assert!(!happen(&log, 2));
        assert_eq!((log.end(), seen(&log, EventCursor(2))), (EventCursor(2), vec![]));
        let again = open();
        assert!(happen(&again, 3));
        assert_eq!((again.end(), seen(&again, EventCursor(2))), (EventCursor(4), vec![3, 4]));
        // In one life a failure leaves a hole, which is stepped over.
        assert!(happen(&log, 4));
        assert_eq!((log.end(), seen(&log, EventCursor(2))), (EventCursor(6), vec![3, 4, 5, 6]));
        writer.shutdown();
    }
}
