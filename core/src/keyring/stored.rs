//! What the key ring stores.

use conclave_proto::{Cursor, Seq, Timestamp, codec::Wire};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::{
    mls::PackageSecrets,
    store::{Key, Scope},
};

/// Classes of keys in [`Table::KeyRing`](crate::store::Table::KeyRing).
const RING: u8 = 0;
const PACKAGE: u8 = 1;

/// Where the ring's own record lies.
pub(super) fn ring_key(owner: Scope) -> Key {
    Key::numbered(owner, RING, 0)
}

/// Where a package lies.
pub(super) fn package_key(owner: Scope, number: u64) -> Key {
    Key::numbered(owner, PACKAGE, number)
}

/// What the ring knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ring {
    /// How far the Welcome topic has been read.
    pub(super) cursor: Cursor,
    /// Number of the published package.
    pub(super) current: u64,
    /// Number of the one before.
    pub(super) previous: Option<u64>,
    /// When the published one was made.
    pub(super) made: Timestamp,
    pub(super) rotations: u64,
    /// A rotation is wanted.
    pub(super) rotate: bool,
    /// Counter of the last upload.
    pub(super) uploads: u64,
    pub(super) acknowledged: bool,
    pub(super) acknowledged_at: Timestamp,
    /// Head of the Welcome topic when the last upload was acknowledged.
    pub(super) drain_to: Seq,
}

impl Ring {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            cursor: Cursor::START,
            current: 0,
            previous: None,
            made: now,
            rotations: 0,
            rotate: false,
            uploads: 0,
            acknowledged: false,
            acknowledged_at: now,
            drain_to: Seq(0),
        }
    }

    /// The published package becomes the one before.
    pub(super) const fn turn(&mut self, now: Timestamp) {
        self.previous = Some(self.current);
        self.current = self.current.saturating_add(1);
        self.made = now;
        self.rotations = self.rotations.saturating_add(1);
        self.rotate = false;
    }
}

/// A key package with its private keys.
#[derive(Serialize, Deserialize)]
pub(super) struct Package {
    pub(super) reference: [u8; 32],
    pub(super) public: Vec<u8>,
    pub(super) bundle: Vec<u8>,
    pub(super) seed: [u8; 32],
}

impl Package {
    pub(super) fn of(secrets: &PackageSecrets) -> Self {
        Self {
            reference: secrets.reference,
            public: secrets.public.clone(),
            bundle: secrets.bundle.to_vec(),
            seed: *secrets.seed.as_bytes(),
        }
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        self.bundle.zeroize();
        self.seed.zeroize();
    }
}

impl core::fmt::Debug for Package {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Package(..)")
    }
}

impl Wire for Ring {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = usize::MAX;
}

impl Wire for Package {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = usize::MAX;
}

#[cfg(test)]
mod tests {
    use conclave_proto::{ChainHash, Cursor, Seq, Timestamp, codec::Wire, identity::hex};

    use super::{Package, Ring};

    /// E10: golden bytes; old stores open for ever.
    #[test]
    fn the_stored_forms_of_a_ring_are_frozen() {
        let ring = Ring {
            cursor: Cursor { seq: Seq(300), hash: ChainHash([1; 32]) },
            current: 2,
            previous: Some(3),
            made: Timestamp(4),
            rotations: 5,
            rotate: true,
            uploads: 6,
            acknowledged: false,
            acknowledged_at: Timestamp(7),
            drain_to: Seq(8),
        };
        let golden = format!("01ac02{}02010304050106000708", "01".repeat(32));
        assert_eq!(hex(&ring.encode()), golden);
        let package =
            Package { reference: [1; 32], public: vec![2], bundle: vec![3], seed: [4; 32] };
        let golden = format!("01{}01020103{}", "01".repeat(32), "04".repeat(32));
        assert_eq!(hex(&package.encode()), golden);
    }
}
