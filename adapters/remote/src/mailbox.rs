//! What a subscription brought and nobody has pulled yet: bounded, and honest about it.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use conclave_core::delivery::{Delivery, TransportError};
use conclave_proto::{Seq, Topic};
use futures_core::Stream;
use parking_lot::Mutex;

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Mailbox(Arc<Mutex<State>>);

/// The subscriber's end.
#[derive(Debug)]
pub(crate) struct Deliveries(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    most: usize,
    most_bytes: usize,
    queue: VecDeque<Delivery>,
    /// Bytes of the records in the queue.
    bytes: usize,
    /// Topics of which records were dropped, and how far they have come.
    heads: BTreeMap<Topic, Seq>,
    /// Marks that came after the heads.
    marks: VecDeque<u64>,
    end: Option<TransportError>,
    ended: bool,
    waker: Option<Waker>,
}

/// Both ends of a mailbox that holds at most so many records, and so many bytes of them; the last
/// one may exceed these.
pub(crate) fn mailbox(most: usize, most_bytes: usize) -> (Mailbox, Deliveries) {
    let state = Arc::new(Mutex::new(State { most, most_bytes, ..State::default() }));
    (Mailbox(Arc::clone(&state)), Deliveries(state))
}

impl Mailbox {
    /// Puts something in. What does not fit is dropped, and a head says so later.
    pub(crate) fn put(&self, delivery: Delivery) {
        let mut state = self.0.lock();
        state.put(delivery);
        state.wake();
    }

    /// Ends the subscription; what is in the mailbox can still be pulled.
    pub(crate) fn end(&self, error: TransportError) {
        let mut state = self.0.lock();
        state.end.get_or_insert(error);
        state.wake();
    }

    /// Whether nobody will pull anything any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A driver that lets go of it without a word, as with its runtime, has ended the subscription.
impl Drop for Mailbox {
    fn drop(&mut self) {
        self.end(TransportError::Unavailable { retry_after: Duration::ZERO });
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivery, TransportError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock();
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
                let room = self.queue.len() < self.most && self.bytes < self.most_bytes;
                if room && !self.heads.contains_key(&topic) {
                    self.bytes += record.payload.len();
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
            if let Delivery::Record(_, record) = &delivery {
                self.bytes -= record.payload.len();
            }
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
        let (mailbox, _deliveries) = mailbox(2, 1_000);
        for seq in 1..=100 {
            mailbox.put(record(seq));
        }
        mailbox.put(Delivery::CaughtUp(7));
        let mut state = mailbox.0.lock();
        assert_eq!(drained(&mut state), ["record 1", "record 2", "head 100", "mark 7"]);
    }

    /// Scenario 82: long records take room by their bytes.
    #[test]
    fn what_nobody_pulls_is_bounded_in_bytes() {
        let (mailbox, _deliveries) = mailbox(100, 10);
        let long = |seq: u64, bytes: usize| {
            let payload = vec![0; bytes];
            let topic = Topic::Group(GroupId([1; 16]));
            let (at, before) = (Seq(seq), Seq(seq - 1));
            let record = Record::chained(&topic, at, before, &ChainHash::GENESIS, payload);
            Delivery::Record(topic, record)
        };
        for seq in 1..=4 {
            mailbox.put(long(seq, 6));
        }
        assert_eq!(drained(&mut mailbox.0.lock()), ["record 1", "record 2", "head 4"]);
        mailbox.put(long(5, 6));
        assert_eq!(drained(&mut mailbox.0.lock()), ["record 5"], "there is room again");
    }

    /// After a head, the records that follow it come by themselves again.
    #[test]
    fn records_come_again_once_there_is_room() {
        let (mailbox, _deliveries) = mailbox(1, 1_000);
        mailbox.put(record(1));
        mailbox.put(record(2));
        assert_eq!(drained(&mut mailbox.0.lock()), ["record 1", "head 2"]);
        mailbox.put(record(3));
        assert_eq!(drained(&mut mailbox.0.lock()), ["record 3"]);
    }
}
