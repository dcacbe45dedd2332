//! Topics: the ordered logs at the relay.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{GroupId, InboxId, InstallationId};

/// An ordered log at the relay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Topic {
    /// Messages and commits of one group.
    Group(GroupId),
    /// Welcomes and sealed notes to one installation.
    Welcome(InstallationId),
    /// The identity log of one inbox.
    Identity(InboxId),
    /// One body, addressed by the SHA-256 of its bytes; holds at most one record.
    Blob([u8; 32]),
}

impl Topic {
    /// The bytes that ids and hashes cover: a tag, then the id.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (tag, id): (u8, &[u8]) = match self {
            Self::Group(id) => (0, id.as_bytes()),
            Self::Welcome(id) => (1, id.as_bytes()),
            Self::Identity(id) => (2, id.as_bytes()),
            Self::Blob(hash) => (3, hash),
        };
        let mut bytes = Vec::with_capacity(1 + id.len());
        bytes.push(tag);
        bytes.extend_from_slice(id);
        bytes
    }
}
