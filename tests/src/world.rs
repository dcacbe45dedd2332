//! The World: a whole network in one thread, with one clock and one seed.
//!
//! Installations run the real engine over stores that fail on request; a relay orders their
//! envelopes and lies on request. The relay is there when the world lets a device publish
//! ([`World::publish`]) or read ([`World::fetch`]), and silent otherwise. [`World::settle`] lets everything calm down;
//! [`World::check`] then holds the world to what the engine promises.

mod answers;
mod checks;

use std::{collections::VecDeque, sync::Arc};

use conclave_core::{
    engine::{ActorId, Answer, CallAnswer, GroupRequest, InstallationRequest, Request, Token},
    group::{Candidate, GroupConfig},
    identity::{Draft, WalletKey, read_log},
    installation::Installation,
    keyring::VerifiedPackage,
};
use conclave_proto::{
    GroupId, InboxId, InstallationId, MessageId, Seq, Timestamp, Topic, group::Policy,
    identity::IdentityState,
};
use ed25519_dalek::SigningKey;

use crate::{
    account::AccountKey,
    device::{Device, Run},
    dice::Dice,
    sim_relay::SimRelay,
};

use answers::{answer_directory, answer_of};
pub use checks::is_member;

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

    /// Injects bytes into a group's log.
    pub fn inject(&mut self, group: GroupId, payload: Vec<u8>) -> Seq {
        self.relay.inject(&Topic::Group(group), payload).seq
    }
}
