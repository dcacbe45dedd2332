//! The library's storage trait over a [`Capture`].

use conclave_proto::codec::encode_bare;
use openmls_traits::storage::{CURRENT_VERSION, StorageProvider, traits};
use serde::Serialize;

use super::{Capture, CaptureError, Kind};
use crate::mls::cut;

/// Name of the key pairs of an epoch.
fn epoch_name<E: Serialize>(epoch: &E, leaf: u32) -> Vec<u8> {
    encode_bare(&(encode_bare(epoch), leaf))
}

macro_rules! group_values {
    ($($write:ident, $read:ident, $delete:ident, $trait:ident, $kind:ident;)*) => { $(
        fn $write<G: traits::GroupId<CURRENT_VERSION>, V: traits::$trait<CURRENT_VERSION>>(
            &self,
            _: &G,
            value: &V,
        ) -> Result<(), Self::Error> {
            self.write(Kind::$kind, Vec::new(), value)
        }

        fn $read<G: traits::GroupId<CURRENT_VERSION>, V: traits::$trait<CURRENT_VERSION>>(
            &self,
            _: &G,
        ) -> Result<Option<V>, Self::Error> {
            self.read(Kind::$kind, Vec::new())
        }

        fn $delete<G: traits::GroupId<CURRENT_VERSION>>(&self, _: &G) -> Result<(), Self::Error> {
            self.delete(Kind::$kind, Vec::new())
        }
    )* };
}

/// What the engine never lets the library store: proposals by reference, PSKs, signature keys.
const UNUSED: CaptureError = CaptureError("not stored by this engine");

impl StorageProvider<CURRENT_VERSION> for Capture {
    type Error = CaptureError;

    group_values! {
        write_tree, tree, delete_tree, TreeSync, Tree;
        write_interim_transcript_hash, interim_transcript_hash, delete_interim_transcript_hash,
            InterimTranscriptHash, InterimTranscriptHash;
        write_context, group_context, delete_context, GroupContext, Context;
        write_confirmation_tag, confirmation_tag, delete_confirmation_tag, ConfirmationTag,
            ConfirmationTag;
        write_message_secrets, message_secrets, delete_message_secrets, MessageSecrets,
            MessageSecrets;
        write_resumption_psk_store, resumption_psk_store, delete_all_resumption_psk_secrets,
            ResumptionPskStore, ResumptionPsks;
        write_own_leaf_index, own_leaf_index, delete_own_leaf_index, LeafNodeIndex, OwnLeafIndex;
        write_group_epoch_secrets, group_epoch_secrets, delete_group_epoch_secrets,
            GroupEpochSecrets, EpochSecrets;
    }

    fn write_group_state<
        S: traits::GroupState<CURRENT_VERSION>,
        G: traits::GroupId<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
        state: &S,
    ) -> Result<(), Self::Error> {
        self.write(Kind::GroupState, Vec::new(), state)
    }

    fn group_state<S: traits::GroupState<CURRENT_VERSION>, G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<Option<S>, Self::Error> {
        self.read(Kind::GroupState, Vec::new())
    }

    fn delete_group_state<G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<(), Self::Error> {
        self.delete(Kind::GroupState, Vec::new())
    }

    fn write_mls_join_config<
        G: traits::GroupId<CURRENT_VERSION>,
        C: traits::MlsGroupJoinConfig<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
        _: &C,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    fn mls_group_join_config<
        G: traits::GroupId<CURRENT_VERSION>,
        C: traits::MlsGroupJoinConfig<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
    ) -> Result<Option<C>, Self::Error> {
        serde_json::from_slice(&self.0.borrow().config)
            .map(Some)
            .map_err(|_| CaptureError("configuration does not decode"))
    }

    fn delete_group_config<G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    // Own leaf nodes belong to Update proposals, which the rules do not allow.
    fn append_own_leaf_node<
        G: traits::GroupId<CURRENT_VERSION>,
        L: traits::LeafNode<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
        _: &L,
    ) -> Result<(), Self::Error> {
        Err(UNUSED)
    }

    fn own_leaf_nodes<G: traits::GroupId<CURRENT_VERSION>, L: traits::LeafNode<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<Vec<L>, Self::Error> {
        Ok(Vec::new())
    }

    fn delete_own_leaf_nodes<G: traits::GroupId<CURRENT_VERSION>>(
        &self,
        _: &G,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    // Standalone proposals are neither sent nor taken.
    fn queue_proposal<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        P: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
        _: &R,
        _: &P,
    ) -> Result<(), Self::Error> {
        if self.0.borrow().psks.is_some() { Ok(()) } else { Err(UNUSED) }
    }

    fn queued_proposal_refs<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
    ) -> Result<Vec<R>, Self::Error> {
        Ok(Vec::new())
    }

    fn queued_proposals<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
        P: traits::QueuedProposal<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
    ) -> Result<Vec<(R, P)>, Self::Error> {
        Ok(Vec::new())
    }

    fn remove_proposal<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
        _: &R,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    fn clear_proposal_queue<
        G: traits::GroupId<CURRENT_VERSION>,
        R: traits::ProposalRef<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    // Signature keys belong to the installation.
    fn write_signature_key_pair<
        K: traits::SignaturePublicKey<CURRENT_VERSION>,
        P: traits::SignatureKeyPair<CURRENT_VERSION>,
    >(
        &self,
        _: &K,
        _: &P,
    ) -> Result<(), Self::Error> {
        Err(UNUSED)
    }

    fn signature_key_pair<
        K: traits::SignaturePublicKey<CURRENT_VERSION>,
        P: traits::SignatureKeyPair<CURRENT_VERSION>,
    >(
        &self,
        _: &K,
    ) -> Result<Option<P>, Self::Error> {
        Ok(None)
    }

    fn delete_signature_key_pair<K: traits::SignaturePublicKey<CURRENT_VERSION>>(
        &self,
        _: &K,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    fn write_encryption_key_pair<
        K: traits::EncryptionKey<CURRENT_VERSION>,
        P: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        key: &K,
        pair: &P,
    ) -> Result<(), Self::Error> {
        self.write(Kind::EncryptionKeyPair, encode_bare(key), pair)
    }

    fn encryption_key_pair<
        P: traits::HpkeKeyPair<CURRENT_VERSION>,
        K: traits::EncryptionKey<CURRENT_VERSION>,
    >(
        &self,
        key: &K,
    ) -> Result<Option<P>, Self::Error> {
        self.read(Kind::EncryptionKeyPair, encode_bare(key))
    }

    fn delete_encryption_key_pair<K: traits::EncryptionKey<CURRENT_VERSION>>(
        &self,
        key: &K,
    ) -> Result<(), Self::Error> {
        self.delete(Kind::EncryptionKeyPair, encode_bare(key))
    }

    fn write_encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        P: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
        epoch: &E,
        leaf_index: u32,
        pairs: &[P],
    ) -> Result<(), Self::Error> {
        self.write(Kind::EpochKeyPairs, epoch_name(epoch, leaf_index), pairs)
    }

    fn encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
        P: traits::HpkeKeyPair<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<Vec<P>, Self::Error> {
        let pairs = self.read(Kind::EpochKeyPairs, epoch_name(epoch, leaf_index))?;
        Ok(pairs.unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<
        G: traits::GroupId<CURRENT_VERSION>,
        E: traits::EpochKey<CURRENT_VERSION>,
    >(
        &self,
        _: &G,
        epoch: &E,
        leaf_index: u32,
    ) -> Result<(), Self::Error> {
        self.delete(Kind::EpochKeyPairs, epoch_name(epoch, leaf_index))
    }

    // Key packages belong to the key ring; a join sees those it is offered.
    fn write_key_package<
        R: traits::HashReference<CURRENT_VERSION>,
        K: traits::KeyPackage<CURRENT_VERSION>,
    >(
        &self,
        _: &R,
        _: &K,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    fn key_package<
        R: traits::HashReference<CURRENT_VERSION>,
        K: traits::KeyPackage<CURRENT_VERSION>,
    >(
        &self,
        reference: &R,
    ) -> Result<Option<K>, Self::Error> {
        let records = self.0.borrow();
        let package = records.packages.get(&encode_bare(reference));
        let package = package.map(|bytes| postcard::from_bytes(bytes)).transpose();
        package.map_err(|_| CaptureError("stored key package does not decode"))
    }

    fn delete_key_package<R: traits::HashReference<CURRENT_VERSION>>(
        &self,
        _: &R,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    // The rules allow no PSKs; only `allow_unused` lets some be lent.
    fn write_psk<P: traits::PskId<CURRENT_VERSION>, B: traits::PskBundle<CURRENT_VERSION>>(
        &self,
        id: &P,
        bundle: &B,
    ) -> Result<(), Self::Error> {
        let bundle = cut::serialize(bundle).map_err(|_| CaptureError("value cannot be stored"))?;
        let mut records = self.0.borrow_mut();
        records.psks.as_mut().ok_or(UNUSED)?.insert(encode_bare(id), bundle.bytes);
        Ok(())
    }

    fn psk<B: traits::PskBundle<CURRENT_VERSION>, P: traits::PskId<CURRENT_VERSION>>(
        &self,
        id: &P,
    ) -> Result<Option<B>, Self::Error> {
        let records = self.0.borrow();
        let psk = records.psks.as_ref().and_then(|psks| psks.get(&encode_bare(id)));
        let psk = psk.map(|bytes| postcard::from_bytes(bytes)).transpose();
        psk.map_err(|_| CaptureError("lent PSK does not decode"))
    }

    fn delete_psk<P: traits::PskId<CURRENT_VERSION>>(&self, _: &P) -> Result<(), Self::Error> {
        Ok(())
    }
}
