//! Identity logs: what inboxes say about themselves, read by everybody the same way (I1–I7).
//!
//! [`fold`] is the whole of reading: a pure function of a state and an entry. [`Draft`] is the
//! whole of writing: build the actions, collect signatures over one challenge text, encode.

mod challenge;
mod draft;
mod fold;
mod verify;

pub use challenge::challenge_text;
pub use draft::Draft;
pub use fold::{IdentityFault, Read, accepted, fold, read_log, read_strictly};
pub use verify::INSTALLATION_CONTEXT;
#[cfg(feature = "std")]
pub(crate) use verify::ed25519;
