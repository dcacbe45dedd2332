//! One group, as an application sees it.

use std::{fmt, sync::Arc};

use conclave_core::{
    engine::{Answer, Error, GroupRequest, GroupView, Request},
    group::{StoredMessage, read_messages},
};
use conclave_proto::{GroupId, InboxId, IntentId, MessageId, Seq};

use crate::{call::Call, port::EnginePort};

/// A handle of one group: cheap to clone, calls come from anywhere.
///
/// Wishes (adding, removing, renewing keys) are answered with a number as soon as they are stored;
/// an event [`IntentSettled`](conclave_core::event::Event::IntentSettled) says how each ended,
/// however long that takes.
#[derive(Clone)]
pub struct GroupHandle {
    port: Arc<dyn EnginePort>,
    id: GroupId,
}

impl fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupHandle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl GroupHandle {
    pub(crate) const fn new(port: Arc<dyn EnginePort>, id: GroupId) -> Self {
        Self { port, id }
    }

    /// The group.
    #[must_use]
    pub const fn id(&self) -> GroupId {
        self.id
    }

    /// Sends a message. Answers with its id once it is stored; it goes out as soon as the relay
    /// can be reached, also after a restart.
    pub fn send(&self, content: impl Into<Vec<u8>>) -> Call<MessageId> {
        let mut key = [0; 16];
        match getrandom::fill(&mut key) {
            Ok(()) => self.hand_in(key, content.into(), false),
            Err(_) => Call::ready(Err(Error::Entropy)),
        }
    }

    /// As [`GroupHandle::send`], with an idempotency key of the application's: the same key and
    /// content from this installation is no second message, however often and late it is sent
    /// again, as long as the store has the first.
    pub fn send_once(&self, key: [u8; 16], content: impl Into<Vec<u8>>) -> Call<MessageId> {
        self.hand_in(key, content.into(), true)
    }

    fn hand_in(&self, key: [u8; 16], content: Vec<u8>, once: bool) -> Call<MessageId> {
        self.ask(GroupRequest::Send { key, content, once }, |_, answer| answer.message())
    }

    /// Wishes to add inboxes, or installations of inboxes that are in the group and have none
    /// here yet. Asks the relay for their logs and key packages first.
    pub fn add(&self, inboxes: &[InboxId]) -> Call<IntentId> {
        self.wish(GroupRequest::Add(inboxes.to_vec()))
    }

    /// Wishes to remove inboxes, with all their installations.
    pub fn remove(&self, inboxes: &[InboxId]) -> Call<IntentId> {
        self.wish(GroupRequest::Remove(inboxes.to_vec()))
    }

    /// Wishes to renew this installation's keys in the group.
    pub fn update_keys(&self) -> Call<IntentId> {
        self.wish(GroupRequest::UpdateKeys)
    }

    /// What the group looks like. Answers at once while the group is awake, otherwise it is
    /// loaded first.
    pub fn view(&self) -> Call<Arc<GroupView>> {
        let shown = if self.port.is_forked() { None } else { self.port.front().view(self.id) };
        match shown {
            Some(view) => Call::ready(Ok(view)),
            None => self.ask(GroupRequest::View, |_, answer| answer.view()),
        }
    }

    /// Messages after a position in the group's log, at most `limit`, in the order that everybody
    /// has. Reads the store on this thread.
    ///
    /// # Errors
    /// [`Error::Store`], or [`Error::Closed`] once the engine is shut down.
    pub fn messages(&self, after: Seq, limit: usize) -> Result<Vec<(Seq, StoredMessage)>, Error> {
        if self.port.is_forked() {
            return Err(Error::Closed);
        }
        read_messages(self.port.store(), self.id, after, limit).map_err(|error| {
            let ended = self.port.front().state().ended;
            ended.map_or_else(|| error.into(), Error::from)
        })
    }

    /// Answers when nothing of this group's own is on its way any more: every wish has ended, every
    /// message has its position in the log, and every Welcome is at the relay. Waits as long as the
    /// relay cannot be reached.
    pub fn settled(&self) -> Call<()> {
        self.ask(GroupRequest::Settled, |_, answer| answer.done())
    }

    fn wish(&self, wish: GroupRequest) -> Call<IntentId> {
        self.ask(wish, |_, answer| answer.intent())
    }

    fn ask<T>(
        &self,
        request: GroupRequest,
        take: fn(&Arc<dyn EnginePort>, Answer) -> Option<T>,
    ) -> Call<T> {
        Call::ask(&self.port, Request::Group(self.id, request), None, take)
    }
}
