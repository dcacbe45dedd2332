//! A member that breaks the rules: the MLS state of a real installation, driven by hand.

use conclave_core::{
    entropy::Entropy,
    mls::internals::{OpenProvider, OpenSigner},
};
use conclave_proto::{Envelope, EnvelopeKind, GroupId, Mark, codec::Wire};
use openmls::prelude::{
    Credential, CredentialType, CredentialWithKey, LeafNodeParameters, MlsGroup, MlsMessageOut,
    Proposal,
};

use crate::{entropy::SimEntropy, world::World};

/// The rogue's hands on a device's MLS group: a copy of its state, so that the device itself
/// knows nothing.
pub struct Rogue {
    /// The group.
    pub group: MlsGroup,
    /// Its provider.
    pub provider: OpenProvider,
    /// Signs with the device's key.
    pub signer: OpenSigner,
}

impl std::fmt::Debug for Rogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rogue(..)")
    }
}

impl Rogue {
    /// Takes a copy of a device's group.
    ///
    /// # Panics
    /// If the device does not hold the group.
    #[must_use]
    pub fn of(world: &World, device: usize, id: GroupId) -> Self {
        let device = &world.devices[device];
        let provider = OpenProvider::load(device.store.inner(), id.0).expect("the store reads");
        let mut entropy = Entropy::new(Box::new(SimEntropy::new(world.seed, 66, 6)));
        provider.begin(entropy.step().expect("simulated entropy"));
        provider.set_config(&conclave_core::mls::internals::join_config()).expect("a config");
        let mls_id = openmls::prelude::GroupId::from_slice(&id.0);
        let group = openmls::prelude::OpenMlsProvider::storage(&provider);
        let group = MlsGroup::load(group, &mls_id).expect("it loads").expect("it is there");
        let signer = OpenSigner::new(std::sync::Arc::clone(&device.installation));
        Self { group, provider, signer }
    }

    /// A commit with these proposals and these leaf parameters, as an envelope.
    ///
    /// # Panics
    /// If the MLS library refuses to make it.
    pub fn commit(&mut self, proposals: Vec<Proposal>, leaf: LeafNodeParameters) -> Vec<u8> {
        use openmls::prelude::OpenMlsProvider as _;
        let provider = &self.provider;
        let bundle = self
            .group
            .commit_builder()
            .force_self_update(true)
            .leaf_node_parameters(leaf)
            .add_proposals(proposals)
            .load_psks(provider.storage())
            .expect("no PSKs to load")
            .build(provider.rand(), provider.crypto(), &self.signer, |_| true)
            .expect("the library builds it")
            .stage_commit(provider)
            .expect("the library stages it");
        envelope(&bundle.into_contents().0)
    }

    /// The same, and the rogue goes on in the epoch that only it believes in.
    ///
    /// # Panics
    /// If the MLS library refuses.
    pub fn commit_and_follow(&mut self, proposals: Vec<Proposal>) -> Vec<u8> {
        let envelope = self.commit(proposals, LeafNodeParameters::default());
        self.group.merge_pending_commit(&self.provider).expect("the library merges");
        envelope
    }

    /// An application message with this plaintext, as an envelope.
    ///
    /// # Panics
    /// If the MLS library refuses.
    pub fn message(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let message = self.group.create_message(&self.provider, &self.signer, plaintext);
        envelope(&message.expect("the library encrypts"))
    }
}

/// A credential of somebody else with the rogue's own key.
#[must_use]
pub fn stolen_credential(content: Vec<u8>, key: Vec<u8>) -> CredentialWithKey {
    CredentialWithKey {
        credential: Credential::new(CredentialType::Other(0xF0C1), content),
        signature_key: key.into(),
    }
}

/// An MLS message in an envelope of the group's topic.
///
/// # Panics
/// If the message does not encode.
#[must_use]
pub fn envelope(message: &MlsMessageOut) -> Vec<u8> {
    let kind = EnvelopeKind::Mls(message.to_bytes().expect("it encodes"));
    Envelope { mark: Mark([0x66; 16]), beacon: None, kind }.encode()
}
