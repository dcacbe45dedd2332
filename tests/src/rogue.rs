//! A member that breaks the rules: the MLS state of a real installation, driven by hand.

use conclave_core::{
    entropy::Entropy,
    mls::internals::{OpenProvider, OpenSigner},
};
use conclave_proto::{Envelope, EnvelopeKind, GroupId, Mark, codec::Wire};
use openmls::prelude::{
    Credential, CredentialType, CredentialWithKey, CustomProposal, Extensions, GroupContext,
    KeyPackage, LeafNodeIndex, LeafNodeParameters, MlsGroup, MlsMessageOut, OpenMlsProvider as _,
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
        let group =
            MlsGroup::load(provider.storage(), &mls_id).expect("it loads").expect("it is there");
        let signer = OpenSigner::new(std::sync::Arc::clone(&device.installation));
        Self { group, provider, signer }
    }

    /// A commit that proposes all this, as an envelope.
    ///
    /// # Panics
    /// If the MLS library refuses to make it.
    pub fn commit(&mut self, evil: Evil) -> Vec<u8> {
        let provider = &self.provider;
        let mut builder = self
            .group
            .commit_builder()
            .force_self_update(true)
            .leaf_node_parameters(evil.leaf)
            .propose_removals(evil.removes)
            .propose_adds(evil.adds)
            .add_proposals(evil.custom.into_iter().map(custom));
        if let Some(context) = evil.context {
            builder = builder.propose_group_context_extensions(context).expect("extensions");
        }
        let bundle = builder
            .load_psks(provider.storage())
            .expect("no PSKs to load")
            .build(provider.rand(), provider.crypto(), &self.signer, |_| true)
            .expect("the library builds it")
            .stage_commit(provider)
            .expect("the library stages it");
        envelope(&bundle.into_contents().0)
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

/// What a rogue's commit proposes.
#[derive(Default)]
pub struct Evil {
    /// The leaf of its update path.
    pub leaf: LeafNodeParameters,
    /// Leaves to remove.
    pub removes: Vec<LeafNodeIndex>,
    /// Key packages to add.
    pub adds: Vec<KeyPackage>,
    /// Custom proposals: type and payload.
    pub custom: Vec<(u16, Vec<u8>)>,
    /// A group context.
    pub context: Option<Extensions<GroupContext>>,
}

impl std::fmt::Debug for Evil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Evil(..)")
    }
}

fn custom((kind, payload): (u16, Vec<u8>)) -> Proposal {
    Proposal::Custom(Box::new(CustomProposal::new(kind, payload)))
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
