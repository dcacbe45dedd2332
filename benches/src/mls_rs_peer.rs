//! Another MLS library doing the same work: mls-rs over its own storages, in memory and over
//! SQLite.

use std::{path::Path, time::Duration};

use mls_rs::{
    CipherSuite, CipherSuiteProvider, Client, CryptoProvider, ExtensionList, Group, MlsMessage,
    client_builder::{MlsConfig, PaddingMode},
    group::ReceivedMessage,
    identity::{
        SigningIdentity,
        basic::{BasicCredential, BasicIdentityProvider},
    },
    mls_rules::{CommitOptions, DefaultMlsRules, EncryptionOptions},
    storage_provider::in_memory::InMemoryGroupStateStorage,
};
use mls_rs_core::group::GroupStateStorage;
use mls_rs_crypto_rustcrypto::RustCryptoProvider;
use mls_rs_provider_sqlite::{
    JournalMode, SqLiteDataStorageEngine, SqLiteDataStorageError,
    connection_strategy::{ConnectionStrategy, MemoryStrategy},
    storage::SqLiteGroupStateStorage,
};
use rusqlite::Connection;

use crate::{
    fixture::{SENDERS, plaintext},
    measure::{cpu, wall},
    messages::BATCH,
};

const SUITE: CipherSuite = CipherSuite::CURVE25519_CHACHA;

/// A group of mls-rs of which the founder, eight senders and a receiver are live.
pub struct MlsRsGroup<C: MlsConfig> {
    members: Vec<Group<C>>,
}

/// What is written after each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persisting {
    /// The whole group, as `write_to_storage` does.
    Everything,
    /// The group without its ratchet tree, which the application then keeps itself.
    WithoutTree,
    /// Nothing yet.
    Later,
}

/// A group of that many members, in the state that the engine's groups are measured in: every
/// sender has renewed its keys and sent a message of the present epoch.
///
/// # Panics
/// If the library refuses.
#[must_use]
pub fn group(size: usize) -> MlsRsGroup<impl MlsConfig> {
    group_over((0..size).map(|_| InMemoryGroupStateStorage::new()).collect())
}

/// The same, with the receiver's state in an SQLite database of that path: with a write-ahead log,
/// each commit of which is synced. The others use SQLite in memory.
///
/// # Panics
/// If the library refuses.
#[must_use]
pub fn durable_group(size: usize, path: &Path) -> MlsRsGroup<impl MlsConfig + use<>> {
    let unused = in_memory();
    let storage = |number| match number {
        RECEIVER => synced(path),
        0..RECEIVER => in_memory(),
        _ => unused.clone(),
    };
    group_over((0..size).map(storage).collect())
}

/// The number of the last live member.
const RECEIVER: usize = SENDERS + 1;

fn in_memory() -> SqLiteGroupStateStorage {
    let engine = SqLiteDataStorageEngine::new(MemoryStrategy).expect("SQLite starts");
    engine.group_state_storage().expect("it opens")
}

fn synced(path: &Path) -> SqLiteGroupStateStorage {
    let engine = SqLiteDataStorageEngine::new(Synced(path)).expect("SQLite starts");
    let engine = engine.with_journal_mode(Some(JournalMode::Wal));
    let storage = engine.group_state_storage().expect("it opens");
    // A mode that SQLite cannot have on some medium is no error to it.
    let mode = Connection::open(path)
        .and_then(|db| db.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0)));
    assert_eq!(mode.as_deref(), Ok("wal"), "the log is written ahead");
    storage
}

/// A database file of which every commit is on the medium.
struct Synced<'a>(&'a Path);

impl ConnectionStrategy for Synced<'_> {
    fn make_connection(&self) -> Result<Connection, SqLiteDataStorageError> {
        let open = || {
            let connection = Connection::open(self.0)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            Ok(connection)
        };
        open().map_err(|error: rusqlite::Error| {
            SqLiteDataStorageError::SqlEngineError(Box::new(error))
        })
    }
}

/// A group of as many members as there are storages.
fn group_over<S>(storages: Vec<S>) -> MlsRsGroup<impl MlsConfig + use<S>>
where
    S: GroupStateStorage + Clone + 'static,
{
    let clients = storages.into_iter().enumerate();
    let clients: Vec<Client<_>> =
        clients.map(|(number, storage)| client(number, storage)).collect();
    let none = ExtensionList::default;
    let founder = clients[0].create_group(none(), none(), None).expect("a group is made");
    let mut members = vec![founder];
    let mut commit = members[0].commit_builder();
    for invited in &clients[1..] {
        let package = invited.generate_key_package_message(none(), none(), None);
        let package = package.expect("a key package is made");
        commit = commit.add_member(package).expect("the key package is good");
    }
    let commit = commit.build().expect("members are added");
    members[0].apply_pending_commit().expect("the commit is ours");
    let welcome = &commit.welcome_messages[0];
    for invited in &clients[1..SENDERS + 2] {
        let (group, _) = invited.join_group(None, welcome, None).expect("the Welcome is good");
        members.push(group);
    }
    let mut group = MlsRsGroup { members };
    group.warm_up();
    group
}

fn client<S: GroupStateStorage + Clone + 'static>(
    number: usize,
    storage: S,
) -> Client<impl MlsConfig + use<S>> {
    let crypto = RustCryptoProvider::default();
    let suite = crypto.cipher_suite_provider(SUITE).expect("the suite is there");
    let (secret, public) = suite.signature_key_generate().expect("a key is made");
    // As long as the engine's credential.
    let mut name = vec![0; 65];
    name[..8].copy_from_slice(&number.to_be_bytes());
    let identity = SigningIdentity::new(BasicCredential::new(name).into_credential(), public);
    let rules = DefaultMlsRules::new()
        .with_commit_options(CommitOptions::new().with_path_required(true))
        .with_encryption_options(EncryptionOptions::new(true, PaddingMode::None));
    Client::builder()
        .identity_provider(BasicIdentityProvider)
        .crypto_provider(crypto)
        .group_state_storage(storage)
        .mls_rules(rules)
        .signing_identity(identity, secret, SUITE)
        .build()
}

impl<C: MlsConfig> MlsRsGroup<C> {
    fn warm_up(&mut self) {
        for sender in 1..=SENDERS {
            let commit = self.members[sender].commit(Vec::new()).expect("keys are renewed");
            self.members[sender].apply_pending_commit().expect("the commit is ours");
            let commit = commit.commit_message.to_bytes().expect("a commit encodes");
            self.deliver(sender, &commit);
        }
        for sender in 1..=SENDERS {
            let message = self.send(sender);
            self.deliver(sender, &message);
        }
    }

    fn send(&mut self, sender: usize) -> Vec<u8> {
        let message = self.members[sender].encrypt_application_message(&plaintext(), Vec::new());
        message.expect("a member sends").to_bytes().expect("a message encodes")
    }

    fn deliver(&mut self, from: usize, message: &[u8]) {
        for (number, member) in self.members.iter_mut().enumerate() {
            if number != from {
                receive(member, Persisting::Everything, message);
            }
        }
    }

    /// Times 64 messages by all senders at the receiver, each written when it was received.
    ///
    /// # Panics
    /// If the library refuses.
    pub fn receive(&mut self, persisting: Persisting) -> Duration {
        let batch = self.batch();
        let receiver = self.members.last_mut().expect("there is a receiver");
        let mut plaintexts = Vec::with_capacity(BATCH);
        cpu(|| {
            for message in &batch {
                plaintexts.push(receive(receiver, persisting, message));
            }
        })
    }

    /// Times 64 messages by all senders at the receiver, on the wall; the state is written after
    /// each `every` of them.
    ///
    /// # Panics
    /// If the library refuses.
    pub fn receive_durably(&mut self, every: usize) -> Duration {
        let batch = self.batch();
        let receiver = self.members.last_mut().expect("there is a receiver");
        let mut plaintexts = Vec::with_capacity(BATCH);
        wall(|| {
            for messages in batch.chunks(every) {
                for message in messages {
                    plaintexts.push(receive(receiver, Persisting::Later, message));
                }
                receiver.write_to_storage().expect("the disk works");
            }
        })
    }

    fn batch(&mut self) -> Vec<Vec<u8>> {
        let senders = (1..=SENDERS).cycle().take(BATCH);
        senders.map(|sender| self.send(sender)).collect()
    }
}

/// The plaintext of a message, or nothing of a commit.
fn receive<C: MlsConfig>(
    member: &mut Group<C>,
    persisting: Persisting,
    message: &[u8],
) -> Option<Vec<u8>> {
    let message = MlsMessage::from_bytes(message).expect("it decodes");
    let received = member.process_incoming_message(message).expect("it is good");
    match persisting {
        Persisting::Everything => member.write_to_storage(),
        Persisting::WithoutTree => member.write_to_storage_without_ratchet_tree(),
        Persisting::Later => Ok(()),
    }
    .expect("the storage works");
    let ReceivedMessage::ApplicationMessage(message) = received else { return None };
    Some(message.data().to_vec())
}
