//! A device in memory that fails, and that forgets what was not synced.

use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// Clones share the device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

/// What a device was asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) writes: u64,
    pub(crate) bytes: u64,
    pub(crate) syncs: u64,
    pub(crate) resizes: u64,
}

/// What a loss of power leaves of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// Nothing.
    All,
    /// All of it.
    None,
    /// The first half of the changes, and half of the bytes of the next one.
    Torn,
    /// Half of the bytes of the last change; of the others, everything.
    LastTorn,
    /// Every second change.
    EverySecond,
    /// The changes that the first loss of this kind would lose.
    EveryOther,
}

impl Loss {
    pub(crate) const EACH: [Self; 6] =
        [Self::All, Self::None, Self::Torn, Self::LastTorn, Self::EverySecond, Self::EveryOther];
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    pending: Vec<Change>,
    work: Work,
    calls: u64,
    fails_at: Option<u64>,
    failure: Option<ErrorKind>,
    once: bool,
    fired: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Resize(usize),
    Write(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Resize(len) => bytes.resize(*len, 0),
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
        }
    }

    fn torn(&self) -> Option<Self> {
        match self {
            Self::Resize(_) => None,
            Self::Write(offset, data) => {
                Some(Self::Write(*offset, data[..data.len() / 2].to_vec()))
            }
        }
    }
}

impl Disk {
    pub(crate) fn with(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.lock().synced.clone_from(&bytes);
        disk.lock().bytes = bytes;
        disk
    }

    /// Lets a call fail, counted from here, and all later ones unless it is to fail once.
    pub(crate) fn fail_at(&self, call: u64, failure: ErrorKind, once: bool) {
        let mut state = self.lock();
        state.fails_at = Some(state.calls + call);
        (state.failure, state.once, state.fired) = (Some(failure), once, 0);
    }

    /// How many calls have failed.
    pub(crate) fn fired(&self) -> u64 {
        self.lock().fired
    }

    pub(crate) fn work(&self) -> Work {
        self.lock().work
    }

    /// The bytes after a loss of power.
    pub(crate) fn after(&self, loss: Loss) -> Vec<u8> {
        let state = self.lock();
        let mut bytes = state.synced.clone();
        let half = state.pending.len() / 2;
        let last = state.pending.len().saturating_sub(1);
        for (index, change) in state.pending.iter().enumerate() {
            let kept = match loss {
                Loss::All => None,
                Loss::None => Some(change.clone()),
                Loss::Torn if index == half => change.torn(),
                Loss::Torn => (index < half).then(|| change.clone()),
                Loss::LastTorn if index == last => change.torn(),
                Loss::LastTorn => Some(change.clone()),
                Loss::EverySecond => (index % 2 == 0).then(|| change.clone()),
                Loss::EveryOther => (index % 2 == 1).then(|| change.clone()),
            };
            if let Some(change) = kept {
                change.apply(&mut bytes);
            }
        }
        bytes
    }

    fn change(&self, change: Change) -> Result<(), Error> {
        let mut state = self.call()?;
        match &change {
            Change::Resize(_) => state.work.resizes += 1,
            Change::Write(_, data) => {
                state.work.writes += 1;
                state.work.bytes += data.len() as u64;
            }
        }
        change.apply(&mut state.bytes);
        state.pending.push(change);
        Ok(())
    }

    fn call(&self) -> Result<MutexGuard<'_, State>, Error> {
        let mut state = self.lock();
        let number = state.calls;
        state.calls += 1;
        let fails =
            state.fails_at.is_some_and(|at| if state.once { number == at } else { number >= at });
        match state.failure.filter(|_| fails) {
            Some(failure) => {
                state.fired += 1;
                Err(failure.into())
            }
            None => Ok(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.call()?.bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let state = self.call()?;
        let offset = usize::try_from(offset).unwrap();
        let Some(found) = state.bytes.get(offset..offset + out.len()) else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        self.change(Change::Resize(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut state = self.call()?;
        state.work.syncs += 1;
        state.synced = state.bytes.clone();
        state.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.change(Change::Write(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}
