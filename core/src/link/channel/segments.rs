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
#[derive(Debug)]
pub(super) struct Unsettled {
    first: u64,
    segments: VecDeque<Sent>,
    bytes: usize,
    /// Segments that count as on their way.
    in_flight: usize,
    lost: usize,
    /// Counts every transmission, repeats as well.
    transmissions: u64,
    /// The latest transmission that was acknowledged.
    arrived: u64,
}

#[derive(Debug)]
struct Sent {
    part: Vec<u8>,
    state: State,
    transmission: u64,
    at_ms: u64,
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
    /// When the latest of them was sent, if it was sent only once.
    pub(super) sent_at_ms: Option<u64>,
}

impl Unsettled {
    pub(super) const fn new() -> Self {
        Self {
            first: 0,
            segments: VecDeque::new(),
            bytes: 0,
            in_flight: 0,
            lost: 0,
            transmissions: 0,
            arrived: 0,
        }
    }

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
            self.cut(outgoing, frame_bytes)?
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

    /// Everything on its way counts as lost.
    pub(super) fn lose_all(&mut self) {
        self.lose(u64::MAX);
    }

    /// Takes an acknowledgement, however old.
    pub(super) fn acknowledge(&mut self, ack: &Ack) -> Result<Progress, ChannelFault> {
        let end = self.first + self.segments.len() as u64;
        if ack.next > end || ack.beyond().any(|number| number >= end) {
            return Err(ChannelFault::NeverSent);
        }
        let mut progress = Progress::default();
        for number in (self.first..ack.next).chain(ack.beyond()) {
            self.arrive(number, &mut progress);
        }
        while self.segments.front().is_some_and(|sent| sent.state == State::Arrived) {
            self.segments.pop_front();
            self.first += 1;
        }
        self.lose(self.arrived.saturating_sub(REORDERED));
        Ok(progress)
    }

    /// Appends a segment of the stream, and returns its index.
    fn cut(&mut self, outgoing: &mut Outgoing, frame_bytes: usize) -> Option<usize> {
        let index = self.segments.len();
        if outgoing.is_empty() || index as u64 >= WINDOW_SEGMENTS {
            return None;
        }
        let room = Segment::room(self.first + index as u64, frame_bytes);
        let mut part = Vec::with_capacity(room.min(outgoing.len()));
        outgoing.cut(&mut part, room);
        self.bytes += part.len();
        let state = State::InFlight;
        self.segments.push_back(Sent { part, state, transmission: 0, at_ms: 0, repeated: false });
        Some(index)
    }

    fn arrive(&mut self, number: u64, progress: &mut Progress) {
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
        if sent.transmission > self.arrived {
            self.arrived = sent.transmission;
            progress.sent_at_ms = (!sent.repeated).then_some(sent.at_ms);
        }
    }

    /// What was sent before this transmission and has not arrived counts as lost.
    fn lose(&mut self, before: u64) {
        for sent in &mut self.segments {
            if sent.state == State::InFlight && sent.transmission < before {
                sent.state = State::Lost;
                self.in_flight -= 1;
                self.lost += 1;
            }
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
