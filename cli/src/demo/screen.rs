//! What people see of a demonstration: lines, and a bar below them on a terminal.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Mutex,
};

use crate::terminal::shown;

/// Prints, unless it is to be quiet.
pub(crate) struct Screen {
    quiet: bool,
    /// Messages so far, of so many; only where a bar is drawn.
    bar: Option<Mutex<(usize, usize)>>,
}

impl Screen {
    pub(crate) fn new(quiet: bool, messages: usize) -> Self {
        let terminal = std::io::stdout().is_terminal() && !quiet;
        Self { quiet, bar: terminal.then(|| Mutex::new((0, messages))) }
    }

    /// Prints a line above the bar.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        if self.quiet {
            return;
        }
        let mut out = std::io::stdout().lock();
        let clear = if self.bar.is_some() { CLEAR_LINE } else { "" };
        // Nobody may be looking any more.
        drop(writeln!(out, "{clear}{}", shown(line.as_ref())));
        self.draw(&mut out);
    }

    /// A message more.
    pub(crate) fn message(&self) {
        let Some(bar) = &self.bar else { return };
        if let Ok(mut bar) = bar.lock() {
            bar.0 += 1;
        }
        self.draw(&mut std::io::stdout().lock());
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if self.bar.is_some() {
            let mut out = std::io::stdout().lock();
            drop(write!(out, "{CLEAR_LINE}").and_then(|()| out.flush()));
        }
    }

    fn draw(&self, out: &mut impl std::io::Write) {
        let Some(Ok(bar)) = self.bar.as_ref().map(Mutex::lock) else { return };
        let (done, all) = *bar;
        let filled = (done * WIDTH).checked_div(all).unwrap_or(WIDTH).min(WIDTH);
        let (full, rest) = ("█".repeat(filled), "·".repeat(WIDTH - filled));
        drop(
            write!(out, "{CLEAR_LINE}  {full}{rest} {done}/{all} messages")
                .and_then(|()| out.flush()),
        );
    }
}

const CLEAR_LINE: &str = "\r\x1b[2K";
const WIDTH: usize = 40;
