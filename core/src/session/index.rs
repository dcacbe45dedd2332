//! Which topics have something to do. There may be thousands of topics, and the session asks with
//! every input, so it does not look at each to find out.

use alloc::collections::BTreeSet;

use conclave_proto::{Timestamp, Topic};

use super::{Inbound, Session};

impl Session {
    /// Takes note of how a topic stands: after everything that was done to it.
    pub(super) fn note(&mut self, topic: &Topic) {
        let inbound = self.topics.get(topic);
        let busy = inbound.is_some_and(|inbound| !inbound.is_idle());
        let wanting = inbound.is_some_and(|inbound| inbound.wants(&self.limits).is_some());
        mark(&mut self.busy, topic, busy);
        mark(&mut self.wanting, topic, wanting);
        self.due.set(topic, inbound.and_then(Inbound::due));
    }

    /// A clock that went back must not make parked owners wait longer.
    pub(super) fn tame_parked(&mut self, now: Timestamp) {
        for (topic, inbound) in &mut self.topics {
            inbound.tame(now, &self.limits);
            self.due.set(topic, inbound.due());
        }
    }
}

pub(super) fn mark(set: &mut BTreeSet<Topic>, topic: &Topic, member: bool) {
    if member && !set.contains(topic) {
        set.insert(topic.clone());
    } else if !member {
        set.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        vec::Vec,
    };

    use conclave_proto::{
        Cursor, GroupId, Record, Seq, Timestamp, Topic,
        relay::{Delivery, TopicPage},
    };
    use proptest::prelude::*;

    use crate::{
        delivery::TransportError,
        session::{Action, CallId, Inbound, Session, SessionLimits},
        timetable::Timetable,
    };

    const TOPICS: u8 = 8;
    const START: Timestamp = Timestamp(1_790_000_000_000);

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        /// What is noted of topics is what a look at each of them shows, whatever is done, and
        /// nobody waits longer than the limits say, whatever the clock does.
        #[test]
        fn what_is_noted_is_what_a_look_at_every_topic_shows(
            script in proptest::collection::vec((0_u8..16, 0..TOPICS, any::<u8>()), 0..300),
        ) {
            let mut world = World::new();
            for (op, topic, how) in script {
                world.step(op, &Topic::Group(GroupId([topic; 16])), how);
                check(&world.session);
                // Several things may happen before the session is asked what to do.
                if how % 4 > 0 {
                    world.pump();
                    check(&world.session);
                    check_waits(&world.session, world.now);
                }
            }
        }
    }

    fn check(session: &Session) {
        let look = |stands: &dyn Fn(&Inbound) -> bool| -> BTreeSet<Topic> {
            let standing = session.topics.iter().filter(|(_, inbound)| stands(inbound));
            standing.map(|(topic, _)| topic.clone()).collect()
        };
        assert_eq!(session.busy, look(&|inbound| !inbound.is_idle()));
        assert_eq!(session.wanting, look(&|inbound| inbound.wants(&session.limits).is_some()));
        let mut due = Timetable::default();
        for (topic, inbound) in &session.topics {
            due.set(topic, inbound.due());
        }
        assert_eq!(session.due, due);
    }

    /// Whoever is due was looked at, and the others are due soon.
    fn check_waits(session: &Session, now: Timestamp) {
        let latest = now.plus_ms(session.limits.parked_ms.max(session.limits.trouble_ms));
        let waits = session.topics.values().filter_map(Inbound::due);
        let wrong: Vec<_> = waits.filter(|due| *due <= now || *due > latest).collect();
        assert_eq!(wrong, [], "at {now:?}");
    }

    /// Owners and a relay that do whatever they like.
    struct World {
        session: Session,
        now: Timestamp,
        logs: BTreeMap<Topic, Vec<Record>>,
        given: BTreeMap<Topic, Vec<Record>>,
        fetches: Vec<(CallId, Vec<(Topic, Cursor)>)>,
    }

    impl World {
        fn new() -> Self {
            let mut limits = SessionLimits::default();
            (limits.held_records, limits.fetch_topics, limits.calls) = (4, 3, 2);
            Self {
                session: Session::new(limits, [1; 32]),
                now: START,
                logs: BTreeMap::new(),
                given: BTreeMap::new(),
                fetches: Vec::new(),
            }
        }

        fn step(&mut self, op: u8, topic: &Topic, how: u8) {
            match op {
                0 | 1 => self.watch(topic, how < 60),
                2 if how < 50 => self.session.unwatch(topic),
                2..=5 => self.append(topic, how),
                6 | 7 => self.answer_fetch(how),
                8..=11 => self.handle(topic, how),
                12 | 13 => self.now = self.now.plus_ms(u64::from(how) * 200),
                14 => self.now = self.session.next_timeout().unwrap_or(self.now).max(self.now),
                _ => self.now = Timestamp(self.now.0 - u64::from(how) * 500),
            }
        }

        fn watch(&mut self, topic: &Topic, anew: bool) {
            if anew || !self.session.is_watched(topic) {
                self.given.remove(topic);
                self.session.watch(topic.clone(), Cursor::START);
            }
        }

        /// A record is stored; it, its place only, or nothing of it arrives.
        fn append(&mut self, topic: &Topic, how: u8) {
            let log = self.logs.entry(topic.clone()).or_default();
            let last = log.last().map_or(Cursor::START, Record::cursor);
            let seq = Seq(last.seq.0 + 1);
            let record = Record::chained(topic, seq, last.seq, &last.hash, [how].to_vec());
            log.push(record.clone());
            match how % 8 {
                0 => {}
                1 | 2 => {
                    let topic = topic.clone();
                    self.session.handle_delivery(Delivery::Head { topic, seq });
                }
                _ => self.session.handle_delivery(Delivery::Record(topic.clone(), record)),
            }
        }

        fn answer_fetch(&mut self, how: u8) {
            let Some((call, after)) = self.fetches.pop() else { return };
            let pages = after.into_iter().filter_map(|(topic, from)| {
                let log = self.logs.get(&topic)?;
                let behind = log.iter().filter(|record| record.seq > from.seq);
                let records: Vec<_> = behind.take(usize::from(how % 16)).cloned().collect();
                let (last, head) = (records.last()?.cursor(), log.last()?.cursor());
                Some(TopicPage { topic, records, head, more: last != head, signed: None })
            });
            let lost = Err(TransportError::NO_ANSWER);
            let answer = if how.is_multiple_of(3) { lost } else { Ok(pages.collect()) };
            self.session.handle_pages(self.now, call, answer);
        }

        /// An owner goes on, parks where it stood, where it stands now, or has trouble.
        fn handle(&mut self, topic: &Topic, how: u8) {
            let Some(records) = self.given.remove(topic) else { return };
            let log = self.logs.get(topic).map_or(&[][..], Vec::as_slice);
            let before = records.first().map_or(Seq(0), |record| Seq(record.seq.0 - 1));
            let stood = log.iter().find(|record| record.seq == before).map(Record::cursor);
            let cursor = records.last().filter(|_| how % 4 > 1).map(Record::cursor).or(stood);
            // Clocks of others may be ahead.
            let now = if how.is_multiple_of(16) { self.now.plus_ms(100_000) } else { self.now };
            let cursor = cursor.unwrap_or(Cursor::START);
            self.session.handled(now, topic, cursor, how.is_multiple_of(2));
        }

        fn pump(&mut self) {
            while let Some(action) = self.session.poll(self.now) {
                if let Action::Fetch { call, after, .. } = action {
                    self.fetches.push((call, after));
                } else if let Action::Deliver { topic, records } = action {
                    self.given.insert(topic, records);
                }
            }
        }
    }
}
