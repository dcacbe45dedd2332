//! How an engine ends, what it tells those who wait, and what stands in its way.

use std::{
    sync::{Arc, Mutex, atomic::Ordering, mpsc},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use conclave::{
    AccountKey, BlockedOn, Class, Ended, Engine, EnginePort, Error, GroupHandle, GroupId,
    OpenError,
    core::store::{Claim, Store, StoreError},
};
use conclave_conformance::faulty_store::{Fault, Faulty};
use conclave_store_memory::MemoryStore;
use futures_util::{FutureExt, StreamExt};

use super::{
    services::{GROUP, Panicking, Port, Silent},
    town::{
        NewDriver, Person, Town, open_group, quick, read, settle, until, wait_for_group, within,
    },
};

/// Scenario 145: whichever call of the store fails while an engine is opened inside of a runtime:
/// an error, no panic.
pub(crate) fn open_fails_inside_async_code_with_an_error(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let store = Arc::new(Faulty::new(MemoryStore::new()));
    let engine = town.engine_on(Arc::clone(&store) as Arc<dyn Store>, quick());
    engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
    engine.create_group(open_group()).wait().unwrap();
    engine.shut_down();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for fault in [Fault::Refuse(StoreError::Unavailable), Fault::LoseAnswer, Fault::DieBefore] {
        let mut failed = 0;
        // Later calls are those of the engine that is open by then.
        for call in 0..12 {
            store.restart();
            store.fail_at(call, fault.clone());
            let opened =
                async { town.try_engine_on(Arc::clone(&store) as Arc<dyn Store>, quick()) };
            match runtime.block_on(opened) {
                Ok(engine) => runtime.block_on(async move { drop(engine) }),
                Err(error) => {
                    assert!(matches!(error, OpenError::Store(_)), "{error:?}");
                    failed += 1;
                }
            }
        }
        assert!(failed >= 4, "{failed} calls of the store are made while it is opened");
    }
    store.restart();
    drop(town.engine_on(store, quick()));
}

/// Scenario 145: whichever thread of the engine calls the waker: the engine ends, and nothing
/// waits for itself.
pub(crate) fn a_waker_may_drop_the_last_engine(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    for what in ["sync", "when_reachable", "settled", "an event", "the end"] {
        town.open_road();
        let Person { engine, store, .. } = town.person();
        let group = engine.create_group(open_group()).wait().unwrap();
        settle(&group);
        town.close_road();
        within(engine.when_reachable(false)).unwrap();
        group.send("on its way").wait().unwrap();
        let mut events = engine.events(engine.last_event());
        let mut waits: Box<dyn FnMut(&mut Context<'_>) -> bool> = match what {
            "sync" => poll_of(engine.sync()),
            "when_reachable" => poll_of(engine.when_reachable(true)),
            "settled" => poll_of(group.settled()),
            _ => Box::new(move |context| {
                std::pin::pin!(events.next_event()).poll_unpin(context).is_pending()
            }),
        };
        let last = Arc::new(Last(Mutex::new(Some(engine))));
        let is_pending = waits(&mut Context::from_waker(&Waker::from(Arc::clone(&last))));
        assert!(is_pending, "{what}");
        if what == "the end" {
            // Another owner: the writer's thread is the first to know.
            store.claim(Claim([9; 16])).unwrap();
            drop(group.send("not any more"));
        } else {
            town.open_road();
        }
        until("the store is free", || Arc::strong_count(&store) == 1);
        assert!(last.0.lock().unwrap().is_none(), "{what}");
    }
}

/// Scenario 145: a reader of events keeps a waker; the last engine in it ends when the waker goes.
pub(crate) fn a_reader_of_events_may_hold_the_last_engine(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    for replaced in [true, false] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let engine = town.engine_on(Arc::clone(&store), quick());
        let mut events = engine.events(engine.last_event());
        let waker = Waker::from(Arc::new(Last(Mutex::new(Some(engine)))));
        let pending =
            std::pin::pin!(events.next_event()).poll_unpin(&mut Context::from_waker(&waker));
        assert!(pending.is_pending());
        drop(waker);
        ends(move || {
            if replaced {
                let mut context = Context::from_waker(Waker::noop());
                drop(std::pin::pin!(events.next_event()).poll_unpin(&mut context));
            } else {
                drop(events);
            }
        });
        until("the store is free", || Arc::strong_count(&store) == 1);
    }
}

/// Scenario 135, E14: when an engine finds that its store belongs to another one, everyone who
/// waits is told so, and so is every later call.
pub(crate) fn a_fenced_engine_tells_everyone_who_waits(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    let (engine, group) = (&people[0].engine, &groups[0]);
    town.close_road();
    within(engine.when_reachable(false)).unwrap();
    group.send("unsettled").wait().unwrap();
    let waiting = Waiting::on(engine, group);
    let second = town.engine_on(Arc::clone(&people[0].store), quick());
    let fenced = Error::Store(StoreError::Fenced);
    assert_eq!(within(group.send("not any more")), Err(fenced.clone()));
    waiting.ends_with(&fenced);
    refuses_everything(engine, group, &fenced);
    assert_eq!(engine.state().ended, Some(Ended::Fenced));
    assert_eq!(fenced.class(), Class::Blocked(BlockedOn::Ownership));
    town.open_road();
    within(second.group(group.id()).unwrap().settled()).unwrap();
    engine.shut_down();
    assert_eq!(engine.state().ended, Some(Ended::Fenced), "it stays what it was");
}

/// Scenario 135: an engine with nothing to do notices as well, by whatever it stores.
pub(crate) fn a_fenced_engine_notices_when_it_forgets_events(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    let engine = &people[0].engine;
    settle(&groups[0]);
    let waiting = Waiting::on(engine, &groups[0]);
    let _second = town.engine_on(Arc::clone(&people[0].store), quick());
    engine.forget_events(engine.last_event());
    waiting.told_of_the_end(&Error::Store(StoreError::Fenced));
    assert_eq!(engine.state().ended, Some(Ended::Fenced));
}

/// Scenario 135, E14: a store that panicked has lost the engine, which says so to everyone and
/// never that trying again helps.
pub(crate) fn a_store_that_panics_in_a_commit_ends_the_engine(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    for _ in 0..10 {
        let store = Arc::new(Panicking::default());
        let engine = town.engine_on(Arc::clone(&store) as Arc<dyn Store>, quick());
        engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
        let group = engine.create_group(open_group()).wait().unwrap();
        let others: Vec<_> =
            (0..4).map(|_| engine.create_group(open_group()).wait().unwrap()).collect();
        town.close_road();
        within(engine.when_reachable(false)).unwrap();
        group.send("unsettled").wait().unwrap();
        let waiting = Waiting::on(&engine, &group);
        // Several threads, so that some ask between the panic and the end.
        let barrier = std::sync::Barrier::new(others.len() + 1);
        std::thread::scope(|threads| {
            for other in &others {
                threads.spawn(|| {
                    barrier.wait();
                    loop {
                        if let Err(error) = within(other.send("some more")) {
                            assert_eq!(error, Error::StoreLost);
                            return;
                        }
                    }
                });
            }
            barrier.wait();
            store.in_commits.store(true, Ordering::SeqCst);
            assert_eq!(within(group.send("lost")), Err(Error::StoreLost));
        });
        waiting.ends_with(&Error::StoreLost);
        refuses_everything(&engine, &group, &Error::StoreLost);
        assert_eq!(engine.state().ended, Some(Ended::StoreLost));
        assert_eq!(Error::StoreLost.class(), Class::Blocked(BlockedOn::Ownership));
        engine.shut_down();
        store.in_commits.store(false, Ordering::SeqCst);
        town.open_road();
        let again = town.engine_on(store, quick());
        within(again.group(group.id()).unwrap().settled()).unwrap();
    }
}

/// Scenario 59: an engine that is shut down while it joins a group ends at once, not when the
/// group, which nothing has told, leaves the memory by itself.
pub(crate) fn an_engine_ends_while_it_joins(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let two = town.person();
    for _ in 0..20 {
        let one = town.person();
        one.engine.shut_down();
        let mut limits = quick();
        limits.idle_ms = 3_600_000;
        let engine = town.engine_on(Arc::clone(&one.store), limits);
        let group = two.engine.create_group(open_group()).wait().unwrap();
        group.add(&[one.inbox]).wait().unwrap();
        while engine.group(group.id()).is_none() {
            std::thread::yield_now();
        }
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            engine.shut_down();
            ended.send(()).unwrap();
        });
        end.recv_timeout(Duration::from_secs(60)).expect("it ends");
    }
}

/// Scenario 135: a panic in a read is a bug like any other: it costs the value that read, and the
/// call that asked. While every read panics, calls end; afterwards everything works.
pub(crate) fn a_store_that_panics_in_a_read_costs_one_answer(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let other = town.person();
    let store = Arc::new(Panicking::default());
    let engine = town.engine_on(Arc::clone(&store) as Arc<dyn Store>, quick());
    engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
    within(engine.sync()).unwrap();
    let group = engine.create_group(open_group()).wait().unwrap();
    group.add(&[other.inbox]).wait().unwrap();
    settle(&group);
    // A message with a key of its own is looked for in the store.
    store.in_next_read.store(true, Ordering::SeqCst);
    assert_eq!(within(group.send_once([1; 16], "one")), Err(Error::Closed));
    within(group.send_once([1; 16], "one")).unwrap();
    store.in_reads.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(within(group.send_once([2; 16], "two")), Err(Error::Closed));
    }
    assert_eq!(engine.state().ended, None);
    store.in_reads.store(false, Ordering::SeqCst);
    while within(group.send_once([2; 16], "two")).is_err() {}
    within(engine.sync()).unwrap();
    settle(&group);
    let of_other = wait_for_group(&other, &group);
    assert_eq!(read(&other, &of_other, 2), [b"one".to_vec(), b"two".to_vec()]);
}

/// E14: a call that comes while the engine ends has an answer before the engine is shut down, also
/// one to a group that is asleep.
pub(crate) fn calls_that_are_asked_while_the_engine_ends_are_answered(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let one = town.person();
    one.engine.shut_down();
    let mut limits = quick();
    limits.idle_ms = 0;
    let mut engine = town.engine_on(Arc::clone(&one.store), limits);
    let ids: Vec<GroupId> =
        (0..50).map(|_| engine.create_group(open_group()).wait().unwrap().id()).collect();
    for _ in 0..20 {
        let groups: Vec<GroupHandle> = ids.iter().map(|id| engine.group(*id).unwrap()).collect();
        let second = town.engine_on(Arc::clone(&one.store), limits);
        let barrier = std::sync::Barrier::new(3);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    barrier.wait();
                    for group in &groups {
                        let settled = within(group.settled());
                        assert!(matches!(settled, Ok(()) | Err(Error::Store(StoreError::Fenced))));
                    }
                });
            }
            barrier.wait();
            assert!(within(groups[0].send("fenced")).is_err());
        });
        engine = second;
    }
}

/// Scenario 135 (50,000 `sync`): a call that is dropped is not waited for any more, and its actor
/// hears of it.
pub(crate) fn a_call_that_is_dropped_is_withdrawn(_: NewDriver<'_>) {
    let port = Arc::new(Port::new());
    let engine = Engine::over(Arc::clone(&port) as Arc<dyn EnginePort>);
    let group = engine.group(GROUP).unwrap();
    for _ in 0..50_000 {
        drop(engine.sync());
    }
    for _ in 0..10_000 {
        drop((group.settled(), group.view(), engine.find(Vec::new())));
    }
    assert_eq!(port.front().waiting(), 0);
    assert_eq!(port.submitted.load(Ordering::SeqCst), 80_000);
    assert_eq!(port.withdrawn.load(Ordering::SeqCst), 80_000);
}

/// Scenario 135 (50,000 `sync`): what a relay that is not there would be asked does not add up.
pub(crate) fn syncs_without_a_relay_leave_nothing_in_its_subscription(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let one = town.person();
    one.engine.shut_down();
    let silent = Silent::default();
    let builder = town.builder(Arc::clone(&one.store), quick()).delivery(silent.clone());
    let engine = builder.open().unwrap();
    until("it subscribes", || !silent.subscriptions.lock().unwrap().is_empty());
    for _ in 0..50_000 {
        drop(engine.sync());
    }
    // Everything before has been handled when the last one is answered.
    let last = engine.sync();
    engine.shut_down();
    assert_eq!(within(last), Err(Error::Closed));
    let mut subscriptions = std::mem::take(&mut *silent.subscriptions.lock().unwrap());
    let mut count = 0;
    for changes in &mut subscriptions {
        while let Some(Some(_)) = changes.next().now_or_never() {
            count += 1;
        }
    }
    assert!(count < 20, "{count} changes of {} subscriptions", subscriptions.len());
}

/// Scenario 149: whoever was removed and added again while away knows both after one `sync`.
pub(crate) fn removed_and_added_again_while_away_needs_one_sync(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    for round in 0..12 {
        let (people, groups) = town.group_of(3);
        groups[1].send("before").wait().unwrap();
        settle(&groups[1]);
        read(&people[0], &groups[0], 1);
        let away = &people[1];
        away.engine.shut_down();
        groups[0].remove(&[away.inbox]).wait().unwrap();
        settle(&groups[0]);
        if round % 2 == 0 {
            groups[2].send("without them").wait().unwrap();
            settle(&groups[2]);
        }
        groups[0].add(&[away.inbox]).wait().unwrap();
        settle(&groups[0]);
        // Who has not seen the addition yet would write for the epoch before it.
        within(people[2].engine.sync()).unwrap();
        for number in 0..3 {
            groups[2 * (number % 2)].send(format!("since {number}")).wait().unwrap();
            groups.iter().step_by(2).for_each(settle);
        }
        let engine = town.engine_on(Arc::clone(&away.store), quick());
        within(engine.sync()).unwrap();
        let group = engine.group(groups[0].id()).unwrap();
        let messages = group.messages(conclave::Seq(0), 100).unwrap();
        let since = messages.iter().filter(|(_, message)| {
            let conclave::proto::message::Body::Content(content) = &message.body;
            content.starts_with(b"since")
        });
        assert_eq!(since.count(), 3, "round {round}: {messages:?}");
        let view = within(group.view()).unwrap();
        assert!(!view.standing.is_removed(), "round {round}");
        assert!(view.members.contains_key(&away.inbox));
        within(group.send("back")).unwrap();
        within(group.settled()).unwrap();
    }
}

/// Everything that one can wait for, each in a thread of its own.
struct Waiting(Vec<(&'static str, mpsc::Receiver<Result<(), Error>>)>);

impl Waiting {
    fn on(engine: &Engine, group: &GroupHandle) -> Self {
        let mut waits = Self(Vec::new());
        let (mut one, mut other) =
            (engine.events(engine.last_event()), engine.events(engine.last_event()));
        waits.add("wait_event", move || one.wait_event().map(drop));
        waits.add("next_event", move || within(other.next_event()).map(drop));
        let (sync, settled, there) = (engine.sync(), group.settled(), engine.when_reachable(true));
        waits.add("sync", move || within(sync));
        waits.add("settled", move || within(settled));
        waits.add("when_reachable", move || within(there));
        waits
    }

    fn add(
        &mut self,
        name: &'static str,
        wait: impl FnOnce() -> Result<(), Error> + Send + 'static,
    ) {
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || drop(tell.send(wait())));
        self.0.push((name, told));
    }

    /// All of them end with this; events that came before are read first.
    fn ends_with(self, error: &Error) {
        for (name, told) in self.0 {
            let told = told.recv_timeout(Duration::from_secs(60)).expect(name);
            assert_eq!(told.as_ref(), Err(error), "{name}");
        }
    }

    /// Those who wait for events are told of the end.
    fn told_of_the_end(self, error: &Error) {
        for (name, told) in self.0.into_iter().filter(|(name, _)| name.ends_with("_event")) {
            let told = told.recv_timeout(Duration::from_secs(60)).expect(name);
            assert_eq!(told.as_ref(), Err(error), "{name}");
        }
    }
}

/// Every later call is refused with the same error.
fn refuses_everything(engine: &Engine, group: &GroupHandle, error: &Error) {
    let refused = [
        ("sync", within(engine.sync())),
        ("settled", within(group.settled())),
        ("view", within(group.view()).map(drop)),
        ("send", within(group.send("late")).map(drop)),
        ("update_keys", within(group.update_keys()).map(drop)),
        ("create_group", within(engine.create_group(open_group())).map(drop)),
        ("find", within(engine.find(Vec::new())).map(drop)),
        ("when_reachable", within(engine.when_reachable(true))),
        ("not when_reachable", within(engine.when_reachable(false))),
        ("try_event", engine.events(engine.last_event()).try_event().map(drop)),
        ("wait_event", engine.events(engine.last_event()).wait_event().map(drop)),
        ("register", within(engine.register(AccountKey::generate().unwrap(), 0)).map(drop)),
    ];
    for (name, refused) in refused {
        assert_eq!(refused.as_ref(), Err(error), "{name}");
    }
}

/// A waker that holds the last engine and drops it when it is called.
struct Last(Mutex<Option<Engine>>);

impl Wake for Last {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

fn poll_of<T: 'static>(mut call: conclave::Call<T>) -> Box<dyn FnMut(&mut Context<'_>) -> bool> {
    Box::new(move |context| matches!(call.poll_unpin(context), Poll::Pending))
}

/// Runs something that may wait for itself.
fn ends(run: impl FnOnce() + Send + 'static) {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        run();
        let _ = tell.send(());
    });
    told.recv_timeout(Duration::from_secs(60)).expect("it ends");
}
