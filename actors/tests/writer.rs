//! The writer: what it stores together, in which order, and what it says when it cannot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    pin::pin,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use conclave::writer::{QueueLimits, Writer, WriterHandle};
use conclave_core::{
    step::{Effects, Lineage, Step},
    store::{Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write},
};
use conclave_store_memory::MemoryStore;
use conclave_store_redb::RedbStore;

const CLAIM: Claim = Claim([1; 16]);
/// Only a test that has failed waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// E2: what is handed in while a commit runs goes into the next one, all of it.
#[test]
fn everything_that_waits_during_a_commit_goes_into_the_next_one() {
    let store = Gated::new(StoreLimits::UNLIMITED);
    let writer = Writer::spawn(store.clone(), CLAIM).unwrap();
    let first = submit(&writer.handle(), step(1, 0));
    store.wait_until_entered();
    let rest: Vec<_> = (1..=50).map(|n| submit(&writer.handle(), step(n, 0))).collect();
    assert_eq!(writer.handle().waiting(), 50);
    assert!(first.try_recv().is_err(), "nothing is said before it is stored");
    store.open();
    assert_eq!(answer(&first), Ok(()));
    assert!(rest.iter().all(|told| answer(told) == Ok(())));
    let counters = store.inner.counters();
    assert_eq!((counters.commits, counters.writes), (2, 51));
}

/// E2: the steps of one lineage are stored in the order in which they were handed in.
#[test]
fn the_steps_of_a_lineage_keep_their_order() {
    let store = Gated::new(StoreLimits { batch_writes: 16, ..StoreLimits::UNLIMITED });
    store.open();
    let writer = Writer::spawn(store.clone(), CLAIM).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    for value in 0..200 {
        let order = Arc::clone(&order);
        let (set, _) = step(1, value).into_parts();
        writer.handle().submit(set, move |stored| {
            assert!(stored.is_ok());
            order.lock().unwrap().push(value);
        });
    }
    writer.shutdown();
    assert_eq!(*order.lock().unwrap(), (0..200).collect::<Vec<_>>());
    assert_eq!(store.value(1), Some(vec![199]), "the last one stands");
}

/// E2: after a failure the lineage is refused, until its value has been loaded again.
#[test]
fn a_broken_lineage_is_refused_until_it_is_loaded_again() {
    let store = Gated::new(StoreLimits { value_bytes: 4096, ..StoreLimits::UNLIMITED });
    store.open();
    let writer = Writer::spawn(store.clone(), CLAIM).unwrap();
    let handle = writer.handle();
    assert!(matches!(handle.drive(large(1)), Err(StoreError::TooLarge { .. })));
    assert_eq!(handle.drive(step(1, 7)).err(), Some(StoreError::Unavailable));
    assert_eq!(store.value(1), None);
    let reloaded = Lineage { owner: [1; 16], life: 0, load: 2 };
    let again = Step::new(reloaded, vec![put(1, vec![8])], Effects::default(), "done");
    assert_eq!(handle.drive(again).unwrap().reply, "done");
    writer.shutdown();
    assert_eq!(store.value(1), Some(vec![8]));
}

/// E2: a step that the store does not take is refused alone.
#[test]
fn a_step_that_is_too_large_takes_no_other_with_it() {
    let store = Gated::new(StoreLimits { value_bytes: 4096, ..StoreLimits::UNLIMITED });
    let writer = Writer::spawn(store.clone(), CLAIM).unwrap();
    let handle = writer.handle();
    let first = submit(&handle, step(1, 0));
    store.wait_until_entered();
    let before = submit(&handle, step(2, 2));
    let bad = submit(&handle, large(3));
    let after = submit(&handle, step(4, 4));
    store.open();
    assert_eq!([answer(&first), answer(&before), answer(&after)], [Ok(()), Ok(()), Ok(())]);
    assert!(matches!(answer(&bad), Err(StoreError::TooLarge { .. })));
    assert_eq!(
        (store.value(2), store.value(3), store.value(4)),
        (Some(vec![2]), None, Some(vec![4]))
    );
}

/// E4: nobody waits for ever for a store that panicked, and it is not asked again.
#[test]
fn a_panic_of_the_store_answers_everybody() {
    let store = Gated::new(StoreLimits::UNLIMITED);
    let limits = QueueLimits { sets: 2, ..QueueLimits::default() };
    let writer = Writer::with_limits(store.clone(), CLAIM, limits).unwrap();
    let handle = writer.handle();
    let under_way = submit(&handle, step(1, 0));
    store.wait_until_entered();
    let waiting = [submit(&handle, step(2, 0)), submit(&handle, step(3, 0))];
    let without_room = {
        let handle = handle.clone();
        thread::spawn(move || handle.drive(step(4, 0)).err())
    };
    store.panics.store(true, Ordering::SeqCst);
    store.open();
    assert_eq!(answer(&under_way), Err(StoreError::Unknown));
    assert!(waiting.iter().all(|told| answer(told) == Err(StoreError::Unavailable)));
    assert_eq!(without_room.join().unwrap(), Some(StoreError::Unavailable));
    assert!(handle.is_closed());
    assert_eq!(handle.drive(step(5, 0)).err(), Some(StoreError::Unavailable));
    assert_eq!(block_on(handle.drive_async(step(6, 0))).err(), Some(StoreError::Unavailable));
    writer.shutdown();
}

/// E4: shutting down stores what was handed in, and refuses the rest.
#[test]
fn shutting_down_finishes_what_was_handed_in() {
    let store = Gated::new(StoreLimits::UNLIMITED);
    let writer = Writer::spawn(store.clone(), CLAIM).unwrap();
    let handle = writer.handle();
    let first = submit(&handle, step(1, 1));
    store.wait_until_entered();
    let rest: Vec<_> = (2..=20).map(|n| submit(&handle, step(n, n))).collect();
    let ending = thread::spawn(move || writer.shutdown());
    while !handle.is_closed() {
        thread::yield_now();
    }
    assert_eq!(handle.drive(step(21, 21)).err(), Some(StoreError::Unavailable));
    store.open();
    ending.join().unwrap();
    assert_eq!(answer(&first), Ok(()));
    assert!(rest.iter().all(|told| answer(told) == Ok(())));
    assert_eq!((store.value(20), store.value(21)), (Some(vec![20]), None));
}

/// Back-pressure: a full queue makes callers wait, by number and by bytes, and loses nothing.
#[test]
fn a_full_queue_makes_callers_wait() {
    for limits in [QueueLimits { sets: 2, bytes: usize::MAX }, QueueLimits { sets: 99, bytes: 50 }]
    {
        let store = Gated::new(StoreLimits::UNLIMITED);
        let writer = Writer::with_limits(store.clone(), CLAIM, limits).unwrap();
        let handle = writer.handle();
        let first = submit(&handle, step(1, 0));
        store.wait_until_entered();
        let (entered, told_entered) = mpsc::channel();
        let caller = {
            let handle = handle.clone();
            thread::spawn(move || {
                let all: Vec<_> = (2..=4)
                    .map(|n| {
                        entered.send(n).unwrap();
                        submit(&handle, step(n, 0))
                    })
                    .collect();
                all.iter().all(|told| answer(told) == Ok(()))
            })
        };
        // The third one is being handed in; as long as the gate is closed it cannot get through.
        while told_entered.recv_timeout(PATIENCE).unwrap() < 4 {}
        assert!(handle.waiting() <= 2);
        // Who awaits a future is not made to block a thread.
        let mut future = pin!(handle.drive_async(step(5, 0)));
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        store.open();
        assert!(caller.join().unwrap());
        assert_eq!(answer(&first), Ok(()));
        assert!(block_on(future).is_ok());
    }
}

/// What is too large for the queue waits alone, instead of for ever.
#[test]
fn a_step_larger_than_the_queue_is_stored() {
    let store = Gated::new(StoreLimits::UNLIMITED);
    store.open();
    let limits = QueueLimits { sets: 1, bytes: 10 };
    let writer = Writer::with_limits(store.clone(), CLAIM, limits).unwrap();
    assert!(writer.handle().drive(large(1)).is_ok());
}

/// An answer may hand in a further step and may panic; neither stops the writer.
#[test]
fn answers_may_hand_in_steps_and_may_panic() {
    let store = Gated::new(StoreLimits::UNLIMITED);
    store.open();
    let limits = QueueLimits { sets: 1, ..QueueLimits::default() };
    let writer = Writer::with_limits(store.clone(), CLAIM, limits).unwrap();
    let (tell, told) = mpsc::channel();
    let handle = writer.handle();
    let (set, _) = step(1, 1).into_parts();
    writer.handle().submit(set, move |_| {
        for n in 2..=9 {
            let tell = tell.clone();
            let (set, _) = step(n, n).into_parts();
            handle.submit(set, move |stored| tell.send(stored.map(drop)).unwrap());
        }
        let waiting_for_itself = handle.drive(step(10, 10)).err();
        tell.send(waiting_for_itself.map_or(Ok(()), Err)).unwrap();
        panic!("as the test wants it");
    });
    assert_eq!(answer(&told), Err(StoreError::Unavailable));
    assert!((2..=9).all(|_| answer(&told) == Ok(())));
    assert!(writer.handle().drive(step(11, 11)).is_ok());
}

/// E2: the future of a step gives its effects once it is stored, and dropping it stops nothing.
#[test]
fn a_step_is_driven_from_a_future() {
    let store = Gated::new(StoreLimits::UNLIMITED);
    store.open();
    let writer = Writer::spawn(store.clone(), CLAIM).unwrap();
    let released = block_on(writer.handle().drive_async(step(1, 1).map(|()| 5)));
    assert_eq!(released.unwrap().reply, 5);
    drop(writer.handle().drive_async(step(2, 2)));
    writer.shutdown();
    assert_eq!(store.value(2), Some(vec![2]));
}

/// E9, scenario 105: of two engines on one store the one that claimed it first is fenced off.
#[test]
fn the_older_of_two_writers_is_fenced_off() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = RedbStore::create_or_open(folder.path().join("store")).unwrap();
    let stores: [Arc<dyn Store>; 2] = [Arc::new(MemoryStore::new()), Arc::new(on_disk)];
    for store in stores {
        store.claim(CLAIM).unwrap();
        let older = Writer::spawn(Arc::clone(&store), CLAIM).unwrap();
        assert!(older.handle().drive(step(1, 1)).is_ok());
        let claim = Claim([2; 16]);
        store.claim(claim).unwrap();
        let newer = Writer::spawn(Arc::clone(&store), claim).unwrap();
        assert!(newer.handle().drive(step(1, 2)).is_ok());
        assert_eq!(older.handle().drive(step(1, 3)).err(), Some(StoreError::Fenced));
        assert_eq!(older.handle().drive(step(2, 3)).err(), Some(StoreError::Fenced));
        assert!(newer.handle().drive(step(2, 4)).is_ok());
        let stored = |n| store.get(Table::Group, &key(n)).unwrap();
        assert_eq!((stored(1), stored(2)), (Some(vec![2]), Some(vec![4])));
    }
}

fn key(owner: u8) -> Key {
    Key::from_parts([owner; 16], b"value")
}

fn put(owner: u8, value: Vec<u8>) -> Write {
    Write::Put { table: Table::Group, key: key(owner), value }
}

fn step(owner: u8, value: u8) -> Step {
    let lineage = Lineage { owner: [owner; 16], life: 0, load: 1 };
    Step::new(lineage, vec![put(owner, vec![value])], Effects::default(), ())
}

fn large(owner: u8) -> Step {
    let lineage = Lineage { owner: [owner; 16], life: 0, load: 1 };
    Step::new(lineage, vec![put(owner, vec![0; 5000])], Effects::default(), ())
}

type Told = Receiver<Result<(), StoreError>>;

fn submit(handle: &WriterHandle, step: Step) -> Told {
    let (tell, told) = mpsc::channel();
    let (set, _) = step.into_parts();
    handle.submit(set, move |stored| drop(tell.send(stored.map(drop))));
    told
}

fn answer(told: &Told) -> Result<(), StoreError> {
    told.recv_timeout(PATIENCE).expect("everybody gets an answer")
}

/// Runs a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// A store in memory whose commits wait in front of a gate until it is opened, for good.
#[derive(Debug)]
struct Gated {
    inner: MemoryStore,
    gate: Mutex<Gate>,
    changed: Condvar,
    panics: AtomicBool,
}

#[derive(Debug, Default)]
struct Gate {
    entered: bool,
    open: bool,
}

impl Gated {
    fn new(limits: StoreLimits) -> Arc<Self> {
        let inner = MemoryStore::with_limits(limits);
        inner.claim(CLAIM).unwrap();
        let (gate, changed) = (Mutex::default(), Condvar::new());
        Arc::new(Self { inner, gate, changed, panics: AtomicBool::new(false) })
    }

    fn open(&self) {
        self.gate.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    fn wait_until_entered(&self) {
        self.wait_until(|gate| gate.entered);
    }

    fn wait_until(&self, reached: impl Fn(&Gate) -> bool) {
        let gate = self.gate.lock().unwrap();
        let (_gate, late) =
            self.changed.wait_timeout_while(gate, PATIENCE, |gate| !reached(gate)).unwrap();
        assert!(!late.timed_out(), "the gate is where it was");
    }

    fn value(&self, owner: u8) -> Option<Vec<u8>> {
        self.inner.get(Table::Group, &key(owner)).unwrap()
    }
}

impl Store for Gated {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        self.inner.claim(claim)
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        self.gate.lock().unwrap().entered = true;
        self.changed.notify_all();
        self.wait_until(|gate| gate.open);
        assert!(!self.panics.load(Ordering::SeqCst), "as the test wants it");
        self.inner.commit(claim, writes)
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.inner.scan(table, range, direction, visit)
    }

    fn limits(&self) -> StoreLimits {
        self.inner.limits()
    }
}
