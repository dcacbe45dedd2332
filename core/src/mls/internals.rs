//! The provider under the MLS library, for the test kit and benches: bare groups of the library
//! over the engine's cryptography and capture.
//!
//! Not covered by any stability promise, and the only place where types of the library show. An
//! application has no use for it: what it makes here, the engine's rules do not see.

use std::{ops::ControlFlow, time::Duration};

use conclave_proto::codec::encode_bare;
use openmls::{
    group::{MlsGroup, MlsGroupJoinConfig},
    prelude::{KeyPackageBundle, PastEpochDeletion},
};
use openmls_traits::OpenMlsProvider;
use zeroize::Zeroizing;

use super::{MlsError, Provider, capture::Capture, crypto::Crypto, cut, record::ORDER};
use crate::{
    entropy::StepRandom,
    store::{Direction, Key, Range, Scope, Store, StoreError, Table, Write},
};

/// The engine's provider of one group, open to the library's own API.
///
/// A step is: [`begin`](Self::begin), calls of the library, [`take_writes`](Self::take_writes);
/// after an error [`rollback`](Self::rollback) and a fresh [`MlsGroup::load`].
#[derive(Default)]
pub struct OpenProvider(Provider);

impl OpenProvider {
    /// A provider without records, in a step with this randomness.
    #[must_use]
    pub fn new(random: StepRandom) -> Self {
        let provider = Self::default();
        provider.begin(random);
        provider
    }

    /// The records that a store holds under a scope. [`set_config`](Self::set_config) comes before
    /// [`MlsGroup::load`], [`begin`](Self::begin) before anything that draws randomness.
    ///
    /// # Errors
    /// [`StoreError`] of the store, or [`StoreError::Corrupt`].
    pub fn load(store: &dyn Store, scope: Scope) -> Result<Self, StoreError> {
        let range = Range::within(scope, &[ORDER], &[ORDER + 1]);
        let mut stored = Vec::new();
        store.scan(Table::Group, range, Direction::Forward, &mut |key, value| {
            let order = key.get(Key::SCOPE_LEN..).unwrap_or_default();
            stored.push((order.to_vec(), Zeroizing::new(value.to_vec())));
            ControlFlow::Continue(())
        })?;
        let stored = stored.iter().map(|(order, value)| (&order[..], &value[..]));
        let capture = Capture::load(stored).ok_or(StoreError::Corrupt)?;
        Ok(Self(Provider { crypto: Crypto::default(), capture }))
    }

    /// Begins a step: the randomness of the one before is gone.
    pub fn begin(&self, random: StepRandom) {
        self.0.crypto.begin(random);
    }

    /// Holds back writes of the message secrets until [`flush`](Self::flush).
    pub fn hold(&self) {
        self.0.capture.hold_secrets();
    }

    /// Ends the holding and writes the message secrets once, if they changed.
    ///
    /// # Errors
    /// [`MlsError`]: the step has to be rolled back.
    pub fn flush(&self, group: &mut MlsGroup) -> Result<(), MlsError> {
        if !self.0.capture.release_secrets() {
            return Ok(());
        }
        let nothing = PastEpochDeletion::older_than_duration(Duration::MAX);
        group.delete_past_epoch_secrets(&self.0, nothing).map_err(MlsError::from)
    }

    /// Hands out the writes of this step and makes it the base of the next.
    #[must_use]
    pub fn take_writes(&self, scope: Scope) -> Vec<Write> {
        self.0.capture.take_writes(scope)
    }

    /// Forgets this step.
    pub fn rollback(&self) {
        self.0.capture.rollback();
    }

    /// Lets a join use a key package. It is never stored.
    ///
    /// # Errors
    /// [`MlsError`] if the library cannot hash or encode it.
    pub fn offer_key_package(&self, bundle: &KeyPackageBundle) -> Result<(), MlsError> {
        let reference = bundle.key_package().hash_ref(self.crypto()).map_err(MlsError::from)?;
        let bytes = cut::serialize(bundle).map_err(MlsError::from)?.bytes;
        self.0.capture.offer_package(&encode_bare(&reference), bytes);
        Ok(())
    }

    /// The configuration that [`MlsGroup::load`] gets: the capture stores none. Founding
    /// and joining need it first as well: the library then looks for an older group of that id.
    ///
    /// # Errors
    /// [`MlsError`] if it does not encode.
    pub fn set_config(&self, config: &MlsGroupJoinConfig) -> Result<(), MlsError> {
        self.0.capture.set_config(config).map_err(MlsError::from)
    }

    /// Accepts what the engine's rules refuse: PSKs, and proposals by reference. Both stay in
    /// memory, so after a load the PSKs and the pending proposals have to be given again.
    pub fn allow_unused(&self) {
        self.0.capture.allow_unused();
    }
}

impl OpenMlsProvider for OpenProvider {
    type CryptoProvider = Crypto;
    type RandProvider = Crypto;
    type StorageProvider = Capture;

    fn storage(&self) -> &Capture {
        self.0.storage()
    }

    fn crypto(&self) -> &Crypto {
        self.0.crypto()
    }

    fn rand(&self) -> &Crypto {
        self.0.rand()
    }
}

impl std::fmt::Debug for OpenProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenProvider(..)")
    }
}

/// Signs for the library with an installation's key.
pub struct OpenSigner(super::MlsSigner);

impl OpenSigner {
    /// A signer for an installation.
    #[must_use]
    pub const fn new(installation: std::sync::Arc<crate::installation::Installation>) -> Self {
        Self(super::MlsSigner(installation))
    }
}

impl std::fmt::Debug for OpenSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenSigner(..)")
    }
}

impl openmls_traits::signatures::Signer for OpenSigner {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, openmls_traits::signatures::SignerError> {
        self.0.sign(payload)
    }

    fn signature_scheme(&self) -> openmls_traits::types::SignatureScheme {
        self.0.signature_scheme()
    }
}

/// The configuration that groups of the engine are used with.
#[must_use]
pub fn join_config() -> openmls::prelude::MlsGroupJoinConfig {
    super::leaf::join_config()
}

/// The extensions of a group context of the rules, for a context extension of one's own.
///
/// # Errors
/// [`super::MlsError`] if the library does not take them.
pub fn context_extensions(
    context: &conclave_proto::group::ContextExtension,
) -> Result<openmls::prelude::Extensions<openmls::prelude::GroupContext>, super::MlsError> {
    super::leaf::context_extensions(context)
}

/// The capabilities that the rules prescribe.
#[must_use]
pub fn capabilities() -> openmls::prelude::Capabilities {
    super::leaf::capabilities()
}
