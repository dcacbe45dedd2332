//! What the processes acknowledged, and whether it is there in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use conclave_proto::{Cursor, Record, Seq, Timestamp, Topic, codec::decode_bare, relay::PageLimit};
use conclave_relay::{Logs, RelayLimits};
use data_encoding::HEXLOWER;

use crate::{
    children::{ENGINES, Line},
    hex, relay,
};

/// What was said; everything in hex.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) group: Option<String>,
    /// Messages that each engine has stored, in the order of sending.
    pub(crate) durable: [Vec<String>; ENGINES],
    /// Records that the relay has accepted: topic, place and id.
    accepted: BTreeSet<(String, u64, String)>,
    shown: [Vec<(u64, String)>; ENGINES],
    ends: [Option<(u64, String)>; ENGINES],
}

/// What an engine shows in the end.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Places and messages.
    timeline: Vec<(u64, String)>,
    /// The epoch and its authenticator.
    end: (u64, String),
}

impl Ledger {
    pub(crate) fn note(&mut self, line: &Line) {
        let Line { from, word, rest } = line;
        match (word.as_str(), rest.as_slice()) {
            ("member", [group]) => {
                let known = self.group.get_or_insert_with(|| group.clone());
                assert_eq!(known, group, "there is one group");
            }
            ("durable", [id]) => self.durable[*from].push(id.clone()),
            ("accepted", [topic, seq, id]) => {
                let seq = seq.parse().unwrap();
                self.accepted.insert((topic.clone(), seq, id.clone()));
            }
            ("shows", [seq, id]) => self.shown[*from].push((seq.parse().unwrap(), id.clone())),
            ("epoch", [epoch, authenticator]) => {
                self.ends[*from] = Some((epoch.parse().unwrap(), authenticator.clone()));
            }
            _ => {}
        }
    }

    /// What every engine shows.
    pub(crate) fn shown(&mut self) -> Vec<Shown> {
        let shown = std::mem::take(&mut self.shown).into_iter().zip(self.ends.clone());
        shown.map(|(timeline, end)| Shown { timeline, end: end.expect("it has told") }).collect()
    }

    /// Everybody shows the same, every message once, all that were stored among them, and those of
    /// one sender in the order of sending.
    pub(crate) fn check_timelines(&self, shown: &[Shown]) {
        let first = &shown[0];
        for other in &shown[1..] {
            assert!(first.timeline == other.timeline, "timelines differ");
            assert_eq!(first.end, other.end, "epochs and their authenticators");
        }
        assert!(first.timeline.is_sorted_by(|one, next| one.0 < next.0), "the order of the log");
        let places: BTreeMap<&str, usize> =
            first.timeline.iter().enumerate().map(|(at, (_, id))| (id.as_str(), at)).collect();
        assert_eq!(places.len(), first.timeline.len(), "a message is shown twice");
        for (engine, sent) in self.durable.iter().enumerate() {
            let at = |id: &String| {
                let place = places.get(id.as_str()).copied();
                place.unwrap_or_else(|| panic!("message {id} of engine {engine} is lost"))
            };
            let places: Vec<usize> = sent.iter().map(at).collect();
            assert!(places.is_sorted(), "messages of engine {engine} changed places");
        }
    }

    /// The relay's logs are whole chains that hold all that was accepted, and all that is shown.
    pub(crate) fn check_logs(&self, folder: &Path, shown: &[Shown], group: String) {
        let logs = Logs::open(folder.join(relay::LOGS), RelayLimits::default()).unwrap();
        let topics: BTreeSet<&String> = self.accepted.iter().map(|(topic, ..)| topic).collect();
        let mut stored = BTreeMap::new();
        for topic in topics {
            for record in
                read(&logs, &decode_bare(&HEXLOWER.decode(topic.as_bytes()).unwrap()).unwrap())
            {
                stored.insert((topic, record.seq.0), hex(&record.id.0));
            }
        }
        for (topic, seq, id) in &self.accepted {
            assert_eq!(stored.get(&(topic, *seq)), Some(id), "an accepted record of {topic}");
        }
        let group = Topic::Group(conclave_proto::GroupId(
            HEXLOWER.decode(group.as_bytes()).unwrap().try_into().unwrap(),
        ));
        let places: BTreeSet<Seq> = read(&logs, &group).iter().map(|record| record.seq).collect();
        assert!(shown[0].timeline.iter().all(|(seq, _)| places.contains(&Seq(*seq))));
    }
}

/// A whole log, as a chain that holds.
fn read(logs: &Logs, topic: &Topic) -> Vec<Record> {
    let (mut all, mut cursor) = (Vec::<Record>::new(), Cursor::START);
    loop {
        let after = [(topic.clone(), cursor)];
        let pages = logs.read(Timestamp(0), &after, PageLimit::default()).unwrap();
        let Some(page) = pages.into_iter().next() else { return all };
        for record in page.records {
            assert!(record.follows(topic, cursor.seq, &cursor.hash), "the chain holds");
            cursor = record.cursor();
            all.push(record);
        }
        if !page.more {
            assert_eq!(page.head, cursor);
            return all;
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let durable = self.durable.each_ref().map(Vec::len);
        write!(f, "messages stored {durable:?}, records accepted {}", self.accepted.len())
    }
}
