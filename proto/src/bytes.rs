//! Bytes as one piece: the encoding of `Vec<u8>`, byte for byte, without visiting each of them.
//! For `#[serde(with = "crate::bytes")]`.

use alloc::vec::Vec;
use core::fmt;

use serde::{
    Deserializer, Serializer,
    de::{Error, SeqAccess, Visitor},
};

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    deserializer.deserialize_byte_buf(Bytes)
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    /// For formats that know no bytes.
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = items.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use serde::{Deserialize, Serialize};

    use crate::codec::{decode_bare, encode_bare};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Whole(#[serde(with = "super")] Vec<u8>);

    /// E10: both ways of writing bytes have one encoding, and each reads the other's.
    #[test]
    fn bytes_in_one_piece_have_the_encoding_of_single_ones() {
        for length in [0, 1, 127, 128, 5_000] {
            let single: Vec<u8> = vec![200; length];
            let encoded = encode_bare(&single);
            assert_eq!(encode_bare(&Whole(single.clone())), encoded);
            assert_eq!(decode_bare(&encoded), Ok(Whole(single)));
            let cut = encoded.get(..encoded.len() - 1).unwrap_or_default();
            assert!(decode_bare::<Whole>(cut).is_err());
        }
    }
}
