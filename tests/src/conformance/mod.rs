//! What an implementation of one of Conclave's traits has to promise, as tests.

pub mod delivery;
pub mod link;
pub mod store;
