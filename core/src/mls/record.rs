//! A stored record of the MLS library, in pieces that are written only when they change.

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::codec::{decode_bare, encode_bare};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::cut::{Cut, Known, Roster};
use crate::store::{Key, Scope, Table, Write};

/// Version of the stored form.
const VERSION: u8 = 1;
/// Class of the keys of MLS records in the table of groups.
const CLASS: u8 = 1;
/// First byte of the orders of these keys.
pub(crate) const ORDER: u8 = Key::NAMED | CLASS;
/// First byte of the id of a head, and of a piece.
const HEAD: u8 = 0;
const PIECE: u8 = 1;

/// One record: its bytes, and how they are cut. Equal pieces share an id and are stored once.
pub(crate) struct CutRecord {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    next_id: u32,
    /// Known of records that were serialized here; a loaded one gets them with its successor.
    rosters: BTreeMap<u64, Roster>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Piece {
    id: u32,
    end: usize,
}

/// What the head says: the pieces in their order, or the bytes themselves if there is only one.
#[derive(Serialize, Deserialize)]
enum Head {
    Inline { id: u32, bytes: Vec<u8> },
    Pieces { next_id: u32, runs: Vec<Run> },
}

/// `len` pieces: `first`, then the following ids, or `first` again and again.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Run {
    first: u32,
    len: u32,
    ascending: bool,
}

impl CutRecord {
    /// A record over its predecessor: pieces that were there keep their ids.
    pub(crate) fn new(cut: Cut, before: Option<&Self>) -> Self {
        if cut.cuts.is_empty() {
            let id = before.map_or(0, Self::inline_id);
            return Self::inline(id, cut.bytes, cut.rosters);
        }
        let (pieces, next_id) = identify(&cut, before);
        Self { bytes: take(cut.bytes), pieces, next_id, rosters: cut.rosters }
    }

    /// A record of one piece, which is stored in the head. No piece was ever stored under its id; the
    /// head keeps it, so that no id is used twice in the life of a record.
    fn inline(id: u32, bytes: Zeroizing<Vec<u8>>, rosters: BTreeMap<u64, Roster>) -> Self {
        let pieces = vec![Piece { id, end: bytes.len() }];
        Self { bytes: take(bytes), pieces, next_id: id.wrapping_add(1), rosters }
    }

    /// The id of the piece of an inline record that follows this one. It is the same if this one is
    /// inline too, so what follows is the same whether this one was loaded or kept (E3).
    fn inline_id(&self) -> u32 {
        match self.pieces.as_slice() {
            [piece] => piece.id,
            _ => self.next_id,
        }
    }

    /// What its successor can copy of it.
    pub(crate) fn known(&self) -> Known<'_> {
        let rosters = self.rosters.iter().filter_map(|(epoch, roster)| {
            let bytes = self.bytes.get(roster.at.clone())?;
            Some((*epoch, (bytes, roster.cuts.as_slice())))
        });
        Known { len: self.bytes.len(), rosters: rosters.collect() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn slices(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let mut start = 0;
        self.pieces.iter().map(move |piece| {
            let from = std::mem::replace(&mut start, piece.end);
            (piece.id, self.bytes.get(from..piece.end).unwrap_or_default())
        })
    }

    /// The writes that turn the stored `before` into this record.
    pub(crate) fn diff(&self, before: Option<&Self>, place: &Place, writes: &mut Vec<Write>) {
        if before.is_some_and(|before| *before.bytes == *self.bytes) {
            return;
        }
        let old = before.map(Self::stored_ids).unwrap_or_default();
        let new = self.stored_ids();
        let mut written = old.clone();
        let mut last = None;
        for (id, bytes) in self.slices() {
            // A piece often repeats: nothing is to be looked up then.
            let repeats = last.replace(id) == Some(id);
            if !repeats && new.contains(&id) && written.insert(id) {
                writes.push(Place::put(place.piece(id), bytes.to_vec()));
            }
        }
        for gone in old.difference(&new) {
            writes.push(Place::delete(place.piece(*gone)));
        }
        writes.push(Place::put(place.head(), self.head()));
    }

    /// The writes that remove this record.
    pub(crate) fn delete(&self, place: &Place, writes: &mut Vec<Write>) {
        for id in self.stored_ids() {
            writes.push(Place::delete(place.piece(id)));
        }
        writes.push(Place::delete(place.head()));
    }

    fn stored_ids(&self) -> BTreeSet<u32> {
        if self.pieces.len() < 2 {
            return BTreeSet::new();
        }
        let mut ids: Vec<u32> = self.pieces.iter().map(|piece| piece.id).collect();
        ids.dedup();
        ids.into_iter().collect()
    }

    fn head(&self) -> Vec<u8> {
        let head = if self.pieces.len() < 2 {
            Head::Inline { id: self.inline_id(), bytes: self.bytes.to_vec() }
        } else {
            Head::Pieces { next_id: self.next_id, runs: runs(&self.pieces) }
        };
        let mut bytes = vec![VERSION];
        bytes.extend(encode_bare(&head));
        bytes
    }

    /// Reads a record from its head and the pieces that are stored with it.
    pub(crate) fn load(head: &[u8], stored: &BTreeMap<u32, Vec<u8>>) -> Option<Self> {
        let (&VERSION, head) = head.split_first()? else { return None };
        match decode_bare(head).ok()? {
            Head::Inline { id, bytes } => {
                Some(Self::inline(id, Zeroizing::new(bytes), BTreeMap::new()))
            }
            Head::Pieces { next_id, runs } => assemble(next_id, &runs, stored),
        }
    }
}

/// Members are no secret; everything else is erased.
impl Drop for CutRecord {
    fn drop(&mut self) {
        let mut from = 0;
        let mut rosters: Vec<_> = self.rosters.values().map(|roster| roster.at.clone()).collect();
        rosters.sort_unstable_by_key(|roster| roster.start);
        for roster in rosters {
            self.bytes.get_mut(from..roster.start).unwrap_or_default().zeroize();
            from = roster.end;
        }
        self.bytes.get_mut(from..).unwrap_or_default().zeroize();
    }
}

/// The bytes alone; their owner erases them from then on.
fn take(mut bytes: Zeroizing<Vec<u8>>) -> Vec<u8> {
    std::mem::take(&mut *bytes)
}

fn assemble(next_id: u32, runs: &[Run], stored: &BTreeMap<u32, Vec<u8>>) -> Option<CutRecord> {
    let mut record =
        CutRecord { bytes: Vec::new(), pieces: Vec::new(), next_id, rosters: BTreeMap::new() };
    for run in runs {
        for offset in 0..run.len {
            let id = if run.ascending { run.first.checked_add(offset)? } else { run.first };
            record.bytes.extend_from_slice(stored.get(&id)?);
            record.pieces.push(Piece { id, end: record.bytes.len() });
        }
    }
    Some(record)
}

fn runs(pieces: &[Piece]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for piece in pieces {
        match runs.last_mut().filter(|run| extends(run, piece.id)) {
            Some(run) => {
                run.ascending = piece.id != run.first;
                run.len += 1;
            }
            None => runs.push(Run { first: piece.id, len: 1, ascending: false }),
        }
    }
    runs
}

fn extends(run: &Run, id: u32) -> bool {
    let repeats = !run.ascending && id == run.first;
    let ascends = (run.ascending || run.len == 1) && run.first.checked_add(run.len) == Some(id);
    repeats || ascends
}

fn identify(cut: &Cut, before: Option<&CutRecord>) -> (Vec<Piece>, u32) {
    let mut ids = Ids::new(before);
    let mut pieces = Vec::with_capacity(cut.cuts.len() + 1);
    let mut start = 0;
    for end in cut.cuts.iter().copied().chain([cut.bytes.len()]) {
        let bytes = cut.bytes.get(start..end).unwrap_or_default();
        pieces.push(Piece { id: ids.of(bytes), end });
        start = end;
    }
    (pieces, ids.next)
}

/// Gives pieces their ids: the old one if the bytes were there before, else the next free one.
struct Ids<'a> {
    before: Vec<(u32, &'a [u8])>,
    /// Where in `before` the last match was found: most pieces follow each other.
    at: usize,
    index: Option<BTreeMap<&'a [u8], u32>>,
    fresh: BTreeMap<&'a [u8], u32>,
    next: u32,
}

impl<'a> Ids<'a> {
    fn new(before: Option<&'a CutRecord>) -> Self {
        let next = before.map_or(0, |before| before.next_id);
        let before = before.map(|before| before.slices().collect()).unwrap_or_default();
        Self { before, at: 0, index: None, fresh: BTreeMap::new(), next }
    }

    fn of(&mut self, bytes: &'a [u8]) -> u32 {
        let at = self.at;
        self.at += 1;
        if let Some((id, _)) = self.before.get(at).filter(|(_, old)| *old == bytes) {
            return *id;
        }
        let index = self.index.get_or_insert_with(|| {
            let mut distinct = self.before.clone();
            distinct.dedup_by_key(|(id, _)| *id);
            distinct.into_iter().map(|(id, bytes)| (bytes, id)).collect()
        });
        if let Some(id) = index.get(bytes) {
            return *id;
        }
        *self.fresh.entry(bytes).or_insert_with(|| {
            let id = self.next;
            self.next = self.next.wrapping_add(1);
            id
        })
    }
}

/// Where a record is stored.
pub(crate) struct Place {
    pub(crate) scope: Scope,
    /// What names the record in its group.
    pub(crate) name: Vec<u8>,
}

impl Place {
    fn head(&self) -> Key {
        Key::named(self.scope, CLASS, &[&[HEAD], &self.name[..]].concat())
    }

    fn piece(&self, id: u32) -> Key {
        let id = [&[PIECE], &self.name[..], &id.to_be_bytes()].concat();
        Key::named(self.scope, CLASS, &id)
    }

    fn put(key: Key, value: Vec<u8>) -> Write {
        Write::Put { table: Table::Group, key, value }
    }

    fn delete(key: Key) -> Write {
        Write::Delete { table: Table::Group, key }
    }
}

/// What a stored key is of its record: the head or a piece.
pub(crate) enum Part {
    Head,
    Piece(u32),
}

impl Part {
    /// The name of the record, and which part of it lies under this order.
    pub(crate) fn parse(order: &[u8]) -> Option<(&[u8], Self)> {
        let (&[ORDER, part], rest) = order.split_first_chunk()? else { return None };
        match part {
            HEAD => Some((rest, Self::Head)),
            PIECE => {
                let (name, id) = rest.split_last_chunk()?;
                Some((name, Self::Piece(u32::from_be_bytes(*id))))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{CutRecord, Part, Place};
    use crate::{mls::cut::serialize, store::Write};

    type Value = Vec<Option<Vec<u32>>>;

    fn value() -> impl Strategy<Value = Value> {
        prop::collection::vec(prop::option::of(prop::collection::vec(0_u32..9, 0..40)), 0..120)
    }

    fn apply(stored: &mut BTreeMap<Vec<u8>, Vec<u8>>, writes: &[Write]) {
        for write in writes {
            match write {
                Write::Put { key, value, .. } => {
                    stored.insert(key.order().to_vec(), value.clone());
                }
                Write::Delete { key, .. } => {
                    assert!(stored.remove(key.order()).is_some(), "deletes only what is there");
                }
                Write::DeleteScope { .. } => unreachable!("records delete key by key"),
            }
        }
    }

    fn load(stored: &BTreeMap<Vec<u8>, Vec<u8>>) -> CutRecord {
        let (mut head, mut pieces) = (None, BTreeMap::new());
        for (order, value) in stored {
            match Part::parse(order).unwrap().1 {
                Part::Head => head = Some(value.clone()),
                Part::Piece(id) => {
                    pieces.insert(id, value.clone());
                }
            }
        }
        CutRecord::load(&head.unwrap(), &pieces).unwrap()
    }

    proptest! {
        /// E10: no piece is stored under an id that another piece of the record had, so that sealed
        /// bytes of an older piece can never be taken for it.
        #[test]
        fn an_id_belongs_to_one_piece_for_ever(
            values in prop::collection::vec(prop_oneof![value(), Just(Vec::new())], 1..8),
        ) {
            let place = Place { scope: [1; 16], name: vec![9] };
            let mut all: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
            let (mut stored, mut record) = (BTreeMap::new(), None::<CutRecord>);
            for value in &values {
                let next = CutRecord::new(serialize(value).unwrap(), record.as_ref());
                let mut writes = Vec::new();
                next.diff(record.as_ref(), &place, &mut writes);
                for write in &writes {
                    let Write::Put { key, value, .. } = write else { continue };
                    if let Part::Piece(id) = Part::parse(key.order()).unwrap().1 {
                        prop_assert_eq!(all.insert(id, value.clone()), None, "{}", id);
                    }
                }
                apply(&mut stored, &writes);
                record = Some(load(&stored));
            }
        }

        /// Whatever the history of a record: what is stored reads back as its last value, nothing
        /// of an older value stays behind (S4), and a loaded record goes on to write the same
        /// bytes as one that was kept (E3).
        #[test]
        fn stored_pieces_read_back_as_the_last_value(values in prop::collection::vec(value(), 1..6)) {
            let place = Place { scope: [1; 16], name: vec![9] };
            let mut stored = BTreeMap::new();
            let (mut record, mut kept): (Option<CutRecord>, Option<CutRecord>) = (None, None);
            for value in &values {
                let next = CutRecord::new(serialize(value).unwrap(), record.as_ref());
                let mut writes = Vec::new();
                next.diff(record.as_ref(), &place, &mut writes);
                let of_kept = CutRecord::new(serialize(value).unwrap(), kept.as_ref());
                let mut writes_of_kept = Vec::new();
                of_kept.diff(kept.as_ref(), &place, &mut writes_of_kept);
                prop_assert_eq!(&writes, &writes_of_kept);
                kept = Some(of_kept);
                apply(&mut stored, &writes);
                let loaded = load(&stored);
                prop_assert_eq!(loaded.bytes(), &postcard::to_allocvec(value).unwrap()[..]);
                let total: usize = stored.values().map(Vec::len).sum();
                prop_assert!(total <= 2 * loaded.bytes().len() + 200);
                record = Some(loaded);
            }
            let mut writes = Vec::new();
            record.unwrap().delete(&place, &mut writes);
            apply(&mut stored, &writes);
            prop_assert!(stored.is_empty());
        }
    }
}
