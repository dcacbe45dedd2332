//! The engine, as an application sees it.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use conclave_core::{
    group::{Group, GroupConfig},
    identity::read_log,
    keyring::Held,
    step::Step,
};
use conclave_proto::{GroupId, InboxId, InstallationId, identity::Account};
use tokio::runtime::Runtime;

use crate::{
    account::{AccountSigner, register},
    builder::Builder,
    call::{Call, give},
    error::Error,
    events::{EventCursor, Events},
    gather,
    group_handle::GroupHandle,
    index,
    lock::lock,
    session_role::SessionInput,
    shared::{GroupSlot, Shared},
    writer::Writer,
};

/// One installation: its groups, its session with the relay, its store.
///
/// Cheap to clone. The engine works on threads of its own until it is shut down or the last clone
/// is dropped; calls come from any runtime or plain thread.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<Writer>>,
    runtime: Mutex<Option<Runtime>>,
    /// One registration at a time.
    registering: Arc<tokio::sync::Mutex<()>>,
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

    pub(crate) fn new(shared: Arc<Shared>, writer: Writer, runtime: Runtime) -> Self {
        Self(Arc::new(Inner {
            shared,
            writer: Mutex::new(Some(writer)),
            runtime: Mutex::new(Some(runtime)),
            registering: Arc::default(),
        }))
    }

    /// The inbox that this installation belongs to; `None` before it is registered.
    #[must_use]
    pub fn inbox(&self) -> Option<InboxId> {
        self.0.shared.installation.get().map(|installation| installation.inbox())
    }

    /// This installation; `None` before it is registered.
    #[must_use]
    pub fn installation(&self) -> Option<InstallationId> {
        self.0.shared.installation.get().map(|installation| installation.id())
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
        let registering = Arc::clone(&self.0.registering);
        self.ask(move |shared| async move {
            let _one = registering.lock().await;
            register(&shared, signer, inbox, nonce).await
        })
    }

    /// Inboxes of accounts, as the relay's directory has them: a hint that nobody vouches for.
    pub fn find(&self, accounts: Vec<Account>) -> Call<Vec<Option<InboxId>>> {
        self.ask(move |shared| async move { Ok(shared.delivery()?.resolve(accounts).await?) })
    }

    /// Founds a group with this installation as its only member.
    pub fn create_group(&self, config: GroupConfig) -> Call<GroupHandle> {
        self.ask(move |shared| async move { create_group(&shared, config).await })
    }

    /// The groups that the store holds, those that have ended included.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupHandle> {
        let slots = self.0.shared.groups().into_iter();
        slots.map(|slot| GroupHandle::new(Arc::clone(&self.0.shared), slot)).collect()
    }

    /// One group.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<GroupHandle> {
        let shared = &self.0.shared;
        let slot = shared.group(id).or_else(|| stored_slot(shared, id))?;
        Some(GroupHandle::new(Arc::clone(shared), slot))
    }

    /// What has happened behind a place in the log of events, and what happens from now on. Use
    /// the place of what you handled last, or `EventCursor(0)` for everything that is kept.
    #[must_use]
    pub fn events(&self, after: EventCursor) -> Events {
        Events::new(Arc::clone(&self.0.shared.events), after)
    }

    /// The place behind the newest event.
    #[must_use]
    pub fn last_event(&self) -> EventCursor {
        self.0.shared.events.end()
    }

    /// Erases events up to a place: everybody has handled them.
    pub fn forget_events(&self, upto: EventCursor) {
        self.0.shared.events.forget(upto);
    }

    /// Answers when everything that was at the relay before has been read, and the relay has what
    /// others need to invite this installation. Waits as long as the relay cannot be reached.
    pub fn sync(&self) -> Call<()> {
        if self.inbox().is_none() {
            return Call::ready(Err(Error::NotRegistered));
        }
        let (reply, call) = Call::new();
        if self.0.shared.is_stopping() {
            give(reply, Err(Error::Closed));
        } else {
            self.0.shared.tell_session(SessionInput::Sync(reply));
        }
        call
    }

    /// Whether the relay can be reached, as far as is known: it has said something on the present
    /// connection. One that falls silent is noticed within about half a minute.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.0.shared.reach.is()
    }

    /// Answers when the relay can be reached, or (with `false`) cannot any more; at once if that is
    /// so already.
    pub fn when_reachable(&self, reachable: bool) -> Call<()> {
        self.0.shared.reach.when(reachable)
    }

    /// Ends the engine: what was handed in is stored, threads end, the store is let go of (also
    /// if handles of groups are left: they answer [`Error::Closed`]), and the relay is told, for
    /// at most a second. Blocks until then, so not for the threads of an event loop. Twice is
    /// fine.
    pub fn shut_down(&self) {
        self.0.shut_down();
    }

    fn ask<T: Send + 'static, F>(&self, task: impl FnOnce(Arc<Shared>) -> F) -> Call<T>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (reply, call) = Call::new();
        if self.0.shared.is_stopping() {
            give(reply, Err(Error::Closed));
            return call;
        }
        let task = task(Arc::clone(&self.0.shared));
        self.0.shared.spawn(async move { give(reply, task.await) });
        call
    }
}

/// A group that is stored, and that a bug has kept from being listed.
fn stored_slot(shared: &Shared, id: GroupId) -> Option<Arc<GroupSlot>> {
    let held = Held::read(&*shared.store, id).ok().flatten();
    held.map(|_| shared.slot(id))
}

async fn create_group(shared: &Arc<Shared>, config: GroupConfig) -> Result<GroupHandle, Error> {
    let installation = shared.installation.get().cloned().ok_or(Error::NotRegistered)?;
    let inbox = installation.inbox();
    let log = gather::identity_log(&*shared.delivery()?, inbox).await?;
    let identity = read_log(inbox, None, log.iter().map(|record| &record.payload[..]));
    let identity = identity.ok_or(Error::UnknownInbox(inbox))?;
    let load = shared.next_load();
    let entropy = shared.child("new group", &[], load);
    let limits = shared.limits.core;
    let step = Group::create(shared.now(), config, identity, installation, limits, entropy)?;
    let group = stored(shared, step).await?;
    let (id, cursor) = (group.id(), group.cursor());
    let slot = shared.adopt(group);
    shared.tell_session(SessionInput::Watch(id, cursor));
    Ok(GroupHandle::new(Arc::clone(shared), slot))
}

/// Stores a new group, and that there is one.
async fn stored(shared: &Shared, step: Step<Group>) -> Result<Group, Error> {
    let listed = vec![index::put(step.reply().id())];
    let (tell, told) = futures_channel::oneshot::channel();
    let (pending, hold) = shared.events.submit(step, listed, |stored| drop(tell.send(stored)));
    let proof = told.await.map_err(|_| Error::Closed)??;
    drop(hold);
    Ok(pending.release(proof).reply)
}

impl Inner {
    fn shut_down(&self) {
        // Held until the end: a second caller returns when there is nothing left, too.
        let mut writer = lock(&self.writer);
        let Some(writer) = writer.take() else { return };
        self.shared.stop();
        self.shared.reach.close();
        self.shared.driver.shut_down();
        writer.shutdown();
        self.shared.events.close();
        self.shared.delivery.give_back();
        self.shared.store.give_back();
        if let Some(runtime) = lock(&self.runtime).take() {
            say_goodbye(&runtime);
            runtime.shutdown_background();
        }
    }
}

/// Lets the delivery service, which nobody holds any more, end its connections: a relay that is
/// told need not find out by itself.
fn say_goodbye(runtime: &Runtime) {
    let begun = Instant::now();
    while runtime.metrics().num_alive_tasks() > 0 && begun.elapsed() < GOODBYE {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Several round trips; a relay that does not answer is not waited for.
const GOODBYE: Duration = Duration::from_secs(1);

impl Drop for Inner {
    fn drop(&mut self) {
        self.shut_down();
    }
}
