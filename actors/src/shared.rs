//! What all roles of one engine have in common.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use conclave_core::{
    delivery::DeliveryService, entropy::Entropy, group::Group, installation::Installation,
};
use conclave_proto::{GroupId, Timestamp};

use crate::{
    clock::Clock,
    driver::Driver,
    error::Error,
    events::EventLog,
    group_role::{GroupInput, GroupRole},
    lent::{LentDelivery, LentStore},
    limits::EngineLimits,
    lock::lock,
    post::Post,
    reach::Reach,
    session_role::{SessionInput, SessionRole},
    view::GroupView,
    writer::WriterHandle,
};

pub(crate) struct Shared {
    pub(crate) store: Arc<LentStore>,
    pub(crate) delivery: LentDelivery,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) limits: EngineLimits,
    pub(crate) events: Arc<EventLog>,
    pub(crate) writer: WriterHandle,
    /// Set once, when the installation is registered.
    pub(crate) installation: OnceLock<Arc<Installation>>,
    pub(crate) entropy: Entropy,
    loads: AtomicU64,
    runtime: tokio::runtime::Handle,
    groups: RwLock<BTreeMap<GroupId, Arc<GroupSlot>>>,
    session: Post<SessionInput>,
    stopping: AtomicBool,
    pub(crate) reach: Reach,
}

/// A group that the store holds, awake or not.
pub(crate) struct GroupSlot {
    pub(crate) id: GroupId,
    pub(crate) post: Post<GroupInput>,
    view: Mutex<Option<Arc<GroupView>>>,
}

impl GroupSlot {
    /// What the group looked like last, while it is awake.
    pub(crate) fn view(&self) -> Option<Arc<GroupView>> {
        lock(&self.view).clone()
    }

    pub(crate) fn show(&self, view: Option<Arc<GroupView>>) {
        *lock(&self.view) = view;
    }
}

/// What a builder brings.
pub(crate) struct Parts {
    pub(crate) store: Arc<LentStore>,
    pub(crate) delivery: LentDelivery,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) limits: EngineLimits,
    pub(crate) events: Arc<EventLog>,
    pub(crate) writer: WriterHandle,
    pub(crate) entropy: Entropy,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Shared {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            store: parts.store,
            delivery: parts.delivery,
            clock: parts.clock,
            driver: parts.driver,
            limits: parts.limits,
            events: parts.events,
            writer: parts.writer,
            entropy: parts.entropy,
            runtime: parts.runtime,
            installation: OnceLock::new(),
            loads: AtomicU64::new(0),
            groups: RwLock::default(),
            session: Post::default(),
            stopping: AtomicBool::new(false),
            reach: Reach::default(),
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What carries envelopes, for one call.
    pub(crate) fn delivery(&self) -> Result<Arc<dyn DeliveryService>, Error> {
        self.delivery.get().ok_or(Error::Closed)
    }

    /// A number that no value of this engine was loaded under before.
    pub(crate) fn next_load(&self) -> u64 {
        self.loads.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A generator for a value, of this load.
    pub(crate) fn child(&self, label: &str, id: &[u8], load: u64) -> Entropy {
        self.entropy.child(label, &[id, &load.to_be_bytes()].concat())
    }

    /// Runs something that waits for the network.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    pub(crate) fn tell_session(self: &Arc<Self>, input: SessionInput) {
        self.session.put(input, || self.driver.start(Box::new(SessionRole::new(Arc::clone(self)))));
    }

    pub(crate) fn session_post(&self) -> &Post<SessionInput> {
        &self.session
    }

    pub(crate) fn tell_group(self: &Arc<Self>, slot: &Arc<GroupSlot>, input: GroupInput) {
        slot.post.put(input, || {
            let role = GroupRole::new(Arc::clone(self), Arc::clone(slot));
            self.driver.start(Box::new(role))
        });
    }

    pub(crate) fn group(&self, id: GroupId) -> Option<Arc<GroupSlot>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(crate) fn groups(&self) -> Vec<Arc<GroupSlot>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The place of a group, new or known.
    pub(crate) fn slot(&self, id: GroupId) -> Arc<GroupSlot> {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let slot = groups.entry(id).or_insert_with(|| {
            Arc::new(GroupSlot { id, post: Post::default(), view: Mutex::default() })
        });
        Arc::clone(slot)
    }

    /// Takes on a group that was just stored. Its value is the first thing that its role is told;
    /// if somebody has found the group before, the role has loaded it and may have gone on.
    pub(crate) fn adopt(self: &Arc<Self>, group: Group) -> Arc<GroupSlot> {
        let id = group.id();
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = groups.get(&id).cloned() {
            drop(groups);
            self.tell_group(&slot, GroupInput::Resume);
            self.tell_group(&slot, GroupInput::Look);
            return slot;
        }
        let slot = GroupSlot { id, post: Post::default(), view: Mutex::default() };
        let slot = Arc::new(slot);
        self.tell_group(&slot, GroupInput::Created(Box::new(group)));
        groups.insert(id, Arc::clone(&slot));
        slot
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Tells every role to end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.session.close();
        for slot in self.groups() {
            slot.post.close();
        }
    }
}
