//! Who hears of which log: from the writer to the connections, without waiting for any of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use conclave_proto::{Record, Topic};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The registry of subscriptions. One for a relay.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    readers: Mutex<BTreeMap<Topic, BTreeMap<u64, Arc<Inbox>>>>,
}

/// Records for one connection that it has not looked at yet.
#[derive(Debug)]
pub(crate) struct Inbox {
    id: u64,
    /// Records above which they are dropped, and only the fact is kept.
    most: usize,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Arc<(Topic, Record)>>,
    missed: bool,
}

/// What an inbox held.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub(crate) records: VecDeque<Arc<(Topic, Record)>>,
    /// Whether some were dropped.
    pub(crate) missed: bool,
}

impl Hub {
    /// From here on, records of these topics go to the inbox.
    pub(crate) fn register<'a>(
        &self,
        inbox: &Arc<Inbox>,
        topics: impl IntoIterator<Item = &'a Topic>,
    ) {
        let mut readers = self.readers.lock();
        for topic in topics {
            let of_topic = readers.entry(topic.clone()).or_default();
            of_topic.insert(inbox.id, Arc::clone(inbox));
        }
    }

    /// No more records of these topics go to the inbox.
    pub(crate) fn unregister<'a>(
        &self,
        inbox: &Inbox,
        topics: impl IntoIterator<Item = &'a Topic>,
    ) {
        let mut readers = self.readers.lock();
        for topic in topics {
            if let Some(of_topic) = readers.get_mut(topic) {
                of_topic.remove(&inbox.id);
                if of_topic.is_empty() {
                    readers.remove(topic);
                }
            }
        }
    }

    /// Records were appended, for good.
    pub(crate) fn appended(&self, records: &[(Topic, Record)]) {
        let readers = self.readers.lock();
        for (topic, record) in records {
            let Some(of_topic) = readers.get(topic) else { continue };
            let shared = Arc::new((topic.clone(), record.clone()));
            for inbox in of_topic.values() {
                inbox.put(&shared);
            }
        }
    }

    /// Topics that somebody hears of.
    pub(crate) fn topics(&self) -> usize {
        self.readers.lock().len()
    }
}

impl Inbox {
    /// An empty inbox; `id` is the connection's.
    pub(crate) fn new(id: u64, most: usize) -> Arc<Self> {
        Arc::new(Self { id, most, state: Mutex::default(), arrived: Notify::new() })
    }

    /// Waits until there is something in it, or was since it was emptied last.
    pub(crate) async fn wait(&self) {
        self.arrived.notified().await;
    }

    /// Empties it.
    pub(crate) fn take(&self) -> Mail {
        let state = std::mem::take(&mut *self.state.lock());
        Mail { records: state.records, missed: state.missed }
    }

    fn put(&self, record: &Arc<(Topic, Record)>) {
        let mut state = self.state.lock();
        if state.records.len() < self.most {
            state.records.push_back(Arc::clone(record));
        } else {
            state.missed = true;
        }
        drop(state);
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use conclave_proto::{ChainHash, GroupId, Record, Seq, Topic};

    use super::{Hub, Inbox};

    fn record(topic: &Topic, seq: u64) -> Record {
        Record::chained(topic, Seq(seq), Seq(seq - 1), &ChainHash::GENESIS, vec![1])
    }

    /// Scenarios 82, 84: what a connection does not look at is bounded, and it is told.
    #[test]
    fn an_inbox_that_nobody_empties_stops_growing_and_says_so() {
        let (hub, inbox) = (Hub::default(), Inbox::new(1, 3));
        let topic = Topic::Group(GroupId([1; 16]));
        hub.register(&inbox, [&topic]);
        for seq in 1..=10 {
            hub.appended(&[(topic.clone(), record(&topic, seq))]);
        }
        let mail = inbox.take();
        assert_eq!((mail.records.len(), mail.missed), (3, true));
        let mail = inbox.take();
        assert_eq!((mail.records.len(), mail.missed), (0, false));
    }

    /// Scenario 82: connections come and go, and nothing of them stays.
    #[test]
    fn topics_that_nobody_hears_of_are_forgotten() {
        let hub = Hub::default();
        for id in 0..1_000 {
            let inbox = Inbox::new(id, 3);
            let topics = [1, 2, 3].map(|n| Topic::Group(GroupId([n; 16])));
            hub.register(&inbox, &topics);
            assert_eq!(hub.topics(), 3);
            hub.unregister(&inbox, &topics);
        }
        assert_eq!(hub.topics(), 0);
    }
}
