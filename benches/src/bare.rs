//! The MLS library without the engine: our cryptography over a plain map. What the engine adds is
//! measured against it.

use std::time::Duration;

use conclave_core::{entropy::Entropy, mls::internals::OpenProvider};
use conclave_testkit::entropy::SimEntropy;
use ed25519_dalek::{Signer as _, SigningKey};
use openmls::prelude::{
    BasicCredential, Ciphersuite, CredentialWithKey, KeyPackage, KeyPackageBundle,
    LeafNodeParameters, Lifetime, MlsGroup, MlsGroupJoinConfig, MlsMessageBodyIn, MlsMessageIn,
    PURE_CIPHERTEXT_WIRE_FORMAT_POLICY, ProcessedMessageContent, ProtocolMessage,
    SenderRatchetConfiguration, StagedWelcome,
};
use openmls_traits::{
    OpenMlsProvider,
    signatures::{Signer, SignerError},
    types::SignatureScheme,
};
use tls_codec::{DeserializeBytes as _, Serialize as _};

use crate::{
    fixture::{SENDERS, plaintext},
    measure::cpu,
    messages::BATCH,
    storage::MapStorage,
};

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

/// Ten members of a bare group: the founder, eight senders, a receiver.
pub struct BareGroup {
    members: Vec<Member>,
    received: u64,
}

struct Member {
    provider: Provider,
    signer: Key,
    group: MlsGroup,
}

/// The engine's cryptography and a storage of its own.
struct Provider {
    crypto: OpenProvider,
    storage: MapStorage,
}

struct Key(SigningKey);

/// Somebody who has not joined yet.
struct Invited {
    provider: Provider,
    signer: Key,
    package: KeyPackageBundle,
}

impl BareGroup {
    /// A group in the state that the engine's groups are measured in: every sender has renewed
    /// its keys and sent a message of the present epoch.
    ///
    /// # Panics
    /// If the library refuses.
    #[must_use]
    pub fn new() -> Self {
        let invited: Vec<Invited> = (1..SENDERS as u64 + 2).map(Invited::new).collect();
        let (provider, signer) = (Provider::new(0), Key::new(0));
        let mut group = MlsGroup::builder()
            .ciphersuite(SUITE)
            .with_wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .max_past_epochs(conclave_core::config::PAST_EPOCHS)
            .number_of_resumption_psks(0)
            .use_ratchet_tree_extension(true)
            .sender_ratchet_configuration(ratchets())
            .lifetime(Lifetime::init(0, u64::MAX))
            .build(&provider, &signer, signer.credential())
            .expect("a group is made");
        let packages: Vec<KeyPackage> =
            invited.iter().map(|invited| invited.package.key_package().clone()).collect();
        let (_, welcome, _) =
            group.add_members(&provider, &signer, &packages).expect("members are added");
        group.merge_pending_commit(&provider).expect("the commit is ours");
        let welcome = welcome.tls_serialize_detached().expect("a Welcome encodes");
        let mut members = vec![Member { provider, signer, group }];
        members.extend(invited.into_iter().map(|invited| invited.join(&welcome)));
        let mut bare = Self { members, received: 0 };
        bare.warm_up();
        bare
    }

    fn warm_up(&mut self) {
        for sender in 1..=SENDERS {
            let commit = self.members[sender].commit();
            self.deliver(sender, &commit);
        }
        for sender in 1..=SENDERS {
            let message = self.members[sender].send();
            self.deliver(sender, &message);
        }
    }

    fn deliver(&mut self, from: usize, message: &[u8]) {
        for (number, member) in self.members.iter_mut().enumerate() {
            if number != from {
                member.receive(self.received, message);
            }
        }
        self.received += 1;
    }

    /// Times 64 messages by all senders at the receiver: decode, process, put, one at a time.
    ///
    /// # Panics
    /// If the library refuses.
    pub fn receive(&mut self) -> Duration {
        let senders = (1..=SENDERS).cycle().take(BATCH);
        let batch: Vec<Vec<u8>> = senders.map(|sender| self.members[sender].send()).collect();
        let first = self.received;
        self.received += batch.len() as u64;
        let receiver = self.members.last_mut().expect("there is a receiver");
        cpu(|| {
            for (number, message) in (first..).zip(&batch) {
                receiver.receive(number, message);
            }
        })
    }
}

impl Default for BareGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl Member {
    fn commit(&mut self) -> Vec<u8> {
        let bundle = self
            .group
            .self_update(&self.provider, &self.signer, LeafNodeParameters::default())
            .expect("a member renews its keys");
        let commit = bundle.into_commit().to_bytes().expect("a commit encodes");
        self.group.merge_pending_commit(&self.provider).expect("the commit is ours");
        commit
    }

    fn send(&mut self) -> Vec<u8> {
        let message = self.group.create_message(&self.provider, &self.signer, &plaintext());
        message.expect("a member sends").to_bytes().expect("a message encodes")
    }

    fn receive(&mut self, number: u64, message: &[u8]) {
        let message = MlsMessageIn::tls_deserialize_exact_bytes(message).expect("it decodes");
        let MlsMessageBodyIn::PrivateMessage(message) = message.extract() else {
            panic!("every message is private")
        };
        let message = ProtocolMessage::from(message);
        let message = self.group.process_message(&self.provider, message).expect("it is good");
        match message.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => {
                self.provider.storage.put_plaintext(number, message.into_bytes());
            }
            ProcessedMessageContent::StagedCommitMessage(commit) => {
                self.group.merge_staged_commit(&self.provider, *commit).expect("it is good");
            }
            ProcessedMessageContent::ProposalMessage(_)
            | ProcessedMessageContent::ExternalJoinProposalMessage(_)
            | ProcessedMessageContent::OwnPendingCommit
            | ProcessedMessageContent::OwnPrivateMessage => {
                panic!("only messages and commits are sent")
            }
        }
    }
}

impl Invited {
    fn new(number: u64) -> Self {
        let (provider, signer) = (Provider::new(number), Key::new(number));
        let package = KeyPackage::builder()
            .key_package_lifetime(Lifetime::init(0, u64::MAX))
            .build(SUITE, &provider, &signer, signer.credential())
            .expect("a key package is made");
        Self { provider, signer, package }
    }

    fn join(self, welcome: &[u8]) -> Member {
        let welcome = MlsMessageIn::tls_deserialize_exact_bytes(welcome).expect("it decodes");
        let MlsMessageBodyIn::Welcome(welcome) = welcome.extract() else {
            panic!("it is a Welcome")
        };
        let config = MlsGroupJoinConfig::builder()
            .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
            .max_past_epochs(conclave_core::config::PAST_EPOCHS)
            .number_of_resumption_psks(0)
            .sender_ratchet_configuration(ratchets())
            .build();
        let Self { provider, signer, .. } = self;
        let group = StagedWelcome::new_from_welcome(&provider, &config, welcome, None)
            .and_then(|staged| staged.into_group(&provider))
            .expect("the Welcome is good");
        Member { provider, signer, group }
    }
}

impl Provider {
    fn new(number: u64) -> Self {
        let mut entropy = Entropy::new(Box::new(SimEntropy::new(11, number, 0)));
        let random = entropy.step().expect("a simulation has randomness");
        Self { crypto: OpenProvider::new(random), storage: MapStorage::default() }
    }
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = <OpenProvider as OpenMlsProvider>::CryptoProvider;
    type RandProvider = <OpenProvider as OpenMlsProvider>::RandProvider;
    type StorageProvider = MapStorage;

    fn storage(&self) -> &MapStorage {
        &self.storage
    }

    fn crypto(&self) -> &Self::CryptoProvider {
        self.crypto.crypto()
    }

    fn rand(&self) -> &Self::RandProvider {
        self.crypto.rand()
    }
}

impl Key {
    fn new(number: u64) -> Self {
        Self(SigningKey::from_bytes(&conclave_core::entropy::prf(
            &[13; 32],
            &[&number.to_be_bytes()],
        )))
    }

    /// A credential as long as the engine's.
    fn credential(&self) -> CredentialWithKey {
        let key = self.0.verifying_key().to_bytes();
        let identity = [&[1][..], &key, &key].concat();
        CredentialWithKey {
            credential: BasicCredential::new(identity).into(),
            signature_key: key.to_vec().into(),
        }
    }
}

impl Signer for Key {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign(payload).to_bytes().to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

fn ratchets() -> SenderRatchetConfiguration {
    use conclave_core::config::{FORWARD_GENERATIONS, OUT_OF_ORDER};
    SenderRatchetConfiguration::new(OUT_OF_ORDER, FORWARD_GENERATIONS)
}
