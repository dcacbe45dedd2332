//! Sequences, maps and structs: where values may be cut, and what is put into an order.

use serde::{
    Serialize,
    ser::{self, SerializeMap, SerializeSeq, SerializeStruct},
};
use zeroize::Zeroizing;

use super::{CutError, Cutter};

/// Sequences shorter than this are not cut.
const SEQUENCE_MIN: usize = 32;
/// Elements between two cuts of a sequence. Small enough that one changed ratchet rewrites little,
/// large enough that the list of pieces stays short.
const RUN: usize = 16;
/// An element at least this long is a piece of its own.
const LARGE_ELEMENT: usize = 512;

/// Elements of a sequence, or entries of a map.
pub(super) struct Sequence<'a, 'k> {
    cutter: &'a mut Cutter<'k>,
    len: usize,
    index: usize,
    of_bytes: bool,
    sorted: bool,
    /// Where elements start, for sorting.
    starts: Vec<usize>,
    first: usize,
}

impl<'a, 'k> Sequence<'a, 'k> {
    pub(super) fn new(cutter: &'a mut Cutter<'k>, len: usize, sorted: bool) -> Self {
        let first = cutter.out.len();
        Self { cutter, len, index: 0, of_bytes: false, sorted, starts: Vec::new(), first }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CutError> {
        let start = self.cutter.out.len();
        value.serialize(&mut *self.cutter)?;
        if self.index == 0 {
            self.of_bytes = self.cutter.was_byte && !self.sorted;
        }
        if !self.of_bytes {
            self.cut_around(start);
        }
        self.index += 1;
        Ok(())
    }

    fn cut_around(&mut self, start: usize) {
        let end = self.cutter.out.len();
        if self.len >= SEQUENCE_MIN && self.index.is_multiple_of(RUN) {
            self.cutter.cuts.push(start);
        }
        if end - start >= LARGE_ELEMENT {
            self.cutter.cuts.extend([start, end]);
        }
    }

    fn finish(mut self) {
        if self.sorted && self.starts.len() > 1 {
            self.sort();
        } else if self.len >= SEQUENCE_MIN && !self.of_bytes {
            let end = self.cutter.out.len();
            self.cutter.cuts.push(end);
        }
        self.cutter.was_byte = false;
    }

    /// Puts the elements into the order of their bytes; nothing inside is cut.
    fn sort(&mut self) {
        self.starts.push(self.cutter.out.len());
        let out = &mut self.cutter.out;
        let mut elements: Vec<Zeroizing<Vec<u8>>> = self
            .starts
            .windows(2)
            .filter_map(|pair| out.get(*pair.first()?..*pair.last()?))
            .map(|bytes| Zeroizing::new(bytes.to_vec()))
            .collect();
        elements.sort_by(|a, b| a.as_slice().cmp(b.as_slice()));
        out.truncate(self.first);
        for element in &elements {
            out.extend_from_slice(element);
        }
        let first = self.first;
        self.cutter.cuts.retain(|at| *at <= first);
    }
}

impl SerializeSeq for Sequence<'_, '_> {
    type Ok = ();
    type Error = CutError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CutError> {
        // Most of what is stored are bytes in sequences, one call for each.
        if self.of_bytes {
            return value.serialize(&mut *self.cutter);
        }
        if self.sorted {
            self.starts.push(self.cutter.out.len());
        }
        self.element(value)
    }

    fn end(self) -> Result<(), CutError> {
        self.finish();
        Ok(())
    }
}

impl SerializeMap for Sequence<'_, '_> {
    type Ok = ();
    type Error = CutError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), CutError> {
        self.starts.push(self.cutter.out.len());
        key.serialize(&mut *self.cutter)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CutError> {
        value.serialize(&mut *self.cutter)
    }

    fn end(self) -> Result<(), CutError> {
        self.finish();
        Ok(())
    }
}

/// Fields of a struct or tuple: written one after the other.
pub(super) struct Fields<'a, 'k> {
    cutter: &'a mut Cutter<'k>,
    name: &'static str,
    /// The epoch that the struct says it is of.
    epoch: Option<u64>,
}

impl<'a, 'k> Fields<'a, 'k> {
    pub(super) fn of(cutter: &'a mut Cutter<'k>, name: &'static str) -> Self {
        Self { cutter, name, epoch: None }
    }

    fn field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CutError> {
        value.serialize(&mut *self.cutter)?;
        self.cutter.was_byte = false;
        Ok(())
    }
}

impl SerializeStruct for Fields<'_, '_> {
    type Ok = ();
    type Error = CutError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), CutError> {
        match (self.name, key) {
            ("SystemTime", _) => self.cutter.varint(0),
            ("ProposalQueue", "queued_proposals") => {
                self.cutter.sort_next = true;
                self.field(value)?;
            }
            ("EpochTree", "epoch") => {
                let start = self.cutter.out.len();
                self.field(value)?;
                self.epoch = self.cutter.written_number(start);
            }
            ("EpochTree", "leaves") => match self.epoch {
                Some(epoch) => self.cutter.roster(epoch, value)?,
                None => self.field(value)?,
            },
            _ => self.field(value)?,
        }
        Ok(())
    }

    fn end(self) -> Result<(), CutError> {
        Ok(())
    }
}

impl ser::SerializeStructVariant for Fields<'_, '_> {
    type Ok = ();
    type Error = CutError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        _: &'static str,
        value: &T,
    ) -> Result<(), CutError> {
        self.field(value)
    }

    fn end(self) -> Result<(), CutError> {
        Ok(())
    }
}

impl ser::SerializeTuple for Fields<'_, '_> {
    type Ok = ();
    type Error = CutError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CutError> {
        self.field(value)
    }

    fn end(self) -> Result<(), CutError> {
        Ok(())
    }
}

macro_rules! tuple_fields {
    ($($trait:ident),*) => { $(
        impl ser::$trait for Fields<'_, '_> {
            type Ok = ();
            type Error = CutError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                value: &T,
            ) -> Result<(), CutError> {
                self.field(value)
            }

            fn end(self) -> Result<(), CutError> {
                Ok(())
            }
        }
    )* };
}

tuple_fields!(SerializeTupleStruct, SerializeTupleVariant);
