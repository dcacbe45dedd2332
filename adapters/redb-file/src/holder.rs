//! Who has a file open, for the error message of who wants it too.
//!
//! The lock on the database file says that somebody has it, not who. So whoever opens one
//! leaves a note beside it. Nothing rests on the note: it is read only when the lock is taken, and
//! where it cannot be written, the database works without.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::create::private_file;

/// The process that has a file open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process id, as itself sees it: another container may count differently.
    pub pid: u32,
    /// The name of its program, as it says itself; may be empty.
    pub program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        // What stands in a file may be anything; a terminal is not to obey it.
        if self.program.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.program.escape_debug())
        }
    }
}

impl Holder {
    /// Who holds a file that is locked; `None` if the note is missing, is no such note, or is one
    /// that a process left which is gone.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let mut note = String::new();
        File::open(note_of(path)?).ok()?.take(NOTE_BYTES).read_to_string(&mut note).ok()?;
        let (pid, program) = note.trim_end().split_once(' ').unwrap_or((note.trim_end(), ""));
        let holder = Self { pid: pid.parse().ok()?, program: program.to_owned() };
        is_alive(holder.pid).then_some(holder)
    }

    fn this_process() -> Self {
        let program = std::env::current_exe().ok();
        let name = program.as_deref().and_then(Path::file_name).unwrap_or_default();
        Self { pid: std::process::id(), program: name.to_string_lossy().into_owned() }
    }
}

/// The note of this process, removed on drop. Drop it before the lock goes: it might be
/// another's afterwards.
#[derive(Debug)]
pub(crate) struct Note(PathBuf);

impl Note {
    /// Leaves a note beside a file that this process has locked; `None` where that cannot be done,
    /// as in a folder that may not be written.
    pub(crate) fn leave(path: &Path) -> Option<Self> {
        let note = note_of(path)?;
        // One that a crash has left. Removing instead of truncating: it may be a link.
        let _ = fs::remove_file(&note);
        let Holder { pid, program } = Holder::this_process();
        let mut file = private_file().open(&note).ok()?;
        let left = Self(note);
        writeln!(file, "{pid} {program}").ok()?;
        Some(left)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // One that stays is harmless.
        let _ = fs::remove_file(&self.0);
    }
}

fn note_of(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(path.file_name()?);
    name.push(".holder");
    Some(path.with_file_name(name))
}

/// Whether there is such a process. Where that cannot be looked up, the note is believed.
fn is_alive(pid: u32) -> bool {
    let processes = Path::new("/proc");
    !processes.join("self").exists() || processes.join(pid.to_string()).exists()
}

/// A process id, a space and the longest name of a file that usual systems have, with room.
const NOTE_BYTES: u64 = 1024;
