//! Groups of any size, made fast: everybody has a leaf, a few are live.
//!
//! Of a group of 1,000 only ten installations run an engine: the founder, eight senders and a
//! receiver. The others have an identity, a key package and a leaf, and never come online.

use std::{collections::BTreeMap, sync::Arc};

use conclave_core::{
    config::Limits,
    delivery::{PublishOutcome, Transmit},
    entropy::{Entropy, prf},
    group::{Candidate, Group, GroupConfig},
    identity::{Draft, read_log},
    installation::Installation,
    keyring::{Gathered, KeyRing, VerifiedPackage, WelcomeOutcome},
    padding,
    store::Store as _,
};
use conclave_proto::{
    ChainHash, Cursor, InboxId, InstallationId, MessageId, Record, Seq, Timestamp, Topic,
    codec::Wire as _,
    group::Policy,
    identity::{Account, IdentityState},
    message::{Body, Payload},
};
use conclave_store_memory::MemoryStore;
use conclave_testkit::entropy::SimEntropy;
use ed25519_dalek::SigningKey;

use crate::live::{CLAIM, Live};

/// What a group to measure is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Leaves, at least as many as are live.
    pub leaves: usize,
    /// Installations of each inbox.
    pub per_inbox: usize,
    /// Inboxes that the state lists besides, without a leaf.
    pub without_leaves: usize,
    /// Installations that run an engine; the founder is one of them.
    pub live: usize,
}

impl Shape {
    /// A group of that many leaves, five to an inbox: the founder, eight senders and a receiver
    /// are live.
    #[must_use]
    pub const fn of(leaves: usize) -> Self {
        Self { leaves, per_inbox: 5, without_leaves: 0, live: SENDERS + 2 }
    }
}

/// Senders of a batch.
pub const SENDERS: usize = 8;
/// Bytes of a message's content.
pub const CONTENT_BYTES: usize = 100;

/// The time of every group here. Nothing that is measured waits for a timer.
pub const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// Inboxes invited by one wish; the engine puts as many wishes into a commit as fit.
const INVITED_TOGETHER: usize = 40;

/// A group, its log, and its live members. The founder is the first, the receiver the last, the
/// senders are between them.
pub struct Fixture {
    /// The group's log.
    pub log: Vec<Record>,
    /// The live members.
    pub live: Vec<Live>,
    topic: Topic,
    /// The founder's identity log: who is invited checks it.
    inviter_log: Vec<Vec<u8>>,
    sent: u64,
}

struct Person {
    inbox: InboxId,
    log: Vec<Vec<u8>>,
    identity: IdentityState,
    installations: Vec<Arc<Installation>>,
}

impl Fixture {
    /// Makes a group; every sender has renewed its keys and sent one message, which everybody has
    /// read.
    ///
    /// # Panics
    /// If the engine refuses any of it.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let mut keys = Keys::default();
        let inboxes = shape.leaves.div_ceil(shape.per_inbox);
        let people: Vec<Person> = (0..inboxes)
            .map(|inbox| {
                let rest = shape.leaves - inbox * shape.per_inbox;
                keys.person(shape.per_inbox.min(rest))
            })
            .collect();
        let silent: Vec<Person> = (0..shape.without_leaves).map(|_| keys.person(1)).collect();
        let mut rings = Rings::of(shape);
        // Those who will be live come last, so that they join with the last commit.
        let candidates = silent
            .iter()
            .map(Person::without_packages)
            .chain(people.iter().map(|person| rings.candidate(person)))
            .collect();
        let mut fixture = Self::found(&people[0], candidates);
        fixture.welcome(rings.kept);
        assert_eq!(fixture.live.len(), shape.live, "everybody who is live has joined");
        assert_eq!(fixture.live[0].group.members().count(), shape.leaves);
        fixture.warm_up();
        fixture
    }

    /// A group of the first person's first installation and everybody who is invited.
    fn found(person: &Person, candidates: Vec<Candidate>) -> Self {
        let founder = Arc::clone(&person.installations[0]);
        let config = GroupConfig { policy: Policy::OPEN, ..GroupConfig::default() };
        let step = Group::create(
            NOW,
            config,
            person.identity.clone(),
            Arc::clone(&founder),
            limits(),
            entropy(&founder),
        );
        let (store, mut committer) = open_store();
        let group = committer.drive(&store, step.expect("a group is made")).expect("it is stored");
        let group = group.reply;
        let topic = group.topic().clone();
        let founder = Live::new(group, store, committer);
        let mut fixture = Self {
            log: Vec::new(),
            live: vec![founder],
            topic,
            inviter_log: person.log.clone(),
            sent: 0,
        };
        let mut candidates = candidates.into_iter().peekable();
        while candidates.peek().is_some() {
            let who = candidates.by_ref().take(INVITED_TOGETHER).collect();
            let founder = &mut fixture.live[0];
            let step = founder.group.add(NOW, who).expect("candidates are fine");
            founder.drive(step);
        }
        fixture
    }

    /// Carries the founder's commits and Welcomes, until everybody who is live has joined.
    fn welcome(&mut self, mut rings: BTreeMap<InstallationId, KeyRing>) {
        let mut bodies = BTreeMap::new();
        loop {
            let sent = self.live[0].take_released();
            if sent.is_empty() {
                return;
            }
            for transmit in sent {
                match transmit.topic.clone() {
                    Topic::Group(_) => self.append(transmit),
                    Topic::Blob(address) => {
                        bodies.insert(address, transmit.payload.clone());
                        self.settle_plain(&transmit);
                    }
                    Topic::Welcome(id) => {
                        self.settle_plain(&transmit);
                        if let Some(ring) = rings.remove(&id) {
                            let live = self.join(ring, transmit, &bodies);
                            self.live.push(live);
                        }
                    }
                    Topic::Identity(_) => {}
                }
            }
            self.catch_up();
        }
    }

    fn join(
        &self,
        mut ring: KeyRing,
        transmit: Transmit,
        bodies: &BTreeMap<[u8; 32], Vec<u8>>,
    ) -> Live {
        let record =
            Record::chained(&transmit.topic, Seq(1), Seq(0), &ChainHash::GENESIS, transmit.payload);
        let (store, mut committer) = open_store();
        let step = ring.handle_welcome(NOW, &record, None);
        let released = committer.drive(&store, step).expect("it is stored");
        let WelcomeOutcome::Needs(invitation) = released.reply else {
            panic!("a Welcome asks for its body first")
        };
        let at = self.log.iter().position(|record| record.seq == invitation.start.seq);
        let at = at.expect("the commit is in the log");
        let gathered = Gathered {
            commit: Some(self.log[at].clone()),
            body: bodies.get(&invitation.body).cloned(),
            inviter_log: self.inviter_log.clone(),
            held: None,
        };
        let step = ring.handle_welcome(NOW, &record, Some(&gathered));
        let released = committer.drive(&store, step).expect("it is stored");
        let WelcomeOutcome::Joined(group) = released.reply else {
            panic!("a good Welcome leads to a group")
        };
        let mut live = Live::new(*group, store, committer);
        live.read = at + 1;
        live
    }

    fn settle_plain(&mut self, transmit: &Transmit) {
        let accepted = PublishOutcome::Accepted { seq: Seq(1), prev: Seq(0) };
        let founder = &mut self.live[0];
        let step = founder.group.handle_publish(NOW, transmit.id, &accepted);
        founder.drive(step);
    }

    /// Each sender renews its keys, in an epoch of its own, and sends a message.
    fn warm_up(&mut self) {
        for sender in self.senders() {
            self.send(sender);
            self.exchange();
        }
        self.first_words();
    }

    /// Each sender sends its first message of the epoch, and everybody reads it.
    pub fn first_words(&mut self) {
        for sender in self.senders() {
            self.send(sender);
        }
        self.exchange();
    }

    /// The numbers of the senders.
    #[must_use]
    pub fn senders(&self) -> std::ops::Range<usize> {
        1..self.receiver_index()
    }

    /// The number of the receiver.
    #[must_use]
    pub fn receiver_index(&self) -> usize {
        self.live.len() - 1
    }

    /// The receiver.
    pub fn receiver(&mut self) -> &mut Live {
        let index = self.receiver_index();
        &mut self.live[index]
    }

    /// Lets a member send; what it releases waits to be published.
    ///
    /// # Panics
    /// If the engine refuses.
    pub fn send(&mut self, sender: usize) {
        let key = self.next_key();
        self.live[sender].send(key, vec![7; CONTENT_BYTES]);
    }

    /// An idempotency key that was not used before.
    pub fn next_key(&mut self) -> [u8; 16] {
        self.sent += 1;
        u128::from(self.sent).to_be_bytes()
    }

    /// Puts what a member has released at the end of the log.
    pub fn publish(&mut self, member: usize) {
        for transmit in self.live[member].take_released() {
            self.append(transmit);
        }
    }

    fn append(&mut self, transmit: Transmit) {
        let head = self.log.last().map(Record::cursor);
        let (seq, hash) = head.map_or((0, ChainHash::GENESIS), |head| (head.seq.0, head.hash));
        let seq = Seq(seq);
        let record = Record::chained(&self.topic, Seq(seq.0 + 1), seq, &hash, transmit.payload);
        self.log.push(record);
    }

    /// That many messages at the end of the log, by all senders in turn; nobody has read them.
    pub fn messages(&mut self, count: usize) {
        for sender in self.senders().cycle().take(count) {
            self.send(sender);
            self.publish(sender);
        }
    }

    /// Everybody reads to the end of the log.
    pub fn catch_up(&mut self) {
        for live in &mut self.live {
            live.read_log(&self.log);
        }
    }

    /// Publishes and reads for everybody until nothing is on its way.
    pub fn exchange(&mut self) {
        while self.live.iter().any(Live::has_released) {
            for member in 0..self.live.len() {
                self.publish(member);
            }
            self.catch_up();
        }
    }
}

impl Person {
    /// As a candidate none of whose installations gets a leaf.
    fn without_packages(&self) -> Candidate {
        Candidate { inbox: self.inbox, log: self.log.clone(), packages: Vec::new() }
    }
}

/// Key rings of those who will be live; of the others only the package is kept.
struct Rings {
    kept: BTreeMap<InstallationId, KeyRing>,
    /// Installations that were counted, and how many of them are never live.
    counted: usize,
    never_live: usize,
}

impl Rings {
    const fn of(shape: Shape) -> Self {
        Self { kept: BTreeMap::new(), counted: 0, never_live: shape.leaves + 1 - shape.live }
    }

    /// A person with a package of each installation but the founder's, which is the first of all.
    fn candidate(&mut self, person: &Person) -> Candidate {
        let mut packages = Vec::new();
        for installation in &person.installations {
            self.counted += 1;
            if self.counted == 1 {
                continue;
            }
            let ring =
                KeyRing::create(NOW, Arc::clone(installation), limits(), entropy(installation), 0);
            let (store, mut committer) = open_store();
            let ring = committer.drive(&store, ring.expect("a ring is made"));
            let ring = ring.expect("it is stored").reply;
            let upload = ring.upload().bytes;
            let package = VerifiedPackage::check(NOW, person.inbox, installation.id(), &upload);
            packages.push(package.expect("a package that was just made verifies"));
            if self.counted > self.never_live {
                self.kept.insert(installation.id(), ring);
            }
        }
        Candidate { inbox: person.inbox, log: person.log.clone(), packages }
    }
}

/// Keys from a counter: the same groups in every run.
#[derive(Default)]
struct Keys(u64);

impl Keys {
    fn next(&mut self) -> [u8; 32] {
        self.0 += 1;
        prf(&[3; 32], &[&self.0.to_be_bytes()])
    }

    /// A person with that many installations, all in its first identity update.
    fn person(&mut self, installations: usize) -> Person {
        let account = SigningKey::from_bytes(&self.next());
        let by = Account::ed25519(account.verifying_key().to_bytes());
        let mut draft = Draft::create(by.clone(), 0, NOW);
        let installations: Vec<Arc<Installation>> = (0..installations)
            .map(|_| Arc::new(Installation::new(draft.inbox(), self.next(), self.next())))
            .collect();
        for installation in &installations {
            draft = draft.add_installation(installation.id(), by.clone());
        }
        draft = draft.sign_with_account(&account);
        for installation in &installations {
            draft = draft.sign_with_installation(installation.signing_key());
        }
        let (inbox, log) = (draft.inbox(), vec![draft.encode()]);
        let identity = read_log(inbox, None, log.iter().map(Vec::as_slice));
        Person { inbox, log, identity: identity.expect("the log is good"), installations }
    }
}

/// What a message of the engine encrypts, of the right length: for peers that are to do the same
/// work.
#[must_use]
pub fn plaintext() -> Vec<u8> {
    let payload = Payload {
        counter: 100,
        previous: MessageId([7; 32]),
        key: [7; 16],
        time: NOW,
        read: Cursor { seq: Seq(1_000), hash: ChainHash::GENESIS },
        body: Body::Content(vec![7; CONTENT_BYTES]),
    };
    padding::pad(&payload.encode())
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.leaves = 5_000;
    limits
}

fn entropy(installation: &Installation) -> Entropy {
    let id = installation.id().0;
    let number = u64::from_be_bytes(*id.first_chunk().expect("an id has 32 bytes"));
    Entropy::new(Box::new(SimEntropy::new(5, number, 0)))
}

fn open_store() -> (MemoryStore, conclave_core::step::Committer) {
    let store = MemoryStore::new();
    store.claim(CLAIM).expect("a memory store takes a claim");
    (store, conclave_core::step::Committer::new(CLAIM))
}
