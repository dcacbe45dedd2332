//! Where a group stores what: tables and the classes of keys in them.
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

/// Classes of keys in [`Table::Group`]; 1 belongs to the MLS records.
mod class {
    pub(super) const META: u8 = 2;
    pub(super) const SETTINGS: u8 = 3;
    pub(super) const ROSTER: u8 = 4;
    pub(super) const SENDER: u8 = 5;
    pub(super) const KEPT: u8 = 6;
}

/// Kept commits have orders from the first of these up to the second, which is none.
pub(super) const KEPT_ORDERS: [[u8; 1]; 2] = [[KEPT], [KEPT + 1]];

/// Classes of keys in [`Table::Message`].
pub(super) const MESSAGE_BY_SEQ: u8 = 0;
const MESSAGE_BY_ID: u8 = 1;
/// The only class of keys in [`Table::Intent`] and in [`Table::Outbox`].
const QUEUED: u8 = 0;

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

    pub(super) fn key(self, group: GroupId) -> Key {
        let numbered = |class, n| Key::numbered(group.0, class, n);
        let named = |class, id: &[u8]| Key::named(group.0, class, id);
        match self {
            Self::Meta => numbered(class::META, 0),
            Self::Settings => numbered(class::SETTINGS, 0),
            Self::Roster(inbox) => named(class::ROSTER, &inbox.0),
            Self::Sender(id) => named(class::SENDER, &id.0),
            Self::Kept(id) => named(class::KEPT, &id.0),
            Self::Message(seq) => numbered(MESSAGE_BY_SEQ, seq.0),
            Self::MessageId(id) => named(MESSAGE_BY_ID, &id.0),
            Self::Intent(id) => numbered(QUEUED, id.0),
            Self::Outgoing(number) => numbered(QUEUED, number),
        }
    }

    pub(super) fn put(self, group: GroupId, value: Vec<u8>) -> Write {
        Write::Put { table: self.table(), key: self.key(group), value }
    }

    pub(super) fn delete(self, group: GroupId) -> Write {
        Write::Delete { table: self.table(), key: self.key(group) }
    }
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

/// First bytes of the orders of named classes.
const ROSTER: u8 = Key::NAMED | class::ROSTER;
const SENDER: u8 = Key::NAMED | class::SENDER;
const KEPT: u8 = Key::NAMED | class::KEPT;

impl StoredGroup {
    pub(super) fn read(order: &[u8], value: &[u8]) -> Result<Self, DecodeError> {
        let (class, rest) = order.split_first().ok_or(DecodeError::Empty)?;
        match *class {
            crate::mls::RECORDS => Ok(Self::Mls),
            class::META => Ok(Self::Meta(Box::new(Meta::decode(value)?))),
            class::SETTINGS => Ok(Self::Settings(StoredSettings::decode(value)?.0)),
            ROSTER => Ok(Self::Roster(InboxId(id(rest)?), StoredEntry::decode(value)?.0)),
            SENDER => Ok(Self::Sender(InstallationId(id(rest)?), SenderLog::decode(value)?)),
            KEPT => Ok(Self::Kept(TransmitId(id(rest)?), Box::new(KeptCommit::decode(value)?))),
            _ => Err(DecodeError::Malformed),
        }
    }
}

fn id<const N: usize>(bytes: &[u8]) -> Result<[u8; N], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stored keys of each place, without the scope.
    #[test]
    fn the_keys_of_a_group_are_frozen() {
        let (inbox, installation) = (InboxId([1; 32]), InstallationId([2; 32]));
        let (transmit, message) = (TransmitId([3; 16]), MessageId([4; 32]));
        let numbered = |class: u8, n: u8| [class, 0, 0, 0, 0, 0, 0, 0, n].to_vec();
        let named = |class: u8, id: &[u8]| [&[class][..], id].concat();
        for (place, table, order) in [
            (Place::Meta, Table::Group, numbered(2, 0)),
            (Place::Settings, Table::Group, numbered(3, 0)),
            (Place::Roster(&inbox), Table::Group, named(0x84, &inbox.0)),
            (Place::Sender(&installation), Table::Group, named(0x85, &installation.0)),
            (Place::Kept(&transmit), Table::Group, named(0x86, &transmit.0)),
            (Place::Message(Seq(5)), Table::Message, numbered(0, 5)),
            (Place::MessageId(&message), Table::Message, named(0x81, &message.0)),
            (Place::Intent(IntentId(6)), Table::Intent, numbered(0, 6)),
            (Place::Outgoing(7), Table::Outbox, numbered(0, 7)),
        ] {
            let key = place.key(GroupId([9; 16]));
            assert_eq!((place.table(), key.scope(), key.order()), (table, [9; 16], &order[..]));
            assert!(key.as_bytes().len() <= crate::config::STORE_NEEDS.key_bytes);
        }
    }
}
