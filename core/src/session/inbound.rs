//! Records on their way in: how far each topic's owner has come, what is held for it, what has
//! to be fetched because it was dropped on the way.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use conclave_proto::{
    Cursor, Record, Seq, Timestamp, Topic,
    relay::{PageLimit, TopicPage},
};

use super::{Action, LookUpId, Session, SessionLimits};

/// One topic.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Where the owner stands.
    cursor: Cursor,
    /// The last record that is held, or the cursor.
    end: Cursor,
    /// As far as the log is known to reach.
    head: Seq,
    /// Records behind the cursor, each following the one before.
    held: VecDeque<Record>,
    /// The owner has records up to here and has not answered.
    with_owner: Option<Seq>,
    /// From where a fetch is on its way.
    fetching: Option<Cursor>,
    parked: Option<ParkedOwner>,
}

/// An owner that waits for records beyond those it has seen.
#[derive(Debug)]
struct ParkedOwner {
    /// The last record that it has seen.
    seen: Seq,
    /// When it gets everything again in any case.
    again: Timestamp,
    /// Whether everything behind its cursor is being collected.
    collecting: bool,
    /// It does not wait for anything, it only could not take what it was given.
    trouble: bool,
}

impl Inbound {
    pub(super) const fn new(cursor: Cursor) -> Self {
        Self {
            cursor,
            end: cursor,
            head: cursor.seq,
            held: VecDeque::new(),
            with_owner: None,
            fetching: None,
            parked: None,
        }
    }

    /// From where the subscription has to deliver.
    pub(super) const fn reach(&self) -> Seq {
        self.end.seq
    }

    /// Whether nothing is on its way to the owner.
    pub(super) fn is_idle(&self) -> bool {
        let read = match &self.parked {
            Some(parked) => !parked.collecting && !parked.trouble,
            None => self.end.seq >= self.head,
        };
        read && self.held.is_empty() && self.with_owner.is_none() && self.fetching.is_none()
    }

    pub(super) const fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// When a parked owner gets its records again.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.parked.as_ref().filter(|parked| !parked.collecting).map(|parked| parked.again)
    }

    /// A clock that went back must not make a parked owner wait longer.
    pub(super) fn tame(&mut self, now: Timestamp, limits: &SessionLimits) {
        if let Some(parked) = &mut self.parked {
            let wait = if parked.trouble { limits.trouble_ms } else { limits.parked_ms };
            parked.again = parked.again.min(now.plus_ms(wait));
        }
    }

    /// Starts over for a parked owner that has waited long enough; the next time is `again`.
    pub(super) fn wake(&mut self, now: Timestamp, again: Timestamp) {
        if let Some(parked) = &mut self.parked
            && parked.again <= now
        {
            parked.collecting = true;
            parked.again = again;
        }
    }

    pub(super) fn heard_of(&mut self, head: Seq) {
        self.head = self.head.max(head);
        if let Some(parked) = &mut self.parked {
            parked.collecting |= self.head > parked.seen;
        }
    }

    /// A record came by itself. One that does not follow, or for which there is no room, is
    /// fetched later.
    pub(super) fn arrived(&mut self, topic: &Topic, record: Record, most: usize) {
        self.heard_of(record.seq);
        if self.parked.is_none() && self.held.len() < most {
            self.hold(topic, record);
        }
    }

    /// Keeps a record if it follows what is held.
    fn hold(&mut self, topic: &Topic, record: Record) -> bool {
        let follows = record.follows(topic, self.end.seq, &self.end.hash);
        if follows {
            self.end = record.cursor();
            self.held.push_back(record);
        }
        follows
    }

    /// The owner stands at `cursor`. If it is parked there, or in trouble, it gets everything
    /// again when more records have come, or at `again`.
    pub(super) fn handled(
        &mut self,
        cursor: Cursor,
        parked: bool,
        trouble: bool,
        again: Timestamp,
    ) {
        let stuck = parked || trouble;
        let given = self.with_owner.take();
        if !stuck && given == Some(cursor.seq) {
            self.cursor = cursor;
            self.parked = None;
            return;
        }
        // Parked, loaded again, or gone elsewhere: what is held belongs to another place.
        self.held.clear();
        (self.cursor, self.end) = (cursor, cursor);
        self.head = self.head.max(given.unwrap_or_default());
        let seen = given.unwrap_or(self.head);
        self.parked = stuck.then_some(ParkedOwner { seen, again, collecting: false, trouble });
        self.heard_of(self.head);
    }

    /// Whether the owner was given records and would not move by standing at `cursor`.
    pub(super) fn would_not_move(&self, cursor: Cursor) -> bool {
        self.with_owner.is_some() && self.cursor == cursor
    }

    /// From where to fetch, if that is to be done now.
    fn wants(&self, held: usize) -> Option<Cursor> {
        let wanted = match &self.parked {
            Some(parked) => parked.collecting && self.with_owner.is_none(),
            None => self.held.len() < held / 2,
        };
        (wanted && self.fetching.is_none() && self.end.seq < self.head).then_some(self.end)
    }

    /// Takes a page; `None` if the log has nothing behind the place that was asked for.
    fn take_page(&mut self, asked: &Asked, page: Option<TopicPage>) {
        if self.fetching != Some(asked.from) {
            // The topic was let go of and taken on again since.
            return;
        }
        self.fetching = None;
        // Whether the page says what follows the present place, and not an earlier one.
        let mut confirmed = asked.from == self.end;
        let (records, head, more) = match page {
            Some(page) => (page.records, page.head.seq, page.more),
            None => (Vec::new(), self.end.seq, false),
        };
        for record in records {
            if record.seq <= self.end.seq || self.hold(&asked.topic, record.clone()) {
                continue;
            }
            // The relay shows another log than before. The owner is who can tell what that means,
            // so it gets to see it.
            if core::mem::take(&mut confirmed) {
                self.end = record.cursor();
                self.held.push_back(record);
            }
        }
        // The page says how far the log reaches, unless something was heard since it was asked.
        let heard = if self.head > asked.head { self.head } else { Seq(0) };
        let rest = if more { self.head } else { Seq(0) };
        self.head = head.max(heard).max(rest).max(self.end.seq);
    }

    /// What the owner is to be given now.
    fn next_batch(&mut self, limits: &SessionLimits) -> Option<Vec<Record>> {
        if self.with_owner.is_some() {
            return None;
        }
        if let Some(parked) = &mut self.parked {
            let complete = self.end.seq >= self.head || self.held.len() >= limits.parked_records;
            if !parked.collecting || !complete || self.fetching.is_some() {
                return None;
            }
            parked.collecting = !self.held.is_empty();
        }
        // A parked owner looks at everything at once.
        let most = if self.parked.is_some() { usize::MAX } else { limits.given_records.max(1) };
        let given: Vec<Record> = self.held.drain(..self.held.len().min(most)).collect();
        self.with_owner = Some(given.last()?.seq);
        Some(given)
    }
}

/// A fetch to make: what it is for, from where, how much.
type NextFetch = (Fetch, Vec<(Topic, Cursor)>, PageLimit);

/// A fetch that waits for its answer.
#[derive(Debug)]
pub(super) enum Fetch {
    Topics(Vec<Asked>),
    LookUp(LookUpId, Topic),
}

impl Fetch {
    /// Whether it asked for records of a topic.
    pub(super) fn is_of(&self, topic: &Topic) -> bool {
        match self {
            Self::Topics(asked) => asked.iter().any(|asked| asked.topic == *topic),
            Self::LookUp(_, of) => of == topic,
        }
    }
}

#[derive(Debug)]
pub(super) struct Asked {
    topic: Topic,
    from: Cursor,
    /// How far the log was known to reach then.
    head: Seq,
}

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
    fetching: bool,
}

/// Most records of one answer: longer than any identity log that a group would take.
const MOST_FOUND: u32 = 10_000;

impl LookUps {
    pub(super) fn ask(&mut self, topic: Topic, after: Cursor, count: Option<u32>) -> LookUpId {
        self.next = self.next.wrapping_add(1);
        let id = LookUpId(self.next);
        let left = count.unwrap_or(MOST_FOUND);
        self.asked.insert(id, LookUp { topic, after, left, found: Vec::new(), fetching: false });
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

    fn next(&mut self) -> Option<(LookUpId, Topic, Cursor, u32)> {
        let (id, look_up) = self.asked.iter_mut().find(|(_, look_up)| !look_up.fetching)?;
        look_up.fetching = true;
        Some((*id, look_up.topic.clone(), look_up.after, look_up.left))
    }

    /// Takes a page; the records, if that was all.
    fn take_page(&mut self, id: LookUpId, page: Option<TopicPage>) -> Option<Vec<Record>> {
        let look_up = self.asked.get_mut(&id)?;
        look_up.fetching = false;
        let (records, more) = page.map_or((Vec::new(), false), |page| (page.records, page.more));
        let taken = u32::try_from(records.len()).unwrap_or(u32::MAX);
        look_up.left = look_up.left.saturating_sub(taken);
        if let Some(last) = records.last() {
            look_up.after = last.cursor();
        }
        let done = taken == 0 || !more || look_up.left == 0;
        look_up.found.extend(records);
        if !done {
            return None;
        }
        self.asked.remove(&id).map(|look_up| look_up.found)
    }
}

impl Session {
    /// Hands the topic's owner what it waits for.
    pub(super) fn deliver(&mut self, topic: &Topic) {
        let Some(inbound) = self.topics.get_mut(topic) else { return };
        if let Some(records) = inbound.next_batch(&self.limits) {
            self.actions.push_back(Action::Deliver { topic: topic.clone(), records });
        }
        let (busy, parked) = (!inbound.is_idle(), inbound.is_parked());
        mark(&mut self.busy, topic, busy);
        mark(&mut self.parked, topic, parked);
    }

    /// Asks for what was dropped on the way, and for what owners look up.
    pub(super) fn fetch(&mut self, now: Timestamp) {
        for topic in self.parked.iter().cloned().collect::<Vec<_>>() {
            if let Some(inbound) = self.topics.get_mut(&topic) {
                inbound.wake(now, now.plus_ms(self.limits.parked_ms));
            }
            self.deliver(&topic);
        }
        if !self.fetch_backoff.is_due(now) {
            return;
        }
        while self.fetches.len() < self.limits.calls
            && let Some((fetch, after, limit)) = self.next_fetch()
        {
            let call = self.call();
            self.fetches.insert(call, fetch);
            self.actions.push_back(Action::Fetch { call, after, limit });
        }
    }

    fn next_fetch(&mut self) -> Option<NextFetch> {
        if let Some((id, topic, after, left)) = self.look_ups.next() {
            let usual = PageLimit::default();
            let limit = PageLimit { records: usual.records.min(left), ..usual };
            let fetch = Fetch::LookUp(id, topic.clone());
            return Some((fetch, Vec::from([(topic, after)]), limit));
        }
        // The topics of a fetch share one limit, and the first ones would get it all: a few topics
        // are asked for by themselves, so that their owners work at the same time.
        let wanting = self.busy.iter().filter(|topic| self.wants(topic)).count();
        let calls = self.limits.calls.saturating_sub(self.fetches.len()).max(1);
        let most = wanting.div_ceil(calls).min(self.limits.fetch_topics);
        let (mut asked, mut after) = (Vec::new(), Vec::new());
        for topic in &self.busy {
            if asked.len() >= most {
                break;
            }
            let Some(inbound) = self.topics.get_mut(topic) else { continue };
            if let Some(from) = inbound.wants(self.limits.held_records) {
                inbound.fetching = Some(from);
                asked.push(Asked { topic: topic.clone(), from, head: inbound.head });
                after.push((topic.clone(), from));
            }
        }
        (!asked.is_empty()).then(|| (Fetch::Topics(asked), after, PageLimit::default()))
    }

    pub(super) fn has_to_fetch(&self) -> bool {
        self.look_ups.asked.values().any(|look_up| !look_up.fetching)
            || self.busy.iter().any(|topic| self.wants(topic))
    }

    /// Whether a topic's next records are to be fetched now.
    fn wants(&self, topic: &Topic) -> bool {
        let held = self.limits.held_records;
        self.topics.get(topic).is_some_and(|inbound| inbound.wants(held).is_some())
    }

    /// The answer to a fetch came.
    pub(super) fn take_pages(&mut self, fetch: Fetch, pages: Vec<TopicPage>) {
        match fetch {
            Fetch::Topics(asked) => {
                let mut pages: BTreeMap<Topic, TopicPage> =
                    pages.into_iter().map(|page| (page.topic.clone(), page)).collect();
                for asked in asked {
                    let page = pages.remove(&asked.topic);
                    if let Some(inbound) = self.topics.get_mut(&asked.topic) {
                        inbound.take_page(&asked, page);
                    }
                    self.deliver(&asked.topic);
                }
            }
            Fetch::LookUp(look_up, _) => {
                if let Some(records) = self.look_ups.take_page(look_up, pages.into_iter().next()) {
                    self.actions.push_back(Action::Found { look_up, records });
                }
            }
        }
    }

    /// The answer to a fetch will not come: it is to be asked again.
    pub(super) fn give_back(&mut self, fetch: Fetch) {
        match fetch {
            Fetch::Topics(asked) => {
                for asked in asked {
                    let inbound = self.topics.get_mut(&asked.topic);
                    if let Some(inbound) = inbound
                        && inbound.fetching == Some(asked.from)
                    {
                        inbound.fetching = None;
                    }
                }
            }
            Fetch::LookUp(id, _) => {
                if let Some(look_up) = self.look_ups.asked.get_mut(&id) {
                    look_up.fetching = false;
                }
            }
        }
    }
}

fn mark(set: &mut alloc::collections::BTreeSet<Topic>, topic: &Topic, member: bool) {
    if member && !set.contains(topic) {
        set.insert(topic.clone());
    } else if !member {
        set.remove(topic);
    }
}
