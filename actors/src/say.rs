//! Lines for the application's log.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Says a line to the application's subscriber of `tracing`, or enters a span of it. What a
/// subscriber does is the application's; if it panics, the line is lost and nothing else is.
pub(crate) fn say<T>(line: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(line)).ok()
}
