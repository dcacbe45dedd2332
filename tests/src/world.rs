//! The World: a whole network in one thread, with one clock and one seed.
//!
//! Installations run the real engine over stores that fail on request; a relay orders their
//! envelopes and lies on request. The relay is there when the world lets a device publish
//! ([`World::publish`]) or read ([`World::fetch`]), and silent otherwise. [`World::settle`] lets everything calm down;
//! [`World::check`] then holds the world to what the engine promises.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use conclave_core::{
    engine::{
        ActorId, Answer, CallAnswer, DeliveryCall, GroupRequest, InstallationRequest, Request,
        Token,
    },
    event::{Event, Rejection},
    group::{Candidate, Group, GroupConfig, Standing, StoredMessage},
    identity::{Draft, WalletKey, read_log},
    installation::Installation,
    keyring::VerifiedPackage,
    store::{Direction, Range, Store, Table},
};
use conclave_proto::{
    Cursor, GroupId, InboxId, InstallationId, MessageId, Record, Seq, Timestamp, Topic,
    codec::Wire,
    group::Policy,
    identity::IdentityState,
    relay::{PageLimit, TopicPage},
};
use ed25519_dalek::SigningKey;

use crate::{
    account::AccountKey,
    device::{Device, Run},
    dice::Dice,
    sim_relay::SimRelay,
};

/// A person: an inbox and the account key that founded it.
#[derive(Debug)]
pub struct Person {
    /// Its inbox.
    pub inbox: InboxId,
    account: AccountKey,
    /// Its identity log.
    pub log: Vec<Vec<u8>>,
}

/// A simulated network.
#[derive(Debug)]
pub struct World {
    /// The seed everything follows from.
    pub seed: u64,
    /// The time.
    pub now: Timestamp,
    /// Its decisions.
    pub dice: Dice,
    /// The relay.
    pub relay: SimRelay,
    /// People.
    pub people: Vec<Person>,
    /// Installations, of whichever person.
    pub devices: Vec<Device>,
    /// What was sent, by whom, and where: every message of a device that stays a member arrives.
    pub sent: Vec<(usize, GroupId, MessageId)>,
    /// What becomes of the next answers of the relay, one each; then they are as they should be.
    pub odd_answers: VecDeque<OddAnswer>,
    /// Answers that come late: to be given when time has passed.
    late: Vec<(usize, ActorId, Token, CallAnswer)>,
    keys: u64,
}

/// What becomes of an answer on its way from the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddAnswer {
    /// It comes when time has passed.
    Late,
    /// It comes twice.
    Twice,
    /// It does not come.
    Never,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Timestamp(1_800_000_000_000),
            dice: Dice::new(seed),
            relay: SimRelay::default(),
            people: Vec::new(),
            devices: Vec::new(),
            sent: Vec::new(),
            odd_answers: VecDeque::new(),
            late: Vec::new(),
            keys: 0,
        }
    }

    /// A world of that many people with one installation each.
    #[must_use]
    pub fn with_people(seed: u64, count: usize) -> Self {
        let mut world = Self::new(seed);
        for _ in 0..count {
            world.add_person();
        }
        world.run_uploads();
        world
    }

    /// Publishes the key packages that wait.
    pub fn run_uploads(&mut self) {
        for device in 0..self.devices.len() {
            self.publish(device);
        }
    }

    fn key(&mut self) -> [u8; 32] {
        self.keys += 1;
        conclave_core::entropy::prf(&[7; 32], &[&self.seed.to_be_bytes(), &self.keys.to_be_bytes()])
    }

    /// Every third person has a wallet, the others an Ed25519 account key.
    fn account_key(&mut self) -> AccountKey {
        let key = self.key();
        if self.people.len() % 3 == 2
            && let Some(wallet) = WalletKey::from_bytes(&key)
        {
            return AccountKey::Wallet(wallet);
        }
        AccountKey::Ed25519(SigningKey::from_bytes(&key))
    }

    /// A person with one installation; gives the number of the installation.
    ///
    /// # Panics
    /// Never, unless the identity rules are broken.
    pub fn add_person(&mut self) -> usize {
        let account = self.account_key();
        let (key, marks) = (self.key(), self.key());
        let by = account.account();
        let draft = Draft::create(by.clone(), 0, self.now);
        let installation = Arc::new(Installation::new(draft.inbox(), key, marks));
        let draft = account
            .sign(draft.add_installation(installation.id(), by))
            .sign_with_installation(installation.signing_key());
        let log = vec![draft.encode()];
        self.relay.identities.insert(draft.inbox(), log.clone());
        self.people.push(Person { inbox: draft.inbox(), account, log });
        self.new_device(installation)
    }

    /// Another installation of a person; gives its number.
    ///
    /// # Panics
    /// If there is no such person.
    pub fn add_device(&mut self, person: usize) -> usize {
        let (key, marks) = (self.key(), self.key());
        let identity = self.identity(person);
        let owner = &mut self.people[person];
        let by = owner.account.account();
        let installation = Arc::new(Installation::new(owner.inbox, key, marks));
        let draft = Draft::following(&identity, self.now).add_installation(installation.id(), by);
        let entry =
            owner.account.sign(draft).sign_with_installation(installation.signing_key()).encode();
        owner.log.push(entry);
        self.relay.identities.insert(owner.inbox, owner.log.clone());
        self.new_device(installation)
    }

    /// Revokes an installation in its person's log.
    ///
    /// # Panics
    /// If there is no such person.
    pub fn revoke(&mut self, person: usize, installation: InstallationId) {
        use conclave_proto::identity::{Action, Member};
        let identity = self.identity(person);
        let owner = &mut self.people[person];
        let member = Member::Installation(installation);
        let draft = Draft::following(&identity, self.now).action(Action::Revoke { member });
        let entry = owner.account.sign(draft).encode();
        owner.log.push(entry);
        self.relay.identities.insert(owner.inbox, owner.log.clone());
    }

    fn new_device(&mut self, installation: Arc<Installation>) -> usize {
        let index = self.devices.len();
        self.devices.push(Device::new(self.seed, index, installation, self.now));
        index
    }

    /// What a person's log says.
    ///
    /// # Panics
    /// If there is no such person.
    #[must_use]
    pub fn identity(&self, person: usize) -> IdentityState {
        let owner = &self.people[person];
        read_log(owner.inbox, None, owner.log.iter().map(Vec::as_slice)).expect("a person's log")
    }

    /// The person that a device belongs to.
    ///
    /// # Panics
    /// If there is no such device.
    #[must_use]
    pub fn person_of(&self, device: usize) -> usize {
        let inbox = self.devices[device].installation.inbox();
        self.people.iter().position(|person| person.inbox == inbox).expect("every device has one")
    }

    /// A group in which everybody may add and remove, with a device as its only member.
    ///
    /// # Panics
    /// If the store fails.
    pub fn create_group(&mut self, device: usize) -> GroupId {
        let config = GroupConfig { policy: Policy::OPEN, ..GroupConfig::default() };
        let request = Request::Installation(InstallationRequest::CreateGroup(config));
        let created = self.ask(device, request).and_then(Answer::group);
        created.expect("the store works")
    }

    /// Lets an application on a device ask for something, and its relay's directory answer at
    /// once; the answer, if the engine gave one that is no error. Nothing else is published or
    /// read.
    pub fn ask(&mut self, device: usize, request: Request) -> Option<Answer> {
        let actor = request.actor();
        let (relay, value) = (&self.relay, &mut self.devices[device]);
        value.now = self.now;
        let reply = value.submit(request);
        loop {
            value.run(Run::Only(actor));
            if let Some(answer) = value.take_answer(reply) {
                return answer.ok();
            }
            if !answer_directory(relay, value, actor) {
                return None;
            }
        }
    }

    /// A person as a candidate, with the packages that the relay has now.
    ///
    /// # Panics
    /// If there is no such person or its packages do not verify.
    #[must_use]
    pub fn candidate(&self, person: usize) -> Candidate {
        let identity = self.identity(person);
        let packages = identity.installations.keys().filter_map(|id| {
            let upload = self.relay.package(id)?;
            let package = VerifiedPackage::check(self.now, identity.inbox, *id, &upload);
            Some(package.expect("a published package verifies"))
        });
        Candidate {
            inbox: identity.inbox,
            packages: packages.collect(),
            log: self.people[person].log.clone(),
        }
    }

    /// Lets a device wish to add people; whether the wish was taken.
    pub fn add(&mut self, device: usize, group: GroupId, people: &[usize]) -> bool {
        let who = people.iter().map(|person| self.people[*person].inbox).collect();
        self.ask(device, Request::Group(group, GroupRequest::Add(who))).is_some()
    }

    /// Lets a device wish to remove people; whether the wish was taken.
    pub fn remove(&mut self, device: usize, group: GroupId, people: &[usize]) -> bool {
        let who = people.iter().map(|person| self.people[*person].inbox).collect();
        self.ask(device, Request::Group(group, GroupRequest::Remove(who))).is_some()
    }

    /// Lets a device wish to renew its keys; whether the wish was taken.
    pub fn update_keys(&mut self, device: usize, group: GroupId) -> bool {
        self.ask(device, Request::Group(group, GroupRequest::UpdateKeys)).is_some()
    }

    /// Lets a device send a message; its id, if it was taken.
    pub fn send(&mut self, device: usize, group: GroupId, content: &[u8]) -> Option<MessageId> {
        let key = self.key();
        let key = *key.first_chunk::<16>()?;
        let request = GroupRequest::Send { key, content: content.to_vec(), once: false };
        let id = self.ask(device, Request::Group(group, request)).and_then(Answer::message)?;
        self.sent.push((device, group, id));
        Some(id)
    }

    /// Some people with one device each, in one group, who have all sent a message.
    ///
    /// # Panics
    /// If they cannot.
    #[must_use]
    pub fn of_talkers(seed: u64, people: usize) -> (Self, GroupId) {
        let mut world = Self::with_people(seed, people);
        let group = world.create_group(0);
        let others: Vec<usize> = (1..people).collect();
        assert!(world.add(0, group, &others));
        world.settle();
        for device in 0..people {
            world.send(device, group, b"here").expect("a member may post");
            world.settle();
        }
        (world, group)
    }

    /// Publishes the next thing that a device has released; `false` if there is none.
    pub fn publish_one(&mut self, device: usize) -> bool {
        let (relay, index) = (&mut self.relay, device);
        let device = &mut self.devices[device];
        device.now = self.now;
        device.sort_wishes();
        if let Some((actor, token, upload)) = device.outgoing.uploads.pop_front() {
            relay.upload(&upload);
            let head = relay.head(index, &Topic::Welcome(device.installation.id())).seq;
            device.settle_upload(actor, token, head);
            return true;
        }
        let Some(transmit) = device.transmits().pop_front() else { return false };
        let outcome = relay.publish(index, &transmit);
        device.settle_publish(transmit.id, outcome);
        true
    }

    /// Publishes everything that a device has released.
    pub fn publish(&mut self, device: usize) {
        while self.publish_one(device) {}
    }

    /// Lets a device read everything there is for it.
    ///
    /// # Panics
    /// If that does not come to an end within a bound.
    pub fn fetch(&mut self, device: usize) {
        for _ in 0..100_000 {
            if !self.fetch_some(device, usize::MAX, 0) {
                return;
            }
        }
        panic!("device {device} reads for ever:\n{}", self.report());
    }

    /// Tells a device how far its logs reach, and answers one of its calls for records: with at
    /// most `limit` of each log, starting up to `overlap` records before the place that it asks
    /// for. `false` if there is nothing to tell or to answer.
    pub fn fetch_some(&mut self, device: usize, limit: usize, overlap: usize) -> bool {
        let (relay, index) = (&self.relay, device);
        let device = &mut self.devices[device];
        device.now = self.now;
        device.sort_wishes();
        let heard = device.hear_of(|topic| relay.head(index, topic).seq);
        device.sort_wishes();
        let Some((actor, token, call)) = device.outgoing.calls.pop_front() else { return heard };
        let answer = answer_of(relay, index, call, limit, overlap);
        match self.odd_answers.pop_front() {
            None => device.answer(actor, token, answer),
            Some(OddAnswer::Late) => self.late.push((index, actor, token, answer)),
            Some(OddAnswer::Twice) => {
                device.answer(actor, token, answer.clone());
                device.answer(actor, token, answer);
            }
            Some(OddAnswer::Never) => {}
        }
        device.sort_wishes();
        true
    }

    /// Publishes and reads for everybody, until nobody has anything left to do now.
    ///
    /// # Panics
    /// If that does not happen within a bound.
    pub fn run(&mut self) {
        for _ in 0..200 {
            let mut busy = false;
            for device in 0..self.devices.len() {
                while self.publish_one(device) {
                    busy = true;
                }
                while self.fetch_some(device, usize::MAX, 0) {
                    busy = true;
                }
            }
            if !busy {
                return;
            }
        }
        panic!("the world does not come to rest:\n{}", self.report());
    }

    /// Lets time pass and timers fire.
    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        let now = self.now;
        for (device, actor, token, answer) in std::mem::take(&mut self.late) {
            if let Some(device) = self.devices.get_mut(device) {
                device.answer(actor, token, answer);
            }
        }
        for device in &mut self.devices {
            device.now = now;
            device.sort_wishes();
        }
    }

    /// Runs until nothing is on its way any more, with time passing for what waits for it.
    ///
    /// # Panics
    /// If that does not happen within a bound.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            self.run();
            if self.devices.iter().all(|device| self.is_settled(device)) {
                return;
            }
            self.pass(61_000);
        }
        panic!("the world does not settle:\n{}", self.report());
    }

    fn is_settled(&self, device: &Device) -> bool {
        let (topic, cursor) = device.welcomes();
        device.is_idle() && cursor.seq >= self.relay.head(device.index, &topic).seq
    }

    /// A device's timeline of a group, in the order of the log.
    ///
    /// # Panics
    /// If a stored message does not decode.
    #[must_use]
    pub fn timeline(&self, device: usize, group: GroupId) -> Vec<(Seq, StoredMessage)> {
        let mut found = Vec::new();
        let range = Range::within(group.0, &[0], &[1]);
        let store = self.devices[device].store.inner();
        store
            .scan(Table::Message, range, Direction::Forward, &mut |key, value| {
                let seq = key[17..].try_into().expect("a message lies under its place");
                let message = StoredMessage::decode(value).expect("a stored message decodes");
                found.push((Seq(u64::from_be_bytes(seq)), message));
                std::ops::ControlFlow::Continue(())
            })
            .expect("the store reads");
        found
    }

    /// How often a device rejected a record for a reason.
    #[must_use]
    pub fn rejections(&self, device: usize, reason: Rejection) -> usize {
        let is_it = |event: &Event| matches!(event, Event::Rejected { reason: given, .. } if *given == reason);
        self.events(device, is_it)
    }

    /// Events of a device that satisfy a question.
    #[must_use]
    pub fn events(&self, device: usize, is_it: impl Fn(&Event) -> bool) -> usize {
        self.devices[device].events().iter().filter(|event| is_it(event)).count()
    }

    /// Holds every group to its promises; see the functions it calls.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
        let mut groups: Vec<GroupId> =
            self.devices.iter().flat_map(|device| device.groups().map(Group::id)).collect();
        groups.sort();
        groups.dedup();
        for group in groups {
            self.check_members_agree(group);
            self.check_timelines(group);
        }
    }

    /// Members are in one epoch with equal authenticators and rosters, and the roster names
    /// exactly them.
    fn check_members_agree(&self, id: GroupId) {
        let members: Vec<&Device> =
            self.devices.iter().filter(|device| is_member(device, id)).collect();
        let Some(first) = members.first().and_then(|device| device.find_group(id)) else {
            return;
        };
        for device in &members {
            let group = device.group(id);
            assert_eq!(group.epoch(), first.epoch(), "epochs of {id:?}:\n{}", self.report());
            assert_eq!(
                group.epoch_authenticator(),
                first.epoch_authenticator(),
                "authenticators of {id:?}:\n{}",
                self.report()
            );
            assert_eq!(group.state(), first.state(), "rosters of {id:?}");
        }
        for leaf in first.state().expected_leaves() {
            let there = members.iter().any(|device| device.installation.id() == leaf.installation);
            assert!(there, "{leaf:?} is in the roster but holds no group:\n{}", self.report());
        }
    }

    /// Everybody shows what the rules give them, each message once, in the order of the log; and
    /// what a device sent that is still a member is shown.
    fn check_timelines(&self, id: GroupId) {
        let mut all: BTreeMap<Seq, StoredMessage> = BTreeMap::new();
        for device in 0..self.devices.len() {
            for (seq, message) in self.timeline(device, id) {
                let before = all.insert(seq, message.clone());
                assert!(before.is_none_or(|before| before == message), "two messages at {seq:?}");
            }
        }
        let mut ids: Vec<MessageId> = all.values().map(|message| message.id).collect();
        ids.sort();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count, "a message is shown twice");
        for device in 0..self.devices.len() {
            let Some(memberships) = self.devices[device].memberships.get(&id) else { continue };
            let expected: Vec<(Seq, MessageId)> = all
                .iter()
                .filter(|(seq, message)| {
                    memberships.iter().any(|membership| {
                        **seq > membership.start
                            && message.epoch.0 >= membership.epoch
                            && membership.end.is_none_or(|end| **seq < end)
                    })
                })
                .map(|(seq, message)| (*seq, message.id))
                .collect();
            let shown: Vec<(Seq, MessageId)> =
                self.timeline(device, id).iter().map(|(seq, m)| (*seq, m.id)).collect();
            assert_eq!(shown, expected, "timeline of device {device}:\n{}", self.report());
        }
        for (device, group, message) in &self.sent {
            let stayed = self.devices[*device].memberships.get(group);
            let stayed = stayed.is_some_and(|m| m.len() == 1 && m[0].end.is_none());
            if *group == id && stayed && is_member(&self.devices[*device], id) {
                assert!(ids.contains(message), "{message:?} of device {device} is lost");
            }
        }
    }

    /// Everybody's messages are shown in the order of sending, as long as the relay stores each
    /// device's envelopes in the order in which it gets them.
    pub fn check_order_of_senders(&self) {
        let senders: BTreeSet<(usize, GroupId)> =
            self.sent.iter().map(|(device, group, _)| (*device, *group)).collect();
        for (device, group) in senders {
            let timeline = self.timeline(device, group);
            let places: BTreeMap<MessageId, Seq> =
                timeline.iter().map(|(seq, message)| (message.id, *seq)).collect();
            let own = self.sent.iter().filter(|(of, to, _)| (*of, *to) == (device, group));
            let own: Vec<Seq> = own.filter_map(|(_, _, id)| places.get(id)).copied().collect();
            assert!(
                own.is_sorted(),
                "messages of device {device} changed places: {own:?}\n{}",
                self.report()
            );
        }
    }

    /// What the world looks like, for a person who has to find out why.
    #[must_use]
    pub fn report(&self) -> String {
        use std::fmt::Write as _;
        let mut out = format!("world {} at {}\n", self.seed, self.now.0);
        for device in &self.devices {
            let _ = writeln!(
                out,
                "  device {} {:?}: {} to publish, idle: {}, session idle: {}, invitations busy: {}",
                device.index,
                device.installation.id(),
                device.outgoing.transmits.len(),
                device.is_idle(),
                device.engine.session().session().is_idle(),
                device.engine.invitations().is_busy(),
            );
            for group in device.groups() {
                let head = self.relay.head(device.index, group.topic()).seq.0;
                let _ = writeln!(
                    out,
                    "    {group:?} head {head}, {} unsettled, {} wishes, {} members",
                    group.unsettled().len(),
                    group.pending_intents().count(),
                    group.members().count(),
                );
            }
            let shown =
                std::env::var("CONCLAVE_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
            for event in device.events().iter().rev().take(shown) {
                let _ = writeln!(out, "      {event:?}");
            }
        }
        out
    }

    /// All stored bytes of all devices and all logs: equal for equal seeds.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<u8> {
        let mut all = self.relay.fingerprint().0.to_vec();
        for device in &self.devices {
            for (table, key, value) in device.store.inner().digest_input() {
                all.extend(table.name().as_bytes());
                all.extend(key);
                all.extend(value);
            }
        }
        all
    }

    /// Injects bytes into a group's log.
    pub fn inject(&mut self, group: GroupId, payload: Vec<u8>) -> Seq {
        self.relay.inject(&Topic::Group(group), payload).seq
    }
}

/// Whether a device takes part in a group as a member.
#[must_use]
pub fn is_member(device: &Device, id: GroupId) -> bool {
    device.find_group(id).is_some_and(|group| group.standing() == Standing::Member)
}

/// Answers one call for a directory: identity logs and key packages; `false` if there is none.
fn answer_directory(relay: &SimRelay, device: &mut Device, of: ActorId) -> bool {
    device.take_wishes_of(of);
    let Some(at) = device.outgoing.calls.iter().position(|(actor, ..)| *actor == of) else {
        return false;
    };
    let Some((actor, token, call)) = device.outgoing.calls.remove(at) else { return false };
    let answer = answer_of(relay, device.index, call, usize::MAX, 0);
    device.answer(actor, token, answer);
    true
}

/// What the relay answers to a call.
fn answer_of(
    relay: &SimRelay,
    device: usize,
    call: DeliveryCall,
    limit: usize,
    overlap: usize,
) -> CallAnswer {
    match call {
        DeliveryCall::Fetch { after, limit: page } => {
            let pages = after.into_iter();
            let pages = pages
                .map(|(topic, cursor)| page_of(relay, device, topic, cursor, page, limit, overlap));
            CallAnswer::Fetched(Ok(pages.collect()))
        }
        DeliveryCall::KeyPackages(of) => {
            CallAnswer::KeyPackages(Ok(of.iter().map(|id| relay.package(id)).collect()))
        }
        DeliveryCall::Resolve(accounts) => {
            CallAnswer::Resolved(Ok(accounts.iter().map(|_| None).collect()))
        }
        DeliveryCall::Publish(_) | DeliveryCall::Upload(_) => {
            panic!("publishes and uploads are taken one by one")
        }
    }
}

fn page_of(
    relay: &SimRelay,
    device: usize,
    topic: Topic,
    after: Cursor,
    page: PageLimit,
    limit: usize,
    overlap: usize,
) -> TopicPage {
    let log = match &topic {
        Topic::Identity(inbox) => relay.identity_log(inbox),
        Topic::Group(_) | Topic::Welcome(_) | Topic::Blob(_) => relay.log(device, &topic).to_vec(),
    };
    let head = log.last().map_or(Cursor::START, Record::cursor);
    let next = log.partition_point(|record| record.seq <= after.seq);
    let limit = limit.min(usize::try_from(page.records).unwrap_or(usize::MAX)).max(1);
    let end = log.len().min(next.saturating_add(limit));
    let records = log[next.saturating_sub(overlap)..end].to_vec();
    TopicPage { topic, records, head, more: end < log.len(), signed: None }
}
