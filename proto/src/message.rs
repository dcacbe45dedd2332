//! What stands inside an MLS application message, inside the padding.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Cursor, GroupId, InstallationId, MessageId, Timestamp, codec::Wire, limits};

/// Chosen by the sending application: the same key never makes two messages.
pub type IdempotencyKey = [u8; 16];

/// The plaintext of an application message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Counts the messages of the sending installation in this group, from 1: gaps and order
    /// come from it, because MLS generations are not shown to applications.
    pub counter: u64,
    /// The sender's message before this one; zero for its first.
    pub previous: MessageId,
    /// The sender's idempotency key.
    pub key: IdempotencyKey,
    /// When the sender's device made it. A claim, for display only.
    pub time: Timestamp,
    /// How far the sender had read: readers with another chain hash there were shown another log.
    pub read: Cursor,
    /// The content.
    pub body: Body,
}

/// Content of a message. Grows at the end.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// For the application.
    Content(Vec<u8>),
}

/// Content is nobody's business but the application's: only its length is printed (S18).
impl core::fmt::Debug for Body {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Content(content) => write!(f, "Content({} bytes)", content.len()),
        }
    }
}

impl Wire for Payload {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::PAYLOAD_BYTES;
}

/// The id of a message: bound to group, sender, idempotency key and content, so that nobody can
/// give another message the same id, or the same message another author.
#[must_use]
pub fn message_id(
    group: &GroupId,
    sender: &InstallationId,
    key: &IdempotencyKey,
    body: &Body,
) -> MessageId {
    let digest = Sha256::new()
        .chain_update(b"conclave message v1")
        .chain_update(group.0)
        .chain_update(sender.0)
        .chain_update(key)
        .chain_update(crate::codec::encode_bare(body))
        .finalize();
    MessageId(digest.into())
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{Body, Payload, message_id};
    use crate::{Cursor, GroupId, InstallationId, MessageId, Timestamp, codec::Wire};

    fn payload() -> Payload {
        Payload {
            counter: 1,
            previous: MessageId([0; 32]),
            key: [5; 16],
            time: Timestamp(300),
            read: Cursor::START,
            body: Body::Content(Vec::from(*b"hi")),
        }
    }

    /// E10: golden bytes.
    #[test]
    fn the_encoding_of_a_payload_is_frozen() {
        let mut golden = Vec::from([1, 1]);
        golden.extend([0; 32]);
        golden.extend([5; 16]);
        golden.extend([172, 2, 0]);
        golden.extend([0; 32]);
        golden.extend([0, 2, b'h', b'i']);
        assert_eq!(payload().encode(), golden);
    }

    /// G11, scenario 39: every part of the id matters.
    #[test]
    fn a_message_id_binds_group_sender_key_and_content() {
        let body = payload().body;
        let (group, sender) = (GroupId([1; 16]), InstallationId([2; 32]));
        let id = message_id(&group, &sender, &[3; 16], &body);
        assert_ne!(id, message_id(&GroupId([9; 16]), &sender, &[3; 16], &body));
        assert_ne!(id, message_id(&group, &InstallationId([9; 32]), &[3; 16], &body));
        assert_ne!(id, message_id(&group, &sender, &[9; 16], &body));
        assert_ne!(id, message_id(&group, &sender, &[3; 16], &Body::Content(Vec::new())));
    }
}
