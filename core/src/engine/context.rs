//! What the actors of one engine share.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use conclave_proto::Timestamp;

use super::{EngineLimits, Token};
use crate::{entropy::Entropy, installation::Installation, store::Store};

/// Limits, randomness and numbers of one engine, and its installation once it is registered.
#[derive(Debug)]
pub struct Context {
    /// What the engine allows itself.
    pub limits: EngineLimits,
    entropy: Entropy,
    numbers: AtomicU64,
    installation: RwLock<Option<Arc<Installation>>>,
}

impl Context {
    /// The context of one opening of an engine.
    #[must_use]
    pub const fn new(limits: EngineLimits, entropy: Entropy) -> Self {
        Self { limits, entropy, numbers: AtomicU64::new(0), installation: RwLock::new(None) }
    }

    /// The installation; `None` before it is registered.
    #[must_use]
    pub fn installation(&self) -> Option<Arc<Installation>> {
        self.installation.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The installation is registered.
    pub(super) fn set_installation(&self, installation: Arc<Installation>) {
        let mut known = self.installation.write().unwrap_or_else(PoisonError::into_inner);
        *known = Some(installation);
    }

    /// A number that was not given before: of a load, or of something that is waited for.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    pub(super) fn next_token(&self) -> Token {
        Token(self.next_number())
    }

    /// A generator for a value, of this load.
    pub(super) fn child(&self, label: &str, id: &[u8], load: u64) -> Entropy {
        self.entropy.child(label, &[id, &load.to_be_bytes()].concat())
    }
}

/// The time and the store, while an input is handled.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) now: Timestamp,
    pub(super) store: &'a dyn Store,
}
