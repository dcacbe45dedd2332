//! What makes a database a relay's logs: its tables, a magic and a version.

use conclave_proto::{ChainHash, Cursor, Record, Seq, Topic, TransmitId};
use conclave_redb_file::{Failure, Kind, Marks, OpenError, checked};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use zeroize::Zeroizing;

use crate::founding::{Founding, Signer};

/// The version of the stored format that this crate reads and writes.
pub(crate) const VERSION: u32 = 1;

/// How a relay's logs are told from other files.
pub(crate) const KIND: Kind =
    Kind { table: RELAY, magic: b"conclave relay logs", version: VERSION };

/// A table of bytes.
pub(crate) type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Topic → [`Head`].
pub(crate) const HEADS: Bytes = TableDefinition::new("heads");
/// Topic ‖ seq (8 bytes, big-endian) → id ‖ chain hash ‖ payload.
pub(crate) const RECORDS: Bytes = TableDefinition::new("records");
/// Topic ‖ id → seq.
pub(crate) const IDS: TableDefinition<'static, &'static [u8], u64> = TableDefinition::new("ids");
/// Inbox → what its log says (postcard).
pub(crate) const IDENTITIES: Bytes = TableDefinition::new("identities");
/// Account identifier → inbox.
pub(crate) const ACCOUNTS: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("accounts");
/// Installation → counter (8 bytes, big-endian) ‖ Welcome head (same) ‖ encoded upload.
pub(crate) const PACKAGES: Bytes = TableDefinition::new("packages");

/// Where a log stands. Places are dense: the record before `seq` has `seq - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The last record, whether it is left or trimmed.
    pub(crate) cursor: Cursor,
    /// The first record that is left; one behind the head if none is.
    pub(crate) first: Seq,
}

impl Head {
    /// Of a log that nothing was ever appended to.
    pub(crate) const START: Self = Self { cursor: Cursor::START, first: Seq(1) };

    pub(crate) fn encode(&self) -> [u8; 48] {
        let mut bytes = [0; 48];
        let parts = [
            &self.cursor.seq.0.to_be_bytes()[..],
            &self.first.0.to_be_bytes(),
            &self.cursor.hash.0,
        ];
        for (slot, byte) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *slot = *byte;
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        let (seq, rest) = number(bytes)?;
        let (first, hash) = number(rest)?;
        let hash = ChainHash(hash.try_into().map_err(|_| Failure::Damaged)?);
        Ok(Self { cursor: Cursor { seq: Seq(seq), hash }, first: Seq(first) })
    }
}

/// The key of a record.
pub(crate) fn record_key(topic: &[u8], seq: Seq) -> Vec<u8> {
    [topic, &seq.0.to_be_bytes()].concat()
}

/// The key of an id.
pub(crate) fn id_key(topic: &[u8], id: &TransmitId) -> Vec<u8> {
    [topic, id.as_bytes()].concat()
}

/// What a stored record has before its payload: id and chain hash.
pub(crate) const RECORD_OVERHEAD: usize = 16 + 32;

/// A record as it is stored.
pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    [record.id.as_bytes(), record.hash.as_bytes(), &record.payload].concat()
}

/// Reads a record back. Its key ends with its place.
pub(crate) fn decode_record(key: &[u8], value: &[u8]) -> Result<Record, Failure> {
    let (_, seq) = key.split_last_chunk().ok_or(Failure::Damaged)?;
    let seq = u64::from_be_bytes(*seq);
    let (id, rest) = value.split_first_chunk().ok_or(Failure::Damaged)?;
    let (hash, payload) = rest.split_first_chunk().ok_or(Failure::Damaged)?;
    Ok(Record {
        seq: Seq(seq),
        prev: Seq(seq.checked_sub(1).ok_or(Failure::Damaged)?),
        id: TransmitId(*id),
        hash: ChainHash(*hash),
        payload: payload.to_vec(),
    })
}

/// Splits a number off.
pub(crate) fn number(bytes: &[u8]) -> Result<(u64, &[u8]), Failure> {
    let (number, rest) = bytes.split_first_chunk().ok_or(Failure::Damaged)?;
    Ok((u64::from_be_bytes(*number), rest))
}

/// The head of a log, in whichever kind of transaction.
pub(crate) fn head(
    heads: &impl ReadableTable<&'static [u8], &'static [u8]>,
    topic: &Topic,
) -> Result<Head, Failure> {
    let found = heads.get(topic.to_bytes().as_slice())?;
    found.map_or(Ok(Head::START), |bytes| Head::decode(bytes.value()))
}

/// What a relay's file holds from the beginning: who the relay is, and its tables, empty.
pub(crate) fn found(transaction: &WriteTransaction, founding: &Founding) -> Result<(), Failure> {
    let mut relay = transaction.open_table(RELAY)?;
    relay.insert(INCARNATION_KEY, founding.incarnation.as_slice())?;
    relay.insert(SECRET_KEY, founding.key.as_slice())?;
    for table in [HEADS, RECORDS, IDENTITIES, PACKAGES] {
        transaction.open_table(table)?;
    }
    transaction.open_table(IDS)?;
    transaction.open_table(ACCOUNTS)?;
    Ok(())
}

/// Who the relay is.
pub(crate) fn signer(db: &Database) -> Result<Signer, OpenError> {
    let signer = checked(|| -> Result<_, Failure> {
        let relay = db.begin_read()?.open_table(RELAY)?;
        let incarnation = relay.get(INCARNATION_KEY)?.ok_or(Failure::Damaged)?;
        let incarnation = incarnation.value().try_into().map_err(|_| Failure::Damaged)?;
        let stored = relay.get(SECRET_KEY)?.ok_or(Failure::Damaged)?;
        let secret: [u8; 32] = stored.value().try_into().map_err(|_| Failure::Damaged)?;
        Ok(Signer::new(incarnation, &Zeroizing::new(secret)))
    })?;
    Ok(signer)
}

const RELAY: Marks = TableDefinition::new("conclave-relay");
const INCARNATION_KEY: &str = "incarnation";
const SECRET_KEY: &str = "secret";

#[cfg(test)]
mod tests {
    use conclave_proto::{ChainHash, Cursor, GroupId, Seq, Topic};

    use super::*;

    /// E10: golden bytes of what is stored.
    #[test]
    fn heads_and_records_keep_their_stored_form() {
        let head = Head { cursor: Cursor { seq: Seq(5), hash: ChainHash([7; 32]) }, first: Seq(2) };
        let mut golden = vec![0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2];
        golden.extend([7; 32]);
        assert_eq!(head.encode().as_slice(), golden);
        assert_eq!(Head::decode(&golden).unwrap(), head);

        let topic = Topic::Group(GroupId([1; 16]));
        let record = Record::chained(&topic, Seq(3), Seq(2), &ChainHash::GENESIS, vec![9, 9]);
        let key = record_key(&topic.to_bytes(), record.seq);
        let value = encode_record(&record);
        assert_eq!(key.len(), 17 + 8);
        assert_eq!(value.len(), 16 + 32 + 2);
        assert_eq!(decode_record(&key, &value).unwrap(), record);
    }

    #[test]
    fn stored_bytes_that_are_cut_off_are_damage() {
        for cut in 0..48 {
            assert!(Head::decode(&Head::START.encode()[..cut]).is_err());
            assert!(decode_record(&[1; 9], &vec![0; cut]).is_err());
        }
        assert!(decode_record(&[1; 7], &[0; 48]).is_err());
    }
}
