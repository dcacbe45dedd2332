//! What sending one message costs: messages between actors, and trips to the writer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::VecDeque, sync::Arc};

use conclave_core::{
    engine::{
        Actor, ActorId, Answer, CallAnswer, Context, DeliveryCall, Effect, GroupActor,
        GroupMessage, GroupRequest, Input, InvitationActor, InvitationMessage, Message, NoRequest,
        Opening, ReplyToken, SessionActor, SessionMessage, SessionRequest, Subscription, Token,
    },
    entropy::Entropy,
    event::log::EventLog,
    step::Committer,
    store::{Claim, Store},
};
use conclave_proto::{
    GroupId, Record, Timestamp, Topic,
    relay::{Delivery, Watch},
};
use conclave_store_memory::MemoryStore;
use conclave_testkit::{device::awake, entropy::SimEntropy, faulty_store::Faulty, world::World};

/// E13, G5: from the application's call until the log has settled the message, a group that is
/// caught up and awake puts at most four messages into mailboxes and makes at most two trips to the
/// writer. The messages are: the application's request, the envelope for the session, the record
/// and the relay's answer for the group, and where the group stands for the session. Not counted
/// are the writer's two answers, and the two inputs that the relay makes: its answer to the publish
/// and the delivery of the record. A relay that delivers the record before it answers costs a fifth
/// one: its answer goes to the group alone.
#[test]
fn a_message_takes_four_handovers_and_two_trips_to_the_writer() {
    for answer_first in [true, false] {
        let (mut world, id) = World::of_talkers(9, 2);
        let mut engine = Actors::open(&world.devices[0].store, id, world.now);
        for number in 0..5 {
            engine.forget_counts();
            let key = [number; 16];
            let request = GroupRequest::Send { key, content: vec![number], once: false };
            engine.ask(ReplyToken(number.into()), request);
            let [(token, DeliveryCall::Publish(batch))] = &engine.take_calls()[..] else {
                panic!("one call")
            };
            let outcomes = batch.iter().map(|it| world.relay.publish(0, it)).collect();
            let published = CallAnswer::Published(outcomes);
            let record = world.relay.log(0, &Topic::Group(id)).last().unwrap().clone();
            if answer_first {
                engine.answer(*token, published);
                engine.deliver(id, record);
            } else {
                engine.deliver(id, record);
                engine.answer(*token, published);
            }
            assert!(engine.is_settled());
            // What waits for something else to come with it has waited long enough.
            engine.pass(engine.context.limits.outcome_ms);
            let (order, most) =
                if answer_first { ("answer first", 4) } else { ("record first", 5) };
            assert!(engine.handovers.len() <= most, "{order}: {:#?}", engine.handovers);
            assert!(engine.trips <= 2, "{order}: {} trips", engine.trips);
            assert_eq!(engine.from_relay, 2);
            assert!(engine.take_calls().is_empty());
        }
    }
}

/// Scenario 135: 50,000 calls that were asked and withdrawn leave nothing in the actors that were
/// asked.
#[test]
fn withdrawn_calls_leave_nothing_in_the_actors() {
    let (world, id) = World::of_talkers(9, 2);
    let mut engine = Actors::open(&world.devices[0].store, id, world.now);
    // Unsettled, and the relay echoes no mark: the questions wait.
    engine.is_silent = true;
    engine.ask(ReplyToken(1), GroupRequest::Send { key: [1; 16], content: vec![1], once: false });
    let ask_some = |engine: &mut Actors<'_>, from: u64| {
        for number in from..from + 25_000 {
            let reply = ReplyToken(number);
            let request = SessionRequest::Sync;
            engine.put(Mail::Session(Input::Asked { reply, request }));
            engine.put(Mail::Session(Input::Withdrawn(reply)));
            let request = GroupRequest::Settled;
            engine.put(Mail::Group(Input::Asked { reply, request }));
            engine.put(Mail::Group(Input::Withdrawn(reply)));
        }
        engine.size()
    };
    let before = ask_some(&mut engine, 1_000);
    let after = ask_some(&mut engine, 1_000_000);
    // Numbers have more digits by then.
    assert!(after < before + 1_000, "{before} and {after}");
    assert!(engine.answers == 2, "{} answers", engine.answers);
}

/// E13: a sync that is asked while another one waits does not put that one off, however often it is
/// asked, and all that were asked meanwhile share one question to the relay.
#[test]
fn a_sync_is_not_put_off_by_later_ones() {
    let (world, id) = World::of_talkers(9, 2);
    let mut engine = Actors::open(&world.devices[0].store, id, world.now);
    engine.is_silent = true;
    engine.answers = 0;
    let sync = |engine: &mut Actors<'_>, number: u64| {
        let (reply, request) = (ReplyToken(number), SessionRequest::Sync);
        engine.put(Mail::Session(Input::Asked { reply, request }));
    };
    sync(&mut engine, 1);
    let first = engine.marks.len();
    (2..1_002).for_each(|number| sync(&mut engine, number));
    assert_eq!(engine.marks.len(), first, "the relay is asked one question at a time");
    engine.echo(engine.marks[first - 1]);
    assert_eq!(engine.answers, 1);
    assert_eq!(engine.marks.len(), first + 1);
    engine.echo(engine.marks[first]);
    assert_eq!(engine.answers, 1_001);
    assert_eq!(engine.marks.len(), first + 1, "nothing is left to ask");
}

/// The actors of an engine with one group, run in the order in which they are given something.
struct Actors<'a> {
    store: &'a Faulty<MemoryStore>,
    now: Timestamp,
    context: Arc<Context>,
    committer: Committer,
    session: SessionActor,
    invitations: InvitationActor,
    group: GroupActor,
    subscription: Option<Subscription>,
    is_silent: bool,
    /// Questions to the relay whether everything was delivered.
    marks: Vec<u64>,
    mail: VecDeque<Mail>,
    calls: Vec<(Token, DeliveryCall)>,
    answers: usize,
    /// What the application and actors put into mailboxes.
    handovers: Vec<String>,
    trips: usize,
    from_relay: usize,
}

/// An input for one of the actors.
enum Mail {
    Session(Input<SessionRequest, SessionMessage>),
    Invitations(Input<NoRequest, InvitationMessage>),
    Group(Input<GroupRequest, GroupMessage>),
}

impl<'a> Actors<'a> {
    /// Opens them, and lets them come to rest.
    fn open(store: &'a Faulty<MemoryStore>, id: GroupId, now: Timestamp) -> Self {
        let claim = Claim([9; 16]);
        store.claim(claim).unwrap();
        let limits = awake();
        let events = EventLog::open(store, limits.events).unwrap();
        let committer = Committer::with_event_log(claim, events.last());
        let entropy = Entropy::new(Box::new(SimEntropy::new(9, 0, 9)));
        let context = Arc::new(Context::new(limits, entropy));
        assert_eq!(Opening::read(store, &context).unwrap().groups, [id]);
        let mut engine = Self {
            store,
            now,
            committer,
            session: SessionActor::new(Arc::clone(&context)),
            invitations: InvitationActor::new(Arc::clone(&context)),
            group: GroupActor::new(id, Arc::clone(&context)),
            context,
            subscription: None,
            is_silent: false,
            marks: Vec::new(),
            mail: VecDeque::new(),
            calls: Vec::new(),
            answers: 0,
            handovers: Vec::new(),
            trips: 0,
            from_relay: 0,
        };
        engine.put(Mail::Session(Input::Told(SessionMessage::Registered)));
        engine.put(Mail::Invitations(Input::Told(InvitationMessage::Registered)));
        // A group that was asked something stays in memory.
        engine.ask(ReplyToken(0), GroupRequest::View);
        assert!(engine.take_calls().is_empty(), "nothing is left to do");
        assert!(engine.is_settled());
        engine
    }

    fn forget_counts(&mut self) {
        self.handovers.clear();
        (self.trips, self.from_relay) = (0, 0);
    }

    fn ask(&mut self, reply: ReplyToken, request: GroupRequest) {
        self.handovers.push(format!("{request:?}"));
        self.put(Mail::Group(Input::Asked { reply, request }));
    }

    fn answer(&mut self, token: Token, answer: CallAnswer) {
        self.from_relay += 1;
        self.put(Mail::Session(Input::Answered { token, answer }));
    }

    fn deliver(&mut self, id: GroupId, record: Record) {
        self.from_relay += 1;
        let delivery = Ok(Delivery::Record(Topic::Group(id), record));
        let of = self.subscription.unwrap();
        self.put(Mail::Session(Input::Told(SessionMessage::Delivered(of, delivery))));
    }

    /// The relay's answer to a question whether everything was delivered.
    fn echoed(&self, mark: u64) -> Mail {
        let told =
            SessionMessage::Delivered(self.subscription.unwrap(), Ok(Delivery::CaughtUp(mark)));
        Mail::Session(Input::Told(told))
    }

    fn echo(&mut self, mark: u64) {
        self.put(self.echoed(mark));
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.put(Mail::Session(Input::Due));
        self.put(Mail::Group(Input::Due));
    }

    fn take_calls(&mut self) -> Vec<(Token, DeliveryCall)> {
        std::mem::take(&mut self.calls)
    }

    fn is_settled(&self) -> bool {
        self.group.group().is_some_and(|group| group.is_settled())
    }

    /// How much the actors hold, as they print it.
    fn size(&self) -> usize {
        format!("{:?} {:?}", self.session, self.group).len()
    }

    /// Hands an input in, and everything that follows from it.
    fn put(&mut self, mail: Mail) {
        self.mail.push_back(mail);
        while let Some(mail) = self.mail.pop_front() {
            let (now, store) = (self.now, self.store);
            match mail {
                Mail::Session(input) => {
                    self.session.handle(now, store, input);
                    while let Some(effect) = self.session.poll() {
                        self.carry_out(ActorId::Session, effect);
                    }
                }
                Mail::Invitations(input) => {
                    self.invitations.handle(now, store, input);
                    while let Some(effect) = self.invitations.poll() {
                        self.carry_out(ActorId::Invitations, effect);
                    }
                }
                Mail::Group(input) => {
                    self.group.handle(now, store, input);
                    while let Some(effect) = self.group.poll() {
                        self.carry_out(ActorId::Group(self.group.id()), effect);
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, from: ActorId, effect: Effect) {
        match effect {
            Effect::Commit { token, set } => {
                self.trips += 1;
                let result = self.committer.commit(self.store, vec![set]).remove(0);
                self.mail.push_back(match from {
                    ActorId::Invitations => Mail::Invitations(Input::Stored { token, result }),
                    ActorId::Group(_) => Mail::Group(Input::Stored { token, result }),
                    ActorId::Session | ActorId::Installation => panic!("they store nothing"),
                });
            }
            Effect::Call { token, call } => self.calls.push((token, call)),
            Effect::Subscribe(number) => self.subscription = Some(number),
            Effect::Watch(Watch::Mark(mark)) => {
                self.marks.push(mark);
                if !self.is_silent {
                    self.mail.push_back(self.echoed(mark));
                }
            }
            Effect::Tell(message) => {
                self.handovers.push(format!("{from:?}: {message:?}"));
                self.mail.push_back(match message {
                    Message::Session(message) => Mail::Session(Input::Told(message)),
                    Message::Invitations(message) => Mail::Invitations(Input::Told(message)),
                    Message::Group(_, message) => Mail::Group(Input::Told(message)),
                });
            }
            Effect::Reply { answer, .. } => {
                assert!(matches!(answer, Ok(Answer::Message(_) | Answer::View(_) | Answer::Done)));
                self.answers += 1;
            }
            Effect::StoreTrouble(error) => panic!("{error}"),
            Effect::Watch(Watch::Add(_) | Watch::Remove(_))
            | Effect::Sign { .. }
            | Effect::Show(_)
            | Effect::Hide(_)
            | Effect::Relay(_) => {}
        }
    }
}
