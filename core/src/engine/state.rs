//! What an application can know of its engine as a whole.

use super::{Ended, RelayState};
use crate::store::StoreError;

/// Whether an engine works, and what stands in its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineState {
    /// Why it has ended; `None` while it works. It does not start again: open another one.
    pub ended: Option<Ended>,
    /// What the store said when it last failed; `None` since a later commit was stored.
    pub store: Option<StoreError>,
    /// The relay.
    pub relay: RelayState,
}

impl EngineState {
    /// Takes note of what became of a commit; whether the engine ends by it.
    pub fn note_commit<T>(&mut self, result: &Result<T, StoreError>) -> Option<Ended> {
        match result {
            Ok(_) => self.store = None,
            Err(error) => self.store = Some(error.clone()),
        }
        matches!(result, Err(StoreError::Fenced)).then_some(Ended::Fenced)
    }
}
