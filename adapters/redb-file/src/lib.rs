//! # A file of redb
//!
//! What an engine's store and a relay's logs have in common: whose a file is, how it is created
//! without ever leaving half of one, who has it open, and what can be in the way of opening it.
//! What is in the tables is the business of whoever keeps the file.
#![forbid(unsafe_code)]

mod create;
mod failure;
mod holder;
mod kind;
mod open;

pub use failure::{Failure, checked, guarded, is_full};
pub use holder::Holder;
pub use kind::{Kind, Marks, begin};
pub use open::{OpenError, OpenFile};
