//! One group, as an application sees it.

use std::{fmt, sync::Arc};

use conclave_core::group::{Candidate, StoredMessage, read_messages};
use conclave_proto::{GroupId, InboxId, IntentId, MessageId, Seq};
use futures_util::future::try_join_all;

use crate::{
    call::{Call, Reply, give},
    error::Error,
    gather,
    group_role::{Command, GroupInput},
    shared::{GroupSlot, Shared},
    view::GroupView,
};

/// A handle of one group: cheap to clone, calls come from anywhere.
///
/// Wishes (adding, removing, renewing keys) are answered with a number as soon as they are stored;
/// an event [`IntentSettled`](conclave_core::event::Event::IntentSettled) says how each ended,
/// however long that takes.
#[derive(Clone)]
pub struct GroupHandle {
    shared: Arc<Shared>,
    slot: Arc<GroupSlot>,
}

impl fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupHandle").field("id", &self.slot.id).finish_non_exhaustive()
    }
}

impl GroupHandle {
    pub(crate) const fn new(shared: Arc<Shared>, slot: Arc<GroupSlot>) -> Self {
        Self { shared, slot }
    }

    /// The group.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.slot.id
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
        self.command(|reply| Command::Send { key, content, once, reply })
    }

    /// Wishes to add inboxes, or installations of inboxes that are in the group and have none
    /// here yet. Asks the relay for their logs and key packages first.
    pub fn add(&self, inboxes: &[InboxId]) -> Call<IntentId> {
        let (reply, call) = Call::new();
        let (shared, slot, inboxes) =
            (Arc::clone(&self.shared), Arc::clone(&self.slot), inboxes.to_vec());
        if self.refuse().is_some() {
            return Call::ready(Err(Error::Closed));
        }
        self.shared.spawn(async move {
            match candidates(&shared, &inboxes).await {
                Ok(who) => {
                    let command = Command::Add { who, reply };
                    shared.tell_group(&slot, GroupInput::Command(command));
                }
                Err(error) => give(reply, Err(error)),
            }
        });
        call
    }

    /// Wishes to remove inboxes, with all their installations.
    pub fn remove(&self, inboxes: &[InboxId]) -> Call<IntentId> {
        let who = inboxes.to_vec();
        self.command(|reply| Command::Remove { who, reply })
    }

    /// Wishes to renew this installation's keys in the group.
    pub fn update_keys(&self) -> Call<IntentId> {
        self.command(|reply| Command::UpdateKeys { reply })
    }

    /// What the group looks like. Answers at once while the group is awake, otherwise it is
    /// loaded first.
    pub fn view(&self) -> Call<Arc<GroupView>> {
        match self.slot.view() {
            Some(view) => Call::ready(Ok(view)),
            None => self.question(|reply| Command::View { reply }),
        }
    }

    /// Messages behind a place in the group's log, at most `limit`, in the order that everybody
    /// has. Reads the store on this thread.
    ///
    /// # Errors
    /// [`Error::Store`], or [`Error::Closed`] once the engine is shut down.
    pub fn messages(&self, after: Seq, limit: usize) -> Result<Vec<(Seq, StoredMessage)>, Error> {
        read_messages(&*self.shared.store, self.slot.id, after, limit)
            .map_err(|error| if self.shared.is_stopping() { Error::Closed } else { error.into() })
    }

    /// Answers when nothing of this group's own is on its way any more: every wish has ended, every
    /// message has its place in the log, and every Welcome is at the relay. Waits as long as the
    /// relay cannot be reached.
    pub fn settled(&self) -> Call<()> {
        self.question(|reply| Command::Settle { reply })
    }

    /// What only asks is not refused for a full queue: it waits its turn.
    fn question<T>(&self, question: impl FnOnce(Reply<T>) -> Command) -> Call<T> {
        if self.shared.is_stopping() {
            return Call::ready(Err(Error::Closed));
        }
        let (reply, call) = Call::new();
        self.shared.tell_group(&self.slot, GroupInput::Command(question(reply)));
        call
    }

    fn command<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Call<T> {
        if let Some(error) = self.refuse() {
            return Call::ready(Err(error));
        }
        let (reply, call) = Call::new();
        self.shared.tell_group(&self.slot, GroupInput::Command(command(reply)));
        call
    }

    fn refuse(&self) -> Option<Error> {
        if self.shared.is_stopping() {
            Some(Error::Closed)
        } else if self.slot.post.len() >= self.shared.limits.group_calls {
            Some(Error::Busy)
        } else {
            None
        }
    }
}

async fn candidates(shared: &Shared, inboxes: &[InboxId]) -> Result<Vec<Candidate>, Error> {
    let (now, delivery) = (shared.now(), shared.delivery()?);
    try_join_all(inboxes.iter().map(|inbox| gather::candidate(&*delivery, now, *inbox))).await
}
