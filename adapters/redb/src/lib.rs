//! # A store on disk
//!
//! [`RedbStore`] keeps everything in one file of [redb](https://www.redb.org), an embedded
//! database: no server, no second file, no background thread. While it is open, a small note beside
//! it (`….holder`) says which process has it, so that [`OpenError::InUse`] can name it; without
//! the note everything works the same.
//!
//! ```
//! use conclave_core::store::{Claim, Key, Store, Table, Write};
//! use conclave_store_redb::{OpenError, RedbStore};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("conclave-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let path = folder.join("alice.conclave");
//! let claim = Claim([1; 16]);
//! let key = Key::from_parts([7; 16], b"greeting");
//!
//! let store = RedbStore::create_or_open(&path)?;
//! store.claim(claim)?;
//! let value = b"hello".to_vec();
//! store.commit(claim, &[Write::Put { table: Table::Group, key: key.clone(), value }])?;
//!
//! // A file has one owner at a time.
//! assert!(matches!(RedbStore::open(&path), Err(OpenError::InUse { .. })));
//!
//! drop(store);
//! let store = RedbStore::open(&path)?;
//! assert_eq!(store.get(Table::Group, &key)?, Some(b"hello".to_vec()));
//! # drop(store);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! A commit that returned is on the medium: the file is synced, and what a loss of power leaves
//! is the last commit that returned or the one that was under way, whole. Opening after a crash
//! takes no longer than opening otherwise, for which each commit writes some pages more.
//!
//! What the bytes mean and whether somebody altered them is not checked here. Sealing values
//! belongs above the store, and so does noticing that an older copy of the file was put in place.
//!
//! # After a failure of the medium
//!
//! Once reading, writing or syncing has failed, what the database holds in memory may no longer
//! be what the file holds. The handle then answers [`StoreError::Unavailable`] to every commit,
//! and to every read that needs the file, until it is dropped and the file is opened again. That
//! holds after [`StoreError::Full`] as well.
//!
//! [`StoreError::Unavailable`]: conclave_core::store::StoreError::Unavailable
//! [`StoreError::Full`]: conclave_core::store::StoreError::Full
#![forbid(unsafe_code)]

mod failure;
mod format;
mod range;
mod store;

pub use conclave_redb_file::{Holder, OpenError};
pub use store::RedbStore;
