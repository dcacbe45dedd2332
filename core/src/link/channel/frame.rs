//! The bytes of a frame.
//!
//! * Reliable link: `0 ‖ part of the stream`.
//! * Unreliable link: `1 | 2 | 3 ‖ acknowledgement, if bit 0 ‖ segment, if bit 1`, where an
//!   acknowledgement is `next (varint) ‖ bitmap length (1 byte) ‖ bitmap` and a segment is
//!   `number (varint) ‖ part of the stream`. All segments below `next` have arrived, and bit `i`
//!   of the bitmap, from the lowest bit of its first byte on, says that `next + 1 + i` has.

use alloc::vec::Vec;

use super::{
    ChannelFault,
    stream::{Outgoing, put_varint, take_varint, varint_bytes},
};

const STREAM: u8 = 0;
const ACK: u8 = 1;
const SEGMENT: u8 = 2;

/// The next frame of a reliable link.
pub(super) fn stream(outgoing: &mut Outgoing, max: usize) -> Option<Vec<u8>> {
    if outgoing.is_empty() {
        return None;
    }
    let mut frame = Vec::with_capacity(max.min(outgoing.len().saturating_add(1)));
    frame.push(STREAM);
    outgoing.cut(&mut frame, max - 1);
    Some(frame)
}

/// The part of the stream in a frame of a reliable link.
pub(super) fn read_stream(frame: &[u8]) -> Result<&[u8], ChannelFault> {
    match frame.split_first() {
        Some((&STREAM, part)) if !part.is_empty() => Ok(part),
        Some(_) | None => Err(ChannelFault::Malformed),
    }
}

/// Which segments have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    /// All below this one.
    pub(super) next: u64,
    /// Which of those behind it.
    pub(super) bitmap: Vec<u8>,
}

impl Ack {
    pub(super) fn encoded_bytes(&self) -> usize {
        varint_bytes(self.next) + 1 + self.bitmap.len()
    }

    /// Numbers in the bitmap.
    pub(super) fn beyond(&self) -> impl Iterator<Item = u64> {
        self.bitmap.iter().zip(0_u64..).flat_map(move |(byte, at)| {
            (0_u8..8)
                .filter(move |bit| byte & (1 << bit) != 0)
                .map(move |bit| self.next.saturating_add(1 + 8 * at + u64::from(bit)))
        })
    }
}

/// A part of the stream and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) number: u64,
    pub(super) part: &'a [u8],
}

impl Segment<'_> {
    pub(super) const fn encoded_bytes(&self) -> usize {
        varint_bytes(self.number) + self.part.len()
    }

    /// Bytes of the stream that go into a frame with the segment of this number.
    pub(super) const fn room(number: u64, frame_bytes: usize) -> usize {
        frame_bytes.saturating_sub(1 + varint_bytes(number))
    }
}

/// A frame of an unreliable link.
pub(super) fn numbered(ack: Option<&Ack>, segment: Option<Segment<'_>>) -> Vec<u8> {
    let ack_bytes = ack.map_or(0, Ack::encoded_bytes);
    let segment_bytes = segment.map_or(0, |segment| segment.encoded_bytes());
    let mut frame = Vec::with_capacity(1 + ack_bytes + segment_bytes);
    frame.push(if ack.is_some() { ACK } else { 0 } | if segment.is_some() { SEGMENT } else { 0 });
    if let Some(ack) = ack {
        put_varint(&mut frame, ack.next);
        frame.push(u8::try_from(ack.bitmap.len()).unwrap_or(u8::MAX));
        frame.extend_from_slice(&ack.bitmap);
    }
    if let Some(Segment { number, part }) = segment {
        put_varint(&mut frame, number);
        frame.extend_from_slice(part);
    }
    frame
}

/// What is in a frame of an unreliable link.
pub(super) fn read_numbered(
    frame: &[u8],
) -> Result<(Option<Ack>, Option<Segment<'_>>), ChannelFault> {
    let (kind, mut rest) = frame.split_first().ok_or(ChannelFault::Malformed)?;
    if !matches!(*kind, ACK | SEGMENT) && *kind != ACK | SEGMENT {
        return Err(ChannelFault::Malformed);
    }
    let ack = if kind & ACK != 0 { Some(read_ack(&mut rest)?) } else { None };
    let segment = if kind & SEGMENT != 0 {
        let number = take_varint(&mut rest)?;
        Some(Segment { number, part: rest })
    } else {
        None
    };
    let complete = segment.map_or(rest.is_empty(), |segment| !segment.part.is_empty());
    if complete { Ok((ack, segment)) } else { Err(ChannelFault::Malformed) }
}

fn read_ack(rest: &mut &[u8]) -> Result<Ack, ChannelFault> {
    let next = take_varint(rest)?;
    let (length, after) = rest.split_first().ok_or(ChannelFault::Malformed)?;
    let (bitmap, after) =
        after.split_at_checked(usize::from(*length)).ok_or(ChannelFault::Malformed)?;
    *rest = after;
    Ok(Ack { next, bitmap: bitmap.to_vec() })
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::{Ack, Segment, numbered, read_numbered};
    use crate::link::{
        LinkInfo,
        channel::{ChannelFault, WINDOW_SEGMENTS},
    };

    /// Written down so that both ends of a link may be of different versions.
    #[test]
    fn frames_keep_their_bytes() {
        let ack = Ack { next: 300, bitmap: vec![0b101] };
        let segment = Segment { number: 5, part: b"abc" };
        let both = [3, 0xAC, 0x02, 1, 0b101, 5, b'a', b'b', b'c'];
        assert_eq!(numbered(Some(&ack), Some(segment)), both);
        assert_eq!(read_numbered(&both), Ok((Some(ack.clone()), Some(segment))));
        assert_eq!(ack.beyond().collect::<Vec<_>>(), [301, 303]);
        assert_eq!(numbered(Some(&ack), None), [1, 0xAC, 0x02, 1, 0b101]);
        assert_eq!(numbered(None, Some(segment)), [2, 5, b'a', b'b', b'c']);
    }

    #[test]
    fn a_full_bitmap_fits_the_shortest_frame() {
        let bitmap = vec![0xFF; usize::try_from(WINDOW_SEGMENTS / 8).unwrap()];
        let frame = numbered(Some(&Ack { next: u64::MAX, bitmap }), None);
        assert!(frame.len() <= LinkInfo::LEAST_MTU);
    }

    /// Scenario 18.
    #[test]
    fn truncated_frames_are_malformed() {
        let ack = Ack { next: 300, bitmap: vec![0b101] };
        let whole = numbered(Some(&ack), Some(Segment { number: 300, part: b"a" }));
        for length in 0..whole.len() {
            assert_eq!(read_numbered(&whole[..length]), Err(ChannelFault::Malformed));
        }
        assert_eq!(read_numbered(&[1, 0, 0, 0]), Err(ChannelFault::Malformed));
        assert_eq!(read_numbered(&[4, 0, 0]), Err(ChannelFault::Malformed));
        assert_eq!(read_numbered(&[0]), Err(ChannelFault::Malformed));
    }
}
