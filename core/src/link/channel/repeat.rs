//! What a link that loses, doubles and reorders frames needs: acknowledgements and repeats.

use alloc::vec::Vec;

use conclave_proto::Timestamp;

use super::{
    ChannelFault, WINDOW_SEGMENTS,
    clock::{ACK_DELAY_MS, Elapsed, RoundTrip},
    frame::{self, Ack},
    segments::{Arrived, Place, SentAt, Unsettled},
    stream::{Incoming, Outgoing},
};

/// Both directions of one end.
#[derive(Debug)]
pub(super) struct Repeating {
    frame_bytes: usize,
    repeats_max: u32,
    elapsed: Elapsed,
    unsettled: Unsettled,
    trip: RoundTrip,
    /// Segments that may be on their way at the same time.
    window: usize,
    /// When the wait for acknowledgements ends.
    repeat_at_ms: Option<u64>,
    /// Ends of that wait since anything was heard from the peer.
    silent: u32,
    /// How often the first segment is sent again to find out what has arrived.
    probes: u32,
    arrived: Arrived,
    owed: Owed,
}

/// The acknowledgement that the peer waits for.
#[derive(Clone, Copy, Debug)]
enum Owed {
    Nothing,
    /// For some segments, at this time at the latest.
    By {
        at_ms: u64,
        segments: u32,
    },
    AtOnce,
}

impl Repeating {
    pub(super) fn new(frame_bytes: usize, repeats_max: u32) -> Self {
        Self {
            frame_bytes,
            repeats_max,
            elapsed: Elapsed::default(),
            unsettled: Unsettled::default(),
            trip: RoundTrip::new(),
            window: FIRST_WINDOW,
            repeat_at_ms: None,
            silent: 0,
            probes: 0,
            arrived: Arrived::default(),
            owed: Owed::Nothing,
        }
    }

    pub(super) const fn unsettled_bytes(&self) -> usize {
        self.unsettled.bytes()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.unsettled.memory_bytes() + self.arrived.memory_bytes()
    }

    pub(super) fn poll_frame(&mut self, now: Timestamp, out: &mut Outgoing) -> Option<Vec<u8>> {
        self.elapsed.advance(now);
        // Ahead of segments that leave no room for it: a late acknowledgement makes the peer
        // repeat what arrived.
        if self.owed_at_once() && (self.window_is_full() || out.len() >= self.frame_bytes) {
            return Some(self.ack_alone());
        }
        if self.window_is_full() {
            return None;
        }
        if self.probes > 0 {
            self.unsettled.lose_first();
        }
        let ack = self.arrived.ack();
        let Some(segment) = self.unsettled.next(self.elapsed.ms(), out, self.frame_bytes) else {
            return self.owed_at_once().then(|| self.ack_alone());
        };
        let room = self.frame_bytes.saturating_sub(1 + segment.encoded_bytes());
        // Also where it was sent before: that frame may be lost.
        let company = self.arrived.any() && ack.encoded_bytes() <= room;
        let frame = frame::numbered(company.then_some(&ack), Some(segment));
        if company {
            self.owed = Owed::Nothing;
        }
        self.probes = self.probes.saturating_sub(1);
        if self.repeat_at_ms.is_none() {
            self.wait_again();
        }
        Some(frame)
    }

    pub(super) fn handle_frame(
        &mut self,
        now: Timestamp,
        frame: &[u8],
        incoming: &mut Incoming,
    ) -> Result<(), ChannelFault> {
        self.elapsed.advance(now);
        let (ack, segment) = frame::read_numbered(frame)?;
        if let Some(ack) = ack {
            self.take_ack(&ack)?;
        }
        if let Some(segment) = segment {
            let place = self.arrived.take(segment, incoming)?;
            self.owe(place);
        }
        self.silent = 0;
        Ok(())
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        let ack_at_ms = match self.owed {
            Owed::By { at_ms, .. } => Some(at_ms),
            Owed::Nothing | Owed::AtOnce => None,
        };
        let overdue_at_ms = self.unsettled.overdue_at_ms();
        let at_ms = [ack_at_ms, overdue_at_ms, self.repeat_at_ms].into_iter().flatten().min()?;
        Some(self.elapsed.timestamp(at_ms))
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) -> Result<(), ChannelFault> {
        self.elapsed.advance(now);
        let now_ms = self.elapsed.ms();
        if let Owed::By { at_ms, .. } = self.owed
            && at_ms <= now_ms
        {
            self.owed = Owed::AtOnce;
        }
        if self.unsettled.overdue_at_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            self.unsettled.lose_overdue(now_ms, self.trip.shortest_ms());
        }
        if self.repeat_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.probe()?;
        }
        Ok(())
    }

    fn take_ack(&mut self, ack: &Ack) -> Result<(), ChannelFault> {
        let now_ms = self.elapsed.ms();
        let progress = self.unsettled.acknowledge(ack, now_ms, self.trip.shortest_ms())?;
        match progress.sent {
            Some(SentAt::Once(at_ms)) => self.trip.measured(now_ms.saturating_sub(at_ms)),
            Some(SentAt::First(at_ms)) => self.trip.bounded(now_ms.saturating_sub(at_ms)),
            None => {}
        }
        if progress.segments > 0 {
            self.window = WINDOW.min(self.window.saturating_add(progress.segments));
            self.trip.start_over();
            self.probes = 0;
            self.wait_again();
        }
        Ok(())
    }

    /// Sends the first segment again, whose acknowledgement tells what else has arrived (RFC 9002
    /// §6.2.4). The rest counts as on its way until then.
    fn probe(&mut self) -> Result<(), ChannelFault> {
        self.silent = self.silent.saturating_add(1);
        if self.silent > self.repeats_max {
            return Err(ChannelFault::PeerGone);
        }
        self.probes = if self.trip.is_known() { PROBES } else { 1 };
        self.trip.back_off();
        if self.silent > 1 {
            // Single losses are the nature of such links; silence may be their overload.
            self.window = (self.window / 2).max(LEAST_WINDOW);
        }
        self.wait_from(self.elapsed.ms());
        Ok(())
    }

    const fn owed_at_once(&self) -> bool {
        matches!(self.owed, Owed::AtOnce)
    }

    const fn window_is_full(&self) -> bool {
        self.unsettled.in_flight() >= self.window && self.probes == 0
    }

    fn ack_alone(&mut self) -> Vec<u8> {
        self.owed = Owed::Nothing;
        frame::numbered(Some(&self.arrived.ack()), None)
    }

    fn wait_again(&mut self) {
        self.wait_from(self.unsettled.oldest_at_ms().unwrap_or(self.elapsed.ms()));
    }

    fn wait_from(&mut self, from_ms: u64) {
        let at_ms = from_ms.saturating_add(self.trip.timeout_ms());
        self.repeat_at_ms = (!self.unsettled.is_empty()).then_some(at_ms);
    }

    fn owe(&mut self, place: Place) {
        self.owed = match (place, self.owed) {
            (Place::Odd, _) | (Place::InOrder, Owed::AtOnce) => Owed::AtOnce,
            (Place::InOrder, Owed::Nothing) => {
                Owed::By { at_ms: self.elapsed.ms().saturating_add(ACK_DELAY_MS), segments: 1 }
            }
            (Place::InOrder, Owed::By { at_ms, segments }) if segments + 1 < SEGMENTS_PER_ACK => {
                Owed::By { at_ms, segments: segments + 1 }
            }
            (Place::InOrder, Owed::By { .. }) => Owed::AtOnce,
        };
    }
}

/// Segments on their way, at most.
#[allow(clippy::cast_possible_truncation, reason = "a small constant")]
const WINDOW: usize = WINDOW_SEGMENTS as usize;
/// Before anything is known about the link (RFC 6928's ten, rounded up).
const FIRST_WINDOW: usize = 16;
/// Enough that one loss is noticed without a timeout.
const LEAST_WINDOW: usize = 8;
/// In order, so that acknowledgements are a small part of the traffic and the window never closes.
const SEGMENTS_PER_ACK: u32 = 4;
/// Copies that follow a wait in vain, so that one more loss does not double the wait. While the
/// round trip is unknown, one has to do: the wait was a guess.
const PROBES: u32 = 2;
