//! actix: each actor of an engine is an actix actor with a mailbox of its own, on threads of the
//! driver's.

use std::{
    fmt, io,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use actix::{
    ActorContext, Addr, Arbiter, ArbiterHandle, AsyncContext, Context, Handler, Message,
    SpawnHandle, System, dev::channel::channel, fut::wrap_future,
};
use conclave_core::{
    bounds::BoxFuture,
    engine::{Actor, GroupActor, InstallationActor, InvitationActor, SessionActor},
};
use parking_lot::Mutex;

use super::{Address, Driver, Mail, Network, Next, Runner, threads};
use crate::inside::{self, Process};

/// The default driver: actix actors.
pub struct Actors {
    arbiters: Vec<ArbiterHandle>,
    /// For sessions, for which all groups wait.
    sessions: ArbiterHandle,
    turn: AtomicUsize,
    system: System,
    thread: Mutex<Option<JoinHandle<()>>>,
    network: Network,
    process: Process,
}

/// Messages that a mailbox takes. What applications put in is bounded before
/// ([`EngineLimits::group_calls`](crate::EngineLimits::group_calls)), and so is what the relay
/// delivers; the rest are answers to what an actor asked for, which must not be lost.
const MAILBOX: usize = 1 << 30;

impl Actors {
    /// Starts the threads: as many as there are processors, unless a number is given, and one each
    /// for sessions, for the actor system, and for the network.
    ///
    /// # Errors
    /// What the system says if there can be no further thread.
    pub fn start(workers: Option<usize>) -> io::Result<Self> {
        let count = threads(workers);
        let network = Network::start()?;
        let (tell, told) = mpsc::sync_channel(1);
        let run = move || {
            let runner = System::new();
            let arbiters: Vec<Arbiter> =
                runner.block_on(async move { (0..=count).map(|_| Arbiter::new()).collect() });
            let handles = arbiters.iter().map(Arbiter::handle).collect::<Vec<_>>();
            // If nobody waits for it, there is nothing to run.
            if tell.send((handles, System::current())).is_err() {
                return;
            }
            // Ends when the driver is dropped; how it ended is of no use to anybody.
            drop(runner.run());
            for arbiter in arbiters {
                arbiter.stop();
                drop(arbiter.join());
            }
        };
        let thread = std::thread::Builder::new().name("conclave actors".to_owned()).spawn(run)?;
        let (mut arbiters, system) =
            told.recv().map_err(|_| io::Error::other("the actor system did not start"))?;
        let sessions = arbiters.pop().ok_or_else(|| io::Error::other("no thread was started"))?;
        let (turn, thread) = (AtomicUsize::new(0), Mutex::new(Some(thread)));
        let process = Process::here();
        Ok(Self { arbiters, sessions, turn, system, thread, network, process })
    }

    /// The thread for the next actor: they take turns.
    fn arbiter(&self) -> &ArbiterHandle {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(self.arbiters.len()).unwrap_or_default();
        self.arbiters.get(at).unwrap_or(&self.sessions)
    }
}

impl Driver for Actors {
    fn run_group(&self, runner: Runner<GroupActor>) -> Box<dyn Address<GroupActor>> {
        start(self.arbiter(), runner)
    }

    fn run_session(&self, runner: Runner<SessionActor>) -> Box<dyn Address<SessionActor>> {
        start(&self.sessions, runner)
    }

    fn run_invitations(
        &self,
        runner: Runner<InvitationActor>,
    ) -> Box<dyn Address<InvitationActor>> {
        start(self.arbiter(), runner)
    }

    fn run_installation(
        &self,
        runner: Runner<InstallationActor>,
    ) -> Box<dyn Address<InstallationActor>> {
        start(self.arbiter(), runner)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.network.spawn(task);
    }

    fn tasks(&self) -> usize {
        self.network.tasks()
    }
}

impl Drop for Actors {
    fn drop(&mut self) {
        if self.process.is_forked() {
            return;
        }
        self.system.stop();
        if let Some(thread) = self.thread.lock().take()
            && !inside::is_inside()
        {
            // Its panics are printed, and nothing is left to do about them.
            drop(thread.join());
        }
    }
}

impl fmt::Debug for Actors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actors").field("threads", &self.arbiters.len()).finish()
    }
}

fn start<A: Actor>(arbiter: &ArbiterHandle, runner: Runner<A>) -> Box<dyn Address<A>> {
    let actor = Running { runner, timer: None, in_a_row: 0 };
    // Made here, so that it has its size before the first message.
    let (sender, receiver) = channel(MAILBOX);
    arbiter.spawn_fn(move || {
        inside::enter();
        Context::with_receiver(receiver).run(actor);
    });
    Box::new(Mailbox(Addr::new(sender)))
}

/// An actor of an engine as an actix actor.
struct Running<A: Actor> {
    runner: Runner<A>,
    timer: Option<SpawnHandle>,
    /// Inputs handled since the actor last let others run.
    in_a_row: u32,
}

/// Inputs that an actor handles before the other actors of its thread have a turn. actix empties a
/// mailbox before it does anything else; until then it keeps cancelled timers too, through which it
/// then looks for each of them.
const IN_A_ROW: u32 = 32;

/// What it is sent: an input of its own type.
struct Given<A: Actor>(Mail<A>);

impl<A: Actor> Message for Given<A> {
    type Result = ();
}

/// Nothing of it is ever pinned.
impl<A: Actor> Unpin for Running<A> {}

impl<A: Actor> actix::Actor for Running<A> {
    type Context = Context<Self>;
}

impl<A: Actor> Handler<Given<A>> for Running<A> {
    type Result = ();

    fn handle(&mut self, given: Given<A>, context: &mut Context<Self>) {
        let next = self.runner.handle(given.0);
        self.go_on(next, context);
        self.in_a_row += 1;
        if self.in_a_row >= IN_A_ROW {
            self.in_a_row = 0;
            context.wait(wrap_future(tokio::task::yield_now()));
        }
    }
}

impl<A: Actor> Running<A> {
    fn go_on(&mut self, next: Next, context: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
        }
        match next {
            Next::Wait => {}
            Next::In(wait) => {
                self.timer = Some(context.run_later(wait, |running, context| {
                    running.timer = None;
                    let next = running.runner.due();
                    running.go_on(next, context);
                }));
            }
            Next::End => context.stop(),
        }
    }
}

struct Mailbox<A: Actor>(Addr<Running<A>>);

impl<A: Actor> Address<A> for Mailbox<A> {
    fn put(&self, mail: Mail<A>) {
        // It takes more than there can be, and an actor that has ended is put nothing.
        drop(self.0.try_send(Given(mail)));
    }
}
