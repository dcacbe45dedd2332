//! Key packages: made for this installation, or checked for another.

use conclave_proto::{
    InboxId, InstallationId, Timestamp,
    codec::Wire,
    group::{LeafCredential, PACKAGE_EXTENSION},
    limits,
    package::{PackageExtension, PackageUpload, X_WING_KEY_BYTES, kem},
};
use openmls::prelude::{
    Extension, Extensions, KeyPackage, KeyPackageIn, OpenMlsProvider as _, ProtocolVersion,
    UnknownExtension,
};
use std::sync::Arc;
use tls_codec::{DeserializeBytes as _, Serialize as _};
use zeroize::Zeroizing;

use super::{MlsError, MlsSigner, Provider, crypto::SUITE, cut, leaf};
use crate::{
    entropy::StepRandom,
    installation::Installation,
    seal::{Kem, XWingSeed},
};

/// Why a key package cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// Not an upload, or not a key package inside.
    #[error("malformed key package")]
    Malformed,
    /// A signature of it is wrong.
    #[error("key package with a wrong signature")]
    BadSignature,
    /// Its leaf, lifetime or extensions are not those of the rules.
    #[error("key package that is not of the group rules")]
    NotOfRules,
    /// Of another installation or inbox than the upload or the question says.
    #[error("key package of another installation")]
    OtherOwner,
    /// Past its expiry: its owner has not been online for long, or the relay serves an old one.
    #[error("key package expired at {} ms", .since.0)]
    Expired {
        /// When it expired.
        since: Timestamp,
    },
}

/// A key package of another installation that has been checked: only these can be added.
#[derive(Clone, Debug)]
pub struct VerifiedPackage {
    package: KeyPackage,
    facts: PackageFacts,
}

/// What the rules want to know of a package.
#[derive(Clone, Debug)]
pub(super) struct PackageFacts {
    pub(super) credential: LeafCredential,
    pub(super) extension: PackageExtension,
}

impl VerifiedPackage {
    /// Checks an upload as the relay's directory served it: signatures, owner, rules, expiry.
    ///
    /// `now` is only compared with the package's own expiry; the MLS lifetime is unlimited by
    /// rule.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn check(
        now: Timestamp,
        inbox: InboxId,
        installation: InstallationId,
        upload: &[u8],
    ) -> Result<Self, PackageError> {
        let upload = PackageUpload::decode(upload).map_err(|_| PackageError::Malformed)?;
        if (upload.inbox, upload.installation) != (inbox, installation) {
            return Err(PackageError::OtherOwner);
        }
        let signed =
            PackageUpload::signed_bytes(&inbox, &installation, upload.counter, &upload.package);
        if !crate::identity::ed25519(&installation.0, &signed, &upload.signature) {
            return Err(PackageError::BadSignature);
        }
        let verified = Self::from_mls(&upload.package)?;
        let expected = LeafCredential { inbox, installation };
        if verified.facts.credential != expected {
            return Err(PackageError::OtherOwner);
        }
        let expires = verified.facts.extension.expires;
        if expires < now { Err(PackageError::Expired { since: expires }) } else { Ok(verified) }
    }

    /// Reads a package that has been checked before, from an intent.
    pub(crate) fn from_mls(bytes: &[u8]) -> Result<Self, PackageError> {
        if bytes.len() > limits::KEY_PACKAGE_BYTES {
            return Err(PackageError::Malformed);
        }
        let package = KeyPackageIn::tls_deserialize_exact_bytes(bytes)
            .map_err(|_| PackageError::Malformed)?
            .validate(Provider::default().crypto(), ProtocolVersion::Mls10)
            .map_err(|_| PackageError::BadSignature)?;
        let facts = facts_of_rules(&package).ok_or(PackageError::NotOfRules)?;
        Ok(Self { package, facts })
    }

    /// Whose it is.
    #[must_use]
    pub const fn installation(&self) -> InstallationId {
        self.facts.credential.installation
    }

    /// The inbox it belongs to.
    #[must_use]
    pub const fn inbox(&self) -> InboxId {
        self.facts.credential.inbox
    }

    /// Whether Welcomes to it are sealed post-quantum.
    #[must_use]
    pub const fn is_post_quantum(&self) -> bool {
        self.facts.extension.algorithm == kem::X_WING
    }

    /// How a Welcome to it is sealed: algorithm and public key.
    pub(crate) fn seal_key(&self) -> Option<(Kem, &[u8])> {
        Some((Kem::from_id(self.facts.extension.algorithm)?, &self.facts.extension.key))
    }

    /// Its reference (RFC 9420 §5.2).
    pub(crate) fn reference(&self) -> Result<[u8; 32], MlsError> {
        reference(&self.package)
    }

    /// The MLS encoding.
    pub(crate) fn to_mls(&self) -> Result<Vec<u8>, MlsError> {
        self.package.tls_serialize_detached().map_err(MlsError::from)
    }

    pub(super) fn key_package(&self) -> KeyPackage {
        self.package.clone()
    }
}

fn reference(package: &KeyPackage) -> Result<[u8; 32], MlsError> {
    let reference = package.hash_ref(Provider::default().crypto()).map_err(MlsError::from)?;
    reference.as_slice().try_into().map_err(MlsError::from)
}

/// The facts of a package of the rules: last resort, unlimited lifetime, one Conclave extension
/// with a key of the right length, a leaf of the rules.
pub(super) fn facts_of_rules(package: &KeyPackage) -> Option<PackageFacts> {
    let credential = leaf::credential_of_rules(package.leaf_node())?;
    let extension = package.extensions().unknown(PACKAGE_EXTENSION)?;
    let extension = PackageExtension::decode_canonical(&extension.0).ok()?;
    let key_fits = match Kem::from_id(extension.algorithm)? {
        Kem::XWing => extension.key.len() == X_WING_KEY_BYTES,
        Kem::X25519 => extension.key.len() == 32,
    };
    let of_rules = package.last_resort()
        && package.ciphersuite() == SUITE
        && package.extensions().iter().count() == 2
        && *package.life_time() == leaf::lifetime();
    (key_fits && of_rules).then_some(PackageFacts { credential, extension })
}

/// A key package of this installation with its private keys, as the key ring stores them.
pub(crate) struct PackageSecrets {
    pub(crate) reference: [u8; 32],
    /// The MLS encoding of the public part.
    pub(crate) public: Vec<u8>,
    /// The library's bundle of public and private keys.
    pub(crate) bundle: Zeroizing<Vec<u8>>,
    pub(crate) seed: XWingSeed,
}

/// Makes a last-resort key package with an X-Wing key.
pub(crate) fn new_package(
    installation: &Arc<Installation>,
    random: StepRandom,
    expires: Timestamp,
) -> Result<PackageSecrets, MlsError> {
    let provider = Provider::default();
    provider.crypto.begin(random);
    let seed = XWingSeed::new(provider.crypto.array().map_err(MlsError::from)?);
    let extension = PackageExtension { algorithm: kem::X_WING, key: seed.public_key(), expires };
    let extension = Extension::Unknown(PACKAGE_EXTENSION, UnknownExtension(extension.encode()));
    let bundle = KeyPackage::builder()
        .key_package_lifetime(leaf::lifetime())
        .leaf_node_capabilities(leaf::capabilities())
        .key_package_extensions(Extensions::single(extension).map_err(MlsError::from)?)
        .mark_as_last_resort()
        .build(
            SUITE,
            &provider,
            &MlsSigner(Arc::clone(installation)),
            leaf::credential_with_key(installation),
        )
        .map_err(MlsError::from)?;
    Ok(PackageSecrets {
        reference: reference(bundle.key_package())?,
        public: bundle.key_package().tls_serialize_detached().map_err(MlsError::from)?,
        bundle: cut::serialize(&bundle).map_err(MlsError::from)?.bytes,
        seed,
    })
}
