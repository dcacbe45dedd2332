//! A data folder: the store of one installation, and which relay it talks to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use conclave::quic::{HostPort, RelayAddress};
use conclave_store_redb::RedbStore;
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Exit, Failure},
    hex,
    print::note,
};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

/// What a folder remembers besides the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Host and port, as `init` got them.
    pub(crate) relay: String,
    pub(crate) fingerprint: String,
    /// The account that vouched for the installation.
    pub(crate) account: String,
}

impl Settings {
    pub(crate) fn relay(&self) -> Result<RelayAddress, Failure> {
        let at = self.relay.parse::<HostPort>().map_err(|error| {
            let text = format!("the relay in settings.json, {}, is not one: {error}", self.relay);
            Failure::new(Exit::Folder, text)
        })?;
        relay_address(at, &self.fingerprint)
    }
}

/// A relay that is known by its certificate.
pub(crate) fn relay_address(at: HostPort, fingerprint: &str) -> Result<RelayAddress, Failure> {
    let fingerprint = hex::array(fingerprint).ok_or_else(|| {
        Failure::new(Exit::Usage, "the fingerprint is not one: 64 hex digits are needed")
            .hint("`conclave relay` prints it when it starts.")
    })?;
    Ok(RelayAddress::pinned(at, fingerprint))
}

/// Makes a folder, and those above it that are missing, for its owner only where folders have
/// owners. One that is there is left as it is, for its rights are somebody's decision: if others
/// can get into it a warning says so, once here and not with every command.
pub(crate) fn private_folder(path: &Path) -> Result<(), Failure> {
    let unusable = |error: io::Error| {
        let path = path.display();
        Failure::new(Exit::Folder, format!("the folder {path} cannot be used: {error}"))
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(unusable)?;
    #[cfg(unix)]
    {
        let metadata = fs::metadata(path).map_err(unusable)?;
        if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0 {
            let path = path.display();
            note(format_args!(
                "warning: others on this machine can get into {path}; `chmod 700` keeps them out"
            ));
        }
    }
    Ok(())
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    /// Makes the folder as [`private_folder`].
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        private_folder(path)?;
        Ok(Self::new(path))
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        self.0.join("conclave.redb")
    }

    pub(crate) fn account_key_path(&self) -> PathBuf {
        self.0.join("account.key")
    }

    /// What `init` has stored.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        match fs::read(self.settings_path()) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let path = self.settings_path();
                let text = format!("{} is damaged: {error}", path.display());
                Failure::new(Exit::Folder, text)
                    .hint("`conclave init`, with the same key as before, writes it again.")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.0.display();
                let text = format!("no installation in the data folder {path}");
                let hint = "Run `conclave init` first, or name another folder with --data or \
                            CONCLAVE_DATA.";
                Err(Failure::new(Exit::Folder, text).hint(hint))
            }
            Err(error) => {
                let path = self.0.display();
                let text = format!("the data folder {path} cannot be read: {error}");
                Err(Failure::new(Exit::Folder, text))
            }
        }
    }

    pub(crate) fn save_settings(&self, settings: &Settings) -> Result<(), Failure> {
        let path = self.settings_path();
        let fresh = path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec_pretty(settings)?)?;
        Ok(fs::rename(fresh, path)?)
    }

    fn settings_path(&self) -> PathBuf {
        self.0.join("settings.json")
    }

    /// Opens the store that is there.
    pub(crate) fn open_store(&self) -> Result<RedbStore, Failure> {
        let path = self.store_path();
        RedbStore::open(&path).map_err(|error| Failure::unopened(&path, &error))
    }

    /// Opens the store, or makes it.
    pub(crate) fn make_store(&self) -> Result<RedbStore, Failure> {
        let path = self.store_path();
        RedbStore::create_or_open(&path).map_err(|error| Failure::unopened(&path, &error))
    }
}
