//! Storage for a bare group of the MLS library: an ordered map with postcard values, one value
//! for each thing the library stores. The plain way to do it.

use std::{cell::RefCell, collections::BTreeMap};

use openmls_traits::storage::{CURRENT_VERSION, StorageProvider, traits};
use serde::{Serialize, de::DeserializeOwned};

/// An ordered map of encoded names and values.
#[derive(Default)]
pub struct MapStorage(RefCell<BTreeMap<Vec<u8>, Vec<u8>>>);

/// A value that does not encode or decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value does not encode or decode")]
pub struct MapError;

/// What is stored, as the first byte of its name.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Config,
    OwnLeaves,
    Proposals,
    Tree,
    InterimTranscriptHash,
    Context,
    ConfirmationTag,
    State,
    MessageSecrets,
    ResumptionPsks,
    OwnLeafIndex,
    EpochSecrets,
    SignatureKeys,
    EncryptionKeys,
    EpochKeys,
    KeyPackage,
    Psk,
    Plaintext,
}

impl MapStorage {
    /// Keeps the plaintext of a message.
    pub fn put_plaintext(&self, number: u64, plaintext: Vec<u8>) {
        let name = name(Kind::Plaintext, &number.to_be_bytes());
        self.0.borrow_mut().insert(name, plaintext);
    }

    fn put<V: Serialize + ?Sized>(&self, name: Vec<u8>, value: &V) -> Result<(), MapError> {
        let value = postcard::to_allocvec(value).map_err(|_| MapError)?;
        self.0.borrow_mut().insert(name, value);
        Ok(())
    }

    fn value<V: DeserializeOwned>(&self, name: &[u8]) -> Result<Option<V>, MapError> {
        let values = self.0.borrow();
        let value = values.get(name).map(|value| postcard::from_bytes(value));
        value.transpose().map_err(|_| MapError)
    }

    fn list<V: DeserializeOwned>(&self, name: &[u8]) -> Result<Vec<V>, MapError> {
        Ok(self.value(name)?.unwrap_or_default())
    }

    fn remove(&self, name: &[u8]) -> Result<(), MapError> {
        self.0.borrow_mut().remove(name);
        Ok(())
    }
}

fn name<N: Serialize + ?Sized>(kind: Kind, of: &N) -> Vec<u8> {
    let mut name = vec![kind as u8];
    name.extend(postcard::to_allocvec(of).expect("a name encodes"));
    name
}

fn epoch_keys<G: Serialize, E: Serialize>(group: &G, epoch: &E, leaf: u32) -> Vec<u8> {
    name(Kind::EpochKeys, &(group, epoch, leaf))
}

/// The three methods of a value of which there is one under each name. `N` is the name's type,
/// `V` the value's; the library orders them as it likes.
macro_rules! values {
    ($($kind:ident:
        $write:ident<$wa:ident: $wat:ident, $wb:ident: $wbt:ident>,
        $read:ident<$ra:ident: $rat:ident, $rb:ident: $rbt:ident>,
        $delete:ident<$da:ident: $dat:ident>;
    )*) => { $(
        fn $write<$wa: traits::$wat<CURRENT_VERSION>, $wb: traits::$wbt<CURRENT_VERSION>>(
            &self,
            of: &N,
            value: &V,
        ) -> Result<(), MapError> {
            self.put(name(Kind::$kind, of), value)
        }

        fn $read<$ra: traits::$rat<CURRENT_VERSION>, $rb: traits::$rbt<CURRENT_VERSION>>(
            &self,
            of: &N,
        ) -> Result<Option<V>, MapError> {
            self.value(&name(Kind::$kind, of))
        }

        fn $delete<$da: traits::$dat<CURRENT_VERSION>>(&self, of: &N) -> Result<(), MapError> {
            self.remove(&name(Kind::$kind, of))
        }
    )* };
}

impl StorageProvider<CURRENT_VERSION> for MapStorage {
    type Error = MapError;

    values! {
        Tree: write_tree<N: GroupId, V: TreeSync>, tree<N: GroupId, V: TreeSync>,
            delete_tree<N: GroupId>;
        InterimTranscriptHash:
            write_interim_transcript_hash<N: GroupId, V: InterimTranscriptHash>,
            interim_transcript_hash<N: GroupId, V: InterimTranscriptHash>,
            delete_interim_transcript_hash<N: GroupId>;
        Context: write_context<N: GroupId, V: GroupContext>,
            group_context<N: GroupId, V: GroupContext>, delete_context<N: GroupId>;
        ConfirmationTag: write_confirmation_tag<N: GroupId, V: ConfirmationTag>,
            confirmation_tag<N: GroupId, V: ConfirmationTag>,
            delete_confirmation_tag<N: GroupId>;
        State: write_group_state<V: GroupState, N: GroupId>,
            group_state<V: GroupState, N: GroupId>, delete_group_state<N: GroupId>;
        MessageSecrets: write_message_secrets<N: GroupId, V: MessageSecrets>,
            message_secrets<N: GroupId, V: MessageSecrets>, delete_message_secrets<N: GroupId>;
        ResumptionPsks: write_resumption_psk_store<N: GroupId, V: ResumptionPskStore>,
            resumption_psk_store<N: GroupId, V: ResumptionPskStore>,
            delete_all_resumption_psk_secrets<N: GroupId>;
        OwnLeafIndex: write_own_leaf_index<N: GroupId, V: LeafNodeIndex>,
            own_leaf_index<N: GroupId, V: LeafNodeIndex>, delete_own_leaf_index<N: GroupId>;
        EpochSecrets: write_group_epoch_secrets<N: GroupId, V: GroupEpochSecrets>,
            group_epoch_secrets<N: GroupId, V: GroupEpochSecrets>,
            delete_group_epoch_secrets<N: GroupId>;
        SignatureKeys: write_signature_key_pair<N: SignaturePublicKey, V: SignatureKeyPair>,
            signature_key_pair<N: SignaturePublicKey, V: SignatureKeyPair>,
            delete_signature_key_pair<N: SignaturePublicKey>;
        EncryptionKeys: write_encryption_key_pair<N: EncryptionKey, V: HpkeKeyPair>,
            encryption_key_pair<V: HpkeKeyPair, N: EncryptionKey>,
            delete_encryption_key_pair<N: EncryptionKey>;
        KeyPackage: write_key_package<N: HashReference, V: KeyPackage>,
            key_package<N: HashReference, V: KeyPackage>, delete_key_package<N: HashReference>;
        Psk: write_psk<N: PskId, V: PskBundle>, psk<V: PskBundle, N: PskId>,
            delete_psk<N: PskId>;
    }

    // Its encoding does not survive postcard, so this one value is JSON.
    fn write_mls_join_config<
        N: traits::GroupId<CURRENT_VERSION>,
        V: traits::MlsGroupJoinConfig<CURRENT_VERSION>,
    >(
        &self,
        of: &N,
        config: &V,
    ) -> Result<(), MapError> {
        let config = serde_json::to_vec(config).map_err(|_| MapError)?;
        self.0.borrow_mut().insert(name(Kind::Config, of), config);
        Ok(())
    }

    fn mls_group_join_config<
        N: traits::GroupId<CURRENT_VERSION>,
        V: traits::MlsGroupJoinConfig<CURRENT_VERSION>,
    >(
        &self,
        of: &N,
    ) -> Result<Option<V>, MapError> {
        let values = self.0.borrow();
        let config = values.get(&name(Kind::Config, of));
        config.map(|config| serde_json::from_slice(config)).transpose().map_err(|_| MapError)
    }

    fn delete_group_config<N: traits::GroupId<CURRENT_VERSION>>(
        &self,
        of: &N,
    ) -> Result<(), MapError> {
        self.remove(&name(Kind::Config, of))
    }

    fn append_own_leaf_node<
        N: traits::GroupId<CURRENT_VERSION>,
        V: traits::LeafNode<CURRENT_VERSION>,
    >(
        &self,
        _: &N,
        _: &V,
    ) -> Result<(), MapError> {
        Err(MapError)
    }

    fn own_leaf_nodes<N: traits::GroupId<CURRENT_VERSION>, V: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        of: &N,
    ) -> Result<Vec<V>, MapError> {
        self.list(&name(Kind::OwnLeaves, of))
    }

    fn delete_own_leaf_nodes<N: traits::GroupId<CURRENT_VERSION>>(
        &self,
        of: &N,
    ) -> Result<(), MapError> {
        self.remove(&name(Kind::OwnLeaves, of))
    }

    // No benchmark has standalone proposals.
    fn queue_proposal<
        N: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        V: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &N,
        _: &R,
        _: &V,
    ) -> Result<(), MapError> {
        Err(MapError)
    }

    fn queued_proposal_refs<
        N: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        of: &N,
    ) -> Result<Vec<R>, MapError> {
        self.list(&name(Kind::Proposals, of))
    }

    fn queued_proposals<
        N: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        V: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        of: &N,
    ) -> Result<Vec<(R, V)>, MapError> {
        self.list(&name(Kind::Proposals, of))
    }

    fn remove_proposal<
        N: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        _: &N,
        _: &R,
    ) -> Result<(), MapError> {
        Ok(())
    }

    fn clear_proposal_queue<
        N: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        of: &N,
    ) -> Result<(), MapError> {
        self.remove(&name(Kind::Proposals, of))
    }

    fn write_encryption_epoch_key_pairs<
        N: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        V: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        of: &N,
        epoch: &E,
        leaf_index: u32,
        key_pairs: &[V],
    ) -> Result<(), MapError> {
        self.put(epoch_keys(of, epoch, leaf_index), key_pairs)
    }

    fn encryption_epoch_key_pairs<
        N: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        V: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        of: &N,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<Vec<V>, MapError> {
        self.list(&epoch_keys(of, epoch, leaf_index))
    }

    fn delete_encryption_epoch_key_pairs<
        N: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
    >(
        &self,
        of: &N,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<(), MapError> {
        self.remove(&epoch_keys(of, epoch, leaf_index))
    }
}
