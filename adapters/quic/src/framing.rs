//! Frames in a stream: each behind its length (4 bytes, big-endian).

/// What arrived and is not a whole frame yet.
#[derive(Debug, Default)]
pub(crate) struct Unframed(Vec<u8>);

/// A frame is announced that is longer than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FrameTooLong;

impl Unframed {
    /// Grows with what arrives, never with what is announced.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The frames that are whole. Those before one that is too long come first.
    pub(crate) fn take(&mut self, mtu: usize) -> Result<Vec<Vec<u8>>, FrameTooLong> {
        let mut frames = Vec::new();
        let mut rest = &self.0[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > mtu {
                if frames.is_empty() {
                    return Err(FrameTooLong);
                }
                break;
            }
            let Some((frame, after)) = after.split_at_checked(length) else { break };
            frames.push(frame.to_vec());
            rest = after;
        }
        let taken = self.0.len() - rest.len();
        if taken == self.0.len() && self.0.capacity() > KEPT_BYTES {
            self.0 = Vec::new();
        } else {
            self.0.drain(..taken);
        }
        Ok(frames)
    }
}

/// All frames as one piece for the stream.
pub(crate) fn framed(frames: &[Vec<u8>]) -> Vec<u8> {
    let total = frames.iter().map(|frame| 4 + frame.len()).sum();
    let mut bytes = Vec::with_capacity(total);
    for frame in frames {
        bytes.extend(u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(frame);
    }
    bytes
}

/// An idle link holds no more than this.
const KEPT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::{FrameTooLong, Unframed, framed};

    #[test]
    fn frames_may_be_cut_anywhere() {
        let frames = vec![vec![1; 300], vec![], vec![2], vec![3; 5]];
        let bytes = framed(&frames);
        for piece in 1..bytes.len() {
            let mut unframed = Unframed::default();
            let mut arrived = Vec::new();
            for bytes in bytes.chunks(piece) {
                unframed.push(bytes);
                arrived.extend(unframed.take(300).unwrap());
            }
            assert_eq!(arrived, frames);
        }
    }

    #[test]
    fn frames_before_one_that_is_too_long_arrive() {
        let mut unframed = Unframed::default();
        unframed.push(&framed(&[vec![1; 3], vec![2; 4]]));
        assert_eq!(unframed.take(3), Ok(vec![vec![1; 3]]));
        assert_eq!(unframed.take(3), Err(FrameTooLong));
    }
}
