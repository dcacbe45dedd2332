//! Questions of owners to logs that they do not follow.

use alloc::{collections::BTreeMap, vec::Vec};

use conclave_proto::{Cursor, Record, Seq, Topic, relay::TopicPage};

use super::LookUpId;

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

/// Most records of one answer: longer than any identity log that a group would take.
const MOST_FOUND: u32 = 10_000;

/// Most bytes of one answer, as far as the last page goes: nothing is verified before all is there.
const MOST_FOUND_BYTES: usize = 16 * 1024 * 1024;

impl LookUps {
    pub(super) fn ask(&mut self, topic: Topic, after: Cursor, count: Option<u32>) -> LookUpId {
        self.next = self.next.wrapping_add(1);
        let id = LookUpId(self.next);
        let left = count.unwrap_or(MOST_FOUND);
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
        let full = look_up.left == 0 || look_up.bytes >= MOST_FOUND_BYTES;
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
