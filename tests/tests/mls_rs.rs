//! Interoperability with mls-rs: groups of both libraries, ours over the engine's cryptography and
//! capture, stored and loaded again between any two steps.
//!
//! What travels is plain MLS with basic credentials: Conclave's own rules are for Conclave's
//! groups. Key packages live in the present, since both libraries read the system clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use conclave_core::{
    entropy::{Entropy, EntropyError, EntropySource},
    mls::internals::OpenProvider,
    store::{Claim, Scope, Store},
};
use conclave_store_memory::MemoryStore;
use mls_rs::{
    CipherSuite, CipherSuiteProvider, Client, CryptoProvider, Group, MlsMessage,
    client_builder::{MlsConfig, PaddingMode},
    group::ReceivedMessage,
    identity::{
        SigningIdentity,
        basic::{BasicCredential, BasicIdentityProvider},
    },
    mls_rules::{CommitOptions, DefaultMlsRules, EncryptionOptions},
};
use mls_rs_crypto_rustcrypto::RustCryptoProvider;
use openmls::{
    group::{MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig, StagedWelcome},
    prelude::{
        BasicCredential as OurCredential, CredentialWithKey, GroupId, KeyPackage, LeafNodeIndex,
        LeafNodeParameters, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut,
        PURE_CIPHERTEXT_WIRE_FORMAT_POLICY, ProcessedMessageContent, ProtocolVersion,
    },
};
use openmls_traits::{
    OpenMlsProvider,
    crypto::OpenMlsCrypto,
    signatures::{Signer, SignerError},
    types::{Ciphersuite, SignatureScheme},
};
use tls_codec::DeserializeBytes as _;

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;
const THEIR_SUITE: CipherSuite = CipherSuite::CURVE25519_CHACHA;

/// S1, S2, S3, E4: mls-rs joins our group, and both sides write, renew their keys, add and remove.
#[test]
fn mls_rs_joins_our_group_and_commits_in_it() {
    let mut anna = Seat::new("anna", 1);
    anna.found();
    let theirs = client("bert");
    let welcome = anna.add(&[&their_key_package(&theirs)]);
    let mut bert = join(&theirs, &welcome.welcome);
    assert_same_epoch(&[&anna], &[&bert], 2);

    talk(&mut [&mut anna], &mut [&mut bert]);
    let commit = anna.renew();
    receive_commit(&mut bert, &commit);
    assert_same_epoch(&[&anna], &[&bert], 2);

    anna.receive_commit(&renew(&mut bert));
    assert_same_epoch(&[&anna], &[&bert], 2);
    talk(&mut [&mut anna], &mut [&mut bert]);

    let mut carl = Seat::new("carl", 2);
    let added = add(&mut bert, &carl.key_package());
    anna.receive_commit(&added.commit);
    carl.join(&added.welcome);
    assert_same_epoch(&[&anna, &carl], &[&bert], 3);
    talk(&mut [&mut anna, &mut carl], &mut [&mut bert]);

    let commit = carl.renew();
    anna.receive_commit(&commit);
    receive_commit(&mut bert, &commit);
    assert_same_epoch(&[&anna, &carl], &[&bert], 3);

    let commit = anna.remove(carl.leaf());
    receive_commit(&mut bert, &commit);
    carl.receive_commit(&commit);
    assert!(!carl.group().is_active());
    assert_same_epoch(&[&anna], &[&bert], 2);
    talk(&mut [&mut anna], &mut [&mut bert]);
}

/// S1, S2, S3, E4: the same the other way round; in the end mls-rs removes us.
#[test]
fn we_join_a_group_of_mls_rs_and_commit_in_it() {
    let mut bert =
        client("bert").create_group(Default::default(), Default::default(), None).unwrap();
    let mut anna = Seat::new("anna", 3);
    let added = add(&mut bert, &anna.key_package());
    anna.join(&added.welcome);
    assert_same_epoch(&[&anna], &[&bert], 2);
    talk(&mut [&mut anna], &mut [&mut bert]);

    receive_commit(&mut bert, &anna.renew());
    assert_same_epoch(&[&anna], &[&bert], 2);

    let theirs = client("dora");
    let added = anna.add(&[&their_key_package(&theirs)]);
    receive_commit(&mut bert, &added.commit);
    let mut dora = join(&theirs, &added.welcome);
    assert_same_epoch(&[&anna], &[&bert, &dora], 3);
    talk(&mut [&mut anna], &mut [&mut bert, &mut dora]);

    let commit = renew(&mut dora);
    anna.receive_commit(&commit);
    receive_commit(&mut bert, &commit);
    assert_same_epoch(&[&anna], &[&bert, &dora], 3);
    talk(&mut [&mut anna], &mut [&mut bert, &mut dora]);

    let commit = remove(&mut bert, anna.leaf());
    anna.receive_commit(&commit);
    receive_commit(&mut dora, &commit);
    assert!(!anna.group().is_active());
    assert_same_epoch(&[], &[&bert, &dora], 2);
}

/// S4, E4: what was sent before a commit, and what came out of order, is read after being loaded.
#[test]
fn late_and_reordered_messages_of_mls_rs_are_read_after_loading() {
    let mut anna = Seat::new("anna", 4);
    anna.found();
    let theirs = client("bert");
    let welcome = anna.add(&[&their_key_package(&theirs)]);
    let mut bert = join(&theirs, &welcome.welcome);

    let sent: Vec<Vec<u8>> = (0..4_u8).map(|n| write(&mut bert, &[n])).collect();
    assert_eq!(anna.read(&sent[2]), [2]);
    assert_eq!(anna.read(&sent[0]), [0]);
    anna.receive_commit(&renew(&mut bert));
    assert_eq!(anna.read(&sent[3]), [3]);
    assert_eq!(anna.read(&sent[1]), [1]);

    assert!(anna.try_read(&sent[1]).is_none(), "a key is used once");
    let newest = write(&mut bert, b"newest");
    assert_eq!(anna.read(&newest), b"newest", "a failure costs nothing");
}

/// E4, PROTOCOL 10: in a group so large that its records are stored in pieces, a batch that holds
/// the message secrets back leaves the same keys as one that stores them with every message.
#[test]
fn a_batch_in_a_large_group_keeps_what_its_single_steps_keep() {
    let clients: Vec<_> = (0..48).map(|n| client(&format!("bert {n}"))).collect();
    let packages: Vec<Vec<u8>> = clients.iter().map(their_key_package).collect();
    let mut anna = Seat::new("anna", 5);
    anna.found();
    let added = anna.add(&packages.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut senders: Vec<_> = clients.iter().take(4).map(|c| join(c, &added.welcome)).collect();
    assert_same_epoch(&[&anna], &senders.iter().collect::<Vec<_>>(), 49);

    let mut messages = Vec::new();
    for round in 0..3_u8 {
        messages.extend(senders.iter_mut().map(|sender| write(sender, &[round])));
    }
    let commit = renew(&mut senders[0]);
    let late = write(&mut senders[1], b"late");

    let mut batch = anna.copy();
    for message in &messages {
        anna.read(message);
    }
    anna.receive_commit(&commit);
    assert_eq!(anna.read(&late), b"late");

    batch.in_one_step(|batch| {
        for message in &messages {
            batch.read(message);
        }
        batch.receive_commit(&commit);
        assert_eq!(batch.read(&late), b"late");
    });
    assert_eq!(anna.authenticator(), batch.authenticator());
    for message in messages.iter().chain([&late]) {
        assert!(anna.try_read(message).is_none() && batch.try_read(message).is_none());
    }
    let next = write(&mut senders[1], b"next");
    assert_eq!((anna.read(&next), batch.read(&next)), (b"next".to_vec(), b"next".to_vec()));
    talk(&mut [&mut anna], &mut [&mut senders[0]]);
}

/// A commit that adds members.
struct Added {
    commit: Vec<u8>,
    welcome: Vec<u8>,
}

/// Everybody writes once and is read by everybody else.
fn talk<C: MlsConfig>(ours: &mut [&mut Seat], theirs: &mut [&mut Group<C>]) {
    for writer in 0..ours.len() {
        let text = format!("ours {writer}");
        let message = ours[writer].write(text.as_bytes());
        for reader in (0..ours.len()).filter(|reader| *reader != writer) {
            assert_eq!(ours[reader].read(&message), text.as_bytes());
        }
        for reader in theirs.iter_mut() {
            assert_eq!(read(reader, &message), text.as_bytes());
        }
    }
    for writer in 0..theirs.len() {
        let text = format!("theirs {writer}");
        let message = write(theirs[writer], text.as_bytes());
        for reader in ours.iter_mut() {
            assert_eq!(reader.read(&message), text.as_bytes());
        }
        for reader in (0..theirs.len()).filter(|reader| *reader != writer) {
            assert_eq!(read(theirs[reader], &message), text.as_bytes());
        }
    }
}

fn assert_same_epoch<C: MlsConfig>(ours: &[&Seat], theirs: &[&Group<C>], members: usize) {
    let mut authenticators: Vec<Vec<u8>> = ours.iter().map(|seat| seat.authenticator()).collect();
    authenticators.extend(theirs.iter().map(|group| group.epoch_authenticator().unwrap().to_vec()));
    assert!(authenticators.windows(2).all(|pair| pair[0] == pair[1]), "one epoch");
    assert!(ours.iter().all(|seat| seat.group().members().count() == members));
    assert!(theirs.iter().all(|group| group.roster().members_iter().count() == members));
}

/// A member over the engine's provider, stored and loaded again after everything it does.
struct Seat {
    keys: Keys,
    credential: CredentialWithKey,
    entropy: Entropy,
    store: MemoryStore,
    provider: OpenProvider,
    group: Option<MlsGroup>,
    /// Whether a batch is running: it ends in one step.
    batch: bool,
}

const SCOPE: Scope = [9; 16];
const CLAIM: Claim = Claim([1; 16]);

impl Seat {
    fn new(name: &str, seed: u8) -> Self {
        let mut entropy = Entropy::new(Box::new(Simulated(seed)));
        let provider = OpenProvider::new(entropy.step().unwrap());
        provider.set_config(&config()).unwrap();
        let keys = provider.crypto().signature_key_gen(SignatureScheme::ED25519).unwrap();
        let keys = Keys { private: keys.0, public: keys.1 };
        let credential = OurCredential::new(name.as_bytes().to_vec()).into();
        let credential =
            CredentialWithKey { credential, signature_key: keys.public.clone().into() };
        let store = MemoryStore::new();
        store.claim(CLAIM).unwrap();
        Self { keys, credential, entropy, store, provider, group: None, batch: false }
    }

    /// The same member from a copy of its store.
    fn copy(&self) -> Self {
        let mut copy = Self::new("copy", 99);
        copy.keys = self.keys.clone();
        copy.store = self.store.snapshot();
        copy.load(self.group().group_id());
        copy
    }

    fn found(&mut self) {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(SUITE)
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .max_past_epochs(3)
            .use_ratchet_tree_extension(true)
            .build();
        let credential = self.credential.clone();
        self.group = Some(MlsGroup::new(&self.provider, &self.keys, &config, credential).unwrap());
        self.end_step();
    }

    /// A key package, offered to the next join.
    fn key_package(&mut self) -> Vec<u8> {
        let bundle = KeyPackage::builder()
            .build(SUITE, &self.provider, &self.keys, self.credential.clone())
            .unwrap();
        self.provider.offer_key_package(&bundle).unwrap();
        MlsMessageOut::from(bundle.key_package().clone()).to_bytes().unwrap()
    }

    fn join(&mut self, welcome: &[u8]) {
        let MlsMessageBodyIn::Welcome(welcome) = message(welcome).extract() else {
            panic!("not a Welcome");
        };
        let joining =
            StagedWelcome::build_from_welcome(&self.provider, &config(), welcome).unwrap();
        let staged = joining.build().unwrap();
        self.group = Some(staged.into_group(&self.provider).unwrap());
        self.end_step();
    }

    fn write(&mut self, text: &[u8]) -> Vec<u8> {
        let (group, provider) = (self.group.as_mut().unwrap(), &self.provider);
        let message = group.create_message(provider, &self.keys, text).unwrap();
        self.end_step();
        message.to_bytes().unwrap()
    }

    fn read(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.try_read(bytes).unwrap()
    }

    fn try_read(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let message = message(bytes).try_into_protocol_message().unwrap();
        let processed = self.group.as_mut().unwrap().process_message(&self.provider, message);
        self.end_step();
        let ProcessedMessageContent::ApplicationMessage(text) = processed.ok()?.into_content()
        else {
            panic!("not an application message");
        };
        Some(text.into_bytes())
    }

    fn receive_commit(&mut self, bytes: &[u8]) {
        let message = message(bytes).try_into_protocol_message().unwrap();
        let group = self.group.as_mut().unwrap();
        let processed = group.process_message(&self.provider, message).unwrap();
        let ProcessedMessageContent::StagedCommitMessage(commit) = processed.into_content() else {
            panic!("not a commit");
        };
        group.merge_staged_commit(&self.provider, *commit).unwrap();
        self.end_step();
    }

    fn add(&mut self, packages: &[&[u8]]) -> Added {
        let packages: Vec<_> = packages.iter().map(|bytes| self.check_package(bytes)).collect();
        let group = self.group.as_mut().unwrap();
        let (commit, welcome, _) =
            group.add_members(&self.provider, &self.keys, &packages).unwrap();
        self.merge_own();
        Added { commit: commit.to_bytes().unwrap(), welcome: welcome.to_bytes().unwrap() }
    }

    fn check_package(&self, bytes: &[u8]) -> KeyPackage {
        let MlsMessageBodyIn::KeyPackage(package) = message(bytes).extract() else {
            panic!("not a key package");
        };
        package.validate(self.provider.crypto(), ProtocolVersion::Mls10).unwrap()
    }

    fn renew(&mut self) -> Vec<u8> {
        let group = self.group.as_mut().unwrap();
        let parameters = LeafNodeParameters::default();
        let bundle = group.self_update(&self.provider, &self.keys, parameters).unwrap();
        self.merge_own();
        bundle.into_commit().to_bytes().unwrap()
    }

    fn remove(&mut self, leaf: u32) -> Vec<u8> {
        let group = self.group.as_mut().unwrap();
        let leaf = LeafNodeIndex::new(leaf);
        let (commit, _, _) = group.remove_members(&self.provider, &self.keys, &[leaf]).unwrap();
        self.merge_own();
        commit.to_bytes().unwrap()
    }

    /// The pending commit is loaded from the store before it is applied.
    fn merge_own(&mut self) {
        self.end_step();
        self.group.as_mut().unwrap().merge_pending_commit(&self.provider).unwrap();
        self.end_step();
    }

    /// Everything in `work` is one step, with the message secrets held back until its end.
    fn in_one_step(&mut self, work: impl FnOnce(&mut Self)) {
        self.provider.hold();
        self.batch = true;
        work(self);
        self.batch = false;
        self.end_step();
    }

    fn end_step(&mut self) {
        if self.batch {
            return;
        }
        self.provider.flush(self.group.as_mut().unwrap()).unwrap();
        self.store.commit(CLAIM, &self.provider.take_writes(SCOPE)).unwrap();
        self.load(&self.group().group_id().clone());
    }

    fn load(&mut self, id: &GroupId) {
        self.provider = OpenProvider::load(&self.store, SCOPE).unwrap();
        self.provider.set_config(&config()).unwrap();
        self.provider.begin(self.entropy.step().unwrap());
        self.group = MlsGroup::load(self.provider.storage(), id).unwrap();
    }

    fn group(&self) -> &MlsGroup {
        self.group.as_ref().unwrap()
    }

    fn leaf(&self) -> u32 {
        self.group().own_leaf_index().u32()
    }

    fn authenticator(&self) -> Vec<u8> {
        self.group().epoch_authenticator().as_slice().to_vec()
    }
}

fn config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(3)
        .use_ratchet_tree_extension(true)
        .build()
}

fn message(bytes: &[u8]) -> MlsMessageIn {
    MlsMessageIn::tls_deserialize_exact_bytes(bytes).unwrap()
}

#[derive(Clone)]
struct Keys {
    private: Vec<u8>,
    public: Vec<u8>,
}

impl Signer for Keys {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        let provider = OpenProvider::default();
        let signed = provider.crypto().sign(SignatureScheme::ED25519, payload, &self.private);
        signed.map_err(SignerError::CryptoError)
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// A client of mls-rs that encrypts its handshake and sends trees with its Welcomes.
fn client(name: &str) -> Client<impl MlsConfig + use<>> {
    let crypto = RustCryptoProvider::default();
    let suite = crypto.cipher_suite_provider(THEIR_SUITE).unwrap();
    let (secret, public) = suite.signature_key_generate().unwrap();
    let credential = BasicCredential::new(name.as_bytes().to_vec()).into_credential();
    let rules = DefaultMlsRules::new()
        .with_encryption_options(EncryptionOptions::new(true, PaddingMode::None))
        .with_commit_options(CommitOptions::new().with_ratchet_tree_extension(true));
    Client::builder()
        .crypto_provider(crypto)
        .identity_provider(BasicIdentityProvider)
        .mls_rules(rules)
        .signing_identity(SigningIdentity::new(credential, public), secret, THEIR_SUITE)
        .build()
}

fn their_key_package<C: MlsConfig>(client: &Client<C>) -> Vec<u8> {
    let package =
        client.generate_key_package_message(Default::default(), Default::default(), None).unwrap();
    package.to_bytes().unwrap()
}

fn join<C: MlsConfig>(client: &Client<C>, welcome: &[u8]) -> Group<C> {
    client.join_group(None, &MlsMessage::from_bytes(welcome).unwrap(), None).unwrap().0
}

fn write<C: MlsConfig>(group: &mut Group<C>, text: &[u8]) -> Vec<u8> {
    group.encrypt_application_message(text, Vec::new()).unwrap().to_bytes().unwrap()
}

fn read<C: MlsConfig>(group: &mut Group<C>, message: &[u8]) -> Vec<u8> {
    let received = group.process_incoming_message(MlsMessage::from_bytes(message).unwrap());
    let ReceivedMessage::ApplicationMessage(message) = received.unwrap() else {
        panic!("not an application message");
    };
    message.data().to_vec()
}

fn receive_commit<C: MlsConfig>(group: &mut Group<C>, commit: &[u8]) {
    let received = group.process_incoming_message(MlsMessage::from_bytes(commit).unwrap());
    assert!(matches!(received.unwrap(), ReceivedMessage::Commit(_)));
}

fn add<C: MlsConfig>(group: &mut Group<C>, package: &[u8]) -> Added {
    let package = MlsMessage::from_bytes(package).unwrap();
    let output = group.commit_builder().add_member(package).unwrap().build().unwrap();
    group.apply_pending_commit().unwrap();
    let welcome = output.welcome_messages[0].to_bytes().unwrap();
    Added { commit: output.commit_message.to_bytes().unwrap(), welcome }
}

/// An empty commit: it has a path (RFC 9420 §12.4).
fn renew<C: MlsConfig>(group: &mut Group<C>) -> Vec<u8> {
    let output = group.commit_builder().build().unwrap();
    assert!(output.contains_update_path);
    group.apply_pending_commit().unwrap();
    output.commit_message.to_bytes().unwrap()
}

fn remove<C: MlsConfig>(group: &mut Group<C>, leaf: u32) -> Vec<u8> {
    let output = group.commit_builder().remove_member(leaf).unwrap().build().unwrap();
    group.apply_pending_commit().unwrap();
    output.commit_message.to_bytes().unwrap()
}

/// Randomness of a simulation. mls-rs draws its own from the system.
struct Simulated(u8);

impl EntropySource for Simulated {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError> {
        *out = [self.0; 32];
        Ok(())
    }

    fn child(&self, _: &str, _: &[u8]) -> Box<dyn EntropySource> {
        Box::new(Self(self.0))
    }
}
