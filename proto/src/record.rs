//! Records: envelopes with a place in their topic's log, linked into a hash chain (R8).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ChainHash, Seq, Topic, TransmitId};

/// How far a reader has come in a topic, and the chain hash there.
///
/// The hash is what holds the relay to one history: the next record must extend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// The last record that was handled; 0 before the first.
    pub seq: Seq,
    /// The chain hash at that record.
    pub hash: ChainHash,
}

impl Cursor {
    /// Before the first record.
    pub const START: Self = Self { seq: Seq(0), hash: ChainHash::GENESIS };
}

/// One envelope in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its place.
    pub seq: Seq,
    /// The place of the record before it; a reader that stands elsewhere has a gap.
    pub prev: Seq,
    /// Computed from topic and payload, see [`transmit_id`].
    pub id: TransmitId,
    /// Chain hash at this record.
    pub hash: ChainHash,
    /// The bytes that were published.
    #[serde(with = "crate::bytes")]
    pub payload: Vec<u8>,
}

impl Record {
    /// The record that a log makes of a payload appended after `(prev, head)`.
    #[must_use]
    pub fn chained(topic: &Topic, seq: Seq, prev: Seq, head: &ChainHash, payload: Vec<u8>) -> Self {
        let id = transmit_id(topic, &payload);
        let hash = chain_hash(head, seq, &id, &payload);
        Self { seq, prev, id, hash, payload }
    }

    /// Whether this record is the next one after `(prev, head)`: the place fits, the id belongs
    /// to topic and payload, and the hash extends the chain.
    #[must_use]
    pub fn follows(&self, topic: &Topic, prev: Seq, head: &ChainHash) -> bool {
        self.prev == prev
            && self.seq > prev
            && self.id == transmit_id(topic, &self.payload)
            && self.hash == chain_hash(head, self.seq, &self.id, &self.payload)
    }

    /// The cursor of a reader that has handled this record.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { seq: self.seq, hash: self.hash }
    }
}

/// The id of a payload in a topic: the first 16 bytes of `SHA-256(topic ‖ payload)`.
#[must_use]
pub fn transmit_id(topic: &Topic, payload: &[u8]) -> TransmitId {
    let digest: [u8; 32] =
        Sha256::new().chain_update(topic.to_bytes()).chain_update(payload).finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(digest.first_chunk::<16>().unwrap_or(&[0; 16]));
    TransmitId(id)
}

/// `SHA-256("conclave chain v1" ‖ head ‖ seq ‖ id ‖ payload)`, seq as 8 bytes big-endian.
#[must_use]
pub fn chain_hash(head: &ChainHash, seq: Seq, id: &TransmitId, payload: &[u8]) -> ChainHash {
    let digest = Sha256::new()
        .chain_update(b"conclave chain v1")
        .chain_update(head.0)
        .chain_update(seq.0.to_be_bytes())
        .chain_update(id.0)
        .chain_update(payload)
        .finalize();
    ChainHash(digest.into())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{Record, chain_hash, transmit_id};
    use crate::{ChainHash, GroupId, Seq, Topic, identity::hex};

    const TOPIC: Topic = Topic::Group(GroupId([1; 16]));

    fn pair() -> (Record, Record) {
        let first =
            Record::chained(&TOPIC, Seq(4), Seq(0), &ChainHash::GENESIS, Vec::from(*b"one"));
        let second = Record::chained(&TOPIC, Seq(9), Seq(4), &first.hash, Vec::from(*b"two"));
        (first, second)
    }

    /// R8: the chain has no place for a record that is dropped, altered or moved.
    #[test]
    fn a_record_follows_only_the_one_it_was_appended_to() {
        let (first, second) = pair();
        assert!(first.follows(&TOPIC, Seq(0), &ChainHash::GENESIS));
        assert!(second.follows(&TOPIC, Seq(4), &first.hash));
        assert!(!second.follows(&TOPIC, Seq(0), &ChainHash::GENESIS));
        assert!(!second.follows(&Topic::Group(GroupId([2; 16])), Seq(4), &first.hash));
        let altered = Record { payload: Vec::from(*b"twO"), ..second.clone() };
        assert!(!altered.follows(&TOPIC, Seq(4), &first.hash));
        let squatted = Record { id: first.id, ..second };
        assert!(!squatted.follows(&TOPIC, Seq(4), &first.hash));
    }

    /// Golden bytes: ids and chain hashes are for ever.
    #[test]
    fn ids_and_hashes_stay_what_they_are() {
        let id = transmit_id(&TOPIC, b"payload");
        let hash = chain_hash(&ChainHash::GENESIS, Seq(1), &id, b"payload");
        assert_eq!(hex(id.as_bytes()), GOLDEN_ID);
        assert_eq!(hex(hash.as_bytes()), GOLDEN_HASH);
    }

    const GOLDEN_ID: &str = "da43faab3c2ccf86c915746eb7b58970";
    const GOLDEN_HASH: &str = "45bfc8a8306bdf46837e9ad7a30ea3280ef721a7d9ba4a82b7e5cb0829c9976e";
}
