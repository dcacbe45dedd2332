//! A relay in this process, and engines that talk to it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use conclave::{
    AccountKey, Builder, Engine, EngineLimits, GroupHandle, InboxId, OpenError,
    core::{bounds::BoxFuture, delivery::TransportError, link::Link, store::Store},
    driver::Driver,
};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};
use conclave_remote::{Connector, Remote, RemoteLimits};
use conclave_store_memory::MemoryStore;
use tokio::runtime::Runtime;

/// Makes a driver for each engine.
pub(crate) type NewDriver<'a> = &'a dyn Fn() -> Arc<dyn Driver>;

/// A relay and the way to it.
pub(crate) struct Town<'a> {
    driver: NewDriver<'a>,
    runtime: Runtime,
    host: Arc<Mutex<Arc<Host<RelayStore>>>>,
    store: RelayStore,
    /// Whether the relay can be reached.
    pub(crate) open: Arc<AtomicBool>,
}

/// Links in memory to whatever relay there is at the time.
struct Road {
    host: Arc<Mutex<Arc<Host<RelayStore>>>>,
    open: Arc<AtomicBool>,
    runtime: tokio::runtime::Handle,
}

impl Connector for Road {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async {
            if !self.open.load(Ordering::SeqCst) {
                return Err(TransportError::NO_ANSWER);
            }
            let (ours, theirs) = conclave_links::memory::pair(64 * 1024);
            let serving = self.host.lock().unwrap().serve(theirs);
            self.runtime.spawn(serving);
            Ok(Box::new(ours) as Box<dyn Link>)
        })
    }
}

impl<'a> Town<'a> {
    pub(crate) fn new(driver: NewDriver<'a>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let founding = Founding::from_random(&[9; 48]);
        let logs = Logs::in_memory(&founding, RelayLimits::default()).unwrap();
        let store = RelayStore::start(logs).unwrap();
        let host = Arc::new(Mutex::new(Arc::new(host(&store))));
        Self { driver, runtime, host, store, open: Arc::new(AtomicBool::new(true)) }
    }

    /// Ends the relay with all its connections, and starts it again on its logs.
    pub(crate) fn restart_relay(&self) {
        let fresh = Arc::new(host(&self.store));
        let old = std::mem::replace(&mut *self.host.lock().unwrap(), fresh);
        old.shut_down();
        self.runtime.block_on(old.ended());
    }

    /// Cuts everybody off; what was sent before may have arrived.
    pub(crate) fn close_road(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.restart_relay();
    }

    pub(crate) fn open_road(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// A driver, of the kind that is tested.
    pub(crate) fn driver(&self) -> Arc<dyn Driver> {
        (self.driver)()
    }

    /// An engine over a store.
    pub(crate) fn engine_on(&self, store: Arc<dyn Store>, limits: EngineLimits) -> Engine {
        self.try_engine_on(store, limits).unwrap()
    }

    pub(crate) fn try_engine_on(
        &self,
        store: Arc<dyn Store>,
        limits: EngineLimits,
    ) -> Result<Engine, OpenError> {
        self.builder(store, limits).open()
    }

    pub(crate) fn builder(&self, store: Arc<dyn Store>, limits: EngineLimits) -> Builder {
        Engine::builder()
            .shared_store(store)
            .delivery(self.remote())
            .shared_driver((self.driver)())
            .limits(limits)
    }

    /// The relay, as engines use it.
    pub(crate) fn remote(&self) -> Remote {
        let road = Road {
            host: Arc::clone(&self.host),
            open: Arc::clone(&self.open),
            runtime: self.runtime.handle().clone(),
        };
        Remote::new(road, RemoteLimits::default())
    }

    /// A new person with one device.
    pub(crate) fn person(&self) -> Person {
        self.person_with(|builder| builder)
    }

    /// A new person with one device that is not built as all others are.
    pub(crate) fn person_with(&self, also: impl FnOnce(Builder) -> Builder) -> Person {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let engine = also(self.builder(Arc::clone(&store), quick())).open().unwrap();
        let account = AccountKey::generate().unwrap().to_bytes();
        let inbox = engine.register(AccountKey::from_bytes(&account), 0).wait().unwrap();
        engine.sync().wait().unwrap();
        Person { engine, store, account: *account, inbox }
    }

    /// People with one group that all of them are in.
    pub(crate) fn group_of(&self, count: usize) -> (Vec<Person>, Vec<GroupHandle>) {
        let people: Vec<Person> = (0..count).map(|_| self.person()).collect();
        let group = people[0].engine.create_group(open_group()).wait().unwrap();
        let others: Vec<InboxId> = people[1..].iter().map(|person| person.inbox).collect();
        group.add(&others).wait().unwrap();
        settle(&group);
        let handles = people.iter().map(|person| wait_for_group(person, &group)).collect();
        (people, handles)
    }
}

fn host(store: &RelayStore) -> Host<RelayStore> {
    Host::new(Service::new(store.clone(), RelayLimits::default()), HostLimits::default())
}

/// Everybody adds and removes.
pub(crate) fn open_group() -> conclave::GroupConfig {
    conclave::GroupConfig { policy: conclave::proto::group::Policy::OPEN, ..Default::default() }
}

/// Limits under which waits are short.
pub(crate) fn quick() -> EngineLimits {
    let mut limits = EngineLimits::default();
    limits.session.retry_ms = 5;
    limits.session.retry_max_ms = 50;
    limits.session.trouble_ms = 5;
    limits
}

/// Somebody with one device.
pub(crate) struct Person {
    pub(crate) engine: Engine,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) account: [u8; 32],
    pub(crate) inbox: InboxId,
}

/// Waits until nothing of a group waits.
pub(crate) fn settle(group: &GroupHandle) {
    within(group.settled()).unwrap();
}

/// Waits until a person has a group.
pub(crate) fn wait_for_group(person: &Person, group: &GroupHandle) -> GroupHandle {
    let mut events = person.engine.events(conclave::EventCursor(0));
    loop {
        if let Some(handle) = person.engine.group(group.id()) {
            return handle;
        }
        within(events.next_event()).unwrap().expect("the engine is open");
    }
}

/// Waits until a device shows so many messages of a group; gives them.
pub(crate) fn read(person: &Person, group: &GroupHandle, count: usize) -> Vec<Vec<u8>> {
    let mut events = person.engine.events(conclave::EventCursor(0));
    loop {
        let handle = person.engine.group(group.id());
        let found = handle.map_or(Vec::new(), |handle| shown(&handle));
        if found.len() >= count {
            return found;
        }
        within(events.next_event()).unwrap().expect("the engine is open");
    }
}

/// The messages that a device shows.
pub(crate) fn shown(group: &GroupHandle) -> Vec<Vec<u8>> {
    try_shown(group).unwrap()
}

/// The messages that a device shows, if its store can be read.
pub(crate) fn try_shown(group: &GroupHandle) -> Option<Vec<Vec<u8>>> {
    let messages = group.messages(conclave::Seq(0), usize::MAX).ok()?;
    let contents = messages.into_iter().map(|(_, message)| {
        let conclave::proto::message::Body::Content(content) = message.body;
        content
    });
    Some(contents.collect())
}

/// Waits for something for a minute at most.
pub(crate) fn within<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await })
        .expect("in time")
}

/// Waits until something is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}
