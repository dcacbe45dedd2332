//! Creating a file: made whole under another name, then given its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use redb::backends::FileBackend;

use crate::failure::guarded;
use crate::holder::private_file;
use crate::open::{OpenError, open_backend};

/// Creates a store at a path. If a file is there in the end, made here or by somebody else at the
/// same time, that is fine: it is the one to open.
///
/// A crash leaves no half store under the path, at most a file beside it that is never looked at.
pub(crate) fn create(path: &Path) -> Result<(), OpenError> {
    let draft = draft_of(path)?;
    let created = fill(&draft).and_then(|()| Ok(publish(&draft, path)?));
    let removed = fs::remove_file(&draft);
    created?;
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn fill(draft: &Path) -> Result<(), OpenError> {
    let file = private_file().open(draft)?;
    let db = open_backend(FileBackend::new(file)?)?;
    guarded(|| db.close()).ok_or(OpenError::Damaged)??;
    File::open(draft)?.sync_all()?;
    Ok(())
}

/// Gives the draft its name without ever replacing a file.
fn publish(draft: &Path, path: &Path) -> Result<(), IoError> {
    match fs::hard_link(draft, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        // Some file systems know no links. There, the check and the renaming are two steps.
        Err(_) if !path.try_exists()? => fs::rename(draft, path)?,
        Err(_) => return Ok(()),
    }
    sync_folder(path)
}

/// The name of a file outlives a loss of power only once its folder is synced.
#[cfg(unix)]
fn sync_folder(path: &Path) -> Result<(), IoError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Folders cannot be synced here.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> Result<(), IoError> {
    Ok(())
}

/// A name beside the path that no other creator uses.
fn draft_of(path: &Path) -> Result<PathBuf, OpenError> {
    static DRAFTS: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().ok_or(OpenError::NotAStore)?;
    let mut draft = OsString::from(name);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    draft.push(format!(".new-{}-{number}", std::process::id()));
    Ok(path.with_file_name(draft))
}
