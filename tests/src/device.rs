//! One installation of a simulation: the real engine over a store that fails on request.
//!
//! The engine's actors run in an order that the seed chooses; so does the writer, which stores what
//! they hand in. What the engine wants of its relay comes out of [`Device::next_wish`]; whoever
//! drives the device answers it, late, twice or never.

mod faults;
mod looks;
mod outgoing;

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use conclave_core::{
    config::Limits,
    engine::{
        ActorId, Answer, CallAnswer, DeliveryCall, Effect, Ended, Engine, EngineLimits,
        EngineState, Error, GroupMessage, GroupView, Message, ReplyToken, Request, SessionMessage,
        StoredInstallation, Subscription, Token,
    },
    entropy::Entropy,
    event::log::{EventCursor, EventLog},
    group::Group,
    installation::Installation,
    step::{Committer, Durable, Step, WriteSet},
    store::{Claim, Store, StoreError},
};
use conclave_proto::{GroupId, Record, Seq, Timestamp, relay::Watch};
use conclave_store_memory::MemoryStore;

use crate::{
    dice::Dice,
    entropy::SimEntropy,
    faulty_store::{Fault, Faulty},
};
pub use faults::Fuse;
pub use outgoing::Outgoing;

/// A membership: from where a device could read a group, and until where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The log position it joined after.
    pub start: Seq,
    /// The first epoch it can read.
    pub epoch: u64,
    /// Its standing ended before this.
    pub end: Option<Seq>,
}

/// What an engine wants of the world outside.
#[derive(Debug)]
pub enum Wish {
    /// Open a subscription in place of any other.
    Subscribe(Subscription),
    /// Change it.
    Watch(Watch),
    /// Call the relay; the answer goes to [`Device::answer`].
    Call(ActorId, Token, DeliveryCall),
    /// Let an account sign; the answer goes to [`Device::answer`].
    Sign(ActorId, Token, ReplyToken, String),
}

/// One installation.
#[derive(Debug)]
pub struct Device<S = MemoryStore> {
    /// Its number in the world.
    pub index: usize,
    /// Its keys.
    pub installation: Arc<Installation>,
    /// Limits of its engine's groups; they count from the next [`Device::crash`] on.
    pub limits: Limits,
    /// Limits of its engine, but for those of groups; they count from the next crash on.
    pub engine_limits: EngineLimits,
    /// The store, whose faults are scripted.
    pub store: Faulty<S>,
    /// The engine.
    pub engine: Engine,
    /// What the application sees.
    pub state: EngineState,
    /// What groups look like, as the application sees it.
    pub views: BTreeMap<GroupId, Arc<GroupView>>,
    /// Its memberships, by group.
    pub memberships: BTreeMap<GroupId, Vec<Membership>>,
    /// The time, as the world last said.
    pub now: Timestamp,
    /// Where an actor's input panics.
    pub fuse: Fuse,
    /// Effects of the next commit are lost in a crash after it.
    pub crash_after_commit: bool,
    /// What was released and is not published: see [`Device::transmits`].
    pub(crate) outgoing: Outgoing,
    events: EventLog,
    committer: Committer,
    handed_in: VecDeque<(ActorId, Token, WriteSet)>,
    wishes: VecDeque<Wish>,
    answers: BTreeMap<ReplyToken, Result<Answer, Error>>,
    replies: u64,
    dice: Dice,
    world_seed: u64,
    openings: u64,
    /// Actor inputs handled and write sets stored since the beginning.
    pub steps: u64,
    /// What happened, a line for each input and effect, if it is wanted.
    pub trace: Option<Vec<String>>,
    /// What an application sees of the engine, if it has one.
    pub(crate) front: Option<Arc<conclave::Front>>,
    /// Who signs for registrations that are under way.
    pub(crate) signers: Signers,
}

/// Accounts, by the registrations that they sign for.
#[derive(Default)]
pub(crate) struct Signers(pub(crate) BTreeMap<ReplyToken, Arc<dyn conclave::AccountSigner>>);

impl std::fmt::Debug for Signers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signers({})", self.0.len())
    }
}

/// Requests of the world itself have these numbers and greater ones; those of applications are
/// below.
const OWN_REPLIES: u64 = 1 << 32;

/// What may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Everything.
    All,
    /// One actor, and the writer.
    Only(ActorId),
}

impl Device {
    /// A new installation with an empty store.
    ///
    /// # Panics
    /// If the memory store fails.
    #[must_use]
    pub fn new(seed: u64, index: usize, installation: Arc<Installation>, now: Timestamp) -> Self {
        let store = Faulty::new(MemoryStore::new());
        let claim = claim_of(0);
        store.claim(claim).expect("a new store takes a claim");
        // Registered before the simulation begins: people and their logs are the world's.
        let keys = installation.secrets();
        let mut stored = StoredInstallation::new(installation.inbox(), keys.0, keys.1);
        stored.registered = true;
        let mut committer = Committer::new(claim);
        committer.drive(&store, stored.step(0)).expect("the store works");
        let mut device = Self::open(store, seed, index, installation, now);
        device.settle_locally();
        device
    }

    /// Ends the process between two steps and starts it again on the same store: everything in
    /// memory is gone.
    ///
    /// # Panics
    /// If what was stored does not load: that is what a simulation looks for.
    pub fn crash(&mut self) {
        self.store.disarm();
        self.store.restart();
        self.openings += 1;
        let mut limits = self.engine_limits;
        limits.core = self.limits;
        let fuse = self.fuse.clone();
        let (engine, committer, events) =
            start(&self.store, self.world_seed, self.index, self.openings, limits, &fuse);
        (self.engine, self.committer, self.events) = (engine, committer, events);
        self.state = EngineState::default();
        self.views.clear();
        self.handed_in.clear();
        self.wishes.clear();
        self.outgoing = Outgoing::default();
        self.answers.clear();
        self.signers.0.clear();
        if let Some(front) = self.front.take() {
            front.end(Ended::ShutDown);
            front.close();
        }
        self.crash_after_commit = false;
        self.wake_groups();
    }
}

/// Opens an engine on a store.
fn start(
    store: &dyn Store,
    seed: u64,
    index: usize,
    opening: u64,
    limits: EngineLimits,
    fuse: &Fuse,
) -> (Engine, Committer, EventLog) {
    let claim = claim_of(opening);
    store.claim(claim).expect("a restarted store takes a claim");
    let events = EventLog::open(store, limits.events).expect("the store reads");
    let committer = Committer::with_event_log(claim, events.last());
    let entropy = fuse.guard(SimEntropy::new(seed, index as u64, opening));
    let engine = Engine::open(store, limits, Entropy::new(Box::new(entropy)));
    (engine.expect("what was stored loads"), committer, events)
}

fn claim_of(opening: u64) -> Claim {
    let mut claim = [0; 16];
    claim[..8].copy_from_slice(&opening.to_be_bytes());
    Claim(claim)
}

/// Limits of engines in simulations: groups stay in memory, so that they can be looked at.
#[must_use]
pub fn awake() -> EngineLimits {
    let mut limits = EngineLimits::default();
    limits.idle_ms = 10 * 365 * 24 * 60 * 60 * 1_000;
    limits.session.batch_envelopes = 256;
    // What a test takes away is given up within a round of `World::settle`.
    limits.call_ms = 60_000;
    limits
}

impl Device {
    fn open(
        store: Faulty<MemoryStore>,
        seed: u64,
        index: usize,
        installation: Arc<Installation>,
        now: Timestamp,
    ) -> Self {
        let (limits, fuse) = (awake(), Fuse::default());
        let (engine, committer, events) = start(&store, seed, index, 0, limits, &fuse);
        Self {
            index,
            installation,
            limits: limits.core,
            engine_limits: limits,
            store,
            engine,
            state: EngineState::default(),
            views: BTreeMap::new(),
            memberships: BTreeMap::new(),
            now,
            fuse,
            crash_after_commit: false,
            outgoing: Outgoing::default(),
            events,
            committer,
            handed_in: VecDeque::new(),
            wishes: VecDeque::new(),
            answers: BTreeMap::new(),
            replies: OWN_REPLIES,
            dice: Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(index as u64)),
            world_seed: seed,
            openings: 0,
            steps: 0,
            trace: None,
            front: None,
            signers: Signers::default(),
        }
    }

    /// Lets the groups that the store holds be loaded.
    fn wake_groups(&mut self) {
        let groups: Vec<GroupId> = self.engine.groups().map(|group| group.id()).collect();
        for id in groups {
            self.engine.tell(Message::Group(id, GroupMessage::Look));
        }
        self.settle_locally();
    }

    /// Everything that needs no answer from outside and no time, in an order of the dice's.
    ///
    /// # Panics
    /// If that does not come to an end within a bound.
    pub fn settle_locally(&mut self) {
        self.run(Run::All);
    }

    /// As [`Device::settle_locally`], for a part of the engine.
    ///
    /// # Panics
    /// If that does not come to an end within a bound.
    pub fn run(&mut self, what: Run) {
        for _ in 0..200_000 {
            if !self.step(what) {
                return;
            }
        }
        let ready = self.engine.ready(self.now);
        panic!("device {} does not come to rest: {ready:?}", self.index);
    }

    /// One actor handles one input, or the writer stores what waits; `false` if nothing is to be
    /// done.
    pub fn step(&mut self, what: Run) -> bool {
        let mut ready = self.engine.ready(self.now);
        if let Run::Only(actor) = what {
            ready.retain(|ready| *ready == actor);
        }
        let writes = usize::from(!self.handed_in.is_empty());
        if ready.len() + writes == 0 {
            return false;
        }
        self.steps += 1;
        match ready.get(self.dice.below(ready.len() + writes)).copied() {
            Some(actor) => self.run_actor(actor),
            None => self.write(),
        }
        true
    }

    fn run_actor(&mut self, actor: ActorId) {
        let (engine, store, now) = (&mut self.engine, &self.store, self.now);
        self.fuse.light();
        let handled = catch_unwind(AssertUnwindSafe(|| engine.run(actor, now, store)));
        self.fuse.put_out();
        self.note(|| format!("{actor:?} at {}", now.0));
        if let Err(panic) = handled {
            if !self.fuse.has_burnt() {
                std::panic::resume_unwind(panic);
            }
            self.engine.recover(actor);
        }
        while let Some((from, effect)) = self.engine.poll() {
            self.note(|| format!("    {effect:?}"));
            self.carry_out(from, effect);
        }
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let index = self.index;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("device {index}: {}", line()));
        }
    }

    fn carry_out(&mut self, from: ActorId, effect: Effect) {
        match effect {
            Effect::Commit { token, set } => self.handed_in.push_back((from, token, set)),
            Effect::Call { token, call } => self.wishes.push_back(Wish::Call(from, token, call)),
            Effect::Sign { token, of, text } => match self.signers.0.get(&of) {
                Some(signer) => {
                    let answer = crate::simulation::sign(&**signer, &text);
                    self.engine.answered(from, token, answer);
                }
                None => self.wishes.push_back(Wish::Sign(from, token, of, text)),
            },
            Effect::Subscribe(number) => self.wishes.push_back(Wish::Subscribe(number)),
            Effect::Watch(change) => self.wishes.push_back(Wish::Watch(change)),
            Effect::Tell(message) => self.engine.tell(message),
            Effect::Reply { to, answer } if to.0 < OWN_REPLIES => {
                self.signers.0.remove(&to);
                if let Some(front) = &self.front {
                    front.answer(to, answer);
                }
            }
            Effect::Reply { to, answer } => {
                let before = self.answers.insert(to, answer);
                assert!(before.is_none(), "{to:?} is answered twice");
            }
            Effect::Show(view) => {
                self.note_membership(&view);
                if let Some(front) = &self.front {
                    front.show(Arc::clone(&view));
                }
                self.views.insert(view.id, view);
            }
            Effect::Hide(group) => {
                self.views.remove(&group);
                if let Some(front) = &self.front {
                    front.hide(group);
                }
            }
            Effect::Relay(relay) => {
                if let Some(front) = &self.front {
                    front.set_relay(relay.clone());
                }
                self.state.relay = relay;
            }
            Effect::StoreTrouble(error) => {
                if let Some(front) = &self.front {
                    front.set_store_trouble(error.clone());
                }
                self.state.store = Some(error);
            }
        }
    }

    /// The writer stores some of what waits for it.
    fn write(&mut self) {
        let count = 1 + self.dice.below(self.handed_in.len());
        let taken: Vec<_> = self.handed_in.drain(..count).collect();
        let (of, sets): (Vec<_>, Vec<_>) =
            taken.into_iter().map(|(actor, token, set)| ((actor, token), set)).unzip();
        let results = self.committer.commit(&self.store, sets);
        self.note(|| format!("writer: {of:?} {results:?}"));
        if self.crash_after_commit {
            return self.crash();
        }
        for ((actor, token), result) in of.into_iter().zip(results) {
            if result.is_err() {
                self.store.restart();
            }
            self.note_commit(&result);
            self.engine.stored(actor, token, result);
        }
    }

    fn note_commit(&mut self, result: &Result<Durable, StoreError>) {
        let front = self.front.clone();
        if let Some(front) = &front {
            front.note_commit(result);
        }
        if let Some(range) = result.as_ref().ok().and_then(Durable::events) {
            self.events.stored(range);
            self.events.handled(range);
            // What applications see is read between steps only.
            let erased = front.as_ref().map(|front| front.events_handled(range));
            self.committer.commit(&self.store, erased.unwrap_or_default());
        }
        if let Some(ended) = self.state.note_commit(result) {
            self.state.ended = Some(ended);
            if let Some(front) = &front {
                front.end(ended);
            }
            self.engine.stop(ended);
        }
    }

    /// Erases events up to a position.
    pub fn forget_events(&mut self, upto: EventCursor) {
        let sets = self.events.erase(upto);
        self.committer.commit(&self.store, sets);
        if let Some(front) = &self.front {
            // The same erasure.
            drop(front.erase_events(upto));
        }
    }

    fn note_membership(&mut self, view: &GroupView) {
        let memberships = self.memberships.entry(view.id).or_default();
        let last = memberships.last_mut().filter(|last| last.end.is_none());
        match (view.standing.removed_at(), last) {
            (Some(at), Some(last)) => last.end = Some(at),
            (None, None) => {
                let (start, epoch) = (view.cursor.seq, view.epoch.0);
                memberships.push(Membership { start, epoch, end: None });
            }
            (Some(_), None) | (None, Some(_)) => {}
        }
    }

    /// What the engine wants next of the world outside.
    pub fn next_wish(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    /// Answers a call.
    pub fn answer(&mut self, of: ActorId, token: Token, answer: CallAnswer) {
        self.engine.answered(of, token, answer);
    }

    /// Asks the engine for something, as an application does.
    pub fn submit(&mut self, request: Request) -> ReplyToken {
        self.replies += 1;
        let reply = ReplyToken(self.replies);
        self.engine.submit(reply, request);
        reply
    }

    /// The answer to a request, if it has come.
    pub fn take_answer(&mut self, reply: ReplyToken) -> Option<Result<Answer, Error>> {
        self.answers.remove(&reply)
    }

    /// The value of a group that is awake, to make steps of it by hand, for [`Device::drive`].
    ///
    /// # Panics
    /// If it is not awake.
    pub fn group_mut(&mut self, id: GroupId) -> &mut Group {
        self.settle_locally();
        self.engine.group_mut(id).expect("the device holds the group, and it is awake")
    }

    /// Fails the next call of the store.
    pub fn fail_next_commit(&self, fault: Fault) {
        self.store.restart();
        self.store.fail_at(0, fault);
    }

    /// Drops a group and loads it again, as after a store failure.
    pub fn reload(&mut self, id: GroupId) {
        self.engine.tell(Message::Group(id, GroupMessage::Reload));
        self.settle_locally();
    }

    /// Stores a step that was made by hand and takes its effects.
    ///
    /// # Errors
    /// The store's; the group is loaded again then.
    pub fn drive<T>(&mut self, step: Step<T>) -> Result<T, StoreError> {
        self.settle_locally();
        let (set, pending) = step.into_parts();
        let owner = GroupId(set.lineage().owner);
        let result = self.committer.commit(&self.store, vec![set]).remove(0);
        if std::mem::take(&mut self.crash_after_commit) || result.is_err() {
            self.store.restart();
            self.reload(owner);
            return Err(result.err().unwrap_or(StoreError::Unknown));
        }
        let proof = result?;
        if let Some(range) = proof.events() {
            self.events.stored(range);
            self.events.handled(range);
        }
        let released = pending.release(proof);
        let publish = SessionMessage::Publish(owner, released.effects.transmits);
        self.engine.tell(Message::Session(publish));
        let view = self.find_group(owner).map(|group| Arc::new(GroupView::of(group, None)));
        if let Some(view) = view {
            self.note_membership(&view);
            self.views.insert(owner, view);
        }
        Ok(released.reply)
    }

    /// Hands records to a group by hand; gives how many were taken.
    pub fn handle_batch(&mut self, now: Timestamp, id: GroupId, batch: &[Record]) -> usize {
        let step = self.group_mut(id).handle_records(now, batch);
        self.drive(step).map_or(0, |taken| taken.count)
    }
}
