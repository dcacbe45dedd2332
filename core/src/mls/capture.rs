//! The storage that the MLS library sees: records in memory, and the changes of one step.
//!
//! `base` is what the last step handed out to be stored, `overlay` is this step. Any error of
//! the library drops the overlay and loads the group from the base again, so a caller sees an
//! error and nothing changed. The library's own deletes are not trusted to be complete: a group
//! goes by its scope.

use std::{cell::RefCell, collections::BTreeMap};

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

mod provider;

use super::{
    cut,
    record::{CutRecord, Part, Place},
};
use crate::store::{Scope, Write};

/// What a record holds. The numbers are stored: they are never used for anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Kind {
    Tree = 1,
    InterimTranscriptHash = 2,
    Context = 3,
    ConfirmationTag = 4,
    GroupState = 5,
    MessageSecrets = 6,
    ResumptionPsks = 7,
    OwnLeafIndex = 8,
    EpochSecrets = 9,
    EpochKeyPairs = 10,
    EncryptionKeyPair = 11,
}

/// Kind, then whatever else names the record (an epoch, a public key).
type RecordKey = (u8, Vec<u8>);

/// A failure of the capture itself: a stored record that does not decode, or a value that
/// cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub))]
#[error("{0}")]
pub struct CaptureError(&'static str);

#[derive(Default)]
struct Records {
    base: BTreeMap<RecordKey, CutRecord>,
    overlay: BTreeMap<RecordKey, Option<CutRecord>>,
    /// While true, writes of the message secrets are only noted: the batch ends with a flush.
    hold_secrets: bool,
    secrets_held: bool,
    /// Key packages that a join may use, by their reference. Never stored from here.
    packages: BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>,
    /// The join configuration, which the library wants to read back; see [`Capture::set_config`].
    config: Vec<u8>,
    /// PSKs by their id, where something other than the engine allows them; never stored.
    psks: Option<BTreeMap<Vec<u8>, Zeroizing<Vec<u8>>>>,
}

/// The records of one group.
#[derive(Default)]
#[cfg_attr(not(feature = "internals"), allow(unreachable_pub))]
pub struct Capture(RefCell<Records>);

impl Capture {
    /// Reads the MLS records of a group: orders and values as they are stored. `None` if they are
    /// damaged.
    pub(crate) fn load<'a>(stored: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<Self> {
        let mut heads = BTreeMap::new();
        let mut pieces: BTreeMap<RecordKey, BTreeMap<u32, Vec<u8>>> = BTreeMap::new();
        for (order, value) in stored {
            match parse(order)? {
                (key, Part::Head) => {
                    heads.insert(key, value);
                }
                (key, Part::Piece(id)) => {
                    pieces.entry(key).or_default().insert(id, value.to_vec());
                }
            }
        }
        let mut records = Records::default();
        for (key, head) in heads {
            let stored = pieces.remove(&key).unwrap_or_default();
            records.base.insert(key, CutRecord::load(head, &stored)?);
        }
        pieces.is_empty().then_some(Self(records.into()))
    }

    /// The configuration that loading gives to the library. It is rebuilt from ours and never
    /// stored: its own encoding does not survive postcard.
    pub(crate) fn set_config<T: Serialize>(&self, config: &T) -> Result<(), CaptureError> {
        let json = serde_json::to_vec(config);
        self.0.borrow_mut().config =
            json.map_err(|_| CaptureError("configuration does not encode"))?;
        Ok(())
    }

    /// Lets a join use a key package.
    pub(crate) fn offer_package(&self, reference: &[u8], package: Zeroizing<Vec<u8>>) {
        self.0.borrow_mut().packages.insert(reference.to_vec(), package);
    }

    /// From now on, PSKs are kept in memory, and proposals by reference are left to the library's
    /// memory instead of being refused.
    #[cfg(feature = "internals")]
    pub(crate) fn allow_unused(&self) {
        self.0.borrow_mut().psks.get_or_insert_default();
    }

    /// From now on, writes of message secrets are only noted.
    pub(crate) fn hold_secrets(&self) {
        self.0.borrow_mut().hold_secrets = true;
    }

    /// Ends the holding; says whether there is something to flush.
    pub(crate) fn release_secrets(&self) -> bool {
        let mut records = self.0.borrow_mut();
        records.hold_secrets = false;
        std::mem::take(&mut records.secrets_held)
    }

    /// Whether this step has changed anything.
    pub(crate) fn is_changed(&self) -> bool {
        let records = self.0.borrow();
        records.secrets_held || !records.overlay.is_empty()
    }

    /// Forgets this step.
    pub(crate) fn rollback(&self) {
        let mut records = self.0.borrow_mut();
        records.overlay.clear();
        records.secrets_held = false;
    }

    /// Hands out the writes of this step and makes it the base of the next.
    pub(crate) fn take_writes(&self, scope: Scope) -> Vec<Write> {
        let mut records = self.0.borrow_mut();
        let mut writes = Vec::new();
        for (key, change) in std::mem::take(&mut records.overlay) {
            let place = Place { scope, name: [&[key.0], &key.1[..]].concat() };
            let before = records.base.remove(&key);
            match (before, change) {
                (before, Some(record)) => {
                    record.diff(before.as_ref(), &place, &mut writes);
                    records.base.insert(key, record);
                }
                (Some(before), None) => before.delete(&place, &mut writes),
                (None, None) => {}
            }
        }
        writes
    }

    fn write<T: Serialize + ?Sized>(
        &self,
        kind: Kind,
        name: Vec<u8>,
        value: &T,
    ) -> Result<(), CaptureError> {
        let mut records = self.0.borrow_mut();
        if kind == Kind::MessageSecrets && records.hold_secrets {
            records.secrets_held = true;
            return Ok(());
        }
        let key = (kind as u8, name);
        // Ids are given relative to the base, so that unchanged pieces keep theirs.
        let before = records.base.get(&key);
        let known = before.map(CutRecord::known).unwrap_or_default();
        let cut = cut::serialize_over(value, known)
            .map_err(|_| CaptureError("value cannot be stored"))?;
        let record = CutRecord::new(cut, before);
        records.overlay.insert(key, Some(record));
        Ok(())
    }

    fn read<T: DeserializeOwned>(
        &self,
        kind: Kind,
        name: Vec<u8>,
    ) -> Result<Option<T>, CaptureError> {
        let records = self.0.borrow();
        let key = (kind as u8, name);
        let record = match records.overlay.get(&key) {
            Some(change) => change.as_ref(),
            None => records.base.get(&key),
        };
        let decode = |record: &CutRecord| postcard::from_bytes(record.bytes());
        record.map(decode).transpose().map_err(|_| CaptureError("stored record does not decode"))
    }

    #[allow(clippy::unnecessary_wraps)]
    fn delete(&self, kind: Kind, name: Vec<u8>) -> Result<(), CaptureError> {
        let mut records = self.0.borrow_mut();
        let key = (kind as u8, name);
        if records.base.contains_key(&key) {
            records.overlay.insert(key, None);
        } else {
            records.overlay.remove(&key);
        }
        Ok(())
    }
}

fn parse(order: &[u8]) -> Option<(RecordKey, Part)> {
    let (name, part) = Part::parse(order)?;
    let (kind, name) = name.split_first()?;
    Some(((*kind, name.to_vec()), part))
}
