//! What needs a process of its own: forks, and counts of threads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "engine/town.rs"]
#[allow(dead_code, reason = "the kit of another suite")]
mod town;

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use conclave::{
    Ended, Engine, Error, EventCursor, GroupHandle, Seq,
    driver::{Driver, Threads},
};

use town::{Town, open_group, read, settle, wait_for_group, within};

type Start = fn() -> Arc<dyn Driver>;

fn threads() -> Arc<dyn Driver> {
    Arc::new(Threads::start(Some(2)).unwrap())
}

#[cfg(feature = "actix")]
fn actors() -> Arc<dyn Driver> {
    Arc::new(conclave::driver::Actors::start(Some(2)).unwrap())
}

macro_rules! alone {
    ($($name:ident),* $(,)?) => {
        mod on_threads { $(
            #[test]
            fn $name() {
                crate::alone(concat!("on_threads::", stringify!($name)), || crate::$name(crate::threads));
            }
        )* }
        #[cfg(feature = "actix")]
        mod on_actors { $(
            #[test]
            fn $name() {
                crate::alone(concat!("on_actors::", stringify!($name)), || crate::$name(crate::actors));
            }
        )* }
    };
}

alone! {
    calls_in_a_forked_child_are_refused_at_once, the_last_engine_is_dropped_in_a_forked_child,
    a_driver_is_dropped_in_a_forked_child, one_driver_runs_many_engines,
}

/// Scenario 145: in a forked child, which has none of the engine's threads, every call is answered
/// at once, also when another thread held a lock of the engine when the process was forked; the
/// parent goes on.
fn calls_in_a_forked_child_are_refused_at_once(start: Start) {
    let town = Town::new(&start);
    let (people, groups) = town.group_of(2);
    let (engine, group) = (&people[0].engine, &groups[0]);
    let over = AtomicBool::new(false);
    let works: [&(dyn Fn() + Sync); 4] = [
        &|| drop((engine.state(), engine.last_event(), engine.when_reachable(false))),
        &|| drop((engine.sync(), engine.groups(), engine.group(group.id()))),
        &|| drop((group.view(), group.settled())),
        &|| drop(engine.events(EventCursor(0)).try_event()),
    ];
    std::thread::scope(|threads| {
        for work in works {
            let over = &over;
            threads.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    work();
                }
            });
        }
        for number in 0..12 {
            let mut events = engine.events(EventCursor(0));
            let child = fork(|| refuses_everything(engine, group, &mut events));
            let ended = wait_for(child);
            over.fetch_or(ended != Some(0), Ordering::SeqCst);
            assert_eq!(ended, Some(0), "child {number}");
        }
        over.store(true, Ordering::SeqCst);
    });
    let count = group.messages(Seq(0), usize::MAX).unwrap().len();
    // Questions may still fill the queue.
    while within(group.send("the parent goes on")) == Err(Error::Busy) {}
    settle(group);
    assert!(read(&people[1], &groups[1], count + 1).contains(&b"the parent goes on".to_vec()));
}

/// Scenario 145: dropping everything in a child, and its end, wait for no thread.
fn the_last_engine_is_dropped_in_a_forked_child(start: Start) {
    let town = Town::new(&start);
    let (people, groups) = town.group_of(2);
    let all = (people, groups, town.person());
    let mut all = Some(all);
    for shut_down in [true, false] {
        let child = fork(|| {
            let (people, groups, third) = all.take().unwrap();
            let (sync, settled) = (third.engine.sync(), groups[0].settled());
            let events = third.engine.events(EventCursor(0));
            if shut_down {
                third.engine.shut_down();
            }
            drop((people, groups, third));
            drop((sync, settled, events));
        });
        assert_eq!(wait_for(child), Some(0));
    }
    let (people, groups, third) = all.unwrap();
    within(groups[0].add(&[third.inbox])).unwrap();
    settle(&groups[0]);
    let of_third = wait_for_group(&third, &groups[0]);
    of_third.send("all are here").wait().unwrap();
    assert_eq!(read(&people[0], &groups[0], 1).len(), 1);
}

/// Scenario 145: so it is with a driver that the application holds.
fn a_driver_is_dropped_in_a_forked_child(start: Start) {
    let mut driver = Some(start());
    let child = fork(|| drop(driver.take()));
    assert_eq!(wait_for(child), Some(0));
    let driver = driver.unwrap();
    let shared = || Arc::clone(&driver);
    let town = Town::new(&shared);
    within(town.person().engine.sync()).unwrap();
}

/// E13: engines share the threads of a driver; each has at most two of its own. One that ends
/// leaves the others alone, and nothing is left of them in the end.
fn one_driver_runs_many_engines(start: Start) {
    const ENGINES: usize = 10;
    // The MLS library starts threads for the whole process, which bear the name of the thread that
    // is first to use it.
    drop(conclave_testkit::world::World::of_talkers(1, 2));
    let driver = start();
    let shared = || Arc::clone(&driver);
    let town = Town::new(&shared);
    let first = town.person();
    let with_one = threads_now();
    let mut people = vec![first];
    people.extend((1..ENGINES).map(|_| town.person()));
    let each = threads_now().saturating_sub(with_one).div_ceil(ENGINES - 1);
    assert!(each <= 2, "{each} threads for each further engine");

    let group = people[0].engine.create_group(open_group()).wait().unwrap();
    let others: Vec<_> = people[1..].iter().map(|person| person.inbox).collect();
    within(group.add(&others)).unwrap();
    settle(&group);
    let mut groups: Vec<GroupHandle> =
        people.iter().map(|person| wait_for_group(person, &group)).collect();
    for group in &groups {
        within(group.send("hello")).unwrap();
        settle(group);
    }
    for (person, group) in people.iter().zip(&groups) {
        assert_eq!(read(person, group, ENGINES).len(), ENGINES);
    }

    people.remove(4).engine.shut_down();
    groups.remove(4);
    within(groups[0].send("without one")).unwrap();
    for (person, group) in people.iter().zip(&groups) {
        assert_eq!(read(person, group, ENGINES + 1).len(), ENGINES + 1);
    }
    drop((people, groups, group));
    drop(town);
    assert_eq!(Arc::strong_count(&driver), 1, "engines that have ended hold no driver");
    drop(driver);
    until("no thread of engines is left", || own_threads().is_empty());
}

fn refuses_everything(engine: &Engine, group: &GroupHandle, events: &mut conclave::Events) {
    let refused = [
        engine.sync().wait(),
        engine.when_reachable(true).wait(),
        engine.when_reachable(false).wait(),
        engine.create_group(open_group()).wait().map(drop),
        engine.find(Vec::new()).wait().map(drop),
        engine.register(conclave::AccountKey::from_bytes(&[7; 32]), 0).wait().map(drop),
        group.send("from a child").wait().map(drop),
        group.update_keys().wait().map(drop),
        group.settled().wait(),
        group.view().wait().map(drop),
        group.messages(Seq(0), 1).map(drop),
        events.try_event().map(drop),
        events.wait_event().map(drop),
        engine.events(EventCursor(0)).wait_event().map(drop),
    ];
    for (at, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused, Err(Error::Closed), "call {at}");
    }
    assert_eq!(engine.state().ended, Some(Ended::ShutDown));
    assert!(!engine.is_reachable());
    assert!(engine.groups().is_empty() && engine.group(group.id()).is_none());
    engine.forget_events(engine.last_event());
    drop(engine.clone());
    engine.shut_down();
}

/// Forks; the child does this and ends.
#[allow(unsafe_code, reason = "the library has no safe name for it")]
fn fork(child: impl FnOnce()) -> libc::pid_t {
    // SAFETY: this has no conditions of its own; the child uses what a child may use or hangs,
    // which is what is looked for.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => {
            let run = std::panic::AssertUnwindSafe(child);
            let code = i32::from(std::panic::catch_unwind(run).is_err());
            std::process::exit(code)
        }
        child => child,
    }
}

/// The exit status of a child; one that hangs is ended.
#[allow(unsafe_code, reason = "the library has no safe name for it")]
fn wait_for(child: libc::pid_t) -> Option<i32> {
    let begun = Instant::now();
    let mut status = 0;
    loop {
        // SAFETY: `status` is there for it to write.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if ended == child {
            return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        }
        if begun.elapsed() > HANGS {
            // SAFETY: it is a child of this process that was not waited for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &raw mut status, 0);
            }
            return None;
        }
        std::thread::yield_now();
    }
}

/// What a child does takes milliseconds.
const HANGS: Duration = Duration::from_secs(30);

/// Runs a test in a process where no other one runs.
fn alone(name: &str, test: impl FnOnce()) {
    const ALONE: &str = "CONCLAVE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return test();
    }
    let mut process = Command::new(std::env::current_exe().unwrap());
    process.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ALONE, "1");
    let ended = process.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    let ran = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && ran.contains("1 passed"), "{said}{ran}");
}

/// Threads of this process.
fn threads_now() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Those that engines and drivers have started.
fn own_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("conclave ") || name.starts_with("actix")).collect()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}
