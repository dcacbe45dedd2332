//! One way to turn wire types into bytes and back: a version byte, then postcard.
//!
//! Decoding checks the length of the whole input before anything is allocated, never trusts a
//! count inside it, and refuses bytes that are left over.

use alloc::vec::Vec;

use serde::{Serialize, de::DeserializeOwned};

/// Why bytes from outside are not what they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than the type allows.
    #[error("{len} bytes where {max} are allowed")]
    TooLong {
        /// Bytes there are.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Of a version that this build does not know: written by a later one, or damaged.
    #[error("unknown version {0}")]
    UnknownVersion(u8),
    /// Not an encoding of the type, or cut short.
    #[error("malformed encoding")]
    Malformed,
    /// The type ends before the bytes do.
    #[error("bytes left over after the value")]
    TrailingBytes,
    /// No bytes at all.
    #[error("empty input")]
    Empty,
    /// Decodes, but is not the one encoding of its value that hashes are computed over.
    #[error("not the canonical encoding")]
    NotCanonical,
}

/// A type with one encoding: `VERSION ‖ postcard(value)`, at most `MAX_BYTES` long.
pub trait Wire: Serialize + DeserializeOwned {
    /// First byte of every encoding.
    const VERSION: u8;
    /// Longest encoding that is read, in bytes, version included.
    const MAX_BYTES: usize;

    /// The encoding. Writers keep to `MAX_BYTES` themselves; [`Wire::decode`] enforces it.
    #[must_use]
    fn encode(&self) -> Vec<u8> {
        // Fails for what `encode_bare` names.
        postcard::to_extend(self, Vec::from([Self::VERSION])).unwrap_or_default()
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// [`DecodeError`]; the input is refused as a whole.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(DecodeError::TooLong { len: bytes.len(), max: Self::MAX_BYTES });
        }
        match bytes.split_first() {
            None => Err(DecodeError::Empty),
            Some((&version, rest)) if version == Self::VERSION => decode_bare(rest),
            Some((&version, _)) => Err(DecodeError::UnknownVersion(version)),
        }
    }

    /// Reads an encoding and refuses it unless it is byte for byte what [`Wire::encode`] gives.
    /// For values whose hash is computed over their bytes.
    ///
    /// # Errors
    /// [`DecodeError`]; the input is refused as a whole.
    fn decode_canonical(bytes: &[u8]) -> Result<Self, DecodeError> {
        let value = Self::decode(bytes)?;
        if value.encode() == bytes { Ok(value) } else { Err(DecodeError::NotCanonical) }
    }
}

/// postcard without a version byte, for values inside versioned ones.
#[must_use]
pub fn encode_bare<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // postcard into a growing vector fails only for types whose `Serialize` reports errors or
    // sequences of unknown length; no wire type has either.
    postcard::to_allocvec(value).unwrap_or_default()
}

/// Reads postcard without a version byte; refuses bytes that are left over.
///
/// # Errors
/// [`DecodeError::Malformed`] or [`DecodeError::TrailingBytes`].
pub fn decode_bare<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(DecodeError::TrailingBytes),
        Err(_) => Err(DecodeError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use serde::{Deserialize, Serialize};

    use super::{DecodeError, Wire};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        numbers: Vec<u64>,
    }

    impl Wire for Sample {
        const VERSION: u8 = 3;
        const MAX_BYTES: usize = 16;
    }

    #[test]
    fn what_was_encoded_decodes_to_itself() {
        let sample = Sample { numbers: vec![1, 300] };
        assert_eq!(sample.encode(), [3, 2, 1, 172, 2]);
        assert_eq!(Sample::decode(&sample.encode()), Ok(sample));
    }

    #[test]
    fn damage_gives_a_typed_error() {
        let good = Sample { numbers: vec![1] }.encode();
        assert_eq!(Sample::decode(&[]), Err(DecodeError::Empty));
        assert_eq!(Sample::decode(&[4, 0]), Err(DecodeError::UnknownVersion(4)));
        assert_eq!(Sample::decode(&good[..2]), Err(DecodeError::Malformed));
        assert_eq!(Sample::decode(&[3, 1, 1, 0]), Err(DecodeError::TrailingBytes));
        assert_eq!(Sample::decode(&[3; 17]), Err(DecodeError::TooLong { len: 17, max: 16 }));
    }

    #[test]
    fn a_lying_count_allocates_nothing_and_is_refused() {
        let lie = [3, 255, 255, 255, 255, 255, 255, 255, 255, 127];
        assert_eq!(Sample::decode(&lie), Err(DecodeError::Malformed));
    }

    #[test]
    fn a_second_encoding_of_the_same_value_is_not_canonical() {
        let long_form_of_one = [3, 1, 0x81, 0x00];
        assert_eq!(Sample::decode(&long_form_of_one), Ok(Sample { numbers: vec![1] }));
        assert_eq!(Sample::decode_canonical(&long_form_of_one), Err(DecodeError::NotCanonical));
    }
}
