//! Creating a file: made whole under another name, then given its own.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use redb::WriteTransaction;
use redb::backends::FileBackend;

use crate::failure::{Failure, guarded};
use crate::kind::Kind;
use crate::open::OpenError;

impl Kind {
    /// Creates a file of this kind; `found` makes what it holds from the beginning. If a file is
    /// there in the end, made here or by somebody else at the same time, that is fine: it is the
    /// one to open.
    ///
    /// A crash leaves no half file under the path, at most one beside it that is never looked at.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) fn create(
        &self,
        path: &Path,
        found: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
    ) -> Result<(), OpenError> {
        let draft = draft_of(path)?;
        let created = self.fill(&draft, found).and_then(|()| Ok(publish(&draft, path)?));
        let removed = fs::remove_file(&draft);
        created?;
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn fill(
        &self,
        draft: &Path,
        found: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
    ) -> Result<(), OpenError> {
        let file = private_file().open(draft)?;
        let file = self.open_backend(FileBackend::new(file)?, DRAFT_CACHE_BYTES, found)?;
        let db = file.into_database();
        guarded(|| db.close()).ok_or(OpenError::Damaged)??;
        File::open(draft)?.sync_all()?;
        Ok(())
    }
}

/// A draft holds a few small tables.
const DRAFT_CACHE_BYTES: usize = 1024 * 1024;

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
    let name = path.file_name().ok_or(OpenError::Foreign)?;
    let mut draft = OsString::from(name);
    let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
    draft.push(format!(".new-{}-{number}", std::process::id()));
    Ok(path.with_file_name(draft))
}

/// Options for a file that must not exist yet and that only its owner may read.
#[must_use]
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
