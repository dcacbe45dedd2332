//! Padmé padding: the length of a message shows little of the length of its content (G12).
//!
//! Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs"
//! (PETS 2019), §4: at most 12 % more, and only O(log log n) bits of the length leak.

use alloc::vec::Vec;

/// Shortest padded plaintext, in bytes: below this all messages look alike.
const SHORTEST: usize = 64;

/// The padded length of `len` bytes.
#[must_use]
pub const fn padme(len: usize) -> usize {
    if len <= SHORTEST {
        return SHORTEST;
    }
    let exponent = len.ilog2();
    let significant = exponent.ilog2() + 1;
    let mask = (1_usize << (exponent - significant)) - 1;
    match len.checked_add(mask) {
        Some(sum) => sum & !mask,
        None => len,
    }
}

/// `length (4 bytes, big-endian) ‖ content ‖ zeros`, padded as a whole.
#[must_use]
pub fn pad(content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let total = padme(content.len().saturating_add(4));
    let mut padded = Vec::with_capacity(total);
    padded.extend(len.to_be_bytes());
    padded.extend_from_slice(content);
    padded.resize(total, 0);
    padded
}

/// The content of a padded plaintext; `None` unless it is exactly what [`pad`] makes.
#[must_use]
pub fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let (len, rest) = padded.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let (content, zeros) = rest.split_at_checked(len)?;
    let honest = padded.len() == padme(len.saturating_add(4)) && zeros.iter().all(|b| *b == 0);
    honest.then_some(content)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::{pad, padme, unpad};

    /// G12.
    #[test]
    fn lengths_fall_into_few_classes() {
        assert_eq!([padme(0), padme(64), padme(65), padme(1_000)], [64, 64, 72, 1_024]);
        assert_eq!(padme(9_000), 9_216);
    }

    /// G12.
    #[test]
    fn other_paddings_are_refused() {
        let good = pad(b"hello");
        assert_eq!(unpad(&good), Some(&b"hello"[..]));
        assert_eq!(unpad(&good[..63]), None);
        let mut dirty = good.clone();
        dirty[40] = 1;
        assert_eq!(unpad(&dirty), None);
        assert_eq!(unpad(&[&good[..], &[0]].concat()), None);
        assert_eq!(unpad(&[255, 255, 255, 255]), None);
        assert_eq!(unpad(&[]), None);
    }

    proptest! {
        #[test]
        fn what_was_padded_unpads_to_itself(len in 0_usize..20_000) {
            let content = vec![7; len];
            let padded = pad(&content);
            prop_assert_eq!(unpad(&padded), Some(&content[..]));
            prop_assert!(padded.len() <= (len + 4).max(64) * 112 / 100 + 1);
        }
    }
}
