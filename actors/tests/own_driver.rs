//! A driver of the application's own: one thread for each actor.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use conclave::{
    AccountKey, Engine, MemoryStore,
    core::{
        bounds::BoxFuture,
        engine::{Actor, GroupActor, InstallationActor, InvitationActor, SessionActor},
    },
    driver::{Address, Driver, Mail, Network, Next, Runner},
};
use conclave_relay::{Founding, Host, HostLimits, Logs, RelayLimits, RelayStore, Service};

struct ThreadEach(Network);

struct Thread<A: Actor>(Mutex<mpsc::Sender<Mail<A>>>);

impl<A: Actor> Address<A> for Thread<A> {
    fn put(&self, mail: Mail<A>) {
        // A thread that has ended wants nothing more.
        drop(self.0.lock().unwrap().send(mail));
    }
}

fn start<A: Actor>(mut runner: Runner<A>) -> Box<dyn Address<A>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut next = Next::Wait;
        loop {
            let wait = match next {
                Next::Wait => Duration::from_secs(3_600),
                Next::In(wait) => wait,
                Next::End => return,
            };
            next = match receiver.recv_timeout(wait) {
                Ok(mail) => runner.handle(mail),
                Err(mpsc::RecvTimeoutError::Timeout) => runner.due(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
        }
    });
    Box::new(Thread(Mutex::new(sender)))
}

impl Driver for ThreadEach {
    fn run_group(&self, runner: Runner<GroupActor>) -> Box<dyn Address<GroupActor>> {
        start(runner)
    }

    fn run_session(&self, runner: Runner<SessionActor>) -> Box<dyn Address<SessionActor>> {
        start(runner)
    }

    fn run_invitations(
        &self,
        runner: Runner<InvitationActor>,
    ) -> Box<dyn Address<InvitationActor>> {
        start(runner)
    }

    fn run_installation(
        &self,
        runner: Runner<InstallationActor>,
    ) -> Box<dyn Address<InstallationActor>> {
        start(runner)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn tasks(&self) -> usize {
        self.0.tasks()
    }
}

/// Shuts its engine down when it is woken.
struct Ends(Engine, Mutex<mpsc::Sender<()>>);

impl Wake for Ends {
    fn wake(self: Arc<Self>) {
        self.0.shut_down();
        self.1.lock().unwrap().send(()).unwrap();
    }
}

/// Scenario 145: a waker may shut the engine down, whatever thread the driver calls it on.
#[test]
fn a_waker_may_end_the_engine_on_a_driver_of_ones_own() {
    let logs = Logs::in_memory(&Founding::from_random(&[7; 48]), RelayLimits::default()).unwrap();
    let service = Service::new(RelayStore::start(logs).unwrap(), RelayLimits::default());
    let relay = Arc::new(Host::new(service, HostLimits::default()));
    let engine = Engine::builder()
        .store(MemoryStore::new())
        .delivery(relay.local())
        .driver(ThreadEach(Network::start().unwrap()))
        .open()
        .unwrap();
    engine.register(AccountKey::generate().unwrap(), 0).wait().unwrap();
    engine.sync().wait().unwrap();
    let (tell, told) = mpsc::channel();
    let waker = Waker::from(Arc::new(Ends(engine.clone(), Mutex::new(tell))));
    let mut call = engine.sync();
    // Until one has to wait.
    while Pin::new(&mut call).poll(&mut Context::from_waker(&waker)).is_ready() {
        call = engine.sync();
    }
    told.recv_timeout(Duration::from_secs(60)).expect("it was shut down");
}
