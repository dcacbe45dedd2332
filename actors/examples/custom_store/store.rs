//! A [`Store`] in one file: every commit is appended and synced, and opening reads them all.
//!
//! It never shrinks, so it is for small things; what it shows is how little a store has to be.
//! A commit is `length ‖ checksum of the length ‖ checksum ‖ bytes`; one that a loss of power cut
//! short is cut off.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write as _},
    ops::ControlFlow,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest as _, Sha256};

use conclave_core::store::{
    Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
};

pub(crate) struct FileStore(Mutex<State>);

struct State {
    file: File,
    /// Where the next commit goes.
    end: u64,
    claim: Option<Claim>,
    records: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl FileStore {
    pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let is_new = !path.exists();
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if is_new && let Some(folder) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            // A file lasts when the folder that names it does.
            File::open(folder)?.sync_all()?;
        }
        // What is in memory is a copy of the file, so there is one owner at a time.
        file.try_lock()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut state = State { file, end: 0, claim: None, records: BTreeMap::new() };
        let mut rest = &bytes[..];
        while let Some(entry) = next_entry(&mut rest)? {
            state.apply(entry);
            state.end += HEAD as u64 + entry.len() as u64;
        }
        state.file.set_len(state.end)?;
        Ok(Self(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for FileStore {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        let mut state = self.state();
        state.append(&[&[CLAIM][..], &claim.0].concat())?;
        state.claim = Some(claim);
        Ok(())
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        self.limits().check(writes)?;
        let mut state = self.state();
        if state.claim != Some(claim) {
            return Err(StoreError::Fenced);
        }
        let entry: Vec<u8> = writes.iter().flat_map(encode).collect();
        if !entry.is_empty() {
            state.append(&entry)?;
            state.apply(&entry);
        }
        Ok(())
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().records.get(&(table, key.as_bytes().to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        let state = self.state();
        let inside = |key: &[u8]| {
            let Some(scope) = range.scope else { return true };
            let Some(order) = key.strip_prefix(&scope[..]) else { return false };
            range.from.is_none_or(|from| order >= from) && range.to.is_none_or(|to| order < to)
        };
        let mut found: Vec<_> =
            state.records.iter().filter(|((of, key), _)| *of == table && inside(key)).collect();
        if direction == Direction::Reverse {
            found.reverse();
        }
        for ((_, key), value) in found {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn limits(&self) -> StoreLimits {
        StoreLimits::UNLIMITED
    }
}

impl State {
    /// Durable when it returns. If anything fails, the next commit goes to the same place.
    fn append(&mut self, entry: &[u8]) -> Result<(), StoreError> {
        let len = u32::try_from(entry.len()).map_err(|_| StoreError::Full)?.to_be_bytes();
        let bytes = [&len[..], &checksum(&len), &checksum(entry), entry].concat();
        // What is left of one that failed must not be there after all when it is read again.
        self.file.set_len(self.end).map_err(|_| StoreError::Unavailable)?;
        self.file.seek(SeekFrom::Start(self.end)).map_err(|_| StoreError::Unavailable)?;
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Whether it is there nobody knows; it goes if it can.
            drop(self.file.set_len(self.end).and_then(|()| self.file.sync_data()));
            return Err(StoreError::Unknown);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn apply(&mut self, mut entry: &[u8]) {
        while let Some((&kind, rest)) = entry.split_first() {
            entry = rest;
            match kind {
                CLAIM => self.claim = take(&mut entry, 16).try_into().ok().map(Claim),
                PUT => {
                    let table = take_table(&mut entry);
                    let key = take_long(&mut entry).to_vec();
                    self.records.insert((table, key), take_long(&mut entry).to_vec());
                }
                _ => {
                    let table = take_table(&mut entry);
                    let key = take_long(&mut entry);
                    let is_it =
                        |of: &[u8]| if kind == DELETE { of == key } else { of.starts_with(key) };
                    self.records.retain(|(of, stored), _| *of != table || !is_it(stored));
                }
            }
        }
    }
}

const CLAIM: u8 = 0;
const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_SCOPE: u8 = 3;

fn encode(write: &Write) -> Vec<u8> {
    let at = |table: &Table| Table::ALL.iter().position(|other| other == table).unwrap_or(0) as u8;
    match write {
        Write::Put { table, key, value } => {
            [&[PUT, at(table)][..], &long(key.as_bytes()), &long(value)].concat()
        }
        Write::Delete { table, key } => [&[DELETE, at(table)][..], &long(key.as_bytes())].concat(),
        Write::DeleteScope { table, scope } => {
            [&[DELETE_SCOPE, at(table)][..], &long(scope)].concat()
        }
    }
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn take<'a>(from: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = from.split_at(len);
    *from = rest;
    taken
}

/// Entries carry a checksum, so there is no table here that was not written.
fn take_table(from: &mut &[u8]) -> Table {
    let at = take(from, 1).first().copied().unwrap_or_default();
    Table::ALL.get(usize::from(at)).copied().unwrap_or(Table::Meta)
}

fn take_long<'a>(from: &mut &'a [u8]) -> &'a [u8] {
    let len = take(from, 4).try_into().map(u32::from_be_bytes).unwrap_or(0);
    take(from, len as usize)
}

/// Bytes in front of an entry.
const HEAD: usize = 4 + 8 + 8;

/// The next entry. The last one may have been cut short, or be zeros in part; anything else that is
/// not what was written is damage, and nothing is thrown away for it.
fn next_entry<'a>(rest: &mut &'a [u8]) -> io::Result<Option<&'a [u8]>> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the file is damaged");
    let Some((head, behind)) = rest.split_at_checked(HEAD) else { return Ok(None) };
    let (len, sums) = head.split_at(4);
    let (sum_of_len, sum) = sums.split_at(8);
    if *sum_of_len != checksum(len) {
        return if rest.iter().all(|byte| *byte == 0) { Ok(None) } else { Err(damaged()) };
    }
    let len = len.try_into().map(u32::from_be_bytes).unwrap_or_default() as usize;
    let Some((entry, behind)) = behind.split_at_checked(len) else { return Ok(None) };
    let whole = *sum == checksum(entry);
    if !whole && !behind.is_empty() {
        return Err(damaged());
    }
    *rest = behind;
    Ok(whole.then_some(entry))
}

/// Always the same function: what was written by one build is read by the next.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.first_chunk().copied().unwrap_or_default()
}
