//! Lines for people and scripts.

use std::{
    fmt,
    io::{self, Write as _},
};

use crate::failure::{Exit, Failure};

/// Prints a line. If nobody reads any more, as behind `head`, the command ends without a word.
pub(crate) fn line(text: impl fmt::Display) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}").map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::silent(Exit::Unread),
        _ => Failure::new(Exit::Failed, format!("cannot print: {error}")),
    })
}

/// For people who look on: on the error output, and no matter if nobody does.
pub(crate) fn note(text: impl fmt::Display) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// As [`line`], for a command that goes on whether or not anybody reads.
pub(crate) fn line_if_read(text: impl fmt::Display) {
    drop(writeln!(io::stdout().lock(), "{text}"));
}
