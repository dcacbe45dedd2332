//! Questions of owners to logs that they do not follow.

use alloc::{collections::BTreeMap, vec::Vec};

use conclave_proto::{Cursor, Record, Seq, Topic, relay::TopicPage};

use super::LookUpId;
use crate::config::{LOOK_UP_BYTES, LOOK_UP_RECORDS};

/// Questions of owners about topics that they do not follow.
#[derive(Debug, Default)]
pub(super) struct LookUps {
    asked: BTreeMap<LookUpId, LookUp>,
    next: u64,
}

#[derive(Debug)]
struct LookUp {
    topic: Topic,
    after: Cursor,
    left: u32,
    found: Vec<Record>,
    bytes: usize,
    fetching: bool,
}

impl LookUps {
    pub(super) fn ask(&mut self, topic: Topic, after: Cursor, count: Option<u32>) -> LookUpId {
        self.next = self.next.wrapping_add(1);
        let id = LookUpId(self.next);
        let left = count.unwrap_or(LOOK_UP_RECORDS);
        let look_up = LookUp { topic, after, left, found: Vec::new(), bytes: 0, fetching: false };
        self.asked.insert(id, look_up);
        id
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// The log is trimmed: whoever asks for what is gone finds nothing.
    pub(super) fn forget(&mut self, topic: &Topic, first: Seq) -> Vec<LookUpId> {
        let gone = |look_up: &LookUp| {
            look_up.topic == *topic && look_up.after.seq.0.saturating_add(1) < first.0
        };
        let ids: Vec<LookUpId> =
            self.asked.iter().filter_map(|(id, look_up)| gone(look_up).then_some(*id)).collect();
        self.asked.retain(|id, _| !ids.contains(id));
        ids
    }

    pub(super) fn next(&mut self) -> Option<(LookUpId, Topic, Cursor, u32)> {
        let (id, look_up) = self.asked.iter_mut().find(|(_, look_up)| !look_up.fetching)?;
        look_up.fetching = true;
        Some((*id, look_up.topic.clone(), look_up.after, look_up.left))
    }

    /// Takes a page; the records, if that was all.
    pub(super) fn take_page(
        &mut self,
        id: LookUpId,
        page: Option<TopicPage>,
    ) -> Option<Vec<Record>> {
        let look_up = self.asked.get_mut(&id)?;
        look_up.fetching = false;
        let (records, more) = page.map_or((Vec::new(), false), |page| (page.records, page.more));
        let taken = u32::try_from(records.len()).unwrap_or(u32::MAX);
        look_up.left = look_up.left.saturating_sub(taken);
        if let Some(last) = records.last() {
            look_up.after = last.cursor();
        }
        look_up.bytes += records.iter().map(|record| record.payload.len()).sum::<usize>();
        let full = look_up.left == 0 || look_up.bytes >= LOOK_UP_BYTES;
        let done = taken == 0 || !more || full;
        look_up.found.extend(records);
        if !done {
            return None;
        }
        self.asked.remove(&id).map(|look_up| look_up.found)
    }

    /// The answer to a fetch will not come: it is to be asked again.
    pub(super) fn give_back(&mut self, id: LookUpId) {
        if let Some(look_up) = self.asked.get_mut(&id) {
            look_up.fetching = false;
        }
    }

    /// Whether something is to be fetched.
    pub(super) fn has_to_fetch(&self) -> bool {
        self.asked.values().any(|look_up| !look_up.fetching)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use conclave_proto::{
        ChainHash, Cursor, GroupId, Record, Seq, Topic, TransmitId, relay::TopicPage,
    };

    use super::{LOOK_UP_BYTES, LOOK_UP_RECORDS, LookUps};

    const TOPIC: Topic = Topic::Group(GroupId([1; 16]));

    /// A page behind a place, of a relay that has ever more.
    fn page(after: Seq, count: u32, bytes: usize) -> TopicPage {
        let record = |n: u64| Record {
            seq: Seq(after.0 + n),
            prev: Seq(after.0 + n - 1),
            id: TransmitId([0; 16]),
            hash: ChainHash::GENESIS,
            payload: vec![0; bytes],
        };
        let records: Vec<Record> = (1..=count.into()).map(record).collect();
        let head = Cursor { seq: Seq(u64::MAX), hash: ChainHash::GENESIS };
        TopicPage { topic: TOPIC, records, head, more: true, signed: None }
    }

    /// The records that a question gets from such a relay, and in how many pages.
    fn asked(count: Option<u32>, records: u32, bytes: usize) -> (usize, usize) {
        let mut look_ups = LookUps::default();
        look_ups.ask(TOPIC, Cursor::START, count);
        for pages in 1.. {
            let (id, _, after, left) = look_ups.next().expect("it is to be fetched");
            if let Some(found) =
                look_ups.take_page(id, Some(page(after.seq, records.min(left), bytes)))
            {
                return (found.len(), pages);
            }
        }
        unreachable!("it ends");
    }

    /// I6: a relay that has ever more does not fill the memory of who asks.
    #[test]
    fn a_question_ends_however_much_the_relay_has() {
        assert_eq!(asked(Some(25), 10, 1), (25, 3));
        assert_eq!(asked(None, 1_000, 1), (LOOK_UP_RECORDS as usize, 10));
        assert_eq!(asked(None, 1, LOOK_UP_BYTES / 4), (4, 4));
    }
}
