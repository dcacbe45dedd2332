//! The key packages in the suite of delivery services are those that a key ring makes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, path::Path, sync::Arc};

use conclave_core::{
    config::Limits,
    entropy::Entropy,
    identity::Draft,
    installation::Installation,
    keyring::{KeyRing, VerifiedPackage},
    step::Committer,
    store::{Claim, Store},
};
use conclave_proto::{Timestamp, codec::Wire, identity::Account, package::PackageUpload};
use conclave_store_memory::MemoryStore;
use conclave_testkit::entropy::SimEntropy;
use ed25519_dalek::SigningKey;

/// `CONCLAVE_BLESS=1` writes them.
#[test]
fn the_packages_of_the_suite_are_those_of_a_key_ring() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/src/delivery/packages");
    let bless = std::env::var("CONCLAVE_BLESS").is_ok_and(|value| value == "1");
    for number in [1, 2] {
        let path = folder.join(format!("{number}.bin"));
        let made = package(number);
        if bless {
            fs::write(&path, &made).unwrap();
        }
        assert!(fs::read(&path).unwrap() == made, "{} is not as made here", path.display());
    }
}

/// The package of a person of the suite.
fn package(number: u8) -> Vec<u8> {
    let account = SigningKey::from_bytes(&[number; 32]);
    let by = Account::ed25519(account.verifying_key().to_bytes());
    let inbox = Draft::create(by, 0, Timestamp(1)).inbox();
    let installation = Arc::new(Installation::new(inbox, [number + 100; 32], [number + 101; 32]));
    let entropy = Entropy::new(Box::new(SimEntropy::new(u64::from(number), 0, 0)));
    let (now, limits) = (Timestamp(1), Limits::default());
    let step = KeyRing::create(now, Arc::clone(&installation), limits, entropy, 0).unwrap();
    let store = MemoryStore::new();
    store.claim(Claim([1; 16])).unwrap();
    let ring = Committer::new(Claim([1; 16])).drive(&store, step).unwrap().reply;
    let upload = ring.upload().bytes;
    VerifiedPackage::check(now, inbox, installation.id(), &upload).unwrap();
    PackageUpload::decode(&upload).unwrap().package
}
