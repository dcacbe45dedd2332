//! Accounts: who signs for an inbox.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use conclave_core::{bounds::BoxFuture, engine::Error};
use conclave_proto::identity::{Account, hex};
use data_encoding::HEXLOWER_PERMISSIVE;
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

/// Signs for an account, wherever its key is: in a file, a wallet, a piece of hardware, a person's
/// head.
pub trait AccountSigner: Send + Sync + 'static {
    /// Whose signatures it makes.
    fn account(&self) -> Account;

    /// Signs a text that a person can read. For a wallet this is `personal_sign` (EIP-191); its 65
    /// bytes may have either form of `v` and of `s`. For keys it is the plain signature of the
    /// text's bytes.
    ///
    /// # Errors
    /// A reason for a person, if it cannot or will not sign.
    fn sign(&self, text: &str) -> BoxFuture<'_, Result<Vec<u8>, &'static str>>;
}

/// An account key (Ed25519), for people and agents without a wallet.
pub struct AccountKey(SigningKey);

impl AccountKey {
    /// From its 32 secret bytes (RFC 8032).
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// A new one, from the system's randomness.
    ///
    /// # Errors
    /// [`Error::Entropy`].
    pub fn generate() -> Result<Self, Error> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(|_| Error::Entropy)?;
        Ok(Self::from_bytes(&secret))
    }

    /// The key in a file: the one that is there, or a new one, which only the file's owner may
    /// read. The file holds 64 hex digits. Whoever has it can add devices to the key's inboxes, and
    /// nobody else can: keep a copy.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if the file holds no key, and whatever the system says. A file
    /// that is there is not written; two processes must not make the same one at once.
    pub fn in_file(path: impl AsRef<Path>) -> io::Result<Self> {
        match fs::read_to_string(path.as_ref()).map(Zeroizing::new) {
            Ok(text) => {
                let no_key = || io::Error::new(io::ErrorKind::InvalidData, "the file holds no key");
                Ok(Self::from_bytes(&*from_hex(text.trim()).ok_or_else(no_key)?))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate().map_err(|_| io::Error::other("no randomness"))?;
                let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex(&*key.to_bytes()))));
                write_secret(path.as_ref(), text.as_bytes())?;
                Ok(key)
            }
            Err(error) => Err(error),
        }
    }

    /// The 32 secret bytes, to be kept by the application.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }
}

/// Writes a file that is not there yet, for its owner only: whole, or not at all.
fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(bytes).and_then(|()| file.sync_all())?;
    drop(file);
    fs::rename(&draft, path)?;
    // A file lasts when the folder that names it does; not everywhere can a folder be synced.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let here = folder.as_os_str().is_empty();
        fs::File::open(if here { Path::new(".") } else { folder })?.sync_all()?;
    }
    Ok(())
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.len() != 2 * bytes.len() {
        return None;
    }
    HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut *bytes).ok()?;
    Some(bytes)
}

impl std::fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccountKey(..)")
    }
}

impl AccountSigner for AccountKey {
    fn account(&self) -> Account {
        Account::ed25519(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, text: &str) -> BoxFuture<'_, Result<Vec<u8>, &'static str>> {
        let signature = self.0.sign(text.as_bytes()).to_bytes().to_vec();
        Box::pin(std::future::ready(Ok(signature)))
    }
}

#[cfg(feature = "wallets")]
macro_rules! signs {
    ($($key:ty),*) => { $(
        impl AccountSigner for $key {
            fn account(&self) -> Account {
                Self::account(self)
            }

            fn sign(&self, text: &str) -> BoxFuture<'_, Result<Vec<u8>, &'static str>> {
                let signature = Self::sign(self, text).to_vec();
                Box::pin(std::future::ready(Ok(signature)))
            }
        }
    )* };
}

#[cfg(feature = "wallets")]
signs! { conclave_core::identity::WalletKey, conclave_core::identity::P256Key }
