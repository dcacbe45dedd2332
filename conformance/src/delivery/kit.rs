//! What the guarantees are told with.

use std::collections::BTreeMap;

use conclave_core::{
    bounds::BoxStream,
    delivery::{
        Delivery, DeliveryService, PageLimit, PublishOutcome, TopicPage, Transmit, TransportError,
        Watch,
    },
};
use conclave_proto::{Cursor, GroupId, Record, Seq, Topic, record::transmit_id};
use futures_channel::mpsc::{UnboundedSender, unbounded};
use futures_util::StreamExt;

use crate::link::within;

pub(super) fn group(number: u8) -> Topic {
    Topic::Group(GroupId([number; 16]))
}

pub(super) fn transmit(topic: &Topic, payload: impl Into<Vec<u8>>) -> Transmit {
    let payload = payload.into();
    Transmit { topic: topic.clone(), id: transmit_id(topic, &payload), expect: None, payload }
}

/// Envelopes that differ.
pub(super) fn several(topic: &Topic, numbers: std::ops::Range<u32>) -> Vec<Transmit> {
    numbers.map(|number| transmit(topic, number.to_be_bytes())).collect()
}

pub(super) async fn publish(
    service: &impl DeliveryService,
    batch: Vec<Transmit>,
) -> Vec<PublishOutcome> {
    let count = batch.len();
    let outcomes = within("publishing", service.publish(batch)).await;
    assert_eq!(outcomes.len(), count, "one outcome for each item");
    outcomes
}

/// Publishes what has to be accepted; gives the places.
pub(super) async fn accepted(service: &impl DeliveryService, batch: Vec<Transmit>) -> Vec<Seq> {
    let outcomes = publish(service, batch).await;
    let place = |outcome| {
        let PublishOutcome::Accepted { seq, prev } = outcome else {
            panic!("an honest envelope is accepted: {outcome:?}");
        };
        assert!(prev < seq, "a place is behind the one before it");
        seq
    };
    outcomes.into_iter().map(place).collect()
}

pub(super) async fn fetch(
    service: &impl DeliveryService,
    after: Vec<(Topic, Cursor)>,
    limit: PageLimit,
) -> Vec<TopicPage> {
    let pages = within("fetching", service.fetch(after, limit)).await;
    pages.expect("a healthy service can be read")
}

/// Everything in some logs, by pages; the chain has to hold.
pub(super) async fn everything(
    service: &impl DeliveryService,
    topics: &[Topic],
    limit: PageLimit,
) -> BTreeMap<Topic, Vec<Record>> {
    let mut places: BTreeMap<Topic, Cursor> =
        topics.iter().map(|topic| (topic.clone(), Cursor::START)).collect();
    let mut all: BTreeMap<Topic, Vec<Record>> = BTreeMap::new();
    loop {
        let after = places.iter().map(|(topic, place)| (topic.clone(), *place)).collect();
        let pages = fetch(service, after, limit).await;
        let more = pages.iter().any(|page| page.more);
        let mut found = 0;
        for page in pages {
            let place = places.get_mut(&page.topic).expect("a page is of a topic that was asked");
            found += page.records.len();
            for record in page.records {
                assert!(record.follows(&page.topic, place.seq, &place.hash), "records chain");
                *place = record.cursor();
                all.entry(page.topic.clone()).or_default().push(record);
            }
            if !page.more {
                assert_eq!(page.head, *place, "a page without more ends at the head");
            }
        }
        if !more {
            return all;
        }
        assert!(found > 0, "an answer with more has at least one record");
    }
}

/// Everything in one log.
pub(super) async fn log(service: &impl DeliveryService, topic: &Topic) -> Vec<Record> {
    let mut all = everything(service, std::slice::from_ref(topic), PageLimit::default()).await;
    all.remove(topic).unwrap_or_default()
}

pub(super) fn payloads(records: &[Record]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.payload.clone()).collect()
}

/// Somebody who subscribes, and checks that nothing is missing unsaid.
pub(super) struct Subscriber {
    changes: Option<UnboundedSender<Watch>>,
    deliveries: BoxStream<'static, Result<Delivery, TransportError>>,
    /// How far each topic has been delivered.
    pub(super) places: BTreeMap<Topic, Seq>,
    /// Records of all topics, in the order of their arrival.
    pub(super) records: Vec<Record>,
    /// Places that were only said.
    pub(super) heads: usize,
    marks: u64,
}

impl Subscriber {
    pub(super) fn new(service: &impl DeliveryService) -> Self {
        let (changes, queue) = unbounded();
        Self {
            changes: Some(changes),
            deliveries: service.subscribe(Box::pin(queue)),
            places: BTreeMap::new(),
            records: Vec::new(),
            heads: 0,
            marks: 0,
        }
    }

    fn change(&self, change: Watch) {
        let changes = self.changes.as_ref().expect("the subscription has not ended");
        assert!(changes.unbounded_send(change).is_ok(), "a subscription takes changes");
    }

    pub(super) fn add(&mut self, topics: &[(Topic, Seq)]) {
        self.places.extend(topics.iter().cloned());
        self.change(Watch::Add(topics.to_vec()));
    }

    pub(super) fn remove(&mut self, topic: &Topic) {
        self.change(Watch::Remove(vec![topic.clone()]));
    }

    /// No more changes.
    pub(super) fn finish(&mut self) {
        self.changes = None;
    }

    /// What comes next.
    pub(super) async fn next(&mut self) -> Option<Result<Delivery, TransportError>> {
        within("something of the subscription", self.deliveries.next()).await
    }

    /// Takes what comes next; the mark, if it is one.
    async fn step(&mut self) -> Option<u64> {
        let delivery = self.next().await.expect("the subscription goes on");
        match delivery.expect("the subscription goes on") {
            Delivery::Record(topic, record) => {
                let place = self.places.get_mut(&topic).expect("records of watched topics only");
                assert_eq!(record.prev, *place, "a record is delivered behind the one before it");
                assert!(record.seq > *place, "a record is delivered once");
                *place = record.seq;
                self.records.push(record);
                None
            }
            Delivery::Head { topic, seq } => {
                let place = self.places.get_mut(&topic).expect("heads of watched topics only");
                *place = seq.max(*place);
                self.heads += 1;
                None
            }
            Delivery::CaughtUp(mark) => Some(mark),
        }
    }

    /// Takes what comes until each of these topics has come at least this far.
    pub(super) async fn until(&mut self, reached: &[(Topic, Seq)]) {
        while reached.iter().any(|(topic, seq)| self.places.get(topic).is_none_or(|at| at < seq)) {
            assert_eq!(self.step().await, None, "a mark is echoed once, and only if it was set");
        }
    }

    /// Sets a mark, and takes what comes until its echo.
    pub(super) async fn catch_up(&mut self) {
        self.marks += 1;
        self.change(Watch::Mark(self.marks));
        loop {
            if let Some(mark) = self.step().await {
                assert_eq!(mark, self.marks, "the echo is that of the mark");
                return;
            }
        }
    }
}
