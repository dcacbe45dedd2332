//! What applications see of an engine: answers, views of groups, the log of events, and whether
//! the engine works.

use std::{collections::BTreeMap, fmt, sync::Arc, task::Waker};

use conclave_core::{
    engine::{Ended, EngineState, Error, GroupView, RelayState, ReplyToken},
    event::log::{EventCursor, EventLog},
    step::{Durable, EventRange, WriteSet},
    store::StoreError,
};
use conclave_proto::GroupId;
use futures_channel::oneshot;
use parking_lot::{Mutex, RwLock};

use crate::port::Answered;

/// What applications see of an engine, whoever runs it. Whoever does tells it what the engine's
/// effects were.
pub struct Front {
    replies: Mutex<Replies>,
    views: RwLock<BTreeMap<GroupId, Arc<GroupView>>>,
    events: Mutex<EventLog>,
    readers: Mutex<Readers>,
    state: Mutex<Watched>,
}

#[derive(Default)]
struct Replies {
    next: u64,
    waiting: BTreeMap<ReplyToken, oneshot::Sender<Answered>>,
    /// Why there are no further answers.
    ended: Option<Ended>,
}

#[derive(Default)]
struct Readers {
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

#[derive(Default)]
struct Watched {
    state: EngineState,
    waiting: Vec<(bool, oneshot::Sender<Answered>)>,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Front {
    /// The front of an engine whose store holds these events.
    #[must_use]
    pub fn new(events: EventLog) -> Self {
        Self {
            replies: Mutex::default(),
            views: RwLock::default(),
            events: Mutex::new(events),
            readers: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// Makes room for an answer.
    pub(crate) fn expect(&self) -> (ReplyToken, oneshot::Receiver<Answered>) {
        let (sender, receiver) = oneshot::channel();
        let mut replies = self.replies.lock();
        replies.next += 1;
        let token = ReplyToken(replies.next);
        if replies.ended.is_none() {
            replies.waiting.insert(token, sender);
        }
        (token, receiver)
    }

    /// Gives an answer; one that is not waited for, any more, is dropped.
    pub fn answer(&self, to: ReplyToken, answer: Answered) {
        let waiting = self.replies.lock().waiting.remove(&to);
        // Not under the lock: whoever is woken may ask again at once.
        if let Some(waiting) = waiting {
            drop(waiting.send(answer));
        }
    }

    /// An answer is not waited for any more; whether it has not come.
    pub(crate) fn forget(&self, reply: ReplyToken) -> bool {
        self.replies.lock().waiting.remove(&reply).is_some()
    }

    /// How many answers are waited for.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.replies.lock().waiting.len()
    }

    /// What a group looks like, while that is known without asking it.
    #[must_use]
    pub fn view(&self, group: GroupId) -> Option<Arc<GroupView>> {
        self.views.read().get(&group).cloned()
    }

    /// A group looks like this from now on.
    pub fn show(&self, view: Arc<GroupView>) {
        let mut views = self.views.write();
        // Under the lock: an engine that ends shows nothing more.
        if self.state().ended.is_none() {
            views.insert(view.id, view);
        }
    }

    /// What a group looks like is not known any more without asking it.
    pub fn hide(&self, group: GroupId) {
        self.views.write().remove(&group);
    }

    /// Whether the engine works, and what stands in its way.
    #[must_use]
    pub fn state(&self) -> EngineState {
        self.state.lock().state.clone()
    }

    /// Answers when the relay can be reached, or not; at once if that is so.
    pub(crate) fn when_reachable(
        &self,
        reachable: bool,
    ) -> Result<Option<oneshot::Receiver<Answered>>, Error> {
        let mut watched = self.state.lock();
        if let Some(ended) = watched.state.ended {
            return Err(ended.into());
        }
        if watched.state.relay.is_reachable() == reachable {
            return Ok(None);
        }
        let (sender, receiver) = oneshot::channel();
        // Calls that were dropped do not add up.
        watched.waiting.retain(|(_, waiting)| !waiting.is_canceled());
        watched.waiting.push((reachable, sender));
        Ok(Some(receiver))
    }

    /// The relay can be reached, or not.
    pub fn set_relay(&self, relay: RelayState) {
        let mut watched = self.state.lock();
        if watched.state.ended.is_some() {
            return;
        }
        watched.state.relay = relay;
        let reachable = watched.state.relay.is_reachable();
        let told: Vec<_> =
            watched.waiting.extract_if(.., |(wanted, _)| *wanted == reachable).collect();
        drop(watched);
        for (_, waiting) in told {
            drop(waiting.send(Ok(conclave_core::engine::Answer::Done)));
        }
    }

    /// A read of the store failed.
    pub fn set_store_trouble(&self, error: StoreError) {
        self.state.lock().state.store = Some(error);
    }

    /// A commit has its result, and nobody has handled it yet; why the engine ends by it, if it
    /// does.
    pub fn note_commit(&self, result: &Result<Durable, StoreError>) -> Option<Ended> {
        if let Some(range) = result.as_ref().ok().and_then(Durable::events) {
            self.events.lock().stored(range);
        }
        let mut watched = self.state.lock();
        watched.state.note_commit(result).filter(|_| watched.state.ended.is_none())
    }

    /// The actor whose events these are has handled that they are stored: they can be read. What
    /// is to be erased because there are too many comes back.
    pub fn events_handled(&self, range: EventRange) -> Vec<WriteSet> {
        let mut events = self.events.lock();
        events.handled(range);
        let excess = events.excess();
        let erased = excess.map(|upto| events.erase(upto)).unwrap_or_default();
        drop(events);
        self.wake_readers();
        erased
    }

    /// Erases events up to a position, see [`EventLog::erase`].
    pub fn erase_events(&self, upto: EventCursor) -> Vec<WriteSet> {
        self.events.lock().erase(upto)
    }

    /// The log of events, as far as it can be read.
    pub(crate) fn with_events<T>(&self, look: impl FnOnce(&EventLog) -> T) -> T {
        look(&self.events.lock())
    }

    /// The engine has ended: everyone who still waits is told, and every later call is refused.
    pub fn end(&self, ended: Ended) {
        let mut watched = self.state.lock();
        if watched.state.ended.is_none() {
            watched.state.ended = Some(ended);
        }
        let ended = watched.state.ended.unwrap_or(ended);
        watched.state.relay = RelayState::Unreachable;
        let told = std::mem::take(&mut watched.waiting);
        drop(watched);
        for (_, waiting) in told {
            drop(waiting.send(Err(ended.into())));
        }
        self.views.write().clear();
        self.wake_readers();
    }

    /// No answer comes any more: the last calls end.
    pub fn close(&self) {
        let ended = self.state().ended.unwrap_or(Ended::ShutDown);
        let mut replies = self.replies.lock();
        replies.ended = Some(ended);
        let waiting = std::mem::take(&mut replies.waiting);
        drop(replies);
        for (_, waiting) in waiting {
            drop(waiting.send(Err(ended.into())));
        }
    }

    pub(crate) fn new_reader(&self) -> u64 {
        let mut readers = self.readers.lock();
        readers.next += 1;
        readers.next
    }

    pub(crate) fn wake_on_event(&self, reader: u64, waker: &Waker) {
        let before = self.readers.lock().wakers.insert(reader, waker.clone());
        // Not under the lock: with a waker the last engine may go.
        drop(before);
    }

    pub(crate) fn forget_reader(&self, reader: u64) {
        let waker = self.readers.lock().wakers.remove(&reader);
        // Not under the lock: with a waker the last engine may go.
        drop(waker);
    }

    fn wake_readers(&self) {
        let wakers = std::mem::take(&mut self.readers.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }
}
