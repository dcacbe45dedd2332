//! The directory of key packages: one per installation, the highest counter wins.

use conclave_proto::{
    InstallationId, Seq, Topic,
    codec::Wire,
    limits::KEY_PACKAGE_BYTES,
    package::PackageUpload,
    relay::{PublishOutcome, Uploaded},
};
use ed25519_dalek::{Signature, VerifyingKey};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::append::too_large;
use crate::format::{self, HEADS, PACKAGES};
use crate::staging::Refused;
use conclave_redb_file::Failure;

/// An upload whose signature holds. Checking needs no log and is done before the writer's turn.
#[derive(Clone, Debug)]
pub struct CheckedUpload {
    installation: InstallationId,
    counter: u64,
    bytes: Vec<u8>,
}

impl CheckedUpload {
    /// Checks an encoded [`PackageUpload`]: its size, its one encoding, and the signature by the
    /// installation it names. The key package itself is for the engines to judge.
    ///
    /// # Errors
    /// [`PublishOutcome::TooLarge`] and [`PublishOutcome::Invalid`].
    pub fn check(bytes: Vec<u8>) -> Result<Self, PublishOutcome> {
        if bytes.len() > KEY_PACKAGE_BYTES {
            return Err(too_large(KEY_PACKAGE_BYTES));
        }
        let upload =
            PackageUpload::decode_canonical(&bytes).map_err(|_| PublishOutcome::Invalid)?;
        if !is_signed(&upload) {
            return Err(PublishOutcome::Invalid);
        }
        let PackageUpload { installation, counter, .. } = upload;
        Ok(Self { installation, counter, bytes })
    }

    /// Bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Ed25519 with the strict checks: no small-order keys, no second form of a signature.
fn is_signed(upload: &PackageUpload) -> bool {
    let PackageUpload { inbox, installation, counter, package, signature } = upload;
    let Ok(signature) = Signature::from_slice(signature) else {
        return false;
    };
    let bytes = PackageUpload::signed_bytes(inbox, installation, *counter, package);
    VerifyingKey::from_bytes(&installation.0)
        .is_ok_and(|key| key.verify_strict(&bytes, &signature).is_ok())
}

/// Puts an upload in the place of the one before. Also says whether anything was written: the
/// same bytes again are accepted again, and mean what they meant the first time.
pub(crate) fn store(
    transaction: &WriteTransaction,
    upload: &CheckedUpload,
) -> Result<(Uploaded, bool), Refused> {
    let CheckedUpload { installation, counter, bytes } = upload;
    let mut packages = transaction.open_table(PACKAGES)?;
    if let Some(stored) = packages.get(installation.0.as_slice())? {
        let (latest, rest) = format::number(stored.value())?;
        let (welcome_head, latest_bytes) = format::number(rest)?;
        if latest == *counter && latest_bytes == bytes {
            return Ok((uploaded(latest, Seq(welcome_head)), false));
        }
        if latest >= *counter {
            return Err(Refused::Item(PublishOutcome::Invalid));
        }
    }
    let heads = transaction.open_table(HEADS)?;
    let welcome_head = format::head(&heads, &Topic::Welcome(*installation))?.cursor.seq;
    let value = [&counter.to_be_bytes()[..], &welcome_head.0.to_be_bytes(), bytes].concat();
    packages.insert(installation.0.as_slice(), value.as_slice())?;
    Ok((uploaded(*counter, welcome_head), true))
}

/// An accepted upload; its position in the directory is its counter.
const fn uploaded(counter: u64, welcome_head: Seq) -> Uploaded {
    let prev = Seq(counter.saturating_sub(1));
    Uploaded { outcome: PublishOutcome::Accepted { seq: Seq(counter), prev }, welcome_head }
}

/// The latest upload of each installation.
pub(crate) fn packages(
    snapshot: &ReadTransaction,
    of: &[InstallationId],
) -> Result<Vec<Option<Vec<u8>>>, Failure> {
    let packages = snapshot.open_table(PACKAGES)?;
    let latest = |installation: &InstallationId| {
        let Some(stored) = packages.get(installation.0.as_slice())? else {
            return Ok(None);
        };
        let (_, rest) = format::number(stored.value())?;
        let (_, bytes) = format::number(rest)?;
        Ok(Some(bytes.to_vec()))
    };
    of.iter().map(latest).collect()
}
