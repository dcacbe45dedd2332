//! Accounts: who signs for an inbox, and how an installation becomes part of it.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    sync::Arc,
};

use conclave_core::{
    bounds::BoxFuture,
    delivery::{PublishOutcome, Refusal, Transmit, TransportError},
    entropy::StepRandom,
    identity::{Draft, normalise_p256_signature, normalise_wallet_signature, read_log},
    installation::Installation,
    step::Step,
};
use conclave_proto::{
    InboxId, Seq, Topic,
    identity::{Account, AccountKind, IdentityState, Member, Signature, hex},
    record::transmit_id,
};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use crate::{
    error::Error, gather, index::StoredInstallation, session_role::SessionInput, shared::Shared,
};

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
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
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

/// Attempts to append to an identity log that others write to as well.
const ATTEMPTS: usize = 5;

/// Makes this installation part of an inbox: of the one that the account founds with `nonce`, or
/// of `inbox`.
pub(crate) async fn register(
    shared: &Arc<Shared>,
    signer: Arc<dyn AccountSigner>,
    inbox: Option<InboxId>,
    nonce: u64,
) -> Result<InboxId, Error> {
    let account = signer.account();
    let inbox = inbox.unwrap_or_else(|| InboxId::derive(&account.identifier(), nonce));
    let mut stored = own_keys(shared, inbox).await?;
    if !stored.registered {
        let installation = stored.installation();
        let names = Names { inbox, nonce, account };
        names.add(shared, &installation, &*signer).await?;
        stored.registered = true;
        store(shared, stored.step(shared.next_load())).await?;
    }
    // Set by an earlier call, then it is the same.
    drop(shared.installation.set(stored.installation()));
    shared.tell_session(SessionInput::Registered);
    Ok(inbox)
}

/// The installation's keys: those that are stored, or new ones, which are stored first.
async fn own_keys(shared: &Arc<Shared>, inbox: InboxId) -> Result<StoredInstallation, Error> {
    if let Some(stored) = StoredInstallation::read(&*shared.store)? {
        if stored.inbox == inbox {
            return Ok(stored);
        }
        if stored.registered {
            return Err(Error::RegisteredElsewhere);
        }
        // An attempt that came to nothing, or whose answer was lost: new keys for the other inbox,
        // so that no installation belongs to two.
    }
    let mut entropy = shared.child("installation", &inbox.0, shared.next_load());
    let mut random: StepRandom = entropy.step()?;
    let stored = StoredInstallation::new(inbox, random.array(), random.array());
    store(shared, stored.step(shared.next_load())).await?;
    Ok(stored)
}

async fn store(shared: &Shared, step: Step) -> Result<(), Error> {
    shared.writer.drive_async(step).await?;
    Ok(())
}

/// Who is to be named in which log.
struct Names {
    inbox: InboxId,
    nonce: u64,
    account: Account,
}

impl Names {
    /// Appends an entry that names the installation, unless one does already.
    async fn add(
        &self,
        shared: &Shared,
        installation: &Installation,
        signer: &dyn AccountSigner,
    ) -> Result<(), Error> {
        let topic = Topic::Identity(self.inbox);
        for _ in 0..ATTEMPTS {
            let delivery = shared.delivery()?;
            let log = gather::identity_log(&*delivery, self.inbox).await?;
            let state = read_log(self.inbox, None, log.iter().map(|record| &record.payload[..]));
            if state.as_ref().is_some_and(|s| s.installations.contains_key(&installation.id())) {
                return Ok(());
            }
            let draft = self.draft(shared, installation, state.as_ref())?;
            let payload = signed(draft, &self.account, installation, signer).await?.encode();
            let id = transmit_id(&topic, &payload);
            let expect = Some(log.last().map_or(Seq(0), |record| record.seq));
            let transmit = Transmit { topic: topic.clone(), id, expect, payload };
            match delivery.publish(vec![transmit]).await.pop() {
                Some(PublishOutcome::Accepted { .. }) => return Ok(()),
                Some(PublishOutcome::Refused(Refusal::Conflict { .. } | Refusal::Behind)) => {}
                Some(PublishOutcome::Refused(_)) => return Err(Error::Refused),
                Some(PublishOutcome::NotStored { retry_after }) => {
                    return Err(TransportError::Unavailable { retry_after }.into());
                }
                // The log says what became of it.
                Some(PublishOutcome::Unknown) | None => {}
            }
        }
        Err(Error::Busy)
    }

    fn draft(
        &self,
        shared: &Shared,
        installation: &Installation,
        state: Option<&IdentityState>,
    ) -> Result<Draft, Error> {
        let draft = match state {
            Some(state) => {
                if !state.accounts.contains(&self.account) && state.recovery != self.account {
                    return Err(Error::NotAMember);
                }
                Draft::following(state, shared.now())
            }
            None if InboxId::derive(&self.account.identifier(), self.nonce) == self.inbox => {
                Draft::create(self.account.clone(), self.nonce, shared.now())
            }
            None => return Err(Error::UnknownInbox(self.inbox)),
        };
        Ok(draft.add_installation(installation.id(), self.account.clone()))
    }
}

async fn signed(
    draft: Draft,
    account: &Account,
    installation: &Installation,
    signer: &dyn AccountSigner,
) -> Result<Draft, Error> {
    let bytes = signer.sign(&draft.text()).await.map_err(Error::Signature)?;
    let normal = match account.kind {
        AccountKind::WALLET => normalise_wallet_signature(&bytes).map(Vec::from),
        AccountKind::P256 => normalise_p256_signature(&bytes).map(Vec::from),
        _ => Some(bytes),
    };
    let bytes = normal.ok_or(Error::Signature("it is not one of this kind of account"))?;
    let signature = Signature { signer: Member::Account(account.clone()), scheme: 0, bytes };
    Ok(draft.signature(signature).sign_with_installation(installation.signing_key()))
}
