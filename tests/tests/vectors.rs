//! Test vectors that others made: MLS, X-Wing and HPKE, each through the engine's own code.
//!
//! They are read from the folder that `CONCLAVE_VECTORS` names, else from `shared/vectors` beside
//! the checkout. Without a folder the tests say "skipped: no vectors", and fail where `CI=true`.
//! A file may hold any number of entries; those of other suites are counted and left out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeMap, env, fs, io::Write as _, path::PathBuf};

use conclave_core::{
    entropy::{Entropy, EntropyError, EntropySource},
    mls::internals::OpenProvider,
    seal::{Suite, XWingSeed},
    store::{Claim, Scope, Store, Table},
};
use conclave_store_memory::MemoryStore;
use data_encoding::HEXLOWER;
use hpke_rs::{Hpke, HpkePrivateKey, Mode};
use hpke_rs_crypto::{
    HpkeCrypto,
    types::{AeadAlgorithm, KdfAlgorithm, KemAlgorithm},
};
use openmls::{
    group::{MlsGroup, MlsGroupJoinConfig, StagedWelcome},
    prelude::{
        GroupId, KeyPackageBundle, KeyPackageIn, MIXED_PLAINTEXT_WIRE_FORMAT_POLICY,
        MlsMessageBodyIn, MlsMessageIn, ProcessedMessageContent, QueuedProposal, RatchetTreeIn,
    },
    schedule::PreSharedKeyId,
};
use openmls_traits::{
    OpenMlsProvider,
    crypto::OpenMlsCrypto,
    types::{
        Ciphersuite, HashType, HpkeCiphertext, HpkePrivateKey as MlsPrivateKey, SignatureScheme,
    },
};
use serde_json::{Value, json};
use tls_codec::{DeserializeBytes as _, Serialize as _, VLBytes};

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

/// S2: hashing, key derivation, signatures and HPKE as MLS labels them.
#[test]
fn the_labelled_cryptography_of_mls_is_that_of_the_working_group() {
    each("mls-crypto-basics.json", is_of_mls_suite, |name, entry| {
        check_derivations(name, entry);
        check_signatures(name, &entry["sign_with_label"]);
        check_encryption(name, &entry["encrypt_with_label"]);
        Ok(())
    });
}

/// S2, E4: a passive client joins from a Welcome, over the engine's cryptography and capture.
#[test]
fn passive_clients_join_from_a_welcome() {
    each("mls-passive-client-welcome.json", is_of_mls_suite, check_passive_client);
}

/// S2, E4: a passive client follows proposals and commits. It reaches the same epochs whether it is
/// loaded from its store after every message, after every epoch with the message secrets held back
/// meanwhile, or never; and never being loaded leaves the same bytes in the store (E3).
#[test]
fn passive_clients_follow_commits() {
    each("mls-passive-client-handling-commit.json", is_of_mls_suite, check_passive_client);
}

/// S7: keys, encapsulation and decapsulation of the KEM under Welcomes.
#[test]
fn x_wing_is_that_of_draft_06() {
    const KEM: KemAlgorithm = KemAlgorithm::XWingDraft06;
    each(
        "xwing-draft06.json",
        |_| true,
        |name, entry| {
            let seed = XWingSeed::new(hex(&entry["seed"]).try_into().unwrap());
            let (key, ciphertext) = (hex(&entry["pk"]), hex(&entry["ct"]));
            let secret = hex(&entry["ss"]);
            assert_eq!(seed.public_key(), key, "{name}: public key");

            let encapsulated = Suite::kem_encaps_derand(KEM, &key, &hex(&entry["eseed"])).unwrap();
            assert_eq!(encapsulated, (secret.clone(), ciphertext.clone()), "{name}: encapsulation");

            let opened = Suite::kem_decaps(KEM, &ciphertext, seed.as_bytes()).unwrap();
            assert_eq!(opened, secret, "{name}: decapsulation");
            Ok(())
        },
    );
}

/// S7: HPKE base mode with X-Wing, HKDF-SHA256 and ChaCha20Poly1305, from both ends.
#[test]
fn hpke_over_x_wing_is_that_of_the_working_group() {
    each("hpke-xwing.json", is_of_seal_suite, |name, entry| {
        check_hpke_receiver(name, entry);
        check_hpke_sender(name, entry);
        Ok(())
    });
}

fn check_derivations(name: &str, entry: &Value) {
    let vector = &entry["ref_hash"];
    let input = [vl(text(&vector["label"]).as_bytes()), vl(&hex(&vector["value"]))].concat();
    let hash = OpenProvider::default().crypto().hash(HashType::Sha2_256, &input).unwrap();
    assert_eq!(hash, hex(&vector["out"]), "{name}: ref_hash");

    let vector = &entry["expand_with_label"];
    let out = expand_with_label(vector, &hex(&vector["context"]), number(&vector["length"]));
    assert_eq!(out, hex(&vector["out"]), "{name}: expand_with_label");

    let vector = &entry["derive_secret"];
    let out = expand_with_label(vector, &[], 32);
    assert_eq!(out, hex(&vector["out"]), "{name}: derive_secret");

    let vector = &entry["derive_tree_secret"];
    let generation = u32::try_from(number(&vector["generation"])).unwrap();
    let out = expand_with_label(vector, &generation.to_be_bytes(), number(&vector["length"]));
    assert_eq!(out, hex(&vector["out"]), "{name}: derive_tree_secret");
}

/// `ExpandWithLabel`, RFC 9420 §8.
fn expand_with_label(vector: &Value, context: &[u8], len: usize) -> Vec<u8> {
    let length = u16::try_from(len).unwrap().to_be_bytes();
    let info = [&length[..], &labelled(vector, context)].concat();
    let provider = OpenProvider::default();
    let secret = hex(&vector["secret"]);
    let out = provider.crypto().hkdf_expand(HashType::Sha2_256, &secret, &info, len).unwrap();
    out.as_slice().to_vec()
}

/// `SignWithLabel`, RFC 9420 §5.1.2.
fn check_signatures(name: &str, vector: &Value) {
    let provider = OpenProvider::default();
    let (content, signature) = (hex(&vector["content"]), hex(&vector["signature"]));
    let signed = labelled(vector, &content);
    let key = hex(&vector["pub"]);
    let verify = |signed: &[u8]| {
        provider.crypto().verify_signature(SignatureScheme::ED25519, signed, &key, &signature)
    };
    assert!(verify(&signed).is_ok(), "{name}: signature");
    assert!(verify(&content).is_err(), "{name}: signature without its label");

    // Ed25519 is deterministic (RFC 8032 §5.1.6).
    let secret = hex(&vector["priv"]);
    let own = provider.crypto().sign(SignatureScheme::ED25519, &signed, &secret).unwrap();
    assert_eq!(own, signature, "{name}: own signature");
}

/// `EncryptWithLabel`, RFC 9420 §5.1.3.
fn check_encryption(name: &str, vector: &Value) {
    let provider = OpenProvider::new(Simulated::entropy().step().unwrap());
    let crypto = provider.crypto();
    let info = labelled(vector, &hex(&vector["context"]));
    let plaintext = hex(&vector["plaintext"]);
    let open = |sealed: &HpkeCiphertext| {
        crypto.hpke_open(SUITE.hpke_config(), sealed, &hex(&vector["priv"]), &info, &[]).unwrap()
    };
    let theirs = HpkeCiphertext {
        kem_output: hex(&vector["kem_output"]).into(),
        ciphertext: hex(&vector["ciphertext"]).into(),
    };
    assert_eq!(open(&theirs), plaintext, "{name}: their ciphertext");

    let key = hex(&vector["pub"]);
    let ours = crypto.hpke_seal(SUITE.hpke_config(), &key, &info, &[], &plaintext).unwrap();
    assert_eq!(open(&ours), plaintext, "{name}: own ciphertext");
}

/// `label<V> ‖ content<V>` with the prefix of MLS.
fn labelled(vector: &Value, content: &[u8]) -> Vec<u8> {
    let label = format!("MLS 1.0 {}", text(&vector["label"]));
    [vl(label.as_bytes()), vl(content)].concat()
}

fn vl(bytes: &[u8]) -> Vec<u8> {
    VLBytes::new(bytes.to_vec()).tls_serialize_detached().unwrap()
}

fn hpke() -> Hpke<Suite> {
    let unused = Simulated::entropy().step().unwrap().sealing().generator(&[]);
    Hpke::new_with_rng(
        Mode::Base,
        KemAlgorithm::XWingDraft06,
        KdfAlgorithm::HkdfSha256,
        AeadAlgorithm::ChaCha20Poly1305,
        unused,
    )
}

fn check_hpke_receiver(name: &str, entry: &Value) {
    let (encapsulated, info) = (hex(&entry["enc"]), hex(&entry["info"]));
    let key = HpkePrivateKey::new(hex(&entry["skRm"]));
    let mut receiver = hpke().setup_receiver(&encapsulated, &key, &info, None, None, None).unwrap();
    for (index, message) in list(&entry["encryptions"]).iter().enumerate() {
        let opened = receiver.open(&hex(&message["aad"]), &hex(&message["ct"])).unwrap();
        assert_eq!(opened, hex(&message["pt"]), "{name}: message {index}");
    }
    for (index, export) in list(&entry["exports"]).iter().enumerate() {
        let context = hex(&export["exporter_context"]);
        let exported = receiver.export(&context, number(&export["L"])).unwrap();
        assert_eq!(exported, hex(&export["exported_value"]), "{name}: export {index}");
    }
}

/// The sender with the vector's randomness: hpke-rs draws its own, so encapsulation and key
/// schedule are called apart.
fn check_hpke_sender(name: &str, entry: &Value) {
    let seed = XWingSeed::new(hex(&entry["skRm"]).try_into().unwrap());
    assert_eq!(seed.public_key(), hex(&entry["pkRm"]), "{name}: public key");
    let (secret, encapsulated) = Suite::kem_encaps_derand(
        KemAlgorithm::XWingDraft06,
        &hex(&entry["pkRm"]),
        &hex(&entry["ikmE"]),
    )
    .unwrap();
    assert_eq!(encapsulated, hex(&entry["enc"]), "{name}: encapsulated key");
    assert_eq!(secret, hex(&entry["shared_secret"]), "{name}: shared secret");

    let mut sender = hpke().key_schedule(&secret, &hex(&entry["info"]), &[], &[]).unwrap();
    for (index, message) in list(&entry["encryptions"]).iter().enumerate() {
        let sealed = sender.seal(&hex(&message["aad"]), &hex(&message["pt"])).unwrap();
        assert_eq!(sealed, hex(&message["ct"]), "{name}: message {index}");
    }
}

/// When a passive client is stored, and whether it is then loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storing {
    LoadEveryMessage,
    KeepEveryMessage,
    LoadEveryEpoch,
}

fn check_passive_client(name: &str, entry: &Value) -> Result<(), &'static str> {
    let epochs = list(&entry["epochs"]);
    if epochs.iter().any(|epoch| is_external_commit(&hex(&epoch["commit"]))) {
        return Err("external commits, which the engine refuses (S1)");
    }
    let run = |storing| {
        let mut client = PassiveClient::join(entry, storing);
        let expected = hex(&entry["initial_epoch_authenticator"]);
        assert_eq!(client.authenticator(), expected, "{name}, {storing:?}: at join");
        for (index, epoch) in epochs.iter().enumerate() {
            for proposal in list(&epoch["proposals"]) {
                client.receive(&hex(proposal));
            }
            client.receive(&hex(&epoch["commit"]));
            client.end_epoch();
            let expected = hex(&epoch["epoch_authenticator"]);
            assert_eq!(client.authenticator(), expected, "{name}, {storing:?}: epoch {index}");
        }
        client.records()
    };
    let loaded = run(Storing::LoadEveryMessage);
    assert!(loaded == run(Storing::KeepEveryMessage), "{name}: stored bytes");
    run(Storing::LoadEveryEpoch);
    Ok(())
}

/// Whether a message is a `PublicMessage` of a `new_member_commit` (RFC 9420 §6, §6.2).
fn is_external_commit(message: &[u8]) -> bool {
    const PUBLIC_MESSAGE: [u8; 4] = [0, 1, 0, 1];
    const NEW_MEMBER_COMMIT: u8 = 4;
    let Some(content) = message.strip_prefix(&PUBLIC_MESSAGE) else { return false };
    let (_group, rest) = VLBytes::tls_deserialize_bytes(content).unwrap();
    rest[size_of::<u64>()] == NEW_MEMBER_COMMIT
}

/// A member that only receives.
struct PassiveClient {
    entropy: Entropy,
    store: MemoryStore,
    provider: OpenProvider,
    group: MlsGroup,
    psks: Vec<(Vec<u8>, Vec<u8>)>,
    /// Proposals by reference of this epoch: the capture stores none.
    proposals: Vec<QueuedProposal>,
    storing: Storing,
}

const SCOPE: Scope = [9; 16];
const CLAIM: Claim = Claim([1; 16]);

impl PassiveClient {
    fn join(entry: &Value, storing: Storing) -> Self {
        let mut entropy = Simulated::entropy();
        let psks = list(&entry["external_psks"]).iter();
        let psks: Vec<_> = psks.map(|psk| (hex(&psk["psk_id"]), hex(&psk["psk"]))).collect();
        let provider = OpenProvider::new(entropy.step().unwrap());
        lend_psks(&provider, &psks);
        provider.set_config(&config()).unwrap();
        provider.offer_key_package(&key_package(entry)).unwrap();

        let MlsMessageBodyIn::Welcome(welcome) = message(&hex(&entry["welcome"])).extract() else {
            panic!("not a Welcome");
        };
        let tree = entry["ratchet_tree"].is_string().then(|| hex(&entry["ratchet_tree"]));
        let mut joining = StagedWelcome::build_from_welcome(&provider, &config(), welcome).unwrap();
        if let Some(tree) = tree {
            joining = joining
                .with_ratchet_tree(RatchetTreeIn::tls_deserialize_exact_bytes(&tree).unwrap());
        }
        let staged = joining.skip_lifetime_validation().build().unwrap();
        let group = staged.into_group(&provider).unwrap();

        let store = MemoryStore::new();
        store.claim(CLAIM).unwrap();
        let proposals = Vec::new();
        let mut client = Self { entropy, store, provider, group, psks, proposals, storing };
        client.end_step();
        client
    }

    /// Handles a proposal or a commit.
    fn receive(&mut self, bytes: &[u8]) {
        let message = message(bytes).try_into_protocol_message().unwrap();
        let processed = self.group.process_message(&self.provider, message).unwrap();
        match processed.into_content() {
            ProcessedMessageContent::ProposalMessage(proposal) => {
                self.group
                    .store_pending_proposal(self.provider.storage(), (*proposal).clone())
                    .unwrap();
                self.proposals.push(*proposal);
            }
            ProcessedMessageContent::StagedCommitMessage(commit) => {
                self.group.merge_staged_commit(&self.provider, *commit).unwrap();
                self.proposals.clear();
            }
            ProcessedMessageContent::ApplicationMessage(_)
            | ProcessedMessageContent::ExternalJoinProposalMessage(_)
            | ProcessedMessageContent::OwnPendingCommit
            | ProcessedMessageContent::OwnPrivateMessage => panic!("not a handshake message"),
        }
        if self.storing != Storing::LoadEveryEpoch {
            self.end_step();
        }
    }

    fn end_epoch(&mut self) {
        if self.storing == Storing::LoadEveryEpoch {
            self.end_step();
        }
    }

    fn end_step(&mut self) {
        self.provider.flush(&mut self.group).unwrap();
        self.store.commit(CLAIM, &self.provider.take_writes(SCOPE)).unwrap();
        if self.storing != Storing::KeepEveryMessage {
            self.load();
        }
        self.provider.begin(self.entropy.step().unwrap());
        if self.storing == Storing::LoadEveryEpoch {
            self.provider.hold();
        }
    }

    fn load(&mut self) {
        let id: GroupId = self.group.group_id().clone();
        self.provider = OpenProvider::load(&self.store, SCOPE).unwrap();
        self.provider.set_config(&config()).unwrap();
        lend_psks(&self.provider, &self.psks);
        self.group = MlsGroup::load(self.provider.storage(), &id).unwrap().unwrap();
        for proposal in &self.proposals {
            self.group.store_pending_proposal(self.provider.storage(), proposal.clone()).unwrap();
        }
    }

    fn authenticator(&self) -> Vec<u8> {
        self.group.epoch_authenticator().as_slice().to_vec()
    }

    fn records(&self) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        self.store.digest_input()
    }
}

fn config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(MIXED_PLAINTEXT_WIRE_FORMAT_POLICY)
        .max_past_epochs(3)
        .number_of_resumption_psks(16)
        .build()
}

fn lend_psks(provider: &OpenProvider, psks: &[(Vec<u8>, Vec<u8>)]) {
    provider.allow_unused();
    for (id, psk) in psks {
        // The nonce is not part of what a PSK is stored under.
        PreSharedKeyId::external(id.clone(), Vec::new()).store(provider, psk).unwrap();
    }
}

/// The library builds bundles only of keys that it made itself; reading one back from its serde
/// form takes any.
fn key_package(entry: &Value) -> KeyPackageBundle {
    let MlsMessageBodyIn::KeyPackage(package) = message(&hex(&entry["key_package"])).extract()
    else {
        panic!("not a key package");
    };
    let private_key = |name: &str| MlsPrivateKey::from(hex(&entry[name]));
    serde_json::from_value(json!({
        "key_package": serde_json::to_value::<KeyPackageIn>(package).unwrap(),
        "private_init_key": private_key("init_priv"),
        "private_encryption_key": { "key": private_key("encryption_priv") },
    }))
    .unwrap()
}

fn message(bytes: &[u8]) -> MlsMessageIn {
    MlsMessageIn::tls_deserialize_exact_bytes(bytes).unwrap()
}

/// Runs the entries of a file that are ours and says how many there were. `run` answers why an
/// entry cannot be run at all.
fn each(
    file: &str,
    is_ours: impl Fn(&Value) -> bool,
    run: impl Fn(&str, &Value) -> Result<(), &'static str>,
) {
    let Some(folder) = folder() else { return };
    let entries: Value = serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap();
    let (mut ran, mut others) = (0, 0);
    let mut not_run: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, entry) in list(&entries).iter().enumerate() {
        if !is_ours(entry) {
            others += 1;
        } else if let Err(reason) = run(&format!("{file}[{index}]"), entry) {
            *not_run.entry(reason).or_default() += 1;
        } else {
            ran += 1;
        }
    }
    say(&format!("{file}: {ran} run, {others} of other suites"));
    for (reason, count) in not_run {
        say(&format!("{file}: {count} not run: {reason}"));
    }
    assert!(ran > 0, "{file} has no entry that can be run");
}

fn folder() -> Option<PathBuf> {
    // A relative path counts from the checkout, where the command is given.
    let checkout = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let named = env::var_os("CONCLAVE_VECTORS").unwrap_or_else(|| "../shared/vectors".into());
    let folder = checkout.join(named);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "no vectors in {}", folder.display());
    say("skipped: no vectors");
    None
}

/// Prints a line of its own, past the capture of the test harness.
fn say(line: &str) {
    std::io::stdout().lock().write_all(format!("\n{line}\n").as_bytes()).unwrap();
}

fn is_of_mls_suite(entry: &Value) -> bool {
    entry["cipher_suite"] == u16::from(SUITE)
}

fn is_of_seal_suite(entry: &Value) -> bool {
    let ids = ["mode", "kem_id", "kdf_id", "aead_id"].map(|name| entry[name].as_u64());
    ids == [Some(0), Some(0x647a), Some(1), Some(3)]
}

fn hex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(text(value).as_bytes()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Randomness of a simulation; the vectors bring their own wherever it matters.
struct Simulated;

impl Simulated {
    fn entropy() -> Entropy {
        Entropy::new(Box::new(Self))
    }
}

impl EntropySource for Simulated {
    fn fill(&mut self, out: &mut [u8; 32]) -> Result<(), EntropyError> {
        *out = [5; 32];
        Ok(())
    }

    fn child(&self, _: &str, _: &[u8]) -> Box<dyn EntropySource> {
        Box::new(Self)
    }
}
