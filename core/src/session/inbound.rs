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
    /// Bytes of what is held.
    held_bytes: usize,
    /// What the owner has been given and has not answered.
    with_owner: Option<Given>,
    /// From where a fetch is on its way.
    fetching: Option<Cursor>,
    parked: Option<ParkedOwner>,
}

/// Records that an owner has.
#[derive(Clone, Copy, Debug)]
struct Given {
    /// The last of them.
    last: Seq,
    count: usize,
    /// There are more, and no more may be shown at once.
    cut: bool,
}

/// An owner that waits for records beyond those it has seen.
#[derive(Debug)]
struct ParkedOwner {
    /// The last record that it has seen.
    seen: Seq,
    /// When it gets everything again in any case.
    again: Timestamp,
    /// Records beyond those it has seen are there, and it may be shown them from this time on.
    news: Option<Timestamp>,
    /// The earliest time for news: a millisecond later for each record that it is shown again, so
    /// that a long wait does not become all that is done.
    pace: Timestamp,
    /// Whether that is later than at once.
    paced: bool,
    /// It has seen as much as it may be shown at once: what comes behind that is no news.
    full: bool,
    /// Whether everything behind its cursor is being collected.
    collecting: bool,
    /// It does not wait for anything, it only could not take what it was given.
    trouble: bool,
}

/// Records that are shown again without a pause: they cost next to nothing.
const NO_PACE: usize = 64;

impl Inbound {
    pub(super) const fn new(cursor: Cursor) -> Self {
        Self {
            cursor,
            end: cursor,
            head: cursor.seq,
            held: VecDeque::new(),
            held_bytes: 0,
            with_owner: None,
            fetching: None,
            parked: None,
        }
    }

    /// From where the subscription has to deliver.
    pub(super) const fn reach(&self) -> Seq {
        self.end.seq
    }

    /// Whether nothing is on its way to the owner. News that a parked one has to wait for are not.
    pub(super) fn is_idle(&self) -> bool {
        let read = match &self.parked {
            Some(parked) => {
                let news = parked.news.is_some() && !parked.paced;
                !parked.collecting && !parked.trouble && !news
            }
            None => self.end.seq >= self.head,
        };
        read && self.held.is_empty() && self.with_owner.is_none() && self.fetching.is_none()
    }

    /// When a parked owner gets its records again. One that has something to answer is parked
    /// anew, or not, by its answer.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let waits = |parked: &&ParkedOwner| !parked.collecting && self.with_owner.is_none();
        let parked = self.parked.as_ref().filter(waits)?;
        Some(parked.news.unwrap_or(parked.again).min(parked.again))
    }

    /// A clock that went back must not make a parked owner wait longer.
    pub(super) fn tame(&mut self, now: Timestamp, limits: &SessionLimits) {
        if let Some(parked) = &mut self.parked {
            let wait = if parked.trouble { limits.trouble_ms } else { limits.parked_ms };
            parked.again = parked.again.min(now.plus_ms(wait));
            parked.pace = parked.pace.min(if parked.paced { parked.again } else { now });
            parked.news = parked.news.map(|from| from.min(parked.pace));
        }
    }

    /// Starts over for a parked owner that has waited long enough. It waits again when it has
    /// answered.
    pub(super) fn wake(&mut self, now: Timestamp) {
        if self.due().is_some_and(|due| due <= now)
            && let Some(parked) = &mut self.parked
        {
            parked.collecting = true;
        }
    }

    pub(super) fn heard_of(&mut self, head: Seq) {
        self.head = self.head.max(head);
        if let Some(parked) = &mut self.parked {
            let news = self.head > parked.seen && !parked.full && !parked.collecting;
            parked.news = news.then_some(parked.pace);
        }
    }

    /// A record came by itself. One that does not follow, or for which there is no room, is
    /// fetched later.
    pub(super) fn arrived(&mut self, topic: &Topic, record: Record, limits: &SessionLimits) {
        self.heard_of(record.seq);
        let full = self.held.len() >= limits.held_records || self.held_bytes >= limits.held_bytes;
        if self.parked.is_none() && !full {
            self.hold(topic, record);
        }
    }

    /// Keeps a record if it follows what is held.
    fn hold(&mut self, topic: &Topic, record: Record) -> bool {
        let follows = record.follows(topic, self.end.seq, &self.end.hash);
        if follows {
            self.keep(record);
        }
        follows
    }

    fn keep(&mut self, record: Record) {
        self.end = record.cursor();
        self.held_bytes += record.payload.len();
        self.held.push_back(record);
    }

    /// The owner stands at `cursor`. If it is parked there, or in trouble, it gets everything
    /// again when more records have come, or after a while.
    pub(super) fn handled(
        &mut self,
        now: Timestamp,
        cursor: Cursor,
        parked: bool,
        limits: &SessionLimits,
    ) {
        // An owner that does not move although nothing holds it had trouble of its own, with its
        // store perhaps. That passes, but not at once.
        let moved = self.cursor != cursor;
        let given = self.with_owner.take();
        let trouble = !parked && !moved && given.is_some_and(|given| given.count > 0);
        if !parked && !trouble && given.is_some_and(|given| given.last == cursor.seq) {
            self.cursor = cursor;
            self.parked = None;
            return;
        }
        // Parked, loaded again, or gone elsewhere: what is held belongs to another place.
        self.let_go();
        (self.cursor, self.end) = (cursor, cursor);
        self.head = self.head.max(given.map_or(Seq(0), |given| given.last));
        let wait = if trouble { limits.trouble_ms } else { limits.parked_ms };
        let count = given.map_or(0, |given| given.count);
        // The first time is for free.
        let free = self.parked.is_none() || count <= NO_PACE;
        let pause = if free { 0 } else { u64::try_from(count).unwrap_or(u64::MAX) };
        self.parked = (parked || trouble).then_some(ParkedOwner {
            seen: given.map_or(self.head, |given| given.last),
            again: now.plus_ms(wait),
            news: None,
            pace: now.plus_ms(pause.min(wait)),
            paced: pause > 0,
            full: !moved && given.is_some_and(|given| given.cut),
            collecting: false,
            trouble,
        });
        self.heard_of(self.head);
    }

    fn let_go(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }

    /// From where to fetch, if that is to be done now.
    pub(super) fn wants(&self, limits: &SessionLimits) -> Option<Cursor> {
        let wanted = match &self.parked {
            Some(parked) => parked.collecting && self.with_owner.is_none(),
            None => {
                let (records, bytes) = (limits.held_records / 2, limits.held_bytes / 2);
                self.held.len() < records.max(1) && self.held_bytes < bytes.max(1)
            }
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
                self.keep(record);
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
        let mut cut = false;
        if let Some(parked) = &mut self.parked {
            let full =
                self.held.len() >= limits.parked_records || self.held_bytes >= limits.parked_bytes;
            let complete = self.end.seq >= self.head || full;
            if !parked.collecting || !complete || self.fetching.is_some() {
                return None;
            }
            parked.collecting = !self.held.is_empty();
            cut = self.end.seq < self.head;
            if self.held.is_empty() {
                // That nothing is behind its cursor, any more, is an answer as well.
                self.with_owner = Some(Given { last: self.end.seq, count: 0, cut });
                return Some(Vec::new());
            }
        }
        // A parked owner looks at everything at once.
        let most = if self.parked.is_some() { usize::MAX } else { limits.given_records.max(1) };
        let given: Vec<Record> = self.held.drain(..self.held.len().min(most)).collect();
        self.held_bytes -= given.iter().map(|record| record.payload.len()).sum::<usize>();
        self.with_owner = Some(Given { last: given.last()?.seq, count: given.len(), cut });
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

impl Session {
    /// Hands the topic's owner what it waits for.
    pub(super) fn deliver(&mut self, topic: &Topic) {
        let Some(inbound) = self.topics.get_mut(topic) else { return };
        if let Some(records) = inbound.next_batch(&self.limits) {
            self.actions.push_back(Action::Deliver { topic: topic.clone(), records });
        }
        self.note(topic);
    }

    /// Asks for what was dropped on the way, and for what owners look up.
    pub(super) fn fetch(&mut self, now: Timestamp) {
        // In the order of the topics, whichever has waited longest.
        let mut looked_at = core::mem::take(&mut self.given_back);
        while let Some(topic) = self.due.take(now) {
            looked_at.insert(topic);
        }
        for topic in looked_at {
            if let Some(inbound) = self.topics.get_mut(&topic) {
                inbound.wake(now);
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
        let calls = self.limits.calls.saturating_sub(self.fetches.len()).max(1);
        let most = self.wanting.len().div_ceil(calls).min(self.limits.fetch_topics);
        let (mut asked, mut after) = (Vec::new(), Vec::new());
        while asked.len() < most
            && let Some(topic) = self.wanting.pop_first()
        {
            let Some(inbound) = self.topics.get_mut(&topic) else { continue };
            if let Some(from) = inbound.wants(&self.limits) {
                inbound.fetching = Some(from);
                asked.push(Asked { topic: topic.clone(), from, head: inbound.head });
                after.push((topic, from));
            }
        }
        (!asked.is_empty()).then(|| (Fetch::Topics(asked), after, PageLimit::default()))
    }

    pub(super) fn has_to_fetch(&self) -> bool {
        self.look_ups.has_to_fetch() || !self.wanting.is_empty()
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
                        self.note(&asked.topic);
                        self.given_back.insert(asked.topic);
                    }
                }
            }
            Fetch::LookUp(id, _) => {
                self.look_ups.give_back(id);
            }
        }
    }
}
