//! The stream of bytes under both kinds of channels: each message behind its length.

use alloc::{collections::VecDeque, vec::Vec};
use core::mem;

use super::ChannelFault;

/// Bytes that wait to be cut into frames.
#[derive(Debug, Default)]
pub(super) struct Outgoing(VecDeque<u8>);

impl Outgoing {
    pub(super) fn push(&mut self, message: &[u8]) {
        let mut length = Vec::with_capacity(MAX_VARINT_BYTES);
        put_varint(&mut length, message.len() as u64);
        self.0.reserve(length.len() + message.len());
        self.0.extend(&length);
        self.0.extend(message);
    }

    /// Moves up to `max` bytes to the end of `frame`.
    pub(super) fn cut(&mut self, frame: &mut Vec<u8>, max: usize) {
        let cut = self.0.len().min(max);
        let (front, back) = self.0.as_slices();
        let from_front = front.get(..cut).unwrap_or(front);
        let from_back = back.get(..cut - from_front.len()).unwrap_or_default();
        frame.extend_from_slice(from_front);
        frame.extend_from_slice(from_back);
        self.0.drain(..cut);
        if self.0.is_empty() && self.0.capacity() > KEPT_BYTES {
            self.0 = VecDeque::new();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.capacity()
    }
}

/// Bytes that arrived, on their way to being messages.
#[derive(Debug)]
pub(super) struct Incoming {
    message_bytes: usize,
    partial: Partial,
    whole: VecDeque<Vec<u8>>,
    whole_bytes: usize,
}

/// The message at the end of the stream.
#[derive(Debug)]
enum Partial {
    /// Its length is not complete.
    Length { value: u64, shift: u32 },
    /// Its content is not complete.
    Content { length: usize, bytes: Vec<u8> },
}

impl Partial {
    const NONE: Self = Self::Length { value: 0, shift: 0 };
}

impl Incoming {
    pub(super) const fn new(message_bytes: usize) -> Self {
        Self { message_bytes, partial: Partial::NONE, whole: VecDeque::new(), whole_bytes: 0 }
    }

    /// Takes the next bytes of the stream.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), ChannelFault> {
        while let Some((byte, rest)) = bytes.split_first() {
            bytes = match mem::replace(&mut self.partial, Partial::NONE) {
                Partial::Length { value, shift } => {
                    self.take_length(value, shift, *byte)?;
                    rest
                }
                Partial::Content { length, bytes: content } => {
                    self.take_content(length, content, bytes)
                }
            };
        }
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let message = self.whole.pop_front()?;
        self.whole_bytes = self.whole_bytes.saturating_sub(message.len());
        if self.whole.is_empty() && self.whole.capacity() > KEPT_MESSAGES {
            self.whole = VecDeque::new();
        }
        Some(message)
    }

    /// Forgets the message that will never be complete.
    pub(super) fn abandon(&mut self) {
        self.partial = Partial::NONE;
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let partial = match &self.partial {
            Partial::Length { .. } => 0,
            Partial::Content { bytes, .. } => bytes.capacity(),
        };
        partial + self.whole_bytes + self.whole.capacity() * size_of::<Vec<u8>>()
    }

    fn take_length(&mut self, value: u64, shift: u32, byte: u8) -> Result<(), ChannelFault> {
        let value = add_digit(value, shift, byte).ok_or(ChannelFault::Malformed)?;
        if value > self.message_bytes as u64 {
            return Err(ChannelFault::MessageTooLong { max: self.message_bytes });
        }
        if byte & CONTINUES != 0 {
            self.partial = Partial::Length { value, shift: shift + 7 };
        } else if value == 0 {
            self.finish(Vec::new());
        } else {
            let length = usize::try_from(value).unwrap_or(usize::MAX);
            self.partial = Partial::Content { length, bytes: Vec::new() };
        }
        Ok(())
    }

    /// Returns the bytes that belong to the next message.
    fn take_content<'a>(
        &mut self,
        length: usize,
        mut content: Vec<u8>,
        bytes: &'a [u8],
    ) -> &'a [u8] {
        let missing = length.saturating_sub(content.len());
        let (part, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        if content.capacity() - content.len() < part.len() {
            // Doubled as it fills, but never past the announced length: who only announces much
            // costs nothing.
            content.reserve_exact(missing.min(part.len().max(content.len())));
        }
        content.extend_from_slice(part);
        if content.len() == length {
            self.finish(content);
        } else {
            self.partial = Partial::Content { length, bytes: content };
        }
        rest
    }

    fn finish(&mut self, message: Vec<u8>) {
        self.whole_bytes += message.len();
        self.whole.push_back(message);
    }
}

/// Appends a number in LEB128, as postcard writes them.
pub(super) fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= u64::from(CONTINUES) {
        bytes.push((value as u8) | CONTINUES);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Takes a number from the front.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Result<u64, ChannelFault> {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().ok_or(ChannelFault::Malformed)?;
        *bytes = rest;
        value = add_digit(value, shift, *byte).ok_or(ChannelFault::Malformed)?;
        if byte & CONTINUES == 0 {
            return Ok(value);
        }
        shift += 7;
    }
}

/// How many bytes [`put_varint`] appends.
pub(super) const fn varint_bytes(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

/// `None` if the number does not fit 64 bits.
const fn add_digit(value: u64, shift: u32, byte: u8) -> Option<u64> {
    let digit = (byte & !CONTINUES) as u64;
    if shift > 63 || (shift == 63 && digit > 1) {
        return None;
    }
    Some(value | (digit << shift))
}

const CONTINUES: u8 = 0x80;
const MAX_VARINT_BYTES: usize = 10;

/// An empty queue keeps no more than this; the rest was for one long message.
const KEPT_BYTES: usize = 128 * 1024;
const KEPT_MESSAGES: usize = 1_024;

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::{ChannelFault, Incoming, put_varint, take_varint, varint_bytes};

    #[test]
    fn numbers_survive_up_to_the_last_one() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_bytes(value));
            assert_eq!(take_varint(&mut &bytes[..]), Ok(value));
        }
        assert_eq!(take_varint(&mut &[0xFF; 10][..]), Err(ChannelFault::Malformed));
        assert_eq!(take_varint(&mut &[0x80; 3][..]), Err(ChannelFault::Malformed));
    }

    /// Scenario 18: a length is refused before its content comes, and announcing costs nothing.
    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut incoming = Incoming::new(1 << 24);
        let mut length = Vec::new();
        put_varint(&mut length, 1 << 24);
        incoming.take(&length).unwrap();
        incoming.take(&[1]).unwrap();
        assert!(incoming.memory_bytes() < 64);

        let mut incoming = Incoming::new(1_000);
        let mut length = Vec::new();
        put_varint(&mut length, 1_001);
        let too_long = ChannelFault::MessageTooLong { max: 1_000 };
        assert_eq!(incoming.take(&length), Err(too_long));
        assert_eq!(Incoming::new(1_000).take(&[0x80; 20]), Err(ChannelFault::Malformed));
    }

    #[test]
    fn messages_may_be_cut_anywhere() {
        let messages = [vec![], vec![1; 300], vec![2], vec![], vec![3; 127]];
        let mut stream = Vec::new();
        for message in &messages {
            put_varint(&mut stream, message.len() as u64);
            stream.extend_from_slice(message);
        }
        for piece in 1..stream.len() {
            let mut incoming = Incoming::new(1_000);
            for bytes in stream.chunks(piece) {
                incoming.take(bytes).unwrap();
            }
            for message in &messages {
                assert_eq!(incoming.pop().as_ref(), Some(message));
            }
            assert_eq!(incoming.pop(), None);
        }
    }
}
