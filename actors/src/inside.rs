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

/// Marks the thread as one of an engine's until the guard is dropped: a driver of the application
/// runs actors on threads that know nothing of this.
pub(crate) fn during() -> Inside {
    Inside { before: INSIDE.replace(true) }
}

/// See [`during`].
pub(crate) struct Inside {
    before: bool,
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.before);
    }
}

/// Whether it does.
pub(crate) fn is_inside() -> bool {
    INSIDE.get()
}

/// The process that made something which has threads: a fork has none of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn here() -> Self {
        Self(std::process::id())
    }

    /// Whether this is a fork of it.
    pub(crate) fn is_forked(self) -> bool {
        std::process::id() != self.0
    }
}
