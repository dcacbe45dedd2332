//! Where a group stores what: tables and the orders of keys in them.
//!
//! Everything lies under the group's id as scope.

use conclave_proto::{
    GroupId, InboxId, InstallationId, IntentId, MessageId, Seq, TransmitId,
    codec::{DecodeError, Wire},
    group::{RosterEntry, Settings},
};

use super::{
    commits::KeptCommit,
    stored::{Meta, StoredEntry, StoredSettings},
    timeline::SenderLog,
};
use crate::store::{Key, Table, Write};

/// First byte of the orders in [`Table::Group`]; 1 belongs to the MLS records.
mod tag {
    pub(super) const META: u8 = 2;
    pub(super) const SETTINGS: u8 = 3;
    pub(super) const ROSTER: u8 = 4;
    pub(super) const SENDER: u8 = 5;
    pub(super) const KEPT: u8 = 6;
}

/// Kept commits have orders from the first of these up to the second, which is none.
pub(super) const KEPT_ORDERS: [[u8; 1]; 2] = [[tag::KEPT], [tag::KEPT + 1]];

/// First byte of the orders in [`Table::Message`].
pub(super) const MESSAGE_BY_SEQ: u8 = 0;
const MESSAGE_BY_ID: u8 = 1;

/// Where a value of a group lies.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Meta,
    Settings,
    Roster(&'a InboxId),
    Sender(&'a InstallationId),
    Kept(&'a TransmitId),
    Message(Seq),
    MessageId(&'a MessageId),
    Intent(IntentId),
    Outgoing(u64),
}

impl Place<'_> {
    pub(super) const fn table(self) -> Table {
        match self {
            Self::Meta | Self::Settings | Self::Roster(_) | Self::Sender(_) | Self::Kept(_) => {
                Table::Group
            }
            Self::Message(_) | Self::MessageId(_) => Table::Message,
            Self::Intent(_) => Table::Intent,
            Self::Outgoing(_) => Table::Outbox,
        }
    }

    pub(super) fn order(self) -> Vec<u8> {
        match self {
            Self::Meta => vec![tag::META],
            Self::Settings => vec![tag::SETTINGS],
            Self::Roster(inbox) => tagged(tag::ROSTER, &inbox.0),
            Self::Sender(id) => tagged(tag::SENDER, &id.0),
            Self::Kept(id) => tagged(tag::KEPT, &id.0),
            Self::Message(seq) => tagged(MESSAGE_BY_SEQ, &seq.0.to_be_bytes()),
            Self::MessageId(id) => tagged(MESSAGE_BY_ID, &id.0),
            Self::Intent(id) => id.0.to_be_bytes().to_vec(),
            Self::Outgoing(number) => number.to_be_bytes().to_vec(),
        }
    }

    pub(super) fn put(self, group: GroupId, value: Vec<u8>) -> Write {
        Write::Put { table: self.table(), key: Key::new(group.0, &self.order()), value }
    }

    pub(super) fn delete(self, group: GroupId) -> Write {
        Write::Delete { table: self.table(), key: Key::new(group.0, &self.order()) }
    }
}

fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
    [&[tag], rest].concat()
}

/// A value of [`Table::Group`] as it is read back.
pub(super) enum StoredGroup {
    Mls,
    Meta(Box<Meta>),
    Settings(Settings),
    Roster(InboxId, RosterEntry),
    Sender(InstallationId, SenderLog),
    Kept(TransmitId, Box<KeptCommit>),
}

impl StoredGroup {
    pub(super) fn read(order: &[u8], value: &[u8]) -> Result<Self, DecodeError> {
        let (tag, rest) = order.split_first().ok_or(DecodeError::Empty)?;
        match *tag {
            crate::mls::RECORDS => Ok(Self::Mls),
            tag::META => Ok(Self::Meta(Box::new(Meta::decode(value)?))),
            tag::SETTINGS => Ok(Self::Settings(StoredSettings::decode(value)?.0)),
            tag::ROSTER => Ok(Self::Roster(InboxId(id(rest)?), StoredEntry::decode(value)?.0)),
            tag::SENDER => Ok(Self::Sender(InstallationId(id(rest)?), SenderLog::decode(value)?)),
            tag::KEPT => {
                Ok(Self::Kept(TransmitId(id(rest)?), Box::new(KeptCommit::decode(value)?)))
            }
            _ => Err(DecodeError::Malformed),
        }
    }
}

fn id<const N: usize>(bytes: &[u8]) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Malformed)
}
