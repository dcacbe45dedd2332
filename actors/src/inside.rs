//! Which threads belong to engines: waiting there for an engine to end would be waiting for
//! oneself.

use std::cell::Cell;

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// This thread runs actors, calls or commits.
pub(crate) fn enter() {
    INSIDE.set(true);
}

/// Whether it does.
pub(crate) fn is_inside() -> bool {
    INSIDE.get()
}
