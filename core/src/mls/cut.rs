//! A serializer that writes postcard and remembers where large values may be cut.
//!
//! The MLS library rewrites whole records: the message secrets of a group of 1,000 are 285 KB,
//! of which one message changes 33 bytes. Cutting at fixed offsets would shift everything behind
//! an insertion; cutting at struct boundaries keeps what did not change where it is. The bytes
//! are plain postcard, so reading needs nothing special.
//!
//! Two things are written other than they are, so that the same inputs give the same bytes (E3):
//! `SystemTime` becomes the start of 1970 (the library stamps epochs with the system clock; the
//! engine keeps its own times), and the one sequence that comes out of a hash map is sorted.

use core::{fmt, ops::Range};
use std::collections::BTreeMap;

use serde::{Serialize, ser};
use zeroize::Zeroizing;

use self::compound::{Fields, Sequence};

mod compound;

/// Bytes that a value is expected to grow by: a commit's worth, so that bytes with secrets in them
/// are rarely moved.
const GROWTH: usize = 1_024;

/// Serialized bytes, and the offsets at which they may be cut (ascending, inside the bytes).
pub(crate) struct Cut {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    pub(crate) cuts: Vec<usize>,
    /// The member lists of past epochs in it, by epoch.
    pub(crate) rosters: BTreeMap<u64, Roster>,
}

/// Where a member list lies, and where it may be cut, relative to its start.
#[derive(Clone)]
pub(crate) struct Roster {
    pub(crate) at: Range<usize>,
    pub(crate) cuts: Vec<usize>,
}

/// What is known from the value before.
#[derive(Default)]
pub(crate) struct Known<'a> {
    /// How many bytes to expect.
    pub(crate) len: usize,
    /// Bytes and cuts of the member lists of past epochs. An epoch that has ended keeps its members
    /// for ever, so these lists, which are most of the message secrets of a large group, are
    /// serialized once and copied from then on.
    pub(crate) rosters: BTreeMap<u64, (&'a [u8], &'a [usize])>,
}

/// Serializes a value with cuts.
pub(crate) fn serialize<T: Serialize + ?Sized>(value: &T) -> Result<Cut, CutError> {
    serialize_over(value, Known::default())
}

/// Serializes the successor of a value.
pub(crate) fn serialize_over<T: Serialize + ?Sized>(
    value: &T,
    known: Known<'_>,
) -> Result<Cut, CutError> {
    let mut cutter = Cutter {
        out: Vec::with_capacity(known.len.saturating_add(GROWTH)),
        cuts: Vec::new(),
        was_byte: false,
        sort_next: false,
        rosters: BTreeMap::new(),
        known,
    };
    value.serialize(&mut cutter)?;
    let end = cutter.out.len();
    let mut cuts = cutter.cuts;
    cuts.retain(|at| *at > 0 && *at < end);
    cuts.sort_unstable();
    cuts.dedup();
    Ok(Cut { bytes: Zeroizing::new(cutter.out), cuts, rosters: cutter.rosters })
}

/// A value that this format cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value cannot be stored: {0}")]
pub(crate) struct CutError(String);

impl ser::Error for CutError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Cutter<'k> {
    out: Vec<u8>,
    cuts: Vec<usize>,
    /// Whether the last value was a single byte: sequences of bytes are never cut.
    was_byte: bool,
    /// Whether the next sequence comes out of a hash map.
    sort_next: bool,
    rosters: BTreeMap<u64, Roster>,
    known: Known<'k>,
}

impl Cutter<'_> {
    fn varint(&mut self, mut value: u128) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
        self.was_byte = false;
    }

    fn zigzag(&mut self, value: i128) {
        self.varint(((value << 1) ^ (value >> 127)) as u128);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u128);
        self.out.extend_from_slice(bytes);
    }

    /// The member list of an epoch that has ended.
    fn roster<T: Serialize + ?Sized>(&mut self, epoch: u64, list: &T) -> Result<(), CutError> {
        let (start, cut) = (self.out.len(), self.cuts.len());
        match self.known.rosters.get(&epoch) {
            Some((bytes, cuts)) => {
                debug_assert_eq!(*bytes, &serialize(list)?.bytes[..], "members of an ended epoch");
                self.out.extend_from_slice(bytes);
                self.cuts.extend(cuts.iter().map(|at| start + at));
            }
            None => list.serialize(&mut *self)?,
        }
        self.was_byte = false;
        let cuts = self.cuts.iter().skip(cut).map(|at| at - start).collect();
        self.rosters.insert(epoch, Roster { at: start..self.out.len(), cuts });
        Ok(())
    }

    /// The number that was written at the end, behind `start`.
    fn written_number(&self, start: usize) -> Option<u64> {
        postcard::from_bytes(self.out.get(start..)?).ok()
    }
}

macro_rules! integers {
    ($($method:ident $type:ty => $how:ident),*) => { $(
        fn $method(self, value: $type) -> Result<(), CutError> {
            self.$how(value.into());
            Ok(())
        }
    )* };
}

impl<'a, 'k> ser::Serializer for &'a mut Cutter<'k> {
    type Ok = ();
    type Error = CutError;
    type SerializeSeq = Sequence<'a, 'k>;
    type SerializeTuple = Fields<'a, 'k>;
    type SerializeTupleStruct = Fields<'a, 'k>;
    type SerializeTupleVariant = Fields<'a, 'k>;
    type SerializeMap = Sequence<'a, 'k>;
    type SerializeStruct = Fields<'a, 'k>;
    type SerializeStructVariant = Fields<'a, 'k>;

    integers!(
        serialize_u16 u16 => varint, serialize_u32 u32 => varint, serialize_u64 u64 => varint,
        serialize_u128 u128 => varint, serialize_i16 i16 => zigzag, serialize_i32 i32 => zigzag,
        serialize_i64 i64 => zigzag, serialize_i128 i128 => zigzag
    );

    fn serialize_bool(self, value: bool) -> Result<(), CutError> {
        self.varint(u128::from(value));
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), CutError> {
        self.out.push(value);
        self.was_byte = true;
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), CutError> {
        self.out.extend(value.to_le_bytes());
        self.was_byte = true;
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), CutError> {
        self.out.extend(value.to_le_bytes());
        self.was_byte = false;
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), CutError> {
        self.out.extend(value.to_le_bytes());
        self.was_byte = false;
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), CutError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), CutError> {
        self.bytes(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), CutError> {
        self.bytes(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), CutError> {
        self.varint(0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CutError> {
        self.varint(1);
        value.serialize(&mut *self)?;
        self.was_byte = false;
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), CutError> {
        self.was_byte = false;
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), CutError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
    ) -> Result<(), CutError> {
        self.varint(index.into());
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), CutError> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), CutError> {
        self.varint(index.into());
        value.serialize(&mut *self)?;
        self.was_byte = false;
        Ok(())
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Sequence<'a, 'k>, CutError> {
        let len = len.ok_or_else(|| ser::Error::custom("a sequence of unknown length"))?;
        self.varint(len as u128);
        let sorted = core::mem::take(&mut self.sort_next);
        Ok(Sequence::new(self, len, sorted))
    }

    fn serialize_tuple(self, _: usize) -> Result<Fields<'a, 'k>, CutError> {
        Ok(Fields::of(self, ""))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        _: usize,
    ) -> Result<Fields<'a, 'k>, CutError> {
        Ok(Fields::of(self, name))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Fields<'a, 'k>, CutError> {
        self.varint(index.into());
        Ok(Fields::of(self, ""))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Sequence<'a, 'k>, CutError> {
        let len = len.ok_or_else(|| ser::Error::custom("a map of unknown length"))?;
        self.varint(len as u128);
        Ok(Sequence::new(self, len, true))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Fields<'a, 'k>, CutError> {
        Ok(Fields::of(self, name))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Fields<'a, 'k>, CutError> {
        self.varint(index.into());
        Ok(Fields::of(self, ""))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        time::{Duration, SystemTime},
    };

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::serialize;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Choice {
        Unit,
        Tuple(i32, u64),
        Struct { flag: bool, text: String },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        small: u8,
        signed: (i8, i16, i64, i128),
        float: f64,
        letter: char,
        choices: Vec<Choice>,
        optional: Option<Box<Sample>>,
        bytes: Vec<u8>,
        map: BTreeMap<u16, String>,
        unit: (),
    }

    fn choice() -> impl Strategy<Value = Choice> {
        prop_oneof![
            Just(Choice::Unit),
            any::<(i32, u64)>().prop_map(|(a, b)| Choice::Tuple(a, b)),
            any::<(bool, String)>().prop_map(|(flag, text)| Choice::Struct { flag, text }),
        ]
    }

    fn flat() -> impl Strategy<Value = Sample> {
        let parts = (
            any::<u8>(),
            any::<(i8, i16, i64, i128)>(),
            any::<f32>(),
            any::<char>(),
            prop::collection::vec(choice(), 0..80),
            prop::collection::vec(any::<u8>(), 0..80),
        );
        parts.prop_map(|(small, signed, float, letter, choices, bytes)| Sample {
            small,
            signed,
            float: f64::from(float),
            letter,
            choices,
            optional: None,
            bytes,
            map: BTreeMap::new(),
            unit: (),
        })
    }

    fn sample() -> impl Strategy<Value = Sample> {
        (flat(), prop::option::of(flat()))
            .prop_map(|(outer, inner)| Sample { optional: inner.map(Box::new), ..outer })
    }

    proptest! {
        /// The bytes are postcard's, so its reader reads them.
        #[test]
        fn the_bytes_are_those_of_postcard(sample in sample()) {
            let cut = serialize(&sample).unwrap();
            prop_assert_eq!(&*cut.bytes, &postcard::to_allocvec(&sample).unwrap());
            prop_assert!(cut.cuts.windows(2).all(|pair| pair[0] < pair[1]));
        }

        /// A change inside one element leaves the pieces of all other runs alone.
        #[test]
        fn a_longer_element_moves_no_other_piece(at in 0_usize..64, len in 1_usize..2_000) {
            let before: Vec<Option<Vec<u8>>> = (0..64).map(|i| Some(vec![i; 20])).collect();
            let mut after = before.clone();
            after[at] = Some(vec![7; len]);
            let (before, after) = (pieces(&before), pieces(&after));
            let unchanged = before.iter().filter(|piece| after.contains(piece)).count();
            prop_assert!(unchanged + 1 >= before.len(), "{} of {}", unchanged, before.len());
        }
    }

    fn pieces<T: Serialize>(value: &T) -> Vec<Vec<u8>> {
        let cut = serialize(value).unwrap();
        let mut ends = cut.cuts.clone();
        ends.push(cut.bytes.len());
        let mut start = 0;
        ends.into_iter()
            .map(|end| cut.bytes[std::mem::replace(&mut start, end)..end].to_vec())
            .collect()
    }

    /// E3: the system clock leaves no trace in what is stored.
    #[test]
    fn system_time_is_written_as_the_start_of_1970() {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567, 89);
        let cut = serialize(&(5_u16, time)).unwrap();
        assert_eq!(*cut.bytes, [5, 0, 0]);
        let read: (u16, SystemTime) = postcard::from_bytes(&cut.bytes).unwrap();
        assert_eq!(read.1, SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn bytes_are_never_cut() {
        assert!(serialize(&vec![7_u8; 5_000]).unwrap().cuts.is_empty());
    }
}
