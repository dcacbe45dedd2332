//! What the engine itself keeps in a store: the installation's keys, and a list of its groups.

use std::{ops::ControlFlow, sync::Arc};

use conclave_proto::{GroupId, InboxId, codec::Wire};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::{
    installation::Installation,
    step::{Effects, Lineage, Step},
    store::{Direction, Key, Range, Store, StoreError, Table, Write},
};

const GROUPS: [u8; 16] = *b"conclave groups.";

/// The scope of the installation's keys. An engine writes its first record there, and no other.
pub const INSTALLATION: [u8; 16] = *b"conclave device.";

/// Lists a group; part of the write set that makes it.
pub(super) fn put(group: GroupId) -> Write {
    Write::Put { table: Table::Meta, key: Key::named(GROUPS, 0, &group.0), value: Vec::new() }
}

/// The groups that a store lists.
///
/// # Errors
/// [`StoreError`].
pub fn groups(store: &dyn Store) -> Result<Vec<GroupId>, StoreError> {
    let mut found = Vec::new();
    let all = Range::scope(GROUPS);
    store.scan(Table::Meta, all, Direction::Forward, &mut |key, _| {
        let id = key.get(Key::SCOPE_LEN + 1..).and_then(|id| id.try_into().ok());
        found.extend(id.map(GroupId));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// Where the keys of this installation lie.
#[must_use]
pub fn installation_key() -> Key {
    Key::numbered(INSTALLATION, 0, 0)
}

/// The keys of this installation.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredInstallation {
    /// Whose it is.
    pub inbox: InboxId,
    key: [u8; 32],
    marks: [u8; 32],
    /// Whether the inbox's log is known to name it.
    pub registered: bool,
}

impl Wire for StoredInstallation {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = 256;
}

impl std::fmt::Debug for StoredInstallation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredInstallation({:?}, ..)", self.inbox)
    }
}

impl Drop for StoredInstallation {
    fn drop(&mut self) {
        self.key.zeroize();
        self.marks.zeroize();
    }
}

impl StoredInstallation {
    /// The keys of an installation that no log names yet: 32 random bytes for the signature key
    /// and 32 for marks.
    #[must_use]
    pub const fn new(inbox: InboxId, key: [u8; 32], marks: [u8; 32]) -> Self {
        Self { inbox, key, marks, registered: false }
    }

    /// The installation.
    #[must_use]
    pub fn installation(&self) -> Arc<Installation> {
        Arc::new(Installation::new(self.inbox, self.key, self.marks))
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Corrupt`] if the stored bytes do not decode.
    pub fn read(store: &dyn Store) -> Result<Option<Self>, StoreError> {
        let value = store.get(Table::Identity, &installation_key())?;
        value.map(|value| Self::decode(&value).map_err(|_| StoreError::Corrupt)).transpose()
    }

    /// Stores it; `load` differs from that of every other step of this engine.
    pub fn step(&self, load: u64) -> Step {
        let (key, value) = (installation_key(), self.encode());
        let write = Write::Put { table: Table::Identity, key, value };
        let lineage = Lineage { owner: INSTALLATION, life: 0, load };
        Step::new(lineage, vec![write], Effects::default(), ())
    }
}

#[cfg(test)]
mod tests {
    use conclave_proto::{InboxId, codec::Wire, identity::hex};

    use super::StoredInstallation;

    /// E10: golden bytes; old stores open for ever.
    #[test]
    fn the_stored_form_of_an_installation_is_frozen() {
        let stored = StoredInstallation::new(InboxId([1; 32]), [2; 32], [3; 32]);
        let golden = format!("01{}{}{}00", "01".repeat(32), "02".repeat(32), "03".repeat(32));
        assert_eq!(hex(&stored.encode()), golden);
    }
}
