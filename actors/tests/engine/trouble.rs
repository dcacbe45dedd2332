//! What happens when something fails.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use conclave::{
    AccountKey, Class, Clock, Engine, Error, EventCursor, OsEntropy, Seq, SystemClock, Timestamp,
    core::entropy::{EntropyError, EntropySource},
    core::store::{Key, Store, StoreError, Table, Write},
};
use conclave_conformance::faulty_store::{Fault, Faulty};
use conclave_store_memory::MemoryStore;

use super::town::{
    NewDriver, Person, Town, open_group, quick, read, settle, shown, try_shown, wait_for_group,
    within,
};

/// E4: an engine that is dropped and opened again on its store goes on where it was.
pub(crate) fn a_restart_loses_nothing(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    for round in 0..5 {
        groups[0].send(format!("round {round}")).wait().unwrap();
    }
    people[1].engine.shut_down();
    groups[0].send("while away").wait().unwrap();
    let engine = town.engine_on(Arc::clone(&people[1].store), quick());
    let person = Person {
        engine,
        store: Arc::clone(&people[1].store),
        account: people[1].account,
        inbox: people[1].inbox,
    };
    assert_eq!(person.engine.inbox(), Some(person.inbox));
    let group = person.engine.group(groups[0].id()).unwrap();
    assert_eq!(read(&person, &group, 6).len(), 6);
    group.send("back").wait().unwrap();
    assert_eq!(read(&people[0], &groups[0], 7), read(&person, &group, 7));
}

/// G5: what is sent while the relay is gone goes out when it is back, in its order, once; also
/// if the engine was restarted in between.
pub(crate) fn a_message_waits_for_the_relay(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    groups[0].send("first").wait().unwrap();
    settle(&groups[0]);
    town.close_road();
    for number in 0..10 {
        groups[0].send(format!("offline {number}")).wait().unwrap();
    }
    people[0].engine.shut_down();
    let engine = town.engine_on(Arc::clone(&people[0].store), quick());
    let group = engine.group(groups[0].id()).unwrap();
    assert_eq!(group.view().wait().unwrap().unsettled, 10);
    town.open_road();
    within(group.settled()).unwrap();
    let expected: Vec<Vec<u8>> = std::iter::once(b"first".to_vec())
        .chain((0..10).map(|number| format!("offline {number}").into_bytes()))
        .collect();
    assert_eq!(read(&people[1], &groups[1], 11), expected);
}

/// Scenario 50: a failed commit leaves memory as the disk is; the caller hears of it, and the next
/// call works.
pub(crate) fn a_store_that_fails_is_asked_again(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let other = town.person();
    let store = Arc::new(Faulty::new(MemoryStore::new()));
    let engine = town.engine_on(Arc::clone(&store) as Arc<dyn Store>, quick());
    let account = conclave::AccountKey::generate().unwrap();
    engine.register(account, 0).wait().unwrap();
    engine.sync().wait().unwrap();
    let group = engine.create_group(open_group()).wait().unwrap();
    group.add(&[other.inbox]).wait().unwrap();
    settle(&group);
    let mut failures = 0;
    for number in 0..20 {
        store.restart();
        let fault = [Fault::Refuse(StoreError::Unavailable), Fault::LoseAnswer][number % 2].clone();
        store.fail_at(0, fault);
        match group.send_once([u8::try_from(number).unwrap(); 16], format!("{number}")).wait() {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, Error::Store(_)), "{error:?}");
                failures += 1;
            }
        }
        store.restart();
    }
    assert!(failures > 5, "{failures} of 20 calls met the fault");
    store.disarm();
    group.send("at last").wait().unwrap();
    settle(&group);
    let mine = shown(&group);
    assert_eq!(mine.last().unwrap(), b"at last");
    assert_eq!(read(&other, &group, mine.len()), mine);
}

/// Scenario 50, E4: calls from several threads over a store of which every ninth call fails, one
/// after the other: each message that was taken is there once, at everybody's.
pub(crate) fn calls_at_once_over_a_store_that_keeps_failing(driver: NewDriver<'_>) {
    const THREADS: u8 = 4;
    const EACH: u8 = 25;
    let town = Town::new(driver);
    let other = town.person();
    let store = Arc::new(Faulty::new(MemoryStore::new()));
    let engine = town.engine_on(Arc::clone(&store) as Arc<dyn Store>, quick());
    engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
    engine.sync().wait().unwrap();
    let group = engine.create_group(open_group()).wait().unwrap();
    group.add(&[other.inbox]).wait().unwrap();
    settle(&group);
    store.restart();
    let faults = [Fault::Refuse(StoreError::Unavailable), Fault::LoseAnswer];
    for (call, fault) in (5_u64..50_000).step_by(9).zip(faults.iter().cycle()) {
        store.fail_at(call, fault.clone());
    }
    let say = |round: u8, thread: u8, number: u8| {
        let text = format!("{round}.{thread}.{number}").into_bytes();
        let mut key = [round; 16];
        key[0] = thread * EACH + number;
        while within(group.send_once(key, text.clone())).is_err() {
            // It may have been stored all the same.
            while within(group.settled()).is_err() {}
            let shown = loop {
                match try_shown(&group) {
                    Some(shown) => break shown,
                    None => std::thread::yield_now(),
                }
            };
            if shown.contains(&text) {
                return;
            }
        }
    };
    // How many calls a round takes depends on how many of them share a commit.
    let mut rounds = 0;
    while store.fired() < 20 {
        std::thread::scope(|threads| {
            for thread in 0..THREADS {
                threads.spawn(move || (0..EACH).for_each(|number| say(rounds, thread, number)));
            }
        });
        rounds += 1;
    }
    store.disarm();
    settle(&group);
    let all = usize::from(THREADS * EACH) * usize::from(rounds);
    let theirs = read(&other, &group, all);
    assert_eq!(shown(&group), theirs);
    let once: BTreeSet<&Vec<u8>> = theirs.iter().collect();
    assert_eq!((theirs.len(), once.len()), (all, all));
}

/// Scenario 50: a store that fails some calls in a row, wherever that happens while an engine is
/// opened or hears of its first invitation, delays it and nothing else.
pub(crate) fn an_engine_comes_up_over_a_store_that_fails(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let two = town.person();
    let faults = [Fault::Refuse(StoreError::Unavailable), Fault::LoseAnswer];
    for (first, fault) in (0..60).zip(faults.iter().cycle()) {
        let store = Arc::new(Faulty::new(MemoryStore::new()));
        let account = AccountKey::generate().unwrap();
        let engine = town.engine_on(Arc::clone(&store) as Arc<dyn Store>, quick());
        let inbox = engine.register(account, 0).wait().unwrap();
        engine.sync().wait().unwrap();
        let old = two.engine.create_group(open_group()).wait().unwrap();
        old.add(&[inbox]).wait().unwrap();
        settle(&old);
        while engine.group(old.id()).is_none() {
            std::thread::yield_now();
        }
        engine.shut_down();
        store.restart();
        (first / 2..first / 2 + 3).for_each(|call| store.fail_at(call, fault.clone()));
        let engine = loop {
            // It may say that it cannot be opened, and is opened again then.
            match town.try_engine_on(Arc::clone(&store) as Arc<dyn Store>, quick()) {
                Ok(engine) => break engine,
                Err(error) => assert!(store.fired() > 0, "{error}"),
            }
        };
        let new = two.engine.create_group(open_group()).wait().unwrap();
        new.add(&[inbox]).wait().unwrap();
        for group in [&old, &new] {
            group.send("hello").wait().unwrap();
            let asked = std::time::Instant::now();
            while engine.group(group.id()).and_then(|group| try_shown(&group)).unwrap_or_default()
                != [b"hello"]
            {
                assert!(asked.elapsed().as_secs() < 60, "{fault:?} from call {first} / 2 on");
                std::thread::yield_now();
            }
        }
        engine.shut_down();
    }
}

/// Scenario 50: the same while it registers.
pub(crate) fn an_engine_registers_over_a_store_that_fails(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let two = town.person();
    for first in 0..25 {
        let store = Arc::new(Faulty::new(MemoryStore::new()));
        (first..first + 2)
            .for_each(|call| store.fail_at(call, Fault::Refuse(StoreError::Unavailable)));
        let engine = loop {
            match town.try_engine_on(Arc::clone(&store) as Arc<dyn Store>, quick()) {
                Ok(engine) => break engine,
                Err(error) => assert!(store.fired() > 0, "{error}"),
            }
        };
        let account = AccountKey::generate().unwrap().to_bytes();
        let inbox = loop {
            match within(engine.register(AccountKey::from_bytes(&account), 0)) {
                Ok(inbox) => break inbox,
                Err(error) => assert!(store.fired() > 0, "{error}"),
            }
        };
        within(engine.sync()).unwrap();
        let group = two.engine.create_group(open_group()).wait().unwrap();
        group.add(&[inbox]).wait().unwrap();
        let asked = std::time::Instant::now();
        while engine.group(group.id()).is_none() {
            assert!(asked.elapsed().as_secs() < 60, "faults from call {first} on");
            std::thread::yield_now();
        }
        engine.shut_down();
    }
}

/// Scenario 105: an engine whose store belongs to another one by now ends when it is told to,
/// although it has something to send.
pub(crate) fn an_engine_that_lost_its_store_ends(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    town.close_road();
    // Its first message, so that it wants to renew its keys before: that is due whenever the group
    // is loaded.
    groups[1].send("left").wait().unwrap();
    let second = town.engine_on(Arc::clone(&people[1].store), quick());
    assert_eq!(groups[1].send("no").wait(), Err(Error::Store(StoreError::Fenced)));
    let (ended, end) = std::sync::mpsc::channel();
    let first = people[1].engine.clone();
    std::thread::spawn(move || {
        first.shut_down();
        ended.send(()).unwrap();
    });
    end.recv_timeout(std::time::Duration::from_secs(60)).expect("it ends");
    town.open_road();
    within(second.group(groups[1].id()).unwrap().settled()).unwrap();
    assert_eq!(read(&people[0], &groups[0], 1), [b"left".to_vec()]);
}

/// E9, scenario 105: who opens the store later owns it; the older engine hears of it at its next
/// call and damages nothing.
pub(crate) fn a_second_engine_fences_the_first(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    let second = town.engine_on(Arc::clone(&people[0].store), quick());
    let error = groups[0].send("from the older one").wait().unwrap_err();
    assert_eq!(error, Error::Store(StoreError::Fenced));
    let group = second.group(groups[0].id()).unwrap();
    group.send("from the owner").wait().unwrap();
    assert_eq!(read(&people[1], &groups[1], 1), [b"from the owner".to_vec()]);
}

/// Scenario 59: calls beyond what may wait are refused at once, and none that was taken is lost.
pub(crate) fn a_full_group_pushes_back(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let one = town.person();
    one.engine.shut_down();
    let mut limits = quick();
    limits.group_calls = 4;
    let engine = town.engine_on(Arc::clone(&one.store), limits);
    let group = engine.create_group(open_group()).wait().unwrap();
    let calls: Vec<_> = (0..500).map(|number| group.send(format!("{number}"))).collect();
    let (mut taken, mut busy) = (0, 0);
    for call in calls {
        match call.wait() {
            Ok(_) => taken += 1,
            Err(error) => {
                assert_eq!((error.class(), &error), (Class::Transient, &Error::Busy));
                busy += 1;
            }
        }
    }
    assert!(busy > 0, "500 calls at once fit into a queue of 4");
    within(group.settled()).unwrap();
    assert_eq!(shown(&group).len(), taken);
}

/// Typed answers, no hanging.
pub(crate) fn nothing_works_before_registration_and_after_the_end(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let engine: Engine = town.engine_on(store, quick());
    assert_eq!(engine.sync().wait(), Err(Error::NotRegistered));
    let error = engine.create_group(open_group()).wait().unwrap_err();
    assert_eq!(error, Error::NotRegistered);
    let one = town.person();
    let group = one.engine.create_group(open_group()).wait().unwrap();
    let unknown = conclave::InboxId([9; 32]);
    assert_eq!(group.add(&[unknown]).wait(), Err(Error::UnknownInbox(unknown)));
    one.engine.shut_down();
    one.engine.shut_down();
    assert_eq!(group.send("too late").wait(), Err(Error::Closed));
    assert_eq!(one.engine.sync().wait(), Err(Error::Closed));
    assert_eq!(within(one.engine.events(one.engine.last_event()).next_event()), Ok(None));
}

/// Scenario 53: an engine that was shut down has let go of its store, whoever still holds handles,
/// readers of events or answers; the next one can open it at once.
pub(crate) fn the_store_is_free_when_the_engine_is_shut_down(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    for _ in 0..20 {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let engine = town.engine_on(Arc::clone(&store), quick());
        engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
        let group = engine.create_group(open_group()).wait().unwrap();
        let mut events = engine.events(EventCursor(0));
        let (sent, synced) = (group.send("on its way"), engine.sync());
        engine.shut_down();
        assert_eq!(Arc::strong_count(&store), 1);
        assert_eq!(events.try_event(), Ok(None));
        assert_eq!(group.messages(Seq(0), 1), Err(Error::Closed));
        drop((sent, synced));
    }
}

/// E6: an application can show whether the relay is there.
pub(crate) fn whether_the_relay_is_there_can_be_asked(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let person = town.person();
    within(person.engine.when_reachable(true)).unwrap();
    assert!(person.engine.is_reachable());
    town.close_road();
    within(person.engine.when_reachable(false)).unwrap();
    assert!(!person.engine.is_reachable());
    town.open_road();
    within(person.engine.when_reachable(true)).unwrap();
    let until_it_is_gone = person.engine.when_reachable(false);
    person.engine.shut_down();
    assert_eq!(within(until_it_is_gone), Err(Error::Closed));
    assert_eq!(within(person.engine.when_reachable(true)), Err(Error::Closed));
}

/// R4: connections break in the middle of everything; what was sent arrives once.
pub(crate) fn a_relay_that_restarts_loses_nothing(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    for round in 0..10 {
        for number in 0..5 {
            groups[round % 2].send(format!("{round}.{number}")).wait().unwrap();
        }
        town.restart_relay();
    }
    groups.iter().for_each(settle);
    let (one, other) = (read(&people[0], &groups[0], 50), read(&people[1], &groups[1], 50));
    assert_eq!(one.len(), 50);
    assert_eq!(one, other);
}

/// Scenario 58: a group whose records are damaged is an error of its own.
pub(crate) fn one_damaged_group_does_not_stop_others(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (people, groups) = town.group_of(2);
    let healthy = people[0].engine.create_group(open_group()).wait().unwrap();
    healthy.add(&[people[1].inbox]).wait().unwrap();
    settle(&healthy);
    people[0].engine.shut_down();
    let claim = conclave::core::store::Claim([3; 16]);
    let store = &people[0].store;
    store.claim(claim).unwrap();
    let key = Key::from_parts(groups[0].id().0, &[2]);
    let damage = Write::Put { table: Table::Group, key, value: b"junk".to_vec() };
    store.commit(claim, &[damage]).unwrap();
    let engine = town.engine_on(Arc::clone(store), quick());
    let damaged = engine.group(groups[0].id()).unwrap();
    assert!(matches!(damaged.send("hello").wait(), Err(Error::Load(_))));
    let healthy = engine.group(healthy.id()).unwrap();
    healthy.send("still here").wait().unwrap();
    assert_eq!(read(&people[1], &healthy, 1), [b"still here".to_vec()]);
}

/// What was left undone in many groups is done when the engine is opened again, although each of
/// them would stay awake for an hour.
pub(crate) fn many_groups_finish_what_they_left_undone(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let (one, two) = (town.person(), town.person());
    let groups: Vec<_> = (0..20)
        .map(|_| {
            let group = one.engine.create_group(open_group()).wait().unwrap();
            group.add(&[two.inbox]).wait().unwrap();
            settle(&group);
            wait_for_group(&two, &group)
        })
        .collect();
    town.close_road();
    for group in one.engine.groups() {
        group.send("left").wait().unwrap();
    }
    one.engine.shut_down();
    town.open_road();
    let mut limits = quick();
    limits.idle_ms = 3_600_000;
    let again = town.engine_on(Arc::clone(&one.store), limits);
    for group in &groups {
        assert_eq!(read(&two, group, 1), [b"left".to_vec()]);
    }
    again.shut_down();
}

/// E7: a panic in the middle of a step loses one value, which is loaded again. Whoever waited is
/// told; nothing is lost or doubled, in whatever place it happens.
pub(crate) fn a_panic_loses_one_value_and_not_the_engine(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let fuse = Fuse::default();
    let one = town.person_with(|builder| builder.entropy(fuse.clone()).clock(fuse.clone()));
    let two = town.person();
    let group = one.engine.create_group(open_group()).wait().unwrap();
    group.add(&[two.inbox]).wait().unwrap();
    settle(&group);
    let other = wait_for_group(&two, &group);
    for number in 0..40 {
        let (mine, theirs) = (format!("mine {number}"), format!("theirs {number}"));
        fuse.light_again(number + 1);
        other.send(theirs).wait().unwrap();
        while let Err(error) = within(group.send(mine.clone())) {
            assert_eq!(error, Error::Closed);
            // It may have been stored before: what is stored gets its place.
            while within(group.settled()) == Err(Error::Closed) {}
            if shown(&group).contains(&mine.clone().into_bytes()) {
                break;
            }
        }
    }
    fuse.put_out();
    settle(&group);
    let (ours, theirs) = (read(&one, &group, 80), read(&two, &other, 80));
    assert_eq!(ours, theirs);
    let once: BTreeSet<&Vec<u8>> = ours.iter().collect();
    assert_eq!((ours.len(), once.len()), (80, 80));
    assert!(fuse.burnt() >= 5, "{} panics", fuse.burnt());
}

/// E7: nor does one lose an invitation.
pub(crate) fn a_panic_loses_no_invitation(driver: NewDriver<'_>) {
    let town = Town::new(driver);
    let fuse = Fuse::default();
    let one = town.person_with(|builder| builder.entropy(fuse.clone()).clock(fuse.clone()));
    let two = town.person();
    for number in 0..20 {
        fuse.light_again(number + 1);
        let group = two.engine.create_group(open_group()).wait().unwrap();
        group.add(&[one.inbox]).wait().unwrap();
        settle(&group);
        let joined = wait_for_group(&one, &group);
        while within(joined.send("here")).is_err() {}
        assert!(read(&two, &group, 1).iter().all(|content| content == b"here"));
    }
    assert!(fuse.burnt() >= 5, "{} panics", fuse.burnt());
}

/// The system's time and randomness, with a panic when it has been asked so many times.
#[derive(Clone, Default)]
struct Fuse(Arc<Mutex<Burning>>);

#[derive(Default)]
struct Burning {
    left: u32,
    burnt: u32,
}

impl Fuse {
    /// Unless it burns already.
    fn light_again(&self, left: u32) {
        let mut burning = self.0.lock().unwrap();
        if burning.left == 0 {
            burning.left = left;
        }
    }

    fn put_out(&self) {
        self.0.lock().unwrap().left = 0;
    }

    fn burnt(&self) -> u32 {
        self.0.lock().unwrap().burnt
    }

    /// Only where an engine's roles ask: nobody else promises to go on.
    fn burn(&self) {
        let mut burning = self.0.lock().unwrap();
        if burning.left == 0 {
            return;
        }
        burning.left -= 1;
        if burning.left == 0 {
            burning.burnt += 1;
            drop(burning);
            panic!("a fuse that the test has lit");
        }
    }
}

impl EntropySource for Fuse {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError> {
        self.burn();
        OsEntropy.fill(out)
    }

    fn child(&self, _label: &str, _id: &[u8]) -> Box<dyn EntropySource> {
        Box::new(self.clone())
    }
}

impl Clock for Fuse {
    fn now(&self) -> Timestamp {
        self.burn();
        SystemClock.now()
    }
}
