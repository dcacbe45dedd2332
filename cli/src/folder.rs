//! A data folder: the store of one installation, and which relay it talks to.

use std::{
    fs, io,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use conclave::{Engine, quic::RelayAddress};
use conclave_store_redb::RedbStore;
use serde::{Deserialize, Serialize};

use crate::{
    counting::CountingStore,
    failure::{Exit, Failure},
    hex,
};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

/// What a folder remembers besides the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) relay: SocketAddr,
    pub(crate) fingerprint: String,
    /// The account that vouched for the installation.
    pub(crate) account: String,
}

impl Settings {
    pub(crate) fn relay(&self) -> Result<RelayAddress, Failure> {
        relay_address(self.relay, &self.fingerprint)
    }
}

/// A relay that is known by its certificate.
pub(crate) fn relay_address(
    address: SocketAddr,
    fingerprint: &str,
) -> Result<RelayAddress, Failure> {
    let fingerprint = hex::array(fingerprint).ok_or_else(|| {
        Failure::new(Exit::Usage, "the fingerprint is not one: 64 hex digits are needed")
            .hint("`conclave relay` prints it when it starts.")
    })?;
    Ok(RelayAddress::pinned(address, fingerprint))
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_path_buf())
    }

    /// Makes the folder, for its owner only where folders have owners.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|error| {
            let path = path.display();
            Failure::new(Exit::Folder, format!("the folder {path} cannot be used: {error}"))
        })?;
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
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
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

    /// Opens the store, or makes it.
    pub(crate) fn open_store(&self) -> Result<Arc<CountingStore<RedbStore>>, Failure> {
        let path = self.store_path();
        let store = RedbStore::create_or_open(&path);
        let store = store.map_err(|error| Failure::unopened(&path, &error))?;
        Ok(Arc::new(CountingStore::new(store)))
    }

    /// Opens the engine over the store.
    pub(crate) fn open_engine(
        &self,
        relay: RelayAddress,
    ) -> Result<(Engine, Arc<CountingStore<RedbStore>>), Failure> {
        let store = self.open_store()?;
        let builder =
            Engine::builder().shared_store(Arc::<CountingStore<RedbStore>>::clone(&store));
        let engine = builder.delivery(relay.remote()).open()?;
        Ok((engine, store))
    }
}

/// Writes a secret to a file that does not exist yet and that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    Ok(file.sync_all()?)
}
