//! actix: an actor for each role, on threads of the driver's own.
//!
//! What waits for a role lies in the role's own queue; the actor's mailbox only ever holds one
//! wake-up. So nothing can be lost to a full mailbox, and no actix type shows outside.

use std::{
    fmt, io,
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use actix::{Actor, ActorContext, Addr, Arbiter, ArbiterHandle, AsyncContext, Context, Handler};
use actix::{Message, SpawnHandle, System};

use super::{Driver, Next, Role, Wake, threads};
use crate::lock::lock;

/// The default driver: actix actors.
pub struct Actors {
    arbiters: Vec<ArbiterHandle>,
    /// For the role that all others wait for.
    shared: ArbiterHandle,
    turn: AtomicUsize,
    roles: Arc<Roles>,
    system: System,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Counts the roles that have not ended.
#[derive(Default)]
struct Roles {
    count: Mutex<usize>,
    ended: Condvar,
}

impl Actors {
    /// Starts the threads: as many as there are processors, unless a number is given, and one for
    /// the session.
    ///
    /// # Errors
    /// What the system says if there can be no further thread.
    pub fn start(workers: Option<usize>) -> io::Result<Self> {
        let count = threads(workers);
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
            // Ends when the driver shuts the system down; how it ended is of no use to anybody.
            drop(runner.run());
            for arbiter in arbiters {
                arbiter.stop();
                drop(arbiter.join());
            }
        };
        let thread = std::thread::Builder::new().name("conclave actors".to_owned()).spawn(run)?;
        let (mut arbiters, system) =
            told.recv().map_err(|_| io::Error::other("the actor system did not start"))?;
        let (turn, roles) = (AtomicUsize::new(0), Arc::default());
        let shared = arbiters.pop().ok_or_else(|| io::Error::other("no thread was started"))?;
        Ok(Self { arbiters, shared, turn, roles, system, thread: Mutex::new(Some(thread)) })
    }
}

impl Actors {
    fn arbiter(&self, role: &dyn Role) -> Option<&ArbiterHandle> {
        if role.is_shared() {
            return Some(&self.shared);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        turn.checked_rem(self.arbiters.len()).and_then(|at| self.arbiters.get(at))
    }
}

impl Driver for Actors {
    fn start(&self, role: Box<dyn Role>) -> Arc<dyn Wake> {
        let handle = Arc::new(Handle { woken: AtomicBool::new(true), address: OnceLock::new() });
        if let Some(arbiter) = self.arbiter(&*role) {
            *lock(&self.roles.count) += 1;
            let counted = Counted(Arc::clone(&self.roles));
            let actor = RoleActor { role, handle: Arc::clone(&handle), timer: None, counted };
            let address = RoleActor::start_in_arbiter(arbiter, |_| actor);
            // Set once, here.
            drop(handle.address.set(address.clone()));
            address.do_send(Run);
        }
        handle
    }

    fn shut_down(&self) {
        let mut count = lock(&self.roles.count);
        while *count > 0 {
            count = self.roles.ended.wait(count).unwrap_or_else(PoisonError::into_inner);
        }
        drop(count);
        self.system.stop();
        if let Some(thread) = lock(&self.thread).take() {
            // Its panics are printed, and nothing is left to do about them.
            drop(thread.join());
        }
    }
}

impl Drop for Actors {
    fn drop(&mut self) {
        self.system.stop();
    }
}

impl fmt::Debug for Actors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actors").field("threads", &self.arbiters.len()).finish()
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Run;

struct RoleActor {
    role: Box<dyn Role>,
    handle: Arc<Handle>,
    timer: Option<SpawnHandle>,
    /// Dropped with the actor, whose role has ended then.
    #[allow(dead_code, reason = "counts by being dropped")]
    counted: Counted,
}

struct Counted(Arc<Roles>);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut count = lock(&self.0.count);
        *count = count.saturating_sub(1);
        self.0.ended.notify_all();
    }
}

impl Actor for RoleActor {
    type Context = Context<Self>;
}

impl Handler<Run> for RoleActor {
    type Result = ();

    fn handle(&mut self, _: Run, context: &mut Context<Self>) {
        self.run(context);
    }
}

impl RoleActor {
    fn run(&mut self, context: &mut Context<Self>) {
        // From here on, a wake-up is a new one.
        self.handle.woken.store(false, Ordering::SeqCst);
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
        }
        match self.role.run() {
            Next::Wait => {}
            Next::In(wait) => {
                self.timer = Some(context.run_later(wait, |actor, context| {
                    actor.timer = None;
                    actor.run(context);
                }));
            }
            Next::Again => self.handle.wake(),
            Next::End => context.stop(),
        }
    }
}

struct Handle {
    /// Whether a wake-up is in the mailbox.
    woken: AtomicBool,
    address: OnceLock<Addr<RoleActor>>,
}

impl Wake for Handle {
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst)
            && let Some(address) = self.address.get()
            && address.try_send(Run).is_err()
        {
            // The actor has ended, and with it whatever would be done.
            self.woken.store(false, Ordering::SeqCst);
        }
    }
}
