//! One group that is awake: the core's value, and what waits for the store.

mod value;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use conclave_core::{
    delivery::PublishOutcome,
    group::{Candidate, Group, Taken, find_message},
    step::{Durable, Step},
    store::StoreError,
};
use conclave_proto::{
    InboxId, IntentId, MessageId, Record, Seq, Timestamp, TransmitId,
    message::{Body, message_id},
};

use crate::{
    call::{Reply, give},
    driver::{Next, Role, after_panic},
    error::Error,
    session_role::SessionInput,
    shared::{GroupSlot, Shared},
    view::GroupView,
};

/// What a group is told.
pub(crate) enum GroupInput {
    /// It was just made or joined: this is its value.
    Created(Box<Group>),
    /// Records of its log, from its cursor on.
    Records(Vec<Record>),
    /// What became of an envelope.
    Outcome(TransmitId, PublishOutcome),
    /// A write set of it is stored, or not.
    Stored(u64, Result<Durable, StoreError>),
    /// The application wants something.
    Command(Command),
    /// To look at what is due, and to publish what was left undone (again).
    Look,
    /// To forget its value, because another one may take its place: answered with
    /// [`SessionInput::Yielded`]. Ends with [`GroupInput::Created`] or [`GroupInput::Resume`].
    Yield,
    /// Nothing took its place.
    Resume,
    /// To go on with records, at most so many in one step: from itself.
    GoOn(Vec<Record>, usize),
    /// To tell the session where it stands: from itself.
    AnswerSession,
}

/// What an application wants of a group.
pub(crate) enum Command {
    /// With `once`, a message that has its place already is not sent again.
    Send {
        key: [u8; 16],
        content: Vec<u8>,
        once: bool,
        reply: Reply<MessageId>,
    },
    Add {
        who: Vec<Candidate>,
        reply: Reply<IntentId>,
    },
    Remove {
        who: Vec<InboxId>,
        reply: Reply<IntentId>,
    },
    UpdateKeys {
        reply: Reply<IntentId>,
    },
    View {
        reply: Reply<Arc<GroupView>>,
    },
    Settle {
        reply: Reply<()>,
    },
}

type Continuation = Box<dyn FnOnce(&mut GroupRole, Result<Durable, StoreError>) + Send>;

/// A write set that is with the writer.
struct Waiting {
    number: u64,
    run: Continuation,
    /// What the writer said, if it has said nothing of an earlier one yet.
    answer: Option<Result<Durable, StoreError>>,
}

pub(crate) struct GroupRole {
    shared: Arc<Shared>,
    slot: Arc<GroupSlot>,
    value: Option<Group>,
    view: Option<Arc<GroupView>>,
    /// Who wants to see it once everything is stored.
    viewers: Vec<Reply<Arc<GroupView>>>,
    /// Who waits until nothing of its own is on its way.
    settlers: Vec<Reply<()>>,
    /// What waits for the store, in the order it was handed in.
    pending: VecDeque<Waiting>,
    number: u64,
    /// What is unsettled is to be published (again), as soon as nothing waits for the store: what
    /// is not stored is not to be seen by anybody.
    owes: bool,
    /// The session waits for an answer to records.
    reading: bool,
    /// It gets one when the group is loaded.
    owes_answer: bool,
    /// Another value may take its place; what comes meanwhile waits.
    yielded: bool,
    has_said_so: bool,
    /// What waits until there can be a value.
    deferred: VecDeque<GroupInput>,
    /// When to load a value that was lost to the store, although nobody asks for it: what is
    /// unsettled is to go out.
    reload: Option<Instant>,
    /// How often in a row the store failed.
    failures: u32,
    /// Its last turn panicked.
    lost: bool,
    /// When it last had something to do.
    busy: Option<Instant>,
}

impl GroupRole {
    pub(crate) fn new(shared: Arc<Shared>, slot: Arc<GroupSlot>) -> Self {
        Self {
            shared,
            slot,
            value: None,
            view: None,
            viewers: Vec::new(),
            settlers: Vec::new(),
            pending: VecDeque::new(),
            number: 0,
            owes: false,
            reading: false,
            owes_answer: false,
            yielded: false,
            has_said_so: false,
            deferred: VecDeque::new(),
            reload: None,
            failures: 0,
            lost: false,
            busy: None,
        }
    }

    fn handle(&mut self, input: GroupInput) {
        self.take(input);
        self.take_deferred();
    }

    fn take_deferred(&mut self) {
        while !self.has_to_wait()
            && let Some(input) = self.deferred.pop_front()
        {
            self.take(input);
        }
    }

    /// Whether there can be no value now: another one takes its place, or sets of one that was
    /// dropped are still with the writer. What is loaded before they are stored, or refused, would
    /// not know of them.
    fn has_to_wait(&self) -> bool {
        self.yielded || (self.value.is_none() && !self.pending.is_empty())
    }

    fn take(&mut self, input: GroupInput) {
        match input {
            GroupInput::Stored(number, stored) => self.stored(number, stored),
            GroupInput::Created(group) => {
                self.yielded = false;
                self.value = Some(*group);
                self.show();
            }
            GroupInput::Yield => {
                self.yielded = true;
                self.has_said_so = false;
                self.value = None;
            }
            GroupInput::Resume => {
                self.yielded = false;
                if self.value.is_none() {
                    // What it may have waited for has no other timer.
                    self.reload = Some(Instant::now());
                }
            }
            // The value is loaded soon, and publishes everything again.
            GroupInput::Outcome(..) if self.value.is_none() && self.reload.is_some() => {}
            other if self.has_to_wait() => self.deferred.push_back(other),
            GroupInput::Records(records) => {
                self.reading = true;
                self.read(records, usize::MAX);
            }
            GroupInput::GoOn(records, most) => self.read(records, most),
            GroupInput::AnswerSession => self.answer_session(),
            GroupInput::Outcome(id, outcome) => {
                let now = self.shared.now();
                if let Some(group) = self.loaded() {
                    let step = group.handle_publish(now, id, &outcome);
                    self.drive(step, |_, _| {});
                }
            }
            GroupInput::Command(command) => self.command(command),
            GroupInput::Look => {
                if self.value.is_some() {
                    self.owes = true;
                    self.show();
                } else {
                    self.loaded();
                }
                self.shared.tell_session(SessionInput::Looked(self.slot.id));
            }
        }
    }

    fn command(&mut self, command: Command) {
        let now = self.shared.now();
        match command {
            Command::Send { key, content, once, reply } => {
                let body = Body::Content(content);
                match if once { self.sent_before(&key, &body) } else { Ok(None) } {
                    Ok(Some(id)) => give(reply, Ok(id)),
                    Ok(None) => {
                        let Body::Content(content) = body;
                        self.verb(reply, |group| Ok(group.send(now, key, content)?));
                    }
                    Err(error) => give(reply, Err(error)),
                }
            }
            Command::Add { who, reply } => self.verb(reply, |group| Ok(group.add(now, who)?)),
            Command::Remove { who, reply } => self.verb(reply, |group| Ok(group.remove(now, who)?)),
            Command::UpdateKeys { reply } => self.verb(reply, |group| Ok(group.update_keys(now)?)),
            Command::View { reply } => {
                match self.load_value() {
                    Ok(()) => self.viewers.push(reply),
                    Err(error) => give(reply, Err(error)),
                }
                self.show();
            }
            Command::Settle { reply } => {
                match self.load_value() {
                    Ok(()) => self.settlers.push(reply),
                    Err(error) => give(reply, Err(error)),
                }
                self.show();
            }
        }
    }

    /// The id of an own message that has its place, by the store. Of those whose step is still with
    /// the writer the value knows.
    fn sent_before(&self, key: &[u8; 16], body: &Body) -> Result<Option<MessageId>, Error> {
        let Some(installation) = self.shared.installation.get() else { return Ok(None) };
        let id = message_id(&self.slot.id, &installation.id(), key, body);
        let place = find_message(&*self.shared.store, self.slot.id, id)?;
        Ok(place.map(|_| id))
    }

    /// Does what the application wants, and answers when it is stored.
    fn verb<T: Send + 'static>(
        &mut self,
        reply: Reply<T>,
        verb: impl FnOnce(&mut Group) -> Result<Step<T>, Error>,
    ) {
        if let Err(error) = self.load_value() {
            return give(reply, Err(error));
        }
        let Some(group) = &mut self.value else { return give(reply, Err(Error::UnknownGroup)) };
        match verb(group) {
            Ok(step) => self.drive(step, move |_, answer| give(reply, answer.map_err(Error::from))),
            Err(error) => give(reply, Err(error)),
        }
    }

    /// Reads records, at most so many in one step.
    fn read(&mut self, mut records: Vec<Record>, most: usize) {
        if self.has_to_wait() {
            return self.deferred.push_front(GroupInput::GoOn(records, most));
        }
        let rest = records.split_off(records.len().min(most));
        let now = self.shared.now();
        let Some(group) = self.loaded() else { return self.answer_session() };
        let (place, was_parked) = (group.cursor().seq, group.standing().parked().is_some());
        let step = group.handle_records(now, &records);
        if step.reply().broken {
            // The value is of no use from here on, so nothing else may be made of it, and its step
            // stores nothing.
            drop(step);
            self.value = None;
            // One of them breaks the library: one by one, it is only that one.
            if records.len() > 1 {
                records.extend(rest);
                return self.read(records, 1);
            }
            return self.answer_session();
        }
        self.drive(step, move |role, taken| match taken {
            Ok(Taken { parked: Some(_), .. }) if role.has_parked(place, was_parked) => {
                // What stands behind the commit has come along with it, perhaps: the group looks
                // for evidence in what it is shown next.
                records.extend(rest);
                role.read(records, most);
            }
            Ok(_) if !rest.is_empty() => role.read(rest, most),
            Ok(_) | Err(_) => role.answer_session(),
        });
    }

    /// Whether the group stands before a commit that it did not stand before.
    fn has_parked(&self, place: Seq, was_parked: bool) -> bool {
        self.value.as_ref().is_some_and(|group| {
            group.standing().parked().is_some() && (!was_parked || group.cursor().seq > place)
        })
    }

    /// Tells the session where the group stands; if that cannot be read for now, once it can.
    fn answer_session(&mut self) {
        if !self.reading {
            return;
        }
        if self.has_to_wait() {
            return self.deferred.push_front(GroupInput::AnswerSession);
        }
        let id = self.slot.id;
        self.loaded();
        let input = match &self.value {
            Some(group) => SessionInput::Handled {
                group: id,
                cursor: group.cursor(),
                parked: group.standing().parked().is_some(),
                removed: group.standing().is_removed(),
            },
            None if self.reload.is_some() => {
                self.owes_answer = true;
                return;
            }
            None => SessionInput::Unreadable(id),
        };
        self.reading = false;
        self.shared.tell_session(input);
    }

    fn fire_timer(&mut self) {
        let now = self.shared.now();
        if self.yielded {
            return;
        }
        if let Some(group) = &mut self.value
            && group.next_timeout().is_some_and(|due| due <= now)
        {
            let step = group.handle_timeout(now);
            self.drive(step, |_, _| {});
        }
    }

    /// After a panic: the value may be half changed, so it is dropped. Whoever waited for it hears
    /// that the call was lost; what is with the writer already counts if it is stored.
    fn recover(&mut self) {
        tracing::error!("a group's value was lost to a bug and is loaded again");
        self.value = None;
        self.viewers.clear();
        self.settlers.clear();
        if self.reading && !matches!(self.deferred.front(), Some(GroupInput::AnswerSession)) {
            self.deferred.push_front(GroupInput::AnswerSession);
        }
        // What is stored is to go out, also if nobody asks for it.
        self.handle(GroupInput::Look);
    }

    fn turn(&mut self) -> Next {
        if self.lost {
            self.recover();
        }
        for _ in 0..self.shared.limits.turn {
            let Some(input) = self.slot.post.take() else { break };
            // Looking is no reason to stay: with many groups the next ones have their turn.
            if !matches!(input, GroupInput::Look) {
                self.busy = Some(Instant::now());
            }
            self.handle(input);
        }
        if !self.shared.is_stopping() {
            self.load_again();
            self.fire_timer();
        }
        if self.yielded && self.pending.is_empty() && !self.has_said_so {
            self.has_said_so = true;
            self.shared.tell_session(SessionInput::Yielded(self.slot.id));
        }
        if self.slot.post.len() > 0 {
            return Next::Again;
        }
        if self.shared.is_stopping() && self.pending.is_empty() {
            return self.end();
        }
        if !self.pending.is_empty() || self.yielded {
            return Next::Wait;
        }
        if let Some(at) = self.reload {
            return Next::In(at.saturating_duration_since(Instant::now()));
        }
        if self.reading {
            return Next::Wait;
        }
        let idle = Duration::from_millis(self.shared.limits.idle_ms);
        if !self.settlers.is_empty() {
            self.busy = Some(Instant::now());
        }
        let rest = self.busy.map_or(Duration::ZERO, |busy| idle.saturating_sub(busy.elapsed()));
        if rest.is_zero() {
            return self.end();
        }
        let due = self.value.as_ref().and_then(Group::next_timeout);
        let due = due.map(|due| wait(self.shared.now(), due));
        Next::In(due.map_or(rest, |due| due.min(rest)))
    }

    /// Leaves the memory, unless something has come meanwhile.
    fn end(&mut self) -> Next {
        let due = self.value.as_ref().and_then(Group::next_timeout);
        if !self.slot.post.retire() {
            return Next::Again;
        }
        self.slot.show(None);
        if !self.shared.is_stopping() {
            self.shared.tell_session(SessionInput::Asleep(self.slot.id, due));
        }
        Next::End
    }
}

impl Role for GroupRole {
    fn run(&mut self) -> Next {
        let _inside = tracing::debug_span!("group", id = ?self.slot.id).entered();
        match catch_unwind(AssertUnwindSafe(|| self.turn())) {
            Ok(next) => {
                self.lost = false;
                next
            }
            Err(_) => after_panic(&mut self.lost, self.shared.is_stopping()),
        }
    }
}

/// Timers are looked at at least once an hour: clocks jump.
pub(crate) fn wait(now: Timestamp, due: Timestamp) -> Duration {
    Duration::from_millis(due.since_ms(now).clamp(1, 3_600_000))
}
