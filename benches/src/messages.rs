//! Processor time of messages, sent and received, one at a time and in batches.

use std::time::Duration;

use conclave_proto::Record;

use crate::{
    fixture::Fixture,
    live::Live,
    measure::{Ratio, cpu},
};

/// Messages of one measurement, and of a batch.
pub const BATCH: usize = 64;

/// One way to time 64 messages of a group.
pub type Side = fn(&mut Fixture) -> Duration;

/// Times messages of two groups in turn, after one round that does not count.
pub fn compare(first: &mut Fixture, second: &mut Fixture, repetitions: usize, side: Side) -> Ratio {
    side(first);
    side(second);
    Ratio::interleaved(repetitions, BATCH, || side(first), || side(second))
}

/// 64 messages by all senders, received in one step.
pub fn receive_batch(fixture: &mut Fixture) -> Duration {
    receive(fixture, |receiver, batch| receiver.receive(batch))
}

/// 64 messages by all senders, each received in a step of its own.
pub fn receive_single(fixture: &mut Fixture) -> Duration {
    receive(fixture, |receiver, batch| {
        for record in batch {
            receiver.receive(std::slice::from_ref(record));
        }
    })
}

/// 64 messages, sent by all senders in turn; nobody has more than one on its way.
pub fn send_single(fixture: &mut Fixture) -> Duration {
    let mut time = Duration::ZERO;
    for sent in 0..BATCH {
        time += send_one(fixture, sent);
        if sent % fixture.senders().len() == fixture.senders().len() - 1 {
            fixture.catch_up();
        }
    }
    fixture.catch_up();
    time
}

/// 64 messages, each sent and then received in a step of its own.
pub fn send_and_receive(fixture: &mut Fixture) -> Duration {
    let mut time = Duration::ZERO;
    for sent in 0..BATCH {
        time += send_one(fixture, sent);
        let record = fixture.log[fixture.log.len() - 1].clone();
        let receiver = fixture.receiver();
        time += cpu(|| receiver.receive(std::slice::from_ref(&record)));
        fixture.catch_up();
    }
    time
}

fn send_one(fixture: &mut Fixture, sent: usize) -> Duration {
    let senders = fixture.senders();
    let sender = senders.start + sent % senders.len();
    let time = cpu(|| fixture.send(sender));
    fixture.publish(sender);
    time
}

fn receive(fixture: &mut Fixture, work: impl FnOnce(&mut Live, &[Record])) -> Duration {
    let start = fixture.log.len();
    fixture.messages(BATCH);
    let batch = fixture.log[start..].to_vec();
    let receiver = fixture.receiver();
    let time = cpu(|| work(receiver, &batch));
    fixture.catch_up();
    time
}
