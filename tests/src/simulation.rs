//! Applications in a World: code written against `conclave::Engine`, `GroupHandle` and `Events`,
//! under virtual time and a seed.
//!
//! [`Simulation::engine`] gives the engine of a device to an application, which is a future.
//! [`Simulation::run`] polls the applications between the steps of the World, until all have
//! ended. What blocks a thread would block the World, so `Call::wait` and `Events::wait_event`
//! answer `Error::WouldBlock` there: await them.

use std::{
    cell::Cell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context as TaskContext, Poll, Waker},
};

use conclave::{AccountSigner, EnginePort, Front};
use conclave_core::{
    engine::{ActorId, CallAnswer, Context, Ended, Error, ReplyToken, Request},
    event::log::{EventCursor, EventLog},
    store::Store,
};
use conclave_proto::{GroupId, Timestamp};
use conclave_store_memory::MemoryStore;
use futures_util::FutureExt;

use crate::{faulty_store::Faulty, world::World};

/// A World with applications in it.
pub struct Simulation {
    /// The World.
    pub world: World,
    ports: BTreeMap<usize, Arc<Port>>,
    apps: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    clock: SimClock,
    steps: u64,
}

/// Most steps of one run: a simulation that takes longer waits for something that never comes.
const STEPS_MAX: u64 = 1_000_000;

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("apps", &self.apps.len())
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

impl Simulation {
    /// Applications in this World; none so far.
    #[must_use]
    pub fn new(world: World) -> Self {
        let clock = SimClock(Rc::new(Time { now: Cell::new(world.now), next: Cell::new(None) }));
        Self { world, ports: BTreeMap::new(), apps: Vec::new(), clock, steps: 0 }
    }

    /// The engine of a device, registered, as the device's application has it. After a crash of
    /// the device ask for it again: the old one answers `Error::Closed`.
    ///
    /// # Panics
    /// If there is no such device, or its store does not read.
    pub fn engine(&mut self, device: usize) -> conclave::Engine {
        let port = self.ports.remove(&device).filter(|port| port.front.state().ended.is_none());
        let port = port.unwrap_or_else(|| {
            let value = &mut self.world.devices[device];
            let events = EventLog::open(value.store.inner(), value.engine_limits.events);
            let front = Arc::new(Front::new(events.expect("the store reads")));
            for view in value.views.values() {
                front.show(Arc::clone(view));
            }
            value.front = Some(Arc::clone(&front));
            Arc::new(Port {
                front,
                context: Arc::clone(value.engine.context()),
                store: value.store.clone(),
                asked: Mutex::default(),
            })
        });
        self.ports.insert(device, Arc::clone(&port));
        conclave::Engine::over(port)
    }

    /// Adds an application.
    pub fn spawn(&mut self, app: impl Future<Output = ()> + 'static) {
        self.apps.push(Box::pin(app));
    }

    /// The World's time, for applications that wait for it.
    #[must_use]
    pub fn clock(&self) -> SimClock {
        self.clock.clone()
    }

    /// Runs until all applications have ended; `check` is called after every step.
    ///
    /// # Panics
    /// If they do not end within a bound; and as `check` does.
    pub fn run(&mut self, mut check: impl FnMut(&World)) {
        let begun = self.steps;
        while !self.apps.is_empty() {
            self.step();
            check(&self.world);
            assert!(
                self.steps - begun < STEPS_MAX,
                "{} applications wait for ever:\n{}",
                self.apps.len(),
                self.world.report()
            );
        }
    }

    /// One thing happens: an application goes on, a device or the relay does something, or, if
    /// nothing is to be done, time passes.
    pub fn step(&mut self) {
        self.steps += 1;
        self.clock.0.now.set(self.world.now);
        self.poll_apps();
        self.hand_in();
        let first = self.world.dice.below(self.world.devices.len());
        for offset in 0..self.world.devices.len() {
            let device = (first + offset) % self.world.devices.len();
            let publishes = self.world.dice.chance(50);
            let first = self.carry(device, publishes) || self.carry(device, !publishes);
            if first {
                return;
            }
        }
        let timers = self.world.devices.iter().filter_map(crate::device::Device::next_timeout);
        let next = timers.chain(self.clock.0.next.take()).min();
        let wait = next.map_or(1_000, |next| next.since_ms(self.world.now).clamp(1, 60_000));
        self.world.pass(wait);
    }

    fn carry(&mut self, device: usize, publishes: bool) -> bool {
        let done = if publishes {
            self.world.publish_one(device)
        } else {
            self.world.fetch_some(device, usize::MAX, 0)
        };
        self.hand_in();
        done
    }

    fn poll_apps(&mut self) {
        let mut context = TaskContext::from_waker(Waker::noop());
        self.apps.retain_mut(|app| app.as_mut().poll(&mut context).is_pending());
    }

    /// Gives the engines what their applications have asked since.
    fn hand_in(&mut self) {
        for (device, port) in &self.ports {
            let asked = std::mem::take(&mut *port.asked());
            let value = &mut self.world.devices[*device];
            value.now = self.world.now;
            for asked in asked {
                match asked {
                    Asked::Request(reply, request, signer) => {
                        value.signers.0.extend(signer.map(|signer| (reply, signer)));
                        value.engine.submit(reply, request);
                    }
                    Asked::Withdraw(actor, reply) => value.engine.withdraw(actor, reply),
                    Asked::ForgetEvents(upto) => value.forget_events(upto),
                }
            }
        }
    }
}

/// Virtual time for applications. Clones are one clock.
#[derive(Clone, Debug)]
pub struct SimClock(Rc<Time>);

#[derive(Debug)]
struct Time {
    now: Cell<Timestamp>,
    next: Cell<Option<Timestamp>>,
}

impl SimClock {
    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now.get()
    }

    /// Waits until so much virtual time has passed.
    pub fn sleep(&self, ms: u64) -> impl Future<Output = ()> + use<> {
        let (time, until) = (Rc::clone(&self.0), self.now().plus_ms(ms));
        std::future::poll_fn(move |_| {
            if time.now.get() >= until {
                return Poll::Ready(());
            }
            let next = time.next.get().map_or(until, |next| next.min(until));
            time.next.set(Some(next));
            Poll::Pending
        })
    }
}

/// What an application has asked and the engine has not been given.
enum Asked {
    Request(ReplyToken, Request, Option<Arc<dyn AccountSigner>>),
    Withdraw(ActorId, ReplyToken),
    ForgetEvents(EventCursor),
}

/// The engine of a device, for its application.
struct Port {
    front: Arc<Front>,
    context: Arc<Context>,
    store: Faulty<MemoryStore>,
    asked: Mutex<Vec<Asked>>,
}

impl Port {
    fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EnginePort for Port {
    fn front(&self) -> &Arc<Front> {
        &self.front
    }

    fn context(&self) -> &Context {
        &self.context
    }

    fn store(&self) -> &dyn Store {
        // Without the script: its faults are for the engine.
        self.store.inner()
    }

    fn groups(&self) -> Vec<GroupId> {
        conclave_core::engine::index::groups(self.store.inner()).unwrap_or_default()
    }

    fn submit(
        &self,
        reply: ReplyToken,
        request: Request,
        signer: Option<Arc<dyn AccountSigner>>,
    ) -> Result<(), Error> {
        if let Some(ended) = self.front.state().ended {
            return Err(ended.into());
        }
        self.asked().push(Asked::Request(reply, request, signer));
        Ok(())
    }

    fn withdraw(&self, actor: ActorId, reply: ReplyToken) {
        self.asked().push(Asked::Withdraw(actor, reply));
    }

    fn forget_events(&self, upto: EventCursor) {
        self.asked().push(Asked::ForgetEvents(upto));
    }

    fn shut_down(&self) {
        self.front.end(Ended::ShutDown);
        self.front.close();
    }

    fn may_block(&self) -> bool {
        false
    }
}

/// What an account says to a text; accounts of simulations answer at once.
pub(crate) fn sign(signer: &dyn AccountSigner, text: &str) -> CallAnswer {
    let signed = signer.sign(text).now_or_never();
    CallAnswer::Signed(signed.unwrap_or(Err("the account of a simulation has to answer at once")))
}
