//! How a key and a value of the caller lie in the inner store.
//!
//! The head of a value is under `scope ‖ encoded order`. A small value follows a zero there;
//! a large one is announced by its number of pages and its length, and page `n` (from one) is
//! under the key of the head followed by `n` in two bytes.

use std::ops::ControlFlow;

use super::journal;
use super::order::{self, BLOCK_LEN, ENCODED_BLOCK_LEN};
use conclave_core::store::{Key, StoreError, StoreLimits, Table, Visit, Write};

/// First byte of a head that is followed by the value.
const WHOLE: u8 = 0;
/// First byte of a head that is followed by the number of pages and the length of the value.
const PAGED: u8 = 1;
/// Length of the page number behind an encoded order.
const PAGE_NUMBER_LEN: usize = 2;
/// Longest key of the caller. Leaves room for a page beside its key in one journal record, also
/// over a store whose values end at 4096 bytes but whose keys have no limit.
const KEY_BYTES_MAX: usize = 1024;

/// What fits where, as the limits of the inner store have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    key_bytes: usize,
    page_bytes: usize,
}

impl Shape {
    pub(super) fn of(inner: StoreLimits) -> Self {
        let order_room = inner.key_bytes.saturating_sub(Key::SCOPE_LEN + PAGE_NUMBER_LEN);
        let blocks_max = (KEY_BYTES_MAX - Key::SCOPE_LEN) / BLOCK_LEN;
        let blocks = (order_room / ENCODED_BLOCK_LEN).min(blocks_max);
        let inner_key = Key::SCOPE_LEN + blocks * ENCODED_BLOCK_LEN + PAGE_NUMBER_LEN;
        let record = inner.value_bytes.min(inner.batch_bytes.saturating_sub(journal::KEY_LEN));
        let page = record.saturating_sub(journal::HEADER_LEN + inner_key + 1);
        Self { key_bytes: Key::SCOPE_LEN + blocks * BLOCK_LEN, page_bytes: page.max(1) }
    }

    pub(super) fn limits(self) -> StoreLimits {
        StoreLimits {
            key_bytes: self.key_bytes,
            value_bytes: self.page_bytes.saturating_mul(usize::from(u16::MAX)),
            ..StoreLimits::UNLIMITED
        }
    }

    /// The writes for the inner store that do what `write` does; `old_pages` is how many pages
    /// the value has that it replaces.
    pub(super) fn pieces(self, write: &Write, old_pages: u16) -> Vec<Write> {
        match write {
            Write::Put { table, key, value } => self.put(*table, key, value, old_pages),
            Write::Delete { table, key } => {
                let mut pieces = delete_pages(*table, key, 1, old_pages);
                pieces.push(Write::Delete { table: *table, key: head_key(key) });
                pieces
            }
            Write::DeleteScope { .. } => vec![write.clone()],
        }
    }

    fn put(self, table: Table, key: &Key, value: &[u8], old_pages: u16) -> Vec<Write> {
        if value.len() <= self.page_bytes {
            let mut pieces = delete_pages(table, key, 1, old_pages);
            let head = [&[WHOLE], value].concat();
            pieces.push(Write::Put { table, key: head_key(key), value: head });
            return pieces;
        }
        let mut pieces = Vec::new();
        let mut pages = 0;
        for (number, page) in (1..=u16::MAX).zip(value.chunks(self.page_bytes)) {
            pages = number;
            pieces.push(Write::Put { table, key: page_key(key, number), value: page.to_vec() });
        }
        pieces.extend(delete_pages(table, key, pages.saturating_add(1), old_pages));
        let head = paged_head(pages, value.len());
        pieces.push(Write::Put { table, key: head_key(key), value: head });
        pieces
    }
}

/// Where the head of a value lies.
pub(super) fn head_key(key: &Key) -> Key {
    Key::from_parts(key.scope(), &order::encode(key.order()))
}

/// The end (exclusive) of a head and its pages.
pub(super) fn after_pages(encoded_order: &[u8]) -> Vec<u8> {
    // Longer than any page number, and no block of a longer order begins here.
    [encoded_order, &[0xFF; PAGE_NUMBER_LEN + 1]].concat()
}

/// How many pages a value has, by its head.
pub(super) fn page_count(head: &[u8]) -> Result<u16, StoreError> {
    match Head::parse(head)? {
        Head::Whole(_) => Ok(0),
        Head::Paged { pages, .. } => Ok(pages),
    }
}

/// The value of a head that has no pages.
pub(super) fn whole_value(head: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    match Head::parse(head)? {
        Head::Whole(value) => Ok(Some(value.to_vec())),
        Head::Paged { .. } => Ok(None),
    }
}

/// Puts whole values together from the entries of a scan, in either direction.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    unfinished: Option<Unfinished>,
    damaged: bool,
}

/// A value of which some entries were seen: head first or last, pages in order.
#[derive(Debug)]
struct Unfinished {
    key: Vec<u8>,
    head: Option<(u16, u64)>,
    pages: Vec<(u16, Vec<u8>)>,
}

impl Assembly {
    /// Takes one entry of the inner store, visits the value that it completes.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8], visit: Visit<'_>) -> ControlFlow<()> {
        match self.try_add(key, value, visit) {
            Ok(flow) => flow,
            Err(_) => {
                self.damaged = true;
                ControlFlow::Break(())
            }
        }
    }

    /// Says whether what the scan passed was made of whole values.
    pub(super) fn finish(self) -> Result<(), StoreError> {
        if self.damaged || self.unfinished.is_some() {
            return Err(StoreError::Corrupt);
        }
        Ok(())
    }

    fn try_add(
        &mut self,
        key: &[u8],
        value: &[u8],
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let (key, page) = parse_key(key)?;
        let mut unfinished = match self.unfinished.take() {
            None => Unfinished { key, head: None, pages: Vec::new() },
            Some(unfinished) if unfinished.key == key => unfinished,
            Some(_) => return Err(StoreError::Corrupt),
        };
        match (page, Head::parse(value)) {
            (Some(page), _) => unfinished.pages.push((page, value.to_vec())),
            (None, Ok(Head::Whole(value))) if unfinished.pages.is_empty() => {
                return Ok(visit(&unfinished.key, value));
            }
            (None, Ok(Head::Paged { pages, len })) => unfinished.head = Some((pages, len)),
            (None, Ok(Head::Whole(_)) | Err(_)) => return Err(StoreError::Corrupt),
        }
        if let Some(value) = unfinished.value()? {
            return Ok(visit(&unfinished.key, &value));
        }
        self.unfinished = Some(unfinished);
        Ok(ControlFlow::Continue(()))
    }
}

impl Unfinished {
    /// The value, once the head and all pages are there.
    fn value(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((count, len)) = self.head else {
            return Ok(None);
        };
        if self.pages.len() < usize::from(count) {
            return Ok(None);
        }
        self.pages.sort_by_key(|(number, _)| *number);
        let numbered = (1..=count).eq(self.pages.iter().map(|(number, _)| *number));
        let value = self.pages.iter().map(|(_, page)| page.as_slice()).collect::<Vec<_>>().concat();
        if numbered && u64::try_from(value.len()) == Ok(len) {
            return Ok(Some(value));
        }
        Err(StoreError::Corrupt)
    }
}

enum Head<'a> {
    Whole(&'a [u8]),
    Paged { pages: u16, len: u64 },
}

impl<'a> Head<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, StoreError> {
        match bytes.split_first() {
            Some((&WHOLE, value)) => Ok(Self::Whole(value)),
            Some((&PAGED, rest)) => Self::parse_paged(rest).ok_or(StoreError::Corrupt),
            Some(_) | None => Err(StoreError::Corrupt),
        }
    }

    fn parse_paged(bytes: &[u8]) -> Option<Self> {
        let (pages, len) = bytes.split_first_chunk()?;
        let len = len.try_into().ok()?;
        Some(Self::Paged { pages: u16::from_be_bytes(*pages), len: u64::from_be_bytes(len) })
    }
}

fn paged_head(pages: u16, len: usize) -> Vec<u8> {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    [&[PAGED], &pages.to_be_bytes()[..], &len.to_be_bytes()[..]].concat()
}

fn page_key(key: &Key, number: u16) -> Key {
    let mut order = order::encode(key.order());
    order.extend_from_slice(&number.to_be_bytes());
    Key::from_parts(key.scope(), &order)
}

fn delete_pages(table: Table, key: &Key, first: u16, last: u16) -> Vec<Write> {
    (first..=last).map(|number| Write::Delete { table, key: page_key(key, number) }).collect()
}

/// The key of the caller, and which page of its value this is.
fn parse_key(inner: &[u8]) -> Result<(Vec<u8>, Option<u16>), StoreError> {
    let (scope, encoded) =
        inner.split_first_chunk::<{ Key::SCOPE_LEN }>().ok_or(StoreError::Corrupt)?;
    let (order, rest) = order::decode(encoded).ok_or(StoreError::Corrupt)?;
    let key = [&scope[..], &order].concat();
    match rest {
        [] => Ok((key, None)),
        [high, low] => Ok((key, Some(u16::from_be_bytes([*high, *low])))),
        _ => Err(StoreError::Corrupt),
    }
}
