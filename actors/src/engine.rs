//! The engine, as an application sees it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use conclave_core::{
    engine::{Answer, Ended, EngineState, Error, InstallationRequest, Request, SessionRequest},
    event::log::EventCursor,
    group::{GroupConfig, Held},
};
use conclave_proto::{GroupId, InboxId, InstallationId, identity::Account};
use parking_lot::Mutex;

use crate::{
    account::AccountSigner, builder::Builder, call::Call, events::Events,
    group_handle::GroupHandle, inside, port::EnginePort, shell::Shell, writer::Writer,
};

/// One installation: its groups, its session with the relay, its store.
///
/// Cheap to clone. The engine works on threads of its own until it is shut down or the last clone
/// is dropped; calls come from any runtime or plain thread.
#[derive(Clone)]
pub struct Engine {
    port: Arc<dyn EnginePort>,
    /// Ends it with the last clone; a simulated engine ends with its world.
    running: Option<Arc<Running>>,
}

/// What is only there while the engine runs on threads.
struct Running {
    shell: Arc<Shell>,
    writer: Mutex<Option<Writer>>,
    /// Whether the driver is this engine's own, so that its network ends with it.
    owns_driver: bool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("inbox", &self.inbox()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts to collect what an engine is made of; a store and a delivery service are needed.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An engine that something else runs than this crate's threads, such as a simulation.
    #[must_use]
    pub fn over(port: Arc<dyn EnginePort>) -> Self {
        Self { port, running: None }
    }

    pub(crate) fn running(shell: Arc<Shell>, writer: Writer, owns_driver: bool) -> Self {
        let port: Arc<dyn EnginePort> = Arc::<Shell>::clone(&shell);
        let running = Running { shell, writer: Mutex::new(Some(writer)), owns_driver };
        Self { port, running: Some(Arc::new(running)) }
    }

    /// The inbox that this installation belongs to; `None` before it is registered.
    #[must_use]
    pub fn inbox(&self) -> Option<InboxId> {
        self.port.context().installation().map(|installation| installation.inbox())
    }

    /// This installation; `None` before it is registered.
    #[must_use]
    pub fn installation(&self) -> Option<InstallationId> {
        self.port.context().installation().map(|installation| installation.id())
    }

    /// Makes this installation part of the inbox that an account founds: creates the inbox, or
    /// adds the installation to it. `nonce` lets one account found several inboxes; it is 0
    /// otherwise. The account signs one text. Once done, calling it again only answers.
    ///
    /// Fails with [`Error::RegisteredElsewhere`], [`Error::NotAMember`], [`Error::Signature`],
    /// [`Error::Refused`], [`Error::Transport`], [`Error::Store`].
    pub fn register(&self, signer: impl AccountSigner, nonce: u64) -> Call<InboxId> {
        self.register_with(Arc::new(signer), None, nonce)
    }

    /// As [`Engine::register`], for an inbox that another account has founded and this one belongs
    /// to.
    pub fn join_inbox(&self, signer: impl AccountSigner, inbox: InboxId) -> Call<InboxId> {
        self.register_with(Arc::new(signer), Some(inbox), 0)
    }

    fn register_with(
        &self,
        signer: Arc<dyn AccountSigner>,
        inbox: Option<InboxId>,
        nonce: u64,
    ) -> Call<InboxId> {
        let account = signer.account();
        let request = InstallationRequest::Register { account, inbox, nonce };
        let request = Request::Installation(request);
        Call::ask(&self.port, request, Some(signer), |_, answer| answer.registered())
    }

    /// Inboxes of accounts, as the relay's directory has them: a hint that nobody vouches for.
    pub fn find(&self, accounts: Vec<Account>) -> Call<Vec<Option<InboxId>>> {
        let request = Request::Installation(InstallationRequest::Find(accounts));
        self.ask(request, |_, answer| answer.found())
    }

    /// Founds a group with this installation as its only member.
    pub fn create_group(&self, config: GroupConfig) -> Call<GroupHandle> {
        let request = Request::Installation(InstallationRequest::CreateGroup(config));
        self.ask(request, |port, answer| {
            answer.group().map(|id| GroupHandle::new(Arc::clone(port), id))
        })
    }

    /// The groups that the store holds, those that have ended included.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupHandle> {
        let groups = self.port.groups().into_iter();
        groups.map(|id| GroupHandle::new(Arc::clone(&self.port), id)).collect()
    }

    /// One group.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<GroupHandle> {
        if self.port.is_forked() {
            return None;
        }
        // The store knows of it, also while a bug keeps it from being listed; one that does not
        // load says why when it is asked.
        let is_held = !matches!(Held::read(self.port.store(), id), Ok(None));
        let is_known = is_held || self.port.groups().contains(&id);
        is_known.then(|| GroupHandle::new(Arc::clone(&self.port), id))
    }

    /// What has happened after a position in the log of events, and what happens from now on. Use
    /// the position of what you handled last, or `EventCursor(0)` for everything that is kept.
    #[must_use]
    pub fn events(&self, after: EventCursor) -> Events {
        Events::new(Arc::clone(&self.port), after)
    }

    /// The position of the newest event.
    #[must_use]
    pub fn last_event(&self) -> EventCursor {
        if self.port.is_forked() {
            return EventCursor(0);
        }
        self.port.front().with_events(conclave_core::event::log::EventLog::end)
    }

    /// Erases events up to a position: the application has handled them.
    pub fn forget_events(&self, upto: EventCursor) {
        self.port.forget_events(upto);
    }

    /// Answers when everything that was at the relay before has been read, and the relay has what
    /// others need to invite this installation. Waits as long as the relay cannot be reached.
    pub fn sync(&self) -> Call<()> {
        if self.inbox().is_none() {
            return Call::ready(Err(Error::NotRegistered));
        }
        self.ask(Request::Session(SessionRequest::Sync), |_, answer| answer.done())
    }

    /// Whether the engine works, and what stands in its way: its store, its relay, or that it has
    /// ended. A fenced engine, or one whose store panicked in a commit, has ended for good: open
    /// another one.
    #[must_use]
    pub fn state(&self) -> EngineState {
        if self.port.is_forked() {
            let mut state = EngineState::default();
            state.ended = Some(Ended::ShutDown);
            return state;
        }
        self.port.front().state()
    }

    /// Whether the relay can be reached, as far as is known: it has said something on the present
    /// connection. One that falls silent is noticed within about half a minute.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.state().relay.is_reachable()
    }

    /// Answers when the relay can be reached, or (with `false`) cannot any more; at once if that is
    /// so already.
    pub fn when_reachable(&self, reachable: bool) -> Call<()> {
        if self.port.is_forked() {
            return Call::ready(Err(Error::Closed));
        }
        match self.port.front().when_reachable(reachable) {
            Ok(None) => Call::ready(Ok(())),
            Ok(Some(answer)) => Call::waiting(&self.port, answer, |_, answer| answer.done()),
            Err(error) => Call::ready(Err(error)),
        }
    }

    /// Ends the engine: what was handed in is stored, its threads end, the store is given back
    /// (also if handles of groups are left: they answer [`Error::Closed`]), and the relay is told,
    /// for at most a second. Blocks until then, so not for the threads of an event loop; called on
    /// a thread of an engine, by a waker perhaps, it ends on another one. Twice is fine.
    ///
    /// The last clone that is dropped does the same.
    pub fn shut_down(&self) {
        match &self.running {
            Some(running) => shut_down(running),
            None => self.port.shut_down(),
        }
    }

    fn ask<T>(
        &self,
        request: Request,
        take: fn(&Arc<dyn EnginePort>, Answer) -> Option<T>,
    ) -> Call<T> {
        Call::ask(&self.port, request, None, take)
    }
}

impl Running {
    fn shut_down(&self) {
        // Held until the end: a second caller returns when there is nothing left, too.
        let mut writer = self.writer.lock();
        let Some(writer) = writer.take() else { return };
        let shell = &self.shell;
        shell.shut_down();
        shell.wait_for_actors();
        writer.shutdown();
        shell.parts.front.close();
        shell.parts.delivery.give_back();
        shell.parts.store.give_back();
        if let Some(driver) = shell.parts.driver.get().filter(|_| self.owns_driver) {
            let begun = Instant::now();
            // The delivery service, which nobody holds any more, ends its connections: a relay
            // that is told need not find out by itself.
            while driver.tasks() > 0 && begun.elapsed() < GOODBYE {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        shell.parts.driver.give_back();
    }
}

/// Several round trips; a relay that does not answer is not waited for.
const GOODBYE: Duration = Duration::from_secs(1);

fn shut_down(running: &Arc<Running>) {
    if running.shell.is_forked() {
        return;
    }
    // On a thread of an engine, waiting for the engine would be waiting for oneself.
    if inside::is_inside() {
        let running = Arc::clone(running);
        let end = std::thread::Builder::new().name("conclave end".to_owned());
        drop(end.spawn(move || running.shut_down()));
    } else {
        running.shut_down();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The last clone: others are made of this one only.
        if let Some(running) = self.running.take()
            && let Some(running) = Arc::into_inner(running)
        {
            if running.shell.is_forked() {
                // Its threads are in another process: there is nothing to wait for.
                std::mem::forget(running);
            } else {
                shut_down(&Arc::new(running));
            }
        }
    }
}
