//! The one door to the MLS library.
//!
//! Nothing outside this module names a type of the library. Inside: its cryptography and
//! randomness come from the engine (`crypto`), its storage is a capture in memory from which a
//! step takes its writes (`capture`), and what it reports is turned into facts that the rules of
//! a group are applied to (`commit`).

mod capture;
mod commit;
mod crypto;
mod cut;
mod fault;
#[cfg(feature = "internals")]
pub mod internals;
mod join;
mod leaf;
mod package;
mod record;

use std::sync::Arc;

use conclave_proto::{
    Epoch, GroupId, InstallationId,
    codec::Wire,
    group::{ContextExtension, LeafCredential},
};
use openmls::prelude::{
    ContentType, GroupId as MlsGroupId, MlsGroup, MlsMessageBodyIn, MlsMessageIn, OpenMlsProvider,
    ProcessedMessageContent, ProtocolMessage, Sender,
};
use openmls_traits::{
    signatures::{Signer, SignerError},
    types::SignatureScheme,
};
use tls_codec::DeserializeBytes as _;

#[cfg(test)]
pub(crate) use commit::AddedLeaf;
pub(crate) use commit::{CommitFacts, CommitPlan, ForeignCommit, StagedOwn};
pub(crate) use fault::Fault;
pub(crate) use join::Joining;
pub use package::{PackageError, VerifiedPackage};
pub(crate) use package::{PackageSecrets, new_package};

use crate::{
    entropy::StepRandom,
    installation::Installation,
    store::{Scope, Write},
};
use capture::Capture;
use crypto::Crypto;

/// First byte of the orders of MLS records under a group's scope.
pub(crate) const RECORDS: u8 = record::ORDER;

/// The library failed, or was used wrongly: a bug of the engine, not of a peer. The overlay is
/// dropped; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mls: {0}")]
pub struct MlsError(pub(crate) String);

impl MlsError {
    /// Keeps the text of an error of the library. Its texts name no secrets.
    fn from(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// What the library sees of the world.
#[derive(Default)]
struct Provider {
    crypto: Crypto,
    capture: Capture,
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = Crypto;
    type RandProvider = Crypto;
    type StorageProvider = Capture;

    fn storage(&self) -> &Capture {
        &self.capture
    }

    fn crypto(&self) -> &Crypto {
        &self.crypto
    }

    fn rand(&self) -> &Crypto {
        &self.crypto
    }
}

/// Signs for the library with the installation's key.
struct MlsSigner(Arc<Installation>);

impl Signer for MlsSigner {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.0.sign(payload).to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// What a group message says of itself, before anything is decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outside {
    pub(crate) group: GroupId,
    pub(crate) epoch: Epoch,
    pub(crate) content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Application,
    Proposal,
    Commit,
}

/// A group message that has been parsed, and what it says of itself.
pub(crate) struct Parsed {
    pub(crate) outside: Outside,
    message: ProtocolMessage,
}

/// What a processed message turned out to be.
pub(crate) enum Inside {
    /// A message of a member.
    Application { sender: LeafCredential, plaintext: Vec<u8> },
    /// A commit of another member, staged.
    Commit(Box<ForeignCommit>),
    /// Claims this installation's own leaf; not authenticated by the library.
    OwnLeaf,
}

/// One MLS group.
pub(crate) struct Mls {
    group: MlsGroup,
    provider: Provider,
    signer: MlsSigner,
    scope: Scope,
}

impl Mls {
    /// Founds a group with this installation as its only member.
    pub(crate) fn create(
        installation: Arc<Installation>,
        random: StepRandom,
        id: GroupId,
        context: &ContextExtension,
    ) -> Result<Self, MlsError> {
        let provider = Provider::default();
        provider.crypto.begin(random);
        provider.capture.set_config(&leaf::join_config()).map_err(MlsError::from)?;
        let signer = MlsSigner(installation);
        let group = leaf::group_builder(context)?
            .with_group_id(MlsGroupId::from_slice(id.as_bytes()))
            .build(&provider, &signer, leaf::credential_with_key(&signer.0))
            .map_err(MlsError::from)?;
        Ok(Self { group, provider, signer, scope: id.0 })
    }

    /// A group from its stored records (orders and values). `None` if they are damaged or not
    /// all there.
    pub(crate) fn load<'a>(
        installation: Arc<Installation>,
        id: GroupId,
        stored: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Option<Self> {
        let capture = Capture::load(stored)?;
        capture.set_config(&leaf::join_config()).ok()?;
        let provider = Provider { crypto: Crypto::default(), capture };
        let mls_id = MlsGroupId::from_slice(id.as_bytes());
        let group = MlsGroup::load(&provider.capture, &mls_id).ok()??;
        Some(Self { group, provider, signer: MlsSigner(installation), scope: id.0 })
    }

    /// Begins a step.
    pub(crate) fn begin(&self, random: StepRandom) {
        self.provider.crypto.begin(random);
        self.hold();
    }

    /// From now on, writes of message secrets are only noted, until [`Mls::finish`].
    pub(crate) fn hold(&self) {
        self.provider.capture.hold_secrets();
    }

    /// Ends a step: flushes what the batch held back and hands out the writes.
    pub(crate) fn finish(&mut self) -> Result<Vec<Write>, MlsError> {
        if self.provider.capture.release_secrets() {
            self.flush()?;
        }
        Ok(self.provider.capture.take_writes(self.scope))
    }

    /// Writes the message secrets: a deletion that deletes nothing.
    fn flush(&mut self) -> Result<(), MlsError> {
        use openmls::prelude::PastEpochDeletion;
        let nothing = PastEpochDeletion::older_than_duration(std::time::Duration::MAX);
        self.group.delete_past_epoch_secrets(&self.provider, nothing).map_err(MlsError::from)
    }

    /// Keeps the message secrets of the newest `count` past epochs only.
    pub(crate) fn keep_past_epochs(&mut self, count: usize) -> Result<(), MlsError> {
        use openmls::prelude::PastEpochDeletion;
        let older =
            PastEpochDeletion::older_than_duration(std::time::Duration::MAX).max_past_epochs(count);
        self.group.delete_past_epoch_secrets(&self.provider, older).map_err(MlsError::from)
    }

    /// Forgets the step: memory is what the base says.
    pub(crate) fn rollback(&mut self) -> Result<(), MlsError> {
        self.provider.capture.rollback();
        let id = self.group.group_id().clone();
        let group = MlsGroup::load(&self.provider.capture, &id).map_err(MlsError::from)?;
        self.group = group.ok_or_else(|| MlsError("the group has no base".into()))?;
        Ok(())
    }

    /// Whether the step has changed anything so far.
    pub(crate) fn is_changed(&self) -> bool {
        self.provider.capture.is_changed()
    }

    /// Encrypts an application message.
    pub(crate) fn encrypt(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, MlsError> {
        let message = self
            .group
            .create_message(&self.provider, &self.signer, plaintext)
            .map_err(MlsError::from)?;
        message.to_bytes().map_err(MlsError::from)
    }

    /// Parses a group message. `None` if it is not a `PrivateMessage`.
    pub(crate) fn parse(message: &[u8]) -> Option<Parsed> {
        let message = MlsMessageIn::tls_deserialize_exact_bytes(message).ok()?;
        let MlsMessageBodyIn::PrivateMessage(message) = message.extract() else { return None };
        let message = ProtocolMessage::from(message);
        let content = match message.content_type() {
            ContentType::Application => Content::Application,
            ContentType::Proposal => Content::Proposal,
            ContentType::Commit => Content::Commit,
        };
        let group = GroupId(message.group_id().as_slice().try_into().ok()?);
        let epoch = Epoch(message.epoch().as_u64());
        Some(Parsed { outside: Outside { group, epoch, content }, message })
    }

    /// Decrypts, verifies and, for a commit, stages a message. A failure changes nothing.
    pub(crate) fn process(&mut self, message: Parsed) -> Result<Inside, Fault> {
        let processed = self.group.process_message(&self.provider, message.message)?;
        let sender = match processed.sender() {
            Sender::Member(leaf) => leaf.u32(),
            Sender::External(_) | Sender::NewMemberProposal | Sender::NewMemberCommit => {
                return Err(Fault::Unverified);
            }
        };
        let credential = leaf::parse_credential(processed.credential());
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => Ok(Inside::Application {
                sender: credential.ok_or(Fault::Unverified)?,
                plaintext: message.into_bytes(),
            }),
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let facts = CommitFacts::of(&staged, sender, credential, &self.group);
                Ok(Inside::Commit(Box::new(ForeignCommit { facts, staged })))
            }
            ProcessedMessageContent::OwnPrivateMessage => Ok(Inside::OwnLeaf),
            ProcessedMessageContent::ProposalMessage(_)
            | ProcessedMessageContent::ExternalJoinProposalMessage(_)
            | ProcessedMessageContent::OwnPendingCommit => Err(Fault::Unverified),
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.group.epoch().as_u64())
    }

    pub(crate) fn is_active(&self) -> bool {
        self.group.is_active()
    }

    pub(crate) fn authenticator(&self) -> [u8; 32] {
        self.group.epoch_authenticator().as_slice().try_into().unwrap_or([0; 32])
    }

    pub(crate) fn own_leaf(&self) -> u32 {
        self.group.own_leaf_index().u32()
    }

    /// The leaves and their credentials; `None` for one that is not of this engine.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = (u32, Option<LeafCredential>)> + '_ {
        self.group.members().map(|member| (member.index.u32(), leaf::member_credential(&member)))
    }

    pub(crate) fn leaf_count(&self) -> usize {
        self.group.members().count()
    }

    /// Conclave's extension of the group context.
    pub(crate) fn context(&self) -> Option<ContextExtension> {
        leaf::context_extension(self.group.extensions())
    }

    /// Random bytes of this step.
    pub(crate) fn array<const N: usize>(&self) -> Result<[u8; N], MlsError> {
        self.provider.crypto.array().map_err(MlsError::from)
    }

    /// What sealings of this step derive from.
    pub(crate) fn sealing(&self) -> Result<crate::entropy::Sealing, MlsError> {
        self.provider.crypto.sealing().map_err(MlsError::from)
    }
}

/// The credential of an installation.
pub(crate) fn credential_bytes(credential: LeafCredential) -> Vec<u8> {
    credential.encode()
}

/// The installation whose signature key this is.
fn installation_id(key: &[u8]) -> Option<InstallationId> {
    key.try_into().ok().map(InstallationId)
}

impl std::fmt::Debug for Mls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mls").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}
