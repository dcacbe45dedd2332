//! Joining a group from a Welcome.

use std::sync::Arc;

use conclave_proto::{GroupId, codec::encode_bare};
use openmls::prelude::{EncryptedGroupSecrets, RatchetTreeIn, StagedWelcome, Welcome};
use tls_codec::{DeserializeBytes as _, Serialize as _, VLBytes};
use zeroize::Zeroizing;

use super::{Capture, Crypto, Mls, MlsSigner, Provider, commit, leaf};
use crate::{entropy::StepRandom, installation::Installation};

/// Why a Welcome does not lead to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinFault {
    /// Not a Welcome, a tree, or a group of ours.
    Malformed,
    /// The library refuses it.
    Refused,
    /// A leaf or the group context is not of the rules.
    NotOfRules,
}

/// What a join needs of the key package that it uses.
pub(crate) struct Joining<'a> {
    pub(crate) reference: [u8; 32],
    pub(crate) bundle: &'a [u8],
    pub(crate) secrets: &'a [u8],
    pub(crate) group_info: &'a [u8],
    pub(crate) tree: &'a [u8],
}

impl Mls {
    /// Joins a group. What it writes is handed out by [`Mls::finish`].
    pub(crate) fn join(
        installation: Arc<Installation>,
        random: StepRandom,
        joining: &Joining<'_>,
    ) -> Result<Self, JoinFault> {
        let provider = Provider { crypto: Crypto::default(), capture: Capture::default() };
        provider.crypto.begin(random);
        provider.capture.set_config(&leaf::join_config()).map_err(|_| JoinFault::Refused)?;
        let secrets = EncryptedGroupSecrets::tls_deserialize_exact_bytes(joining.secrets)
            .map_err(|_| JoinFault::Malformed)?;
        let reference = secrets.new_member();
        if reference.as_slice() != joining.reference {
            return Err(JoinFault::Malformed);
        }
        let bundle = Zeroizing::new(joining.bundle.to_vec());
        provider.capture.offer_package(&encode_bare(&reference), bundle);
        let tree = RatchetTreeIn::tls_deserialize_exact_bytes(joining.tree)
            .map_err(|_| JoinFault::Malformed)?;
        let staged = StagedWelcome::build_from_welcome(
            &provider,
            &leaf::join_config(),
            assemble_welcome(joining)?,
        )
        .map_err(|_| JoinFault::Refused)?
        .with_ratchet_tree(tree)
        .skip_lifetime_validation()
        .build()
        .map_err(|_| JoinFault::Refused)?;
        let group = staged.into_group(&provider).map_err(|_| JoinFault::Refused)?;
        let id = group.group_id().as_slice().try_into().map_err(|_| JoinFault::Malformed)?;
        let joined = Self { group, provider, signer: MlsSigner(installation), scope: id };
        joined.check_rules()?;
        Ok(joined)
    }

    /// Every leaf, with its capabilities, and the group context have to be of the rules.
    fn check_rules(&self) -> Result<(), JoinFault> {
        let leaves_fit = self.group.members().all(|member| {
            let leaf = self.group.public_group().leaf(member.index);
            leaf.is_some_and(commit::is_leaf_of_rules)
        });
        if leaves_fit && leaf::is_context_of_rules(self.group.extensions()) {
            Ok(())
        } else {
            Err(JoinFault::NotOfRules)
        }
    }

    pub(crate) fn group_id(&self) -> GroupId {
        GroupId(self.scope)
    }
}

/// A Welcome with one recipient, from the shared part and this recipient's.
fn assemble_welcome(joining: &Joining<'_>) -> Result<Welcome, JoinFault> {
    let suite = super::crypto::SUITE;
    let mut bytes = suite.tls_serialize_detached().map_err(|_| JoinFault::Malformed)?;
    for part in [joining.secrets, joining.group_info] {
        let part = VLBytes::new(part.to_vec());
        bytes.extend(part.tls_serialize_detached().map_err(|_| JoinFault::Malformed)?);
    }
    Welcome::tls_deserialize_exact_bytes(&bytes).map_err(|_| JoinFault::Malformed)
}
