//! Envelopes and key packages on their way to a simulated relay, one by one.

use std::collections::{BTreeMap, VecDeque};

use conclave_core::{
    delivery::{PublishOutcome, Transmit, Uploaded},
    engine::{ActorId, CallAnswer, DeliveryCall, Subscription, Token},
    step::Upload,
};
use conclave_proto::{
    Seq, Topic, TransmitId,
    relay::{Delivery, Watch},
};

use super::{Device, Wish};

/// What an engine wants of a simulated relay and has not got.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Envelopes that are released and not published, in order. A test may take some away: their
    /// call then has no answer until its deadline.
    pub transmits: VecDeque<Transmit>,
    pub(crate) uploads: VecDeque<(ActorId, Token, Upload)>,
    /// Publishes without an answer, with what is known of their outcomes.
    publishes: BTreeMap<Token, Publish>,
    /// Other calls without an answer.
    pub(crate) calls: VecDeque<(ActorId, Token, DeliveryCall)>,
    pub(crate) subscription: Option<Subscribed>,
}

#[derive(Debug)]
struct Publish {
    actor: ActorId,
    outcomes: Vec<(TransmitId, Option<PublishOutcome>)>,
}

/// A subscription to a simulated relay.
#[derive(Debug)]
pub(crate) struct Subscribed {
    number: Subscription,
    /// As far as the subscriber knows of each log.
    pub(crate) topics: BTreeMap<Topic, Seq>,
    marks: Vec<u64>,
}

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.transmits.is_empty() && self.uploads.is_empty()
    }
}

impl Device {
    /// Envelopes that are released and not published.
    pub fn transmits(&mut self) -> &mut VecDeque<Transmit> {
        self.sort_wishes();
        &mut self.outgoing.transmits
    }

    /// Takes away what is released and not published, before the session has got to it: as if the
    /// session was lost with it.
    pub fn take_released(&mut self) -> Vec<Transmit> {
        let mut taken: Vec<Transmit> = self.outgoing.transmits.drain(..).collect();
        taken.extend(self.engine.take_publishes());
        taken
    }

    /// Lets the engine run, and sorts what it wants.
    pub(crate) fn sort_wishes(&mut self) {
        self.settle_locally();
        while let Some(wish) = self.next_wish() {
            match wish {
                Wish::Subscribe(number) => {
                    let (topics, marks) = (BTreeMap::new(), Vec::new());
                    self.outgoing.subscription = Some(Subscribed { number, topics, marks });
                }
                Wish::Watch(change) => self.watch(change),
                Wish::Call(actor, token, DeliveryCall::Publish(batch)) => {
                    // A call for the same envelopes that has no answer is over.
                    let again = |(id, _): &(TransmitId, _)| batch.iter().any(|it| it.id == *id);
                    self.outgoing.publishes.retain(|_, old| !old.outcomes.iter().any(again));
                    self.outgoing.transmits.retain(|old| batch.iter().all(|it| it.id != old.id));
                    let outcomes = batch.iter().map(|transmit| (transmit.id, None)).collect();
                    self.outgoing.publishes.insert(token, Publish { actor, outcomes });
                    self.outgoing.transmits.extend(batch);
                }
                Wish::Call(actor, token, DeliveryCall::Upload(upload)) => {
                    self.outgoing.uploads.push_back((actor, token, upload));
                }
                Wish::Call(actor, token, call) => {
                    self.outgoing.calls.push_back((actor, token, call));
                }
                Wish::Sign(..) => panic!("people of a world are registered"),
            }
        }
    }

    /// Sorts the calls of one actor, and leaves everything else where it is.
    pub(crate) fn take_wishes_of(&mut self, of: ActorId) {
        let mut others = VecDeque::new();
        while let Some(wish) = self.next_wish() {
            match wish {
                Wish::Call(actor, token, call) if actor == of => {
                    self.outgoing.calls.push_back((actor, token, call));
                }
                other @ (Wish::Subscribe(_) | Wish::Watch(_) | Wish::Call(..) | Wish::Sign(..)) => {
                    others.push_back(other)
                }
            }
        }
        self.wishes = others;
    }

    fn watch(&mut self, change: Watch) {
        let Some(subscription) = &mut self.outgoing.subscription else { return };
        match change {
            Watch::Add(topics) => subscription.topics.extend(topics),
            Watch::Remove(topics) => {
                for topic in topics {
                    subscription.topics.remove(&topic);
                }
            }
            Watch::Mark(mark) => subscription.marks.push(mark),
        }
    }

    /// Tells the engine how far logs reach; whether that was news.
    pub(crate) fn hear_of(&mut self, head: impl Fn(&Topic) -> Seq) -> bool {
        let Some(subscription) = &mut self.outgoing.subscription else { return false };
        let number = subscription.number;
        let mut told = Vec::new();
        for (topic, known) in &mut subscription.topics {
            let seq = head(topic);
            if seq > *known {
                told.push(Delivery::Head { topic: topic.clone(), seq });
            }
            // A log may have been cut back.
            *known = seq;
        }
        told.extend(subscription.marks.drain(..).map(Delivery::CaughtUp));
        let news = !told.is_empty();
        for delivery in told {
            self.engine.delivered(number, Ok(delivery));
        }
        news
    }

    /// The relay's word on an envelope that was released.
    pub fn settle_publish(&mut self, id: TransmitId, outcome: PublishOutcome) {
        let waits = |publish: &Publish| {
            publish.outcomes.iter().any(|(of, told)| *of == id && told.is_none())
        };
        let Some((token, publish)) =
            self.outgoing.publishes.iter_mut().find(|(_, publish)| waits(publish))
        else {
            return;
        };
        let open = publish.outcomes.iter_mut().find(|(of, told)| *of == id && told.is_none());
        if let Some((_, told)) = open {
            *told = Some(outcome);
        }
        let all: Option<Vec<PublishOutcome>> =
            publish.outcomes.iter().map(|(_, told)| *told).collect();
        if let Some(all) = all {
            let (token, actor) = (*token, publish.actor);
            self.outgoing.publishes.remove(&token);
            self.answer(actor, token, CallAnswer::Published(all));
            self.settle_locally();
        }
    }

    /// The relay has taken an upload when the Welcome topic had this head.
    pub(crate) fn settle_upload(&mut self, actor: ActorId, token: Token, welcome_head: Seq) {
        let outcome = PublishOutcome::Accepted { seq: Seq(1), prev: Seq(0) };
        self.answer(actor, token, CallAnswer::Uploaded(Uploaded { outcome, welcome_head }));
        self.settle_locally();
    }
}
