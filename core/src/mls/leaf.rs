//! What the rules say about leaves and group contexts: credentials, capabilities, lifetimes,
//! extensions. Rules version 1.

use conclave_proto::{
    codec::Wire,
    group::{
        CONTEXT_EXTENSION, ContextExtension, DELTA_PROPOSAL, LeafCredential, PACKAGE_EXTENSION,
    },
};
use openmls::prelude::{
    Capabilities, Credential, CredentialType, CredentialWithKey, Extension, ExtensionType,
    Extensions, GroupContext, LeafNode, Lifetime, Member, MlsGroupJoinConfig,
    PURE_CIPHERTEXT_WIRE_FORMAT_POLICY, ProposalType, ProtocolVersion,
    RequiredCapabilitiesExtension, SenderRatchetConfiguration, UnknownExtension,
};

use super::{MlsError, crypto::SUITE, installation_id};
use crate::{
    config::{FORWARD_GENERATIONS, OUT_OF_ORDER, PAST_EPOCHS},
    installation::Installation,
};

/// Private-use credential type (RFC 9420 §17.5) of [`LeafCredential`].
const CREDENTIAL: u16 = 0xF0C1;

/// The lifetime that the rules prescribe: unlimited. The library compares lifetimes with the
/// system clock while *processing* commits, so any other would lock late members out for ever.
pub(super) fn lifetime() -> Lifetime {
    Lifetime::init(0, u64::MAX)
}

/// The capabilities that every leaf of rules version 1 has, exactly.
pub(super) fn capabilities() -> Capabilities {
    Capabilities::builder()
        .versions(vec![ProtocolVersion::Mls10])
        .ciphersuites(vec![SUITE])
        .extensions(vec![
            ExtensionType::LastResort,
            ExtensionType::Unknown(CONTEXT_EXTENSION),
            ExtensionType::Unknown(PACKAGE_EXTENSION),
        ])
        .proposals(vec![ProposalType::Custom(DELTA_PROPOSAL)])
        .credentials(vec![CredentialType::Other(CREDENTIAL)])
        .build()
}

fn required_capabilities() -> RequiredCapabilitiesExtension {
    RequiredCapabilitiesExtension::new(
        &[ExtensionType::Unknown(CONTEXT_EXTENSION)],
        &[ProposalType::Custom(DELTA_PROPOSAL)],
        &[CredentialType::Other(CREDENTIAL)],
    )
}

/// The extensions of a group context, exactly.
pub(super) fn context_extensions(
    context: &ContextExtension,
) -> Result<Extensions<GroupContext>, MlsError> {
    Extensions::from_vec(vec![
        Extension::RequiredCapabilities(required_capabilities()),
        Extension::Unknown(CONTEXT_EXTENSION, UnknownExtension(context.encode())),
    ])
    .map_err(MlsError::from)
}

/// Conclave's extension of a group context.
pub(super) fn context_extension(extensions: &Extensions<GroupContext>) -> Option<ContextExtension> {
    let extension = extensions.unknown(CONTEXT_EXTENSION)?;
    ContextExtension::decode_canonical(&extension.0).ok()
}

/// Whether group context extensions are exactly those of the rules.
pub(super) fn is_context_of_rules(extensions: &Extensions<GroupContext>) -> bool {
    context_extension(extensions)
        .and_then(|context| context_extensions(&context).ok())
        .is_some_and(|expected| expected == *extensions)
}

/// Whether a leaf is of the rules: capabilities exactly, no extensions, a credential that names
/// its signature key. Gives the credential.
pub(super) fn credential_of_rules(leaf: &LeafNode) -> Option<LeafCredential> {
    let plain = *leaf.capabilities() == capabilities() && leaf.extensions().iter().next().is_none();
    let credential = parse_credential(leaf.credential())?;
    let matches = installation_id(leaf.signature_key().as_slice()) == Some(credential.installation);
    (plain && matches).then_some(credential)
}

/// The credential of an MLS credential.
pub(super) fn parse_credential(credential: &Credential) -> Option<LeafCredential> {
    if credential.credential_type() != CredentialType::Other(CREDENTIAL) {
        return None;
    }
    LeafCredential::decode_canonical(credential.serialized_content()).ok()
}

/// The credential of a member, if it matches its signature key.
pub(super) fn member_credential(member: &Member) -> Option<LeafCredential> {
    let credential = parse_credential(&member.credential)?;
    let matches = installation_id(&member.signature_key) == Some(credential.installation);
    matches.then_some(credential)
}

/// The credential of an installation, as the library wants it.
pub(super) fn credential_with_key(installation: &Installation) -> CredentialWithKey {
    let id = installation.id();
    let credential = LeafCredential { inbox: installation.inbox(), installation: id };
    let content = super::credential_bytes(credential);
    CredentialWithKey {
        credential: Credential::new(CredentialType::Other(CREDENTIAL), content),
        signature_key: id.0.to_vec().into(),
    }
}

fn ratchets() -> SenderRatchetConfiguration {
    SenderRatchetConfiguration::new(OUT_OF_ORDER, FORWARD_GENERATIONS)
}

/// How this engine uses a group it loads or joins. The same for everybody, so that the window of
/// readable messages is.
pub(super) fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .padding_size(0)
        .max_past_epochs(PAST_EPOCHS)
        .number_of_resumption_psks(0)
        .use_ratchet_tree_extension(false)
        .sender_ratchet_configuration(ratchets())
        .build()
}

/// The builder of a new group.
pub(super) fn group_builder(
    context: &ContextExtension,
) -> Result<openmls::group::MlsGroupBuilder, MlsError> {
    Ok(openmls::group::MlsGroup::builder()
        .ciphersuite(SUITE)
        .with_wire_format_policy(PURE_CIPHERTEXT_WIRE_FORMAT_POLICY)
        .padding_size(0)
        .max_past_epochs(PAST_EPOCHS)
        .number_of_resumption_psks(0)
        .use_ratchet_tree_extension(false)
        .sender_ratchet_configuration(ratchets())
        .lifetime(lifetime())
        .with_capabilities(capabilities())
        .with_group_context_extensions(context_extensions(context)?))
}
