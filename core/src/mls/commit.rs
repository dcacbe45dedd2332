//! Commits, as facts that the rules of a group are applied to, and as plans to carry out.

use conclave_proto::{
    group::{ContextExtension, DELTA_PROPOSAL, Flags, LeafCredential},
    package::kem,
};
use openmls::prelude::{
    KeyPackage, LeafNode, LeafNodeIndex, MlsGroup, MlsMessageBodyOut, Proposal, ProposalOrRefType,
    QueuedProposal, Sender, StagedCommit, Welcome,
};
use tls_codec::{DeserializeBytes as _, Serialize as _, VLBytes};
use zeroize::Zeroizing;

use super::{Mls, MlsError, VerifiedPackage, cut, leaf, package};

/// What a commit of somebody proposes, in the engine's terms. `None` and `false` stand for what
/// the rules do not allow, so that the judge needs no second look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitFacts {
    /// The committer's leaf.
    pub(crate) leaf: u32,
    /// The committer, if its credential is of the rules.
    pub(crate) committer: Option<LeafCredential>,
    /// Only allowed proposals, all inline, all by the committer.
    pub(crate) proposals_allowed: bool,
    /// Added leaves; `None` for one that is not of the rules.
    pub(crate) adds: Vec<Option<AddedLeaf>>,
    /// Removed leaves: their index, and who sits there.
    pub(crate) removes: Vec<(u32, Option<LeafCredential>)>,
    /// State deltas; more than one is not allowed.
    pub(crate) deltas: Vec<Vec<u8>>,
    /// New group contexts; more than one is not allowed, `None` for one not of the rules.
    pub(crate) contexts: Vec<Option<ContextExtension>>,
    /// The leaf of the update path, if there is one; its credential, if it is of the rules.
    pub(crate) path: Option<Option<LeafCredential>>,
    /// Whether it removes this installation.
    pub(crate) removes_own: bool,
}

/// A leaf that a commit adds, of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddedLeaf {
    pub(crate) credential: LeafCredential,
    pub(crate) post_quantum: bool,
}

/// A commit of another member, staged.
pub(crate) struct ForeignCommit {
    pub(crate) facts: CommitFacts,
    pub(super) staged: Box<StagedCommit>,
}

/// What a commit of this installation should do. It always has a path.
#[derive(Default)]
pub(crate) struct CommitPlan<'a> {
    pub(crate) adds: Vec<&'a VerifiedPackage>,
    pub(crate) removes: Vec<u32>,
    pub(crate) delta: Option<Vec<u8>>,
    pub(crate) context: Option<ContextExtension>,
}

/// A commit of this installation, staged but not applied: publish it, keep the staged form.
pub(crate) struct StagedOwn {
    /// The MLS message.
    pub(crate) message: Vec<u8>,
    /// The staged form, for [`Mls::merge_kept`].
    pub(crate) kept: Zeroizing<Vec<u8>>,
    /// For those it adds.
    pub(crate) welcome: Option<WelcomeParts>,
    /// What the judge sees of it.
    pub(crate) facts: CommitFacts,
}

/// What invited installations need, apart.
pub(crate) struct WelcomeParts {
    pub(crate) group_info: Vec<u8>,
    pub(crate) tree: Vec<u8>,
    /// Key package reference and `EncryptedGroupSecrets` of each.
    pub(crate) secrets: Vec<([u8; 32], Vec<u8>)>,
}

impl CommitFacts {
    pub(super) fn of(
        staged: &StagedCommit,
        sender: u32,
        committer: Option<LeafCredential>,
        group: &MlsGroup,
    ) -> Self {
        let mut facts = Self {
            leaf: sender,
            committer,
            proposals_allowed: true,
            adds: Vec::new(),
            removes: Vec::new(),
            deltas: Vec::new(),
            contexts: Vec::new(),
            path: staged.update_path_leaf_node().map(leaf::credential_of_rules),
            removes_own: staged.self_removed(),
        };
        for queued in staged.queued_proposals() {
            facts.proposals_allowed &= is_inline_by(queued, sender);
            facts.note(queued.proposal(), group);
        }
        facts
    }

    fn note(&mut self, proposal: &Proposal, group: &MlsGroup) {
        match proposal {
            Proposal::Add(add) => self.adds.push(added_leaf(add.key_package())),
            Proposal::Remove(remove) => {
                let member = group.member_at(remove.removed());
                let credential = member.as_ref().and_then(leaf::member_credential);
                self.removes.push((remove.removed().u32(), credential));
            }
            Proposal::GroupContextExtensions(change) => {
                let extensions = change.extensions();
                let context = leaf::context_extension(extensions);
                self.contexts.push(context.filter(|_| leaf::is_context_of_rules(extensions)));
            }
            Proposal::Custom(custom) if custom.proposal_type() == DELTA_PROPOSAL => {
                self.deltas.push(custom.payload().to_vec());
            }
            Proposal::Custom(_)
            | Proposal::Update(_)
            | Proposal::PreSharedKey(_)
            | Proposal::ReInit(_)
            | Proposal::ExternalInit(_)
            | Proposal::SelfRemove => self.proposals_allowed = false,
        }
    }
}

fn is_inline_by(queued: &QueuedProposal, sender: u32) -> bool {
    queued.proposal_or_ref_type() == ProposalOrRefType::Proposal
        && *queued.sender() == Sender::Member(LeafNodeIndex::new(sender))
}

fn added_leaf(package: &KeyPackage) -> Option<AddedLeaf> {
    let facts = package::facts_of_rules(package)?;
    let post_quantum = facts.extension.algorithm == kem::X_WING;
    Some(AddedLeaf { credential: facts.credential, post_quantum })
}

impl AddedLeaf {
    /// Whether a group with these flags takes it.
    pub(crate) const fn fits(self, flags: Flags) -> bool {
        self.post_quantum || !flags.has(Flags::POST_QUANTUM)
    }
}

impl Mls {
    /// Computes a commit and keeps the group where it is.
    pub(crate) fn stage(&mut self, plan: CommitPlan<'_>) -> Result<StagedOwn, MlsError> {
        let own_leaf = self.own_leaf();
        let old_tree = self.group.export_ratchet_tree();
        let packages: Vec<KeyPackage> = plan.adds.iter().map(|add| add.key_package()).collect();
        let mut builder = self
            .group
            .commit_builder()
            .force_self_update(true)
            .propose_removals(plan.removes.into_iter().map(LeafNodeIndex::new))
            .propose_adds(packages);
        if let Some(delta) = plan.delta {
            let custom = openmls::prelude::CustomProposal::new(DELTA_PROPOSAL, delta);
            builder = builder.add_proposal(Proposal::Custom(Box::new(custom)));
        }
        if let Some(context) = plan.context {
            let extensions = leaf::context_extensions(&context)?;
            builder =
                builder.propose_group_context_extensions(extensions).map_err(MlsError::from)?;
        }
        let provider = &self.provider;
        let bundle = builder
            .load_psks(&provider.capture)
            .map_err(MlsError::from)?
            .build(&provider.crypto, &provider.crypto, &self.signer, |_| true)
            .map_err(MlsError::from)?
            .stage_commit(provider)
            .map_err(MlsError::from)?;
        let (message, welcome, _) = bundle.into_contents();
        let staged = self.group.pending_commit().ok_or_else(no_commit)?;
        let committer = self.group.own_leaf_node().and_then(leaf::credential_of_rules);
        let facts = CommitFacts::of(staged, own_leaf, committer, &self.group);
        let kept = cut::serialize(staged).map_err(MlsError::from)?.bytes;
        let welcome = welcome
            .map(|welcome| -> Result<_, MlsError> {
                let tree = staged
                    .export_ratchet_tree(&provider.crypto, old_tree)
                    .map_err(MlsError::from)?
                    .ok_or_else(no_commit)?;
                welcome_parts(&welcome, tree.tls_serialize_detached().map_err(MlsError::from)?)
            })
            .transpose()?;
        self.group.clear_pending_commit(&provider.capture).map_err(MlsError::from)?;
        let message = private_bytes(&message)?;
        Ok(StagedOwn { message, kept, welcome, facts })
    }

    /// Applies a commit of another member.
    pub(crate) fn merge(&mut self, commit: ForeignCommit) -> Result<(), MlsError> {
        self.group.merge_staged_commit(&self.provider, *commit.staged).map_err(MlsError::from)
    }

    /// Applies a commit of this installation from its staged form.
    pub(crate) fn merge_kept(&mut self, kept: &[u8]) -> Result<(), MlsError> {
        let staged: StagedCommit = postcard::from_bytes(kept).map_err(MlsError::from)?;
        self.group.merge_staged_commit(&self.provider, staged).map_err(MlsError::from)
    }
}

fn no_commit() -> MlsError {
    MlsError("the library staged nothing".into())
}

// The library's enum: whatever it may be one day, a commit is private or it is not sent.
#[allow(clippy::wildcard_enum_match_arm)]
fn private_bytes(message: &openmls::prelude::MlsMessageOut) -> Result<Vec<u8>, MlsError> {
    match message.body() {
        MlsMessageBodyOut::PrivateMessage(_) => message.to_bytes().map_err(MlsError::from),
        _ => Err(MlsError("the library made a commit that is not private".into())),
    }
}

/// Cuts a Welcome into the part that all recipients share and one small part for each
/// (RFC 9420 §12.4.3.1: `cipher_suite ‖ secrets<V> ‖ encrypted_group_info<V>`).
fn welcome_parts(welcome: &Welcome, tree: Vec<u8>) -> Result<WelcomeParts, MlsError> {
    let bytes = welcome.tls_serialize_detached().map_err(MlsError::from)?;
    let (_, rest) = u16::tls_deserialize_bytes(&bytes).map_err(MlsError::from)?;
    let (_, rest) = VLBytes::tls_deserialize_bytes(rest).map_err(MlsError::from)?;
    let group_info = VLBytes::tls_deserialize_exact_bytes(rest).map_err(MlsError::from)?;
    let mut secrets = Vec::with_capacity(welcome.secrets().len());
    for secret in welcome.secrets() {
        let reference = secret.new_member().as_slice().try_into().map_err(MlsError::from)?;
        secrets.push((reference, secret.tls_serialize_detached().map_err(MlsError::from)?));
    }
    Ok(WelcomeParts { group_info: group_info.as_slice().to_vec(), tree, secrets })
}

/// Whether a leaf's capabilities allow nothing but the rules; used where only the leaf is known.
pub(super) fn is_leaf_of_rules(leaf: &LeafNode) -> bool {
    leaf::credential_of_rules(leaf).is_some()
}
