//! Bytes that a store is given, keys and message records included. They are the same in every
//! run.

use crate::{fixture::Fixture, messages::BATCH};

/// Bytes handed to the receiver's store, of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// Per message of a batch of 64 by all senders.
    pub batch: u64,
    /// The worst of several messages received one at a time, of each kind.
    pub single: Single,
    /// The worst of several commits with a path.
    pub commit: u64,
    /// The worst of several messages sent.
    pub sent: u64,
}

/// Bytes per message received one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Single {
    /// A sender's later messages of an epoch.
    pub steady: u64,
    /// A sender's first message of an epoch.
    pub first: u64,
    /// Where a sender's generation needs a second byte.
    pub generation_128: u64,
    /// Of the epoch before.
    pub one_back: u64,
    /// Of the oldest epoch that can still be read.
    pub three_back: u64,
}

impl Single {
    /// The worst of all kinds.
    #[must_use]
    pub fn worst(&self) -> u64 {
        let Self { steady, first, generation_128, one_back, three_back } = *self;
        [steady, first, generation_128, one_back, three_back].into_iter().max().unwrap_or_default()
    }
}

/// Counts in a group, whose epochs go on by it.
pub fn count(fixture: &mut Fixture) -> Bytes {
    let mut commits = Vec::new();
    commits.push(commit(fixture, 1));
    let senders: Vec<usize> = fixture.senders().collect();
    let first = worst(&senders, |sender| one(fixture, *sender));
    let again: Vec<usize> = senders.iter().copied().cycle().take(2 * senders.len()).collect();
    let steady = worst(&again, |sender| one(fixture, *sender));
    let generation_128 = around_generation_128(fixture, senders[0]);
    let batch = batch(fixture);
    let sent = worst(&senders, |sender| sent(fixture, *sender));
    let one_back = late(fixture, 1, &mut commits);
    let three_back = late(fixture, 3, &mut commits);
    let single = Single { steady, first, generation_128, one_back, three_back };
    Bytes { batch, single, commit: commits.into_iter().max().unwrap_or_default(), sent }
}

fn worst<T>(of: &[T], count: impl FnMut(&T) -> u64) -> u64 {
    of.iter().map(count).max().unwrap_or_default()
}

/// The receiver's bytes of one message by a sender.
fn one(fixture: &mut Fixture, sender: usize) -> u64 {
    fixture.send(sender);
    receive_published(fixture, sender)
}

/// Publishes what a member has released and lets everybody read it; gives the receiver's bytes.
fn receive_published(fixture: &mut Fixture, member: usize) -> u64 {
    fixture.publish(member);
    let (index, log) = (fixture.receiver_index(), &fixture.log);
    let bytes = fixture.live[index].bytes_of(|receiver| receiver.read_log(log));
    fixture.catch_up();
    bytes
}

/// The worst around the place where a generation stops to fit one byte. The sender has sent three
/// messages in this epoch.
fn around_generation_128(fixture: &mut Fixture, sender: usize) -> u64 {
    for _ in 3..125 {
        fixture.send(sender);
        fixture.publish(sender);
    }
    fixture.catch_up();
    (125..=131).map(|_| one(fixture, sender)).max().unwrap_or_default()
}

fn batch(fixture: &mut Fixture) -> u64 {
    let start = fixture.log.len();
    fixture.messages(BATCH);
    let batch = fixture.log[start..].to_vec();
    let bytes = fixture.receiver().bytes_of(|receiver| receiver.receive(&batch));
    fixture.catch_up();
    bytes.div_ceil(BATCH as u64)
}

/// The sender's own bytes of a message.
fn sent(fixture: &mut Fixture, sender: usize) -> u64 {
    let key = fixture.next_key();
    let content = vec![7; crate::fixture::CONTENT_BYTES];
    let bytes = fixture.live[sender].bytes_of(|live| {
        live.send(key, content);
    });
    fixture.publish(sender);
    fixture.catch_up();
    bytes
}

/// The receiver's bytes of a commit with a path by a member.
fn commit(fixture: &mut Fixture, member: usize) -> u64 {
    let live = &mut fixture.live[member];
    let step = live.group.update_keys(crate::fixture::NOW).expect("a member renews its keys");
    live.drive(step);
    receive_published(fixture, member)
}

/// The worst of messages that were encrypted some epochs before their place in the log: by the
/// senders, who have sent in that epoch before, and by the founder, who has not.
fn late(fixture: &mut Fixture, epochs: usize, commits: &mut Vec<u64>) -> u64 {
    fixture.first_words();
    let late: Vec<usize> = (0..fixture.receiver_index()).collect();
    let mut held = Vec::new();
    for member in &late {
        fixture.send(*member);
        held.push((*member, fixture.live[*member].take_released()));
    }
    for committer in 1..=epochs {
        commits.push(commit(fixture, committer));
    }
    let mut bytes = Vec::new();
    for (member, released) in held {
        fixture.live[member].put_released(released);
        bytes.push(receive_published(fixture, member));
    }
    bytes.into_iter().max().unwrap_or_default()
}
