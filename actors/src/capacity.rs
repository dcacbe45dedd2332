//! Puts the chunked layer over a store that cannot take the largest writes of an engine.

use std::{ops::ControlFlow, sync::Arc};

use conclave_core::{
    config::STORE_NEEDS,
    engine::index,
    store::{Direction, Range, Store, StoreError, StoreLimits, Table},
};
use conclave_store_chunked::ChunkedStore;

use crate::builder::OpenError;

/// In which form an engine has written to a store so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Unused,
    Plain,
    Chunked,
}

/// Returns a store that takes everything that an engine writes: the store itself, or the chunked
/// layer over it.
///
/// A store keeps the form of its first record, whatever its limits are by then: keys of the other
/// form would not be found, and the engine would take the store for an empty one.
///
/// # Errors
/// [`OpenError::StoreTooSmall`] if the store is too small for the form that it needs, else
/// [`OpenError::Store`].
pub(crate) fn fit(store: Arc<dyn Store>) -> Result<Arc<dyn Store>, OpenError> {
    let limits = store.limits();
    let form = form(&*store)?;
    if form != Form::Chunked && limits.reach(&STORE_NEEDS) {
        return Ok(store);
    }
    if form == Form::Plain || !limits.reach(&StoreLimits::FLOOR) {
        return Err(OpenError::StoreTooSmall(limits));
    }
    Ok(Arc::new(ChunkedStore::new(store)))
}

/// The first record of an engine is its installation, and its scope has no other.
fn form(store: &dyn Store) -> Result<Form, StoreError> {
    let mut form = Form::Unused;
    let range = Range::scope(index::INSTALLATION);
    store.scan(Table::Identity, range, Direction::Forward, &mut |key, _| {
        let is_plain = key == index::installation_key().as_bytes();
        form = if is_plain { Form::Plain } else { Form::Chunked };
        ControlFlow::Break(())
    })?;
    Ok(form)
}
