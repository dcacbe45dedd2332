//! # Conclave for applications
//!
//! What the core decides is stored, sent and told here. So far there is one part of it: the
//! [`writer`], which stores the steps of all groups on a thread of its own.
//!
//! ```
//! use std::sync::Arc;
//!
//! use conclave::writer::Writer;
//! use conclave_core::step::{Effects, Lineage, Step};
//! use conclave_core::store::{Claim, Store};
//! use conclave_store_memory::MemoryStore;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
//! let claim = Claim([1; 16]);
//! store.claim(claim)?;
//! let writer = Writer::spawn(store, claim)?;
//!
//! // Steps come from groups and the key ring; this one stores nothing and answers 7.
//! let lineage = Lineage { owner: [1; 16], load: 1 };
//! let step = Step::new(lineage, Vec::new(), Effects::default(), 7);
//! assert_eq!(writer.handle().drive(step)?.reply, 7);
//!
//! writer.shutdown();
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod writer;
