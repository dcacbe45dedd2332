//! Lines for people and scripts. Nothing that is printed here makes a terminal do anything
//! ([`crate::terminal`]). Commands print in no other way, except that a demonstration draws a bar;
//! logs hold ids and numbers, and go out as they are.

use std::{
    fmt,
    io::{self, Write as _},
};

use serde::Serialize;

use crate::{
    failure::{Exit, Failure},
    terminal::{shown, shown_json},
};

/// Prints a line. If nobody reads any more, as behind `head`, the command ends without a word.
pub(crate) fn line(text: impl fmt::Display) -> Result<(), Failure> {
    print(&shown(&text.to_string()))
}

/// Prints a line for scripts, as [`line`].
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    print(&shown_json(&serde_json::to_string(value)?))
}

/// For people who look on: on the error output, and no matter if nobody does.
pub(crate) fn note(text: impl fmt::Display) {
    drop(writeln!(io::stderr().lock(), "{}", shown(&text.to_string())));
}

fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{text}").map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::silent(Exit::Unread),
        _ => Failure::new(Exit::Failed, format!("cannot print: {error}")),
    })
}
