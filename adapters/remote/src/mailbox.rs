//! What a subscription brought and nobody has pulled yet: bounded, and honest about it.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
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
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Ends the subscription; what is in the mailbox can still be pulled.
    pub(crate) fn end(&self, error: TransportError) {
        let mut state = self.0.lock();
        state.end.get_or_insert(error);
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }

    /// Whether nobody will pull anything any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A driver that lets go of it without a word, as with its runtime, has ended the subscription.
impl Drop for Mailbox {
    fn drop(&mut self) {
        self.end(TransportError::NO_ANSWER);
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
        let replaced = state.waker.replace(context.waker().clone());
        drop(state);
        drop(replaced);
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
}

/// Called without the lock, as every waker is dropped without it: a waker may pull at once, and may
/// be the last to hold the task that owns the other end.
fn wake(waiting: Option<Waker>) {
    waiting.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::{Arc, Mutex, mpsc},
        task::{Context, Wake, Waker},
        thread,
    };

    use conclave_core::delivery::{Delivery, TransportError};
    use conclave_proto::{ChainHash, GroupId, Record, Seq, Topic};
    use futures_core::Stream;

    use super::{Deliveries, Mailbox, State, mailbox};

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

    /// Fails instead of waiting for ever.
    fn ends(what: &str, body: impl FnOnce() + Send + 'static) {
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            body();
            done.send(()).unwrap();
        });
        assert!(ended.recv_timeout(std::time::Duration::from_secs(60)).is_ok(), "{what}");
    }

    fn is_pending(deliveries: &mut Deliveries, waker: &Waker) -> bool {
        Pin::new(deliveries).poll_next(&mut Context::from_waker(waker)).is_pending()
    }

    /// A task that goes on inside of its waker: it pulls once more.
    struct Inline(Mutex<(Deliveries, bool)>);

    impl Wake for Inline {
        fn wake(self: Arc<Self>) {
            let mut task = self.0.lock().unwrap();
            task.1 = !is_pending(&mut task.0, Waker::noop());
        }
    }

    /// What wakes the subscriber.
    type Case = (&'static str, fn(&Mailbox, TransportError));

    /// Scenario 145: a subscriber may pull inside of its waker.
    #[test]
    fn a_waker_may_pull_the_mailbox_that_wakes_it() {
        let error = || TransportError::NO_ANSWER;
        let cases: [Case; 3] = [
            ("put", |mailbox, _| mailbox.put(record(1))),
            ("end", Mailbox::end),
            ("drop", |_, _| {}),
        ];
        for (what, change) in cases {
            let (mailbox, deliveries) = mailbox(2, 1_000);
            let task = Arc::new(Inline(Mutex::new((deliveries, false))));
            let waker = Waker::from(Arc::clone(&task));
            assert!(is_pending(&mut task.0.lock().unwrap().0, &waker));
            ends(what, move || {
                change(&mailbox, error());
                drop(mailbox);
            });
            assert!(task.0.lock().unwrap().1, "{what}");
        }
    }

    /// A task that owns the driver's end, as one does that runs the driver.
    struct Owner {
        _mailbox: Mailbox,
    }

    impl Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }

    /// Scenario 145: a waker that another one replaces may be the last to hold the driver's end.
    #[test]
    fn a_waker_that_is_replaced_may_hold_the_mailbox() {
        let (mailbox, mut deliveries) = mailbox(2, 1_000);
        let waker = Waker::from(Arc::new(Owner { _mailbox: mailbox }));
        assert!(is_pending(&mut deliveries, &waker));
        drop(waker);
        ends("replaced", move || {
            assert!(is_pending(&mut deliveries, Waker::noop()));
            assert!(!is_pending(&mut deliveries, Waker::noop()), "it has ended");
        });
    }
}
