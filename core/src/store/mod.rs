//! Storage that anyone can implement. Nothing here knows of groups.
//!
//! Implement [`Store`] over whatever you have, run the suite of `conclave-conformance` over it
//! (`store_conformance!`), and every engine keeps its promises on top of it. A backend with small
//! limits is wrapped in `ChunkedStore` (crate `conclave-store-chunked`) by the engine.

use alloc::{sync::Arc, vec::Vec};
use core::ops::ControlFlow;

/// One table per kind of record.
///
/// Exhaustive on purpose: a new table must break an adapter at compile time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// What the store says about itself, such as its version. Its scope [`RESERVED_SCOPE`]
    /// belongs to layers between the engine and the backend.
    Meta,
    /// Installation keys and identity logs.
    Identity,
    /// Key packages and their private keys.
    KeyRing,
    /// Group state: MLS records, group state, cursor.
    Group,
    /// Decrypted messages in the order of the log.
    Message,
    /// Wishes that are not settled yet.
    Intent,
    /// What still has to reach the relay.
    Outbox,
    /// What the application has not read yet.
    Event,
    /// Data keys of the layer that seals records, wrapped.
    Keys,
    /// Whom this person has allowed or blocked.
    Consent,
    /// Invitations that are set aside, and what is kept about them.
    Invitation,
}

impl Table {
    /// All tables, in key order.
    pub const ALL: [Self; 11] = [
        Self::Meta,
        Self::Identity,
        Self::KeyRing,
        Self::Group,
        Self::Message,
        Self::Intent,
        Self::Outbox,
        Self::Event,
        Self::Keys,
        Self::Consent,
        Self::Invitation,
    ];

    /// A stable name, for backends that name their tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Identity => "identity",
            Self::KeyRing => "key-ring",
            Self::Group => "group",
            Self::Message => "message",
            Self::Intent => "intent",
            Self::Outbox => "outbox",
            Self::Event => "event",
            Self::Keys => "keys",
            Self::Consent => "consent",
            Self::Invitation => "invitation",
        }
    }
}

/// A group, an inbox, a key ring: what a scan or a delete can cover as a whole. 16 bytes.
pub type Scope = [u8; Key::SCOPE_LEN];

/// The scope of [`Table::Meta`] in which a layer such as `ChunkedStore` keeps its own records.
///
/// No engine writes there, so a layer can refuse such writes and hide what it finds.
pub const RESERVED_SCOPE: Scope = [0xFF; Key::SCOPE_LEN];

/// `scope ‖ order`; the order is a class and what it has of these: a number or an id.
///
/// An engine builds keys by [`Key::numbered`] and [`Key::named`] only, so that a layer that seals
/// records knows what it may show: numbers stay readable, and scans keep their order; scopes and ids
/// are replaced by keyed hashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// Length of the scope at the front of every key, in bytes.
    pub const SCOPE_LEN: usize = 16;

    /// First byte of the order of a numbered class is below this; a named one has this bit set.
    pub const NAMED: u8 = 0x80;

    /// The key of the `n`-th record of a class; scans pass them in the order of their numbers.
    ///
    /// # Panics
    /// If the class is not below [`Key::NAMED`]: classes are constants of a program.
    #[must_use]
    pub fn numbered(scope: Scope, class: u8, n: u64) -> Self {
        assert!(class < Self::NAMED, "a class is below 128");
        let [a, b, c, d, e, f, g, h] = n.to_be_bytes();
        Self::from_parts(scope, &[class, a, b, c, d, e, f, g, h])
    }

    /// The key of the record of a class with this id, in no order that a caller may rely on.
    ///
    /// # Panics
    /// As for [`Key::numbered`].
    #[must_use]
    pub fn named(scope: Scope, class: u8, id: &[u8]) -> Self {
        assert!(class < Self::NAMED, "a class is below 128");
        Self::from_parts(scope, &[&[class | Self::NAMED], id].concat())
    }

    /// A key of any bytes, for layers between the engine and the backend and for their tests.
    #[must_use]
    pub fn from_parts(scope: Scope, order: &[u8]) -> Self {
        let mut key = Vec::with_capacity(Self::SCOPE_LEN + order.len());
        key.extend_from_slice(&scope);
        key.extend_from_slice(order);
        Self(key)
    }

    /// A key from the bytes that a scan passes; `None` if they are shorter than a scope.
    #[must_use]
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= Self::SCOPE_LEN).then(|| Self(bytes.to_vec()))
    }

    /// The bytes that a backend stores and sorts by (unsigned, lexicographic).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The number of a numbered key in the bytes that a scan passes; `None` for any other key.
    #[must_use]
    pub fn number_of(bytes: &[u8]) -> Option<u64> {
        let (class, n) = bytes.get(Self::SCOPE_LEN..)?.split_first()?;
        let n = n.try_into().ok().filter(|_| *class < Self::NAMED)?;
        Some(u64::from_be_bytes(n))
    }

    /// The part in front of the order.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.0.first_chunk().copied().unwrap_or_default()
    }

    /// The part after the scope.
    #[must_use]
    pub fn order(&self) -> &[u8] {
        self.0.get(Self::SCOPE_LEN..).unwrap_or_default()
    }
}

/// One change. A commit applies its writes in order.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a value; an older one of the same key is replaced.
    Put {
        /// Where.
        table: Table,
        /// Under which key.
        key: Key,
        /// The value; may be empty.
        value: Vec<u8>,
    },
    /// Removes a key; a missing one is no error.
    Delete {
        /// Where.
        table: Table,
        /// Which key.
        key: Key,
    },
    /// Removes every key of a scope; an empty scope is no error.
    DeleteScope {
        /// Where.
        table: Table,
        /// Which scope.
        scope: Scope,
    },
}

/// Values may hold keys and plaintext: only their length is printed (S18).
impl core::fmt::Debug for Write {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Put { table, key, value } => f
                .debug_struct("Put")
                .field("table", table)
                .field("order_bytes", &key.order().len())
                .field("value_bytes", &value.len())
                .finish(),
            Self::Delete { table, .. } => f.debug_struct("Delete").field("table", table).finish(),
            Self::DeleteScope { table, .. } => {
                f.debug_struct("DeleteScope").field("table", table).finish()
            }
        }
    }
}

impl Write {
    /// Bytes that this write hands to the backend: key and value.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.as_bytes().len() + value.len(),
            Self::Delete { key, .. } => key.as_bytes().len(),
            Self::DeleteScope { scope, .. } => scope.len(),
        }
    }

    /// The table this write changes.
    #[must_use]
    pub const fn table(&self) -> Table {
        match self {
            Self::Put { table, .. } | Self::Delete { table, .. } => *table,
            Self::DeleteScope { table, .. } => *table,
        }
    }
}

/// Whole table (`scope: None`; the bounds are then ignored), or one scope from (inclusive) to
/// (exclusive) an order. `None` is an open end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range<'a> {
    /// The scope to stay in.
    pub scope: Option<Scope>,
    /// First order that is visited.
    pub from: Option<&'a [u8]>,
    /// First order that is not visited any more.
    pub to: Option<&'a [u8]>,
}

impl<'a> Range<'a> {
    /// Everything in one scope.
    #[must_use]
    pub const fn scope(scope: Scope) -> Self {
        Self { scope: Some(scope), from: None, to: None }
    }

    /// One scope between two orders.
    #[must_use]
    pub const fn within(scope: Scope, from: &'a [u8], to: &'a [u8]) -> Self {
        Self { scope: Some(scope), from: Some(from), to: Some(to) }
    }
}

/// Which end a scan starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Reverse,
}

/// The engine's claim on a store: a random number that opening it wrote ([`Store::claim`]).
///
/// A commit whose claim is not the stored one changes nothing and answers
/// [`StoreError::Fenced`]: a second engine took over, or the file was swapped underneath (E9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim(pub [u8; 16]);

/// What a backend can take. The engine never exceeds it: a store that does not reach
/// [`STORE_NEEDS`](crate::config::STORE_NEEDS) is opened under a layer that cuts what is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Longest key, scope included, in bytes. At least 64.
    pub key_bytes: usize,
    /// Longest value in bytes. At least 4096.
    pub value_bytes: usize,
    /// Most writes in one commit. At least 16.
    pub batch_writes: usize,
    /// Most bytes ([`Write::size`] added up) in one commit. At least 16 KiB.
    pub batch_bytes: usize,
}

impl StoreLimits {
    /// For backends that know no limit of their own.
    pub const UNLIMITED: Self = Self {
        key_bytes: usize::MAX,
        value_bytes: usize::MAX,
        batch_writes: usize::MAX,
        batch_bytes: usize::MAX,
    };

    /// The least that a backend may state; less is refused when an engine is opened.
    pub const FLOOR: Self =
        Self { key_bytes: 64, value_bytes: 4096, batch_writes: 16, batch_bytes: 16 * 1024 };

    /// Returns whether each limit is at least that of `least`.
    #[must_use]
    pub const fn reach(&self, least: &Self) -> bool {
        self.key_bytes >= least.key_bytes
            && self.value_bytes >= least.value_bytes
            && self.batch_writes >= least.batch_writes
            && self.batch_bytes >= least.batch_bytes
    }

    /// Checks a batch; the first step of every implementation of [`Store::commit`].
    ///
    /// The write that is named is the first one, in order, that is too large by itself or with
    /// which the batch becomes too large.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], with the limit that is broken.
    pub fn check(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut bytes = 0_usize;
        for (index, write) in writes.iter().enumerate() {
            bytes = bytes.saturating_add(write.size());
            let excess = self.broken_by(write).or_else(|| self.broken_at(index, bytes));
            if let Some(max) = excess {
                return Err(StoreError::TooLarge { write: index, max });
            }
        }
        Ok(())
    }

    fn broken_by(&self, write: &Write) -> Option<usize> {
        let (key_len, value_len) = match write {
            Write::Put { key, value, .. } => (key.as_bytes().len(), value.len()),
            Write::Delete { key, .. } => (key.as_bytes().len(), 0),
            Write::DeleteScope { .. } => (Key::SCOPE_LEN, 0),
        };
        if key_len > self.key_bytes {
            return Some(self.key_bytes);
        }
        (value_len > self.value_bytes).then_some(self.value_bytes)
    }

    fn broken_at(&self, index: usize, bytes: usize) -> Option<usize> {
        if index >= self.batch_writes {
            return Some(self.batch_writes);
        }
        (bytes > self.batch_bytes).then_some(self.batch_bytes)
    }
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing was stored; the same call can succeed later.
    #[error("store unavailable, nothing was stored")]
    Unavailable,
    /// Nothing was stored; the medium is full.
    #[error("store full, nothing was stored")]
    Full,
    /// Nothing was stored; this write (its index) is beyond what the backend takes.
    /// [`StoreLimits::check`] finds it.
    #[error("write {write} is larger than the {max} that the store takes")]
    TooLarge {
        /// Index in the batch of the first write that does not fit.
        write: usize,
        /// What the backend takes, in bytes or writes.
        max: usize,
    },
    /// Another engine owns the store.
    #[error("another engine owns the store")]
    Fenced,
    /// The stored bytes are not what was written.
    #[error("stored bytes are damaged")]
    Corrupt,
    /// The commit may or may not have happened; reading settles it.
    #[error("the commit may or may not be stored")]
    Unknown,
}

impl StoreError {
    /// What a driver does about it.
    #[must_use]
    pub const fn class(&self) -> crate::Class {
        match self {
            Self::Unavailable | Self::Unknown => crate::Class::Transient,
            Self::Full => crate::Class::Blocked(crate::BlockedOn::Space),
            Self::Fenced => crate::Class::Blocked(crate::BlockedOn::Ownership),
            Self::TooLarge { .. } | Self::Corrupt => crate::Class::Permanent,
        }
    }
}

/// What a scan calls with each key and value. The name only shortens signatures.
pub type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Atomic, durable, ordered key-value storage.
///
/// Blocking; the engine calls it from its own threads, never from yours. All methods can be
/// called at the same time, except that only one thread at a time commits. Five methods; a
/// straightforward implementation over an ordered map or a transactional database is an hour's
/// work, and `store_conformance!` says whether it is right.
pub trait Store: Send + Sync + 'static {
    /// Sets the claim, durably. Called once, when an engine opens the store, perhaps while
    /// another engine still writes; from then on every other claim is fenced off.
    ///
    /// A store without a claim fences off everyone. Where the claim is kept is the backend's
    /// business; no scan shows it. It does not change while the store is closed.
    ///
    /// # Errors
    /// [`StoreError`]; the old claim then still stands, except after [`StoreError::Unknown`].
    fn claim(&self, claim: Claim) -> Result<(), StoreError>;

    /// Applies all writes in order, or none, if `claim` is the stored claim. `Ok` means that the
    /// writes survive a loss of power. Called by one thread at a time; an empty batch is allowed
    /// and still checks the claim. If both the claim and the batch are wrong, either may be said.
    ///
    /// # Errors
    /// [`StoreError`]. Only after [`StoreError::Unknown`] may anything have been stored.
    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError>;

    /// Reads one value; sees every commit that returned `Ok` before the call. Any thread.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits one consistent snapshot in key order; keys are passed whole, with their scope. A
    /// range that ends before it starts is empty.
    /// `visit` does not call the store again and stops the scan with [`ControlFlow::Break`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError>;

    /// What the backend takes. Constant while the store is open.
    fn limits(&self) -> StoreLimits;
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        (**self).claim(claim)
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        (**self).commit(claim, writes)
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        (**self).scan(table, range, direction, visit)
    }

    fn limits(&self) -> StoreLimits {
        (**self).limits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_keys_sort_by_class_and_number_and_named_ones_follow() {
        let key = |class, n| Key::numbered([7; 16], class, n);
        let keys = [key(0, 0), key(0, 255), key(0, 256), key(1, 0), Key::named([7; 16], 0, b"")];
        assert!(keys.is_sorted());
        assert_eq!(keys[2].as_bytes(), [&[7; 16][..], &[0, 0, 0, 0, 0, 0, 0, 1, 0]].concat());
        assert_eq!(keys[4].order(), [0x80]);
    }

    #[test]
    fn only_a_numbered_key_has_a_number() {
        assert_eq!(Key::number_of(Key::numbered([7; 16], 1, 9).as_bytes()), Some(9));
        for key in [Key::named([7; 16], 1, &[0; 8]), Key::from_parts([7; 16], &[1, 2])] {
            assert_eq!(Key::number_of(key.as_bytes()), None);
        }
    }

    #[test]
    #[should_panic(expected = "below 128")]
    fn a_class_leaves_room_for_the_form_of_the_key() {
        let _ = Key::numbered([7; 16], Key::NAMED, 0);
    }

    /// Layers and backends store the number of a table.
    #[test]
    fn tables_keep_their_numbers_and_names() {
        let names = Table::ALL.map(Table::name);
        assert!(Table::ALL.iter().enumerate().all(|(number, table)| *table as usize == number));
        assert_eq!(names[7..], ["event", "keys", "consent", "invitation"]);
    }
}
