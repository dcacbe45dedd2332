//! What a subscription brought and nobody has pulled yet: bounded, and honest about it.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use conclave_core::delivery::{Delivery, TransportError};
use conclave_proto::{Seq, Topic};
use futures_core::Stream;

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Mailbox(Arc<Mutex<State>>);

/// The subscriber's end.
#[derive(Debug)]
pub(crate) struct Deliveries(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    most: usize,
    queue: VecDeque<Delivery>,
    /// Topics of which records were dropped, and how far they have come.
    heads: BTreeMap<Topic, Seq>,
    /// Marks that came after the heads.
    marks: VecDeque<u64>,
    end: Option<TransportError>,
    ended: bool,
    waker: Option<Waker>,
}

/// Both ends of a mailbox that holds at most so many records.
pub(crate) fn mailbox(most: usize) -> (Mailbox, Deliveries) {
    let state = Arc::new(Mutex::new(State { most, ..State::default() }));
    (Mailbox(Arc::clone(&state)), Deliveries(state))
}

impl Mailbox {
    /// Puts something in. What does not fit is dropped, and a head says so later.
    pub(crate) fn put(&self, delivery: Delivery) {
        let mut state = lock(&self.0);
        state.put(delivery);
        state.wake();
    }

    /// Ends the subscription; what is in the mailbox can still be pulled.
    pub(crate) fn end(&self, error: TransportError) {
        let mut state = lock(&self.0);
        state.end.get_or_insert(error);
        state.wake();
    }

    /// Whether nobody will pull anything any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivery, TransportError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = lock(&self.0);
        if let Some(delivery) = state.next() {
            return Poll::Ready(Some(Ok(delivery)));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        if let Some(error) = state.end.take() {
            state.ended = true;
            return Poll::Ready(Some(Err(error)));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl State {
    fn put(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Record(topic, record) => {
                if self.queue.len() < self.most && !self.heads.contains_key(&topic) {
                    self.queue.push_back(Delivery::Record(topic, record));
                } else {
                    self.come_to(topic, record.seq);
                }
            }
            Delivery::Head { topic, seq } => self.come_to(topic, seq),
            Delivery::CaughtUp(mark) => {
                // Marks are answers to own questions, so there are as many as were asked.
                self.marks.push_back(mark);
            }
        }
    }

    fn come_to(&mut self, topic: Topic, seq: Seq) {
        let head = self.heads.entry(topic).or_insert(seq);
        *head = seq.max(*head);
    }

    fn next(&mut self) -> Option<Delivery> {
        if let Some(delivery) = self.queue.pop_front() {
            return Some(delivery);
        }
        if let Some((topic, seq)) = self.heads.pop_first() {
            return Some(Delivery::Head { topic, seq });
        }
        self.marks.pop_front().map(Delivery::CaughtUp)
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What is behind the lock is whole between any two statements.
fn lock(mutex: &Mutex<State>) -> MutexGuard<'_, State> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use conclave_core::delivery::Delivery;
    use conclave_proto::{ChainHash, GroupId, Record, Seq, Topic};

    use super::{State, mailbox};

    fn record(seq: u64) -> Delivery {
        let topic = Topic::Group(GroupId([1; 16]));
        let record = Record::chained(&topic, Seq(seq), Seq(seq - 1), &ChainHash::GENESIS, vec![1]);
        Delivery::Record(topic, record)
    }

    fn drained(state: &mut State) -> Vec<String> {
        std::iter::from_fn(|| state.next())
            .map(|delivery| match delivery {
                Delivery::Record(_, record) => format!("record {}", record.seq.0),
                Delivery::Head { seq, .. } => format!("head {}", seq.0),
                Delivery::CaughtUp(mark) => format!("mark {mark}"),
            })
            .collect()
    }

    /// Scenario 84: a subscriber that does not pull costs a bounded number of records and one
    /// head for each topic, and what it pulls later has no silent hole.
    #[test]
    fn what_nobody_pulls_becomes_one_head() {
        let (mailbox, _deliveries) = mailbox(2);
        for seq in 1..=100 {
            mailbox.put(record(seq));
        }
        mailbox.put(Delivery::CaughtUp(7));
        let mut state = super::lock(&mailbox.0);
        assert_eq!(drained(&mut state), ["record 1", "record 2", "head 100", "mark 7"]);
    }

    /// After a head, the records that follow it come by themselves again.
    #[test]
    fn records_come_again_once_there_is_room() {
        let (mailbox, _deliveries) = mailbox(1);
        mailbox.put(record(1));
        mailbox.put(record(2));
        assert_eq!(drained(&mut super::lock(&mailbox.0)), ["record 1", "head 2"]);
        mailbox.put(record(3));
        assert_eq!(drained(&mut super::lock(&mailbox.0)), ["record 3"]);
    }
}
