//! What a large batch will change, written down before it changes anything.
//!
//! In [`RESERVED_SCOPE`] of [`Table::Meta`]: one record per write of the inner store, numbered,
//! and a marker with their number. The batch is decided once the marker is there.

use std::ops::ControlFlow;

use super::batch::Batch;
use conclave_core::store::{
    Claim, Direction, Key, RESERVED_SCOPE, Range, Store, StoreError, Table, Write,
};

/// Length of the key of a record.
pub(super) const KEY_LEN: usize = Key::SCOPE_LEN + 9;
/// Bytes of a record in front of the key that it writes to.
pub(super) const HEADER_LEN: usize = 4;

const MARKER_ORDER: [u8; 1] = [0];
const RECORD: u8 = 1;
const VERSION: u8 = 1;

const PUT: u8 = 0;
const DELETE: u8 = 1;
const DELETE_SCOPE: u8 = 2;

/// The journal of one batch, while it is written.
pub(super) struct Journal<'a, S> {
    inner: &'a S,
    claim: Claim,
    records: u64,
    unwritten: Batch,
}

impl<'a, S: Store> Journal<'a, S> {
    /// Begins a journal with the writes of a batch that got too large for one commit.
    pub(super) fn of(inner: &'a S, claim: Claim, batch: Batch) -> Result<Self, StoreError> {
        let unwritten = Batch::new(inner.limits());
        let mut journal = Self { inner, claim, records: 0, unwritten };
        for (origin, write) in batch.writes() {
            journal.append(origin, write)?;
        }
        Ok(journal)
    }

    pub(super) fn append(&mut self, origin: usize, write: &Write) -> Result<(), StoreError> {
        let key = Key::from_parts(RESERVED_SCOPE, &record_order(self.records));
        let record = Write::Put { table: Table::Meta, key, value: encode(write) };
        if !self.unwritten.fits(&record) {
            self.flush()?;
        }
        self.unwritten.push(origin, record);
        self.records += 1;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        let full = std::mem::replace(&mut self.unwritten, Batch::new(self.inner.limits()));
        full.commit(self.inner, self.claim)
    }

    /// Stores the marker: from then on the batch counts as stored.
    pub(super) fn decide(&self) -> Result<(), StoreError> {
        debug_assert!(self.unwritten.is_empty());
        let value = [&[VERSION], &self.records.to_be_bytes()[..]].concat();
        self.inner
            .commit(self.claim, &[Write::Put { table: Table::Meta, key: marker_key(), value }])
    }

    pub(super) const fn records(&self) -> u64 {
        self.records
    }
}

/// How many records a decided batch has; `None` if there is none.
pub(super) fn decided(inner: &impl Store) -> Result<Option<u64>, StoreError> {
    let Some(marker) = inner.get(Table::Meta, &marker_key())? else {
        return Ok(None);
    };
    let Some((&VERSION, records)) = marker.split_first() else {
        return Err(StoreError::Corrupt);
    };
    let records = records.try_into().map_err(|_| StoreError::Corrupt)?;
    Ok(Some(u64::from_be_bytes(records)))
}

/// Whether there is nothing to apply and nothing to discard.
pub(super) fn is_empty(inner: &impl Store) -> Result<bool, StoreError> {
    let mut is_empty = true;
    inner.scan(Table::Meta, Range::scope(RESERVED_SCOPE), Direction::Forward, &mut |_, _| {
        is_empty = false;
        ControlFlow::Break(())
    })?;
    Ok(is_empty)
}

/// Does all writes of a decided batch, in order, and removes the journal.
///
/// May begin anew after any failure: doing the first writes again and then all others gives the
/// same as doing each once.
pub(super) fn apply(inner: &impl Store, claim: Claim, records: u64) -> Result<(), StoreError> {
    let mut next = 0;
    while next < records {
        let (batch, following) = read(inner, next, records)?;
        batch.commit(inner, claim)?;
        next = following;
    }
    discard(inner, claim)
}

/// Removes the journal, in one commit.
pub(super) fn discard(inner: &impl Store, claim: Claim) -> Result<(), StoreError> {
    inner.commit(claim, &[Write::DeleteScope { table: Table::Meta, scope: RESERVED_SCOPE }])
}

/// As many records from `first` as fit into one commit, and the number of the record after them.
fn read(inner: &impl Store, first: u64, end: u64) -> Result<(Batch, u64), StoreError> {
    let mut batch = Batch::new(inner.limits());
    let mut next = first;
    let mut damaged = false;
    let (from, to) = (record_order(first), record_order(end));
    let range = Range::within(RESERVED_SCOPE, &from, &to);
    inner.scan(Table::Meta, range, Direction::Forward, &mut |key, record| {
        let in_sequence = key.get(Key::SCOPE_LEN..) == Some(&record_order(next)[..]);
        let Some(write) = decode(record).filter(|_| in_sequence) else {
            damaged = true;
            return ControlFlow::Break(());
        };
        if !batch.fits(&write) {
            return ControlFlow::Break(());
        }
        batch.push(0, write);
        next += 1;
        ControlFlow::Continue(())
    })?;
    if damaged || batch.is_empty() {
        return Err(StoreError::Corrupt);
    }
    Ok((batch, next))
}

fn marker_key() -> Key {
    Key::from_parts(RESERVED_SCOPE, &MARKER_ORDER)
}

fn record_order(number: u64) -> Vec<u8> {
    [&[RECORD], &number.to_be_bytes()[..]].concat()
}

fn encode(write: &Write) -> Vec<u8> {
    let (kind, key, value): (_, _, &[u8]) = match write {
        Write::Put { key, value, .. } => (PUT, key.as_bytes(), value),
        Write::Delete { key, .. } => (DELETE, key.as_bytes(), &[]),
        Write::DeleteScope { scope, .. } => (DELETE_SCOPE, &scope[..], &[]),
    };
    debug_assert!(u16::try_from(key.len()).is_ok());
    let key_len = u16::try_from(key.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[kind, write.table() as u8], &key_len[..], key, value].concat()
}

fn decode(record: &[u8]) -> Option<Write> {
    let (&[kind, table, high, low], rest) = record.split_first_chunk::<HEADER_LEN>()?;
    let table = *Table::ALL.get(usize::from(table))?;
    let (key, value) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    match kind {
        PUT => Some(Write::Put { table, key: Key::from_stored(key)?, value: value.to_vec() }),
        DELETE => Some(Write::Delete { table, key: Key::from_stored(key)? }),
        DELETE_SCOPE => Some(Write::DeleteScope { table, scope: key.try_into().ok()? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_every_write_of_every_table() {
        for table in Table::ALL {
            let key = Key::from_parts([3; 16], b"order");
            for write in [
                Write::Put { table, key: key.clone(), value: b"value".to_vec() },
                Write::Delete { table, key: key.clone() },
                Write::DeleteScope { table, scope: [4; 16] },
            ] {
                assert_eq!(decode(&encode(&write)), Some(write));
            }
        }
    }

    #[test]
    fn damaged_records_are_noticed() {
        let put = Write::Put {
            table: Table::Group,
            key: Key::from_parts([3; 16], b""),
            value: Vec::new(),
        };
        let record = encode(&put);
        for len in 0..record.len() {
            assert_eq!(decode(&record[..len]), None);
        }
        assert_eq!(decode(&[&[9], &record[1..]].concat()), None);
        let no_table = u8::try_from(Table::ALL.len()).unwrap();
        assert_eq!(decode(&[&record[..1], &[no_table], &record[2..]].concat()), None);
    }

    #[test]
    fn the_stored_form_of_a_record_stays() {
        let key = Key::from_parts([3; 16], b"o");
        let put = Write::Put { table: Table::Event, key, value: b"v".to_vec() };
        let golden = [&[0, 7, 0, 17][..], &[3; 16], b"o", b"v"].concat();
        assert_eq!(encode(&put), golden);
    }
}
