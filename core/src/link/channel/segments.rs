//! Segments on their way, and segments that arrived too early.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use super::{
    ChannelFault, WINDOW_SEGMENTS,
    frame::{Ack, Segment},
    stream::{Incoming, Outgoing},
};

/// What was sent and is not acknowledged, from the first such segment on.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    first: u64,
    segments: VecDeque<Sent>,
    bytes: usize,
    /// Segments that count as on their way.
    in_flight: usize,
    lost: usize,
    /// Counts every transmission, repeats as well.
    transmissions: u64,
    /// The latest transmission that was acknowledged, and how long that took.
    arrived: u64,
    arrived_after_ms: u64,
    /// When the next segment counts as lost that was sent before that one.
    overdue_at_ms: Option<u64>,
}

#[derive(Debug)]
struct Sent {
    part: Vec<u8>,
    state: State,
    transmission: u64,
    at_ms: u64,
    first_at_ms: u64,
    repeated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    Lost,
    Arrived,
}

/// What an acknowledgement brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Segments that were not known to have arrived.
    pub(super) segments: usize,
    /// When the latest of them was sent.
    pub(super) sent: Option<SentAt>,
}

/// When a segment was sent that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentAt {
    /// It was sent only then.
    Once(u64),
    /// It was sent then for the first time, and again later.
    First(u64),
}

impl Unsettled {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes + self.segments.capacity() * size_of::<Sent>()
    }

    /// When [`lose_overdue`](Self::lose_overdue) has something to do.
    pub(super) const fn overdue_at_ms(&self) -> Option<u64> {
        self.overdue_at_ms
    }

    /// When the segment was sent that has been on its way for the longest time.
    pub(super) fn oldest_at_ms(&self) -> Option<u64> {
        let in_flight = self.segments.iter().filter(|sent| sent.state == State::InFlight);
        in_flight.map(|sent| sent.at_ms).min()
    }

    /// The segment to send next: a lost one, or one cut from the stream.
    pub(super) fn next(
        &mut self,
        now_ms: u64,
        outgoing: &mut Outgoing,
        frame_bytes: usize,
    ) -> Option<Segment<'_>> {
        let index = if self.lost > 0 {
            self.segments.iter().position(|sent| sent.state == State::Lost)?
        } else {
            self.cut(now_ms, outgoing, frame_bytes)?
        };
        let number = self.first + index as u64;
        let sent = self.segments.get_mut(index)?;
        if sent.state == State::Lost {
            self.lost -= 1;
            sent.repeated = true;
        }
        self.in_flight += 1;
        self.transmissions += 1;
        sent.state = State::InFlight;
        sent.transmission = self.transmissions;
        sent.at_ms = now_ms;
        Some(Segment { number, part: &sent.part })
    }

    /// The first segment counts as lost, unless one is that has not been sent again.
    pub(super) fn lose_first(&mut self) {
        if self.lost > 0 {
            return;
        }
        let mut in_flight = self.segments.iter_mut().filter(|sent| sent.state == State::InFlight);
        if let Some(sent) = in_flight.next() {
            sent.state = State::Lost;
            self.in_flight -= 1;
            self.lost += 1;
        }
    }

    /// Takes an acknowledgement, however old. One that comes sooner after a repeat than any other
    /// has come is one of an earlier transmission.
    pub(super) fn acknowledge(
        &mut self,
        ack: &Ack,
        now_ms: u64,
        shortest_ms: u64,
    ) -> Result<Progress, ChannelFault> {
        let end = self.first + self.segments.len() as u64;
        if ack.next > end || ack.beyond().any(|number| number >= end) {
            return Err(ChannelFault::NeverSent);
        }
        let mut progress = Progress::default();
        for number in (self.first..ack.next).chain(ack.beyond()) {
            self.arrive(number, now_ms, shortest_ms, &mut progress);
        }
        while self.segments.front().is_some_and(|sent| sent.state == State::Arrived) {
            self.segments.pop_front();
            self.first += 1;
        }
        self.lose_overdue(now_ms, shortest_ms);
        Ok(progress)
    }

    /// What was sent before the latest transmission that arrived counts as lost after some more
    /// transmissions or some more time (RFC 8985 §6.2), whichever comes first.
    pub(super) fn lose_overdue(&mut self, now_ms: u64, shortest_ms: u64) {
        self.overdue_at_ms = None;
        let patience_ms = self.arrived_after_ms.saturating_add((shortest_ms / 4).max(1));
        for sent in &mut self.segments {
            if sent.state != State::InFlight || sent.transmission >= self.arrived {
                continue;
            }
            let due_ms = sent.at_ms.saturating_add(patience_ms);
            if due_ms <= now_ms || sent.transmission + REORDERED < self.arrived {
                sent.state = State::Lost;
                self.in_flight -= 1;
                self.lost += 1;
            } else {
                self.overdue_at_ms = Some(self.overdue_at_ms.map_or(due_ms, |at| at.min(due_ms)));
            }
        }
    }

    /// Appends a segment of the stream, and returns its index.
    fn cut(&mut self, now_ms: u64, outgoing: &mut Outgoing, frame_bytes: usize) -> Option<usize> {
        let index = self.segments.len();
        if outgoing.is_empty() || index as u64 >= WINDOW_SEGMENTS {
            return None;
        }
        let room = Segment::room(self.first + index as u64, frame_bytes);
        let mut part = Vec::with_capacity(room.min(outgoing.len()));
        outgoing.cut(&mut part, room);
        self.bytes += part.len();
        self.segments.push_back(Sent {
            part,
            state: State::InFlight,
            transmission: 0,
            at_ms: now_ms,
            first_at_ms: now_ms,
            repeated: false,
        });
        Some(index)
    }

    fn arrive(&mut self, number: u64, now_ms: u64, shortest_ms: u64, progress: &mut Progress) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(sent) = index.and_then(|index| self.segments.get_mut(index)) else { return };
        match sent.state {
            State::Arrived => return,
            State::InFlight => self.in_flight -= 1,
            State::Lost => self.lost -= 1,
        }
        sent.state = State::Arrived;
        self.bytes -= sent.part.len();
        sent.part = Vec::new();
        progress.segments += 1;
        let after_ms = now_ms.saturating_sub(sent.at_ms);
        if sent.repeated && after_ms < shortest_ms {
            return;
        }
        if sent.transmission > self.arrived {
            self.arrived = sent.transmission;
            self.arrived_after_ms = after_ms;
            progress.sent = Some(match sent.repeated {
                true => SentAt::First(sent.first_at_ms),
                false => SentAt::Once(sent.at_ms),
            });
        }
    }
}

/// A segment counts as lost once one that was sent more than this many transmissions later has
/// arrived (RFC 5681's three duplicates).
const REORDERED: u64 = 3;

/// What has arrived: everything below one number, and some segments behind.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    next: u64,
    early: BTreeMap<u64, Vec<u8>>,
    early_bytes: usize,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The next one, and none waited behind it.
    InOrder,
    /// One that the sender has to hear about at once: doubled, or next to a hole.
    Odd,
}

impl Arrived {
    pub(super) fn memory_bytes(&self) -> usize {
        self.early_bytes + self.early.len() * size_of::<(u64, Vec<u8>)>()
    }

    /// Whether anything has arrived.
    pub(super) fn any(&self) -> bool {
        self.next > 0 || !self.early.is_empty()
    }

    /// Passes on what is in order and keeps what is early.
    pub(super) fn take(
        &mut self,
        segment: Segment<'_>,
        incoming: &mut Incoming,
    ) -> Result<Place, ChannelFault> {
        let Segment { number, part } = segment;
        if number >= self.next.saturating_add(WINDOW_SEGMENTS) {
            return Err(ChannelFault::BeyondWindow);
        }
        if number < self.next || self.early.contains_key(&number) {
            return Ok(Place::Odd);
        }
        if number > self.next {
            self.early_bytes += part.len();
            self.early.insert(number, part.to_vec());
            return Ok(Place::Odd);
        }
        incoming.take(part)?;
        self.next += 1;
        let place = if self.early.is_empty() { Place::InOrder } else { Place::Odd };
        while let Some(part) = self.early.remove(&self.next) {
            self.early_bytes -= part.len();
            incoming.take(&part)?;
            self.next += 1;
        }
        Ok(place)
    }

    pub(super) fn ack(&self) -> Ack {
        let mut bitmap = Vec::new();
        for number in self.early.keys() {
            let bit = number.saturating_sub(self.next).saturating_sub(1);
            let at = usize::try_from(bit / 8).unwrap_or(usize::MAX);
            while bitmap.len() <= at {
                bitmap.push(0);
            }
            if let Some(byte) = bitmap.get_mut(at) {
                *byte |= 1 << (bit % 8);
            }
        }
        Ack { next: self.next, bitmap }
    }
}
