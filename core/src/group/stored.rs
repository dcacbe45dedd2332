//! What a group stores besides the records of the MLS library.
//!
//! Each value has a version byte; old versions open for ever (E10).

use std::ops::ControlFlow;

use conclave_proto::{
    Cursor, Epoch, GroupId, InboxId, InstallationId, MessageId, Seq, Timestamp,
    codec::Wire,
    group::{RosterEntry, Settings},
    message::{Body, IdempotencyKey},
};
use serde::{Deserialize, Serialize};

use super::{
    commits::KeptCommit,
    epochs::PastEpoch,
    intents::Intent,
    place::{MESSAGE_BY_SEQ, Place},
    standing::Standing,
    timeline::SenderLog,
};
use crate::store::{Direction, Key, Range, Store, StoreError, Table};

macro_rules! stored {
    ($($type:ty),* $(,)?) => { $(
        impl Wire for $type {
            const VERSION: u8 = 1;
            // Own bytes: whatever was written is read back.
            const MAX_BYTES: usize = usize::MAX;
        }
    )* };
}

stored!(Meta, StoredSettings, StoredEntry, SenderLog, KeptCommit, Intent, StoredMessage);

/// What a group knows about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    pub(super) cursor: Cursor,
    pub(super) standing: Standing,
    /// Whom the commit removes that the group stands before, if it is known.
    pub(super) stuck_removes: Vec<InstallationId>,
    /// Where this membership began; tells its marks from those of earlier ones.
    pub(super) life: u64,
    /// Counts own marks; the next envelope gets the next one.
    pub(super) marks: u64,
    /// Counts own messages.
    pub(super) messages: u64,
    /// The own message before the next one.
    pub(super) previous: MessageId,
    pub(super) intents: u64,
    pub(super) outgoing: u64,
    pub(super) joined: Timestamp,
    /// When a path update is due even without sending (S5).
    pub(super) update_by: Timestamp,
    pub(super) last_path: Option<Timestamp>,
    /// Past epochs whose secrets are kept, oldest first.
    pub(super) past: Vec<PastEpoch>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredSettings(pub(super) Settings);

#[derive(Serialize, Deserialize)]
pub(super) struct StoredEntry(pub(super) RosterEntry);

/// A message of the group's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// Its id.
    pub id: MessageId,
    /// The sender's inbox.
    pub inbox: InboxId,
    /// The sender's installation.
    pub installation: InstallationId,
    /// The epoch it was encrypted in.
    pub epoch: Epoch,
    /// The sender's count.
    pub counter: u64,
    /// The sender's idempotency key.
    pub key: IdempotencyKey,
    /// When the sender's device made it: a claim.
    pub time: Timestamp,
    /// The content.
    pub body: Body,
}

/// Reads one stored message by its place in the log.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Corrupt`] if the stored bytes do not decode.
pub fn read_message(
    store: &dyn Store,
    group: GroupId,
    seq: Seq,
) -> Result<Option<StoredMessage>, StoreError> {
    let value = store.get(Table::Message, &Place::Message(seq).key(group))?;
    value.map(|value| StoredMessage::decode(&value).map_err(|_| StoreError::Corrupt)).transpose()
}

/// Where the message with this id stands in the log, if the store has it.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Corrupt`] if the stored bytes do not decode.
pub fn find_message(
    store: &dyn Store,
    group: GroupId,
    id: MessageId,
) -> Result<Option<Seq>, StoreError> {
    let key = Place::MessageId(&id).key(group);
    let Some(value) = store.get(Table::Message, &key)? else { return Ok(None) };
    let bytes = value.try_into().map_err(|_| StoreError::Corrupt)?;
    Ok(Some(Seq(u64::from_be_bytes(bytes))))
}

/// Reads stored messages of a group behind a place in its log, at most `limit`, in log order.
///
/// # Errors
/// [`StoreError`]; [`StoreError::Corrupt`] if the stored bytes do not decode.
pub fn read_messages(
    store: &dyn Store,
    group: GroupId,
    after: Seq,
    limit: usize,
) -> Result<Vec<(Seq, StoredMessage)>, StoreError> {
    let from = Place::Message(Seq(after.0.saturating_add(1))).key(group);
    let to = [MESSAGE_BY_SEQ + 1];
    let (mut found, mut damaged) = (Vec::new(), false);
    if limit == 0 {
        return Ok(found);
    }
    let range = Range::within(group.0, from.order(), &to);
    store.scan(Table::Message, range, Direction::Forward, &mut |key, value| {
        match (Key::number_of(key).map(Seq), StoredMessage::decode(value)) {
            (Some(seq), Ok(message)) => found.push((seq, message)),
            _ => damaged = true,
        }
        if damaged || found.len() >= limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    if damaged { Err(StoreError::Corrupt) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use conclave_proto::{
        ChainHash, Cursor, Epoch, InboxId, InstallationId, IntentId, Mark, MessageId, Seq,
        Timestamp, TransmitId,
        codec::{Wire, encode_bare},
        identity::hex,
        message::Body,
    };

    use super::{Intent, KeptCommit, Meta, PastEpoch, SenderLog, Standing, StoredMessage};
    use crate::group::{
        commits::{KeptWelcome, Recipient},
        intents::{Wish, WishedInbox},
    };

    fn meta() -> Meta {
        Meta {
            cursor: Cursor { seq: Seq(300), hash: ChainHash([1; 32]) },
            standing: Standing::Stuck { at: Seq(1), removal: true, since: Timestamp(2) },
            stuck_removes: vec![],
            life: 13,
            marks: 3,
            messages: 4,
            previous: MessageId([5; 32]),
            intents: 6,
            outgoing: 7,
            joined: Timestamp(8),
            update_by: Timestamp(9),
            last_path: Some(Timestamp(10)),
            past: vec![PastEpoch { epoch: Epoch(11), ended: Timestamp(12), settings: None }],
        }
    }

    fn kept() -> KeptCommit {
        let recipient = Recipient {
            installation: InstallationId([1; 32]),
            reference: [2; 32],
            algorithm: 3,
            key: vec![4],
            secrets: vec![5],
        };
        KeptCommit {
            epoch: Epoch(1),
            mark: Mark([2; 16]),
            payload: vec![3],
            staged: vec![4],
            delta: Some(vec![5]),
            intents: vec![IntentId(6)],
            welcome: Some(KeptWelcome {
                group_info: vec![7],
                tree: vec![8],
                recipients: vec![recipient],
            }),
            refused: true,
        }
    }

    fn message() -> StoredMessage {
        StoredMessage {
            id: MessageId([1; 32]),
            inbox: InboxId([2; 32]),
            installation: InstallationId([3; 32]),
            epoch: Epoch(4),
            counter: 5,
            key: [6; 16],
            time: Timestamp(7),
            body: Body::Content(vec![8]),
        }
    }

    fn of(byte: u8, n: usize) -> String {
        hex(&vec![byte; n])
    }

    /// E10: as below, for each way in which a group can stand.
    #[test]
    fn the_stored_forms_of_a_standing_are_frozen() {
        let (at, since) = (Seq(300), Timestamp(2));
        let forms = [
            (Standing::Member, "00"),
            (Standing::Stuck { at, removal: true, since }, "01ac020102"),
            (Standing::Removed { at }, "02ac02"),
            (Standing::Forked { at }, "03ac02"),
        ];
        for (standing, bytes) in forms {
            assert_eq!(hex(&encode_bare(&standing)), bytes);
        }
    }

    /// E10: golden bytes of what a group stores; old stores open for ever.
    #[test]
    fn the_stored_forms_are_frozen() {
        let wished =
            WishedInbox { inbox: InboxId([1; 32]), log: vec![vec![2]], packages: vec![vec![3]] };
        let wish = |wish| hex(&Intent { wish }.encode());
        let mut log = SenderLog::default();
        log.note(5);
        log.note(9);
        let golden = [
            (
                hex(&meta().encode()),
                format!("01ac02{}01010102000d0304{}06070809010a010b0c00", of(1, 32), of(5, 32)),
            ),
            (
                hex(&kept().encode()),
                format!(
                    "0101{}01030104010105010601010701 0801{}{}030104010501",
                    of(2, 16),
                    of(1, 32),
                    of(2, 32)
                ),
            ),
            (
                hex(&message().encode()),
                format!("01{}{}{}0405{}07000108", of(1, 32), of(2, 32), of(3, 32), of(6, 16)),
            ),
            (wish(Wish::Add(vec![wished])), format!("010001{}010102010103", of(1, 32))),
            (wish(Wish::Remove(vec![InboxId([1; 32])])), format!("010101{}", of(1, 32))),
            (wish(Wish::UpdateKeys), "0102".into()),
            (hex(&log.encode()), "010205050909".into()),
        ];
        for (stored, golden) in golden {
            assert_eq!(stored, golden.replace(' ', ""));
        }
        assert_eq!(TransmitId([1; 16]).as_bytes().len(), 16);
    }
}
