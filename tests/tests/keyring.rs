//! The key ring and Welcomes (S7, S8, S9; scenario 75).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use conclave_core::{
    config::Limits,
    entropy::Entropy,
    event::{Event, WelcomeRejection},
    group::{Candidate, ChangeError, Group, GroupConfig, GroupRecords},
    keyring::{PackageError, VerifiedPackage},
    mls::internals::{OpenProvider, OpenSigner, capabilities},
    step::Committer,
    store::{Claim, Store, StoreLimits, Table},
};
use conclave_proto::{
    Envelope, EnvelopeKind, InstallationId, Timestamp, Topic, Wire,
    group::{LeafCredential, PACKAGE_EXTENSION},
    package::{PackageExtension, PackageUpload, kem},
    welcome::SealedWelcome,
};
use conclave_store_chunked::ChunkedStore;
use conclave_store_memory::MemoryStore;
use conclave_testkit::{
    entropy::SimEntropy,
    rogue::stolen_credential,
    world::{World, is_member},
};

/// Packages with private keys in a device's store.
fn packages(world: &World, device: usize) -> usize {
    let stored = world.devices[device].store.inner().digest_input();
    stored.iter().filter(|(table, key, _)| *table == Table::KeyRing && key[16] == 1).count()
}

/// S9: a Welcome that used the published package makes it rotate in the write set of the join;
/// several at once give one rotation, and never more than two packages exist.
#[test]
fn welcomes_turn_the_ring_once_and_it_never_holds_more_than_two() {
    let mut world = World::with_people(1, 2);
    let before = world.relay.package(&world.devices[1].installation.id()).unwrap();
    let groups: Vec<_> = (0..3).map(|_| world.create_group(0)).collect();
    for group in &groups {
        assert!(world.add(0, *group, &[1]));
    }
    world.settle();
    let after = world.relay.package(&world.devices[1].installation.id()).unwrap();
    assert_ne!(before, after, "the published package changed");
    assert_eq!(packages(&world, 1), 2);
    assert!(groups.iter().all(|group| is_member(&world.devices[1], *group)));
    for _ in 0..4 {
        world.pass(Limits::default().rotation_ms);
        let group = world.create_group(0);
        assert!(world.add(0, group, &[1]));
        world.settle();
        assert!(is_member(&world.devices[1], group));
        assert!(packages(&world, 1) <= 2 && world.devices[1].ring().len() <= 2);
    }
    world.check();
}

/// S9: the trigger is in the write set of the join, so a crash in between loses neither.
#[test]
fn a_crash_between_join_and_rotation_still_rotates() {
    let mut world = World::with_people(2, 2);
    let first = world.create_group(0);
    assert!(world.add(0, first, &[1]));
    world.settle();
    let rotated = world.relay.package(&world.devices[1].installation.id()).unwrap();
    // Too soon for the next rotation: the trigger waits, across a crash.
    let second = world.create_group(0);
    assert!(world.add(0, second, &[1]));
    world.run();
    assert!(world.devices[1].ring().is_rotation_due());
    world.devices[1].crash();
    assert!(world.devices[1].ring().is_rotation_due());
    world.pass(Limits::default().rotation_ms);
    world.settle();
    assert_ne!(world.relay.package(&world.devices[1].installation.id()).unwrap(), rotated);
    assert!(!world.devices[1].ring().is_rotation_due());
}

/// S9: a Welcome to the package before the published one still opens; one to an erased package
/// does not, and says so.
#[test]
fn a_welcome_to_the_previous_package_opens_and_to_an_erased_one_does_not() {
    let mut world = World::with_people(3, 2);
    let stale: Candidate = world.candidate(1);
    let add = |world: &mut World, candidate: Candidate| {
        let group = world.create_group(0);
        let now = world.now;
        let device = &mut world.devices[0];
        let step = device.group_mut(group).add(now, vec![candidate]).unwrap();
        device.drive(step).unwrap();
        world.settle();
        group
    };
    let first = add(&mut world, stale.clone());
    let second = add(&mut world, stale.clone());
    assert!(is_member(&world.devices[1], first) && is_member(&world.devices[1], second));
    for _ in 0..2 {
        world.pass(Limits::default().rotation_ms);
        let fresh = world.candidate(1);
        add(&mut world, fresh);
    }
    let late = add(&mut world, stale);
    assert!(world.devices[1].find_group(late).is_none());
    let unknown = |event: &Event| {
        matches!(event, Event::WelcomeRejected { reason: WelcomeRejection::UnknownPackage, .. })
    };
    assert_eq!(world.events(1, unknown), 1);
}

/// S7, scenario 43: the algorithm, the recipient and the ciphertext of a Welcome are bound
/// together.
#[test]
fn a_welcome_that_was_tampered_with_does_not_open() {
    let mut world = World::with_people(4, 2);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1]));
    world.publish(0);
    world.fetch(0);
    world.publish(0);
    let topic: Topic = world.devices[1].ring().topic();
    let record = world.relay.cut(&topic, 0, 0).remove(0);
    let envelope = Envelope::decode(&record.payload).unwrap();
    let EnvelopeKind::Welcome(bytes) = envelope.kind.clone() else { panic!("a Welcome") };
    let good = SealedWelcome::decode(&bytes).unwrap();
    let mut flipped = good.clone();
    flipped.ciphertext[9] ^= 1;
    let mut low_order = good.clone();
    low_order.encapsulated[1_088..].fill(0);
    let tampered = [
        (SealedWelcome { algorithm: kem::X25519, ..good.clone() }, WelcomeRejection::Downgraded),
        (SealedWelcome { recipient: [7; 32], ..good.clone() }, WelcomeRejection::UnknownPackage),
        (flipped, WelcomeRejection::Unsealable),
        (low_order, WelcomeRejection::Unsealable),
    ];
    for (welcome, expected) in tampered {
        let kind = EnvelopeKind::Welcome(welcome.encode());
        world.relay.inject(&topic, Envelope { kind, ..envelope.clone() }.encode());
        world.fetch(1);
        let last = world.devices[1].events().pop();
        let matches =
            matches!(last, Some(Event::WelcomeRejected { reason, .. }) if reason == expected);
        assert!(matches, "{last:?} instead of {expected:?}");
    }
    world.relay.inject(&topic, record.payload);
    world.settle();
    assert!(is_member(&world.devices[1], group), "the honest one still opens");
}

/// A key package of a device with any extension, uploaded under its own name.
fn package_with(world: &World, device: usize, extension: &PackageExtension) -> Vec<u8> {
    use openmls::prelude::{
        Extension, Extensions, KeyPackage, Lifetime, UnknownExtension, tls_codec::Serialize as _,
    };
    let installation = Arc::clone(&world.devices[device].installation);
    let (inbox, id): (_, InstallationId) = (installation.inbox(), installation.id());
    let mut entropy = Entropy::new(Box::new(SimEntropy::new(1, 2, 3)));
    let provider = OpenProvider::new(entropy.step().unwrap());
    let credential = LeafCredential { inbox, installation: id }.encode();
    let extension = Extension::Unknown(PACKAGE_EXTENSION, UnknownExtension(extension.encode()));
    let bundle = KeyPackage::builder()
        .key_package_lifetime(Lifetime::init(0, u64::MAX))
        .leaf_node_capabilities(capabilities())
        .key_package_extensions(Extensions::single(extension).unwrap())
        .mark_as_last_resort()
        .build(
            openmls::prelude::Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
            &provider,
            &OpenSigner::new(Arc::clone(&installation)),
            stolen_credential(credential, id.0.to_vec()),
        )
        .unwrap();
    let package = bundle.key_package().tls_serialize_detached().unwrap();
    let signed = PackageUpload::signed_bytes(&inbox, &id, 1, &package);
    let signature = installation.sign(&signed).to_vec();
    PackageUpload { inbox, installation: id, counter: 1, package, signature }.encode()
}

/// S8: an installation without an X-Wing key is refused by a group that requires one, with an
/// error that names it; it is never welcomed classically.
#[test]
fn an_installation_without_a_post_quantum_key_is_refused() {
    let mut world = World::with_people(5, 2);
    let group = world.create_group(0);
    let expires = Timestamp(u64::MAX);
    let classical = PackageExtension { algorithm: kem::X25519, key: vec![9; 32], expires };
    let upload = package_with(&world, 1, &classical);
    let installation = Arc::clone(&world.devices[1].installation);
    let (inbox, id) = (installation.inbox(), installation.id());
    let package = VerifiedPackage::check(world.now, inbox, id, &upload).unwrap();
    assert!(!package.is_post_quantum());
    let candidate = Candidate { packages: vec![package], ..world.candidate(1) };
    let now = world.now;
    let value = world.devices[0].group_mut(group);
    let refused = value.add(now, vec![candidate]);
    assert_eq!(refused.map(|_| ()).unwrap_err(), ChangeError::NotPostQuantum(id));
}

/// Scenarios 11, 13, 42, 43: packages that are not of the rules, or of somebody else.
#[test]
fn packages_that_are_not_of_the_rules_are_refused() {
    let world = World::with_people(6, 2);
    let (one, other) = (&world.devices[0].installation, &world.devices[1].installation);
    let check = |inbox, id, bytes: &[u8]| {
        VerifiedPackage::check(world.now, inbox, id, bytes).map(|_| ()).unwrap_err()
    };
    let good = world.relay.package(&one.id()).unwrap();
    assert_eq!(check(other.inbox(), other.id(), &good), PackageError::OtherOwner);
    assert_eq!(check(one.inbox(), one.id(), b"junk"), PackageError::Malformed);
    let mut renamed = PackageUpload::decode(&good).unwrap();
    renamed.counter += 1;
    assert_eq!(check(one.inbox(), one.id(), &renamed.encode()), PackageError::BadSignature);
    let expires = Timestamp(u64::MAX);
    let short_key = PackageExtension { algorithm: kem::X_WING, key: vec![1; 1_215], expires };
    let unknown = PackageExtension { algorithm: 0x4242, key: vec![1; 32], expires };
    for extension in [short_key, unknown] {
        let bytes = package_with(&world, 0, &extension);
        assert_eq!(check(one.inbox(), one.id(), &bytes), PackageError::NotOfRules);
    }
}

/// E5: the engine works over a backend with small transactions and small values.
#[test]
fn a_group_lives_in_a_store_with_small_limits() {
    let world = World::with_people(7, 1);
    let limits = StoreLimits {
        key_bytes: 128,
        value_bytes: 4_096,
        batch_writes: 16,
        batch_bytes: 16 * 1_024,
    };
    let lower = MemoryStore::with_limits(limits);
    let store = ChunkedStore::new(lower.clone());
    store.claim(Claim([1; 16])).unwrap();
    let mut committer = Committer::new(Claim([1; 16]));
    let installation = Arc::clone(&world.devices[0].installation);
    let entropy = || Entropy::new(Box::new(SimEntropy::new(7, 8, 9)));
    let step = Group::create(
        world.now,
        GroupConfig::default(),
        world.identity(0),
        Arc::clone(&installation),
        Limits::default(),
        entropy(),
    )
    .unwrap();
    let mut group = committer.drive(&store, step).unwrap().reply;
    let step = group.send(world.now, [1; 16], vec![7; 100_000]).unwrap();
    committer.drive(&store, step).unwrap();
    let id = group.id();
    let reopened = ChunkedStore::new(lower);
    reopened.claim(Claim([2; 16])).unwrap();
    let records = GroupRecords::read(&reopened, id).unwrap().unwrap();
    let loaded = Group::load(&records, id, installation, Limits::default(), entropy(), 1).unwrap();
    assert_eq!(loaded.epoch_authenticator(), group.epoch_authenticator());
    assert_eq!(loaded.unsettled_messages(), 1);
}

/// Bytes as hex, as text, and as the list that a derived `Debug` prints.
fn ways_to_print(bytes: &[u8]) -> [String; 3] {
    let list = format!("{bytes:?}");
    let list = list.trim_matches(['[', ']']).to_owned();
    [conclave_proto::identity::hex(bytes), String::from_utf8_lossy(bytes).into_owned(), list]
}

/// S18: nothing that a person may print shows a key.
#[test]
fn nothing_printable_shows_a_secret() {
    let mut world = World::with_people(8, 2);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1]));
    world.settle();
    world.send(0, group, b"a very private text").unwrap();
    let device = &world.devices[0];
    let secret = device.installation.signing_key().to_bytes();
    let printed = format!(
        "{:?} {:?} {:?} {:?}",
        device.installation,
        device.ring(),
        device.groups().collect::<Vec<_>>(),
        device.events()
    );
    for shown in ways_to_print(&secret[..8]).into_iter().chain(ways_to_print(b"very private")) {
        assert!(!printed.contains(&shown), "{shown}");
    }
    // This would be seen.
    let leak = format!("{:?}", Some(secret));
    assert!(ways_to_print(&secret[..8]).iter().any(|shown| leak.contains(shown)));
    let id = conclave_proto::identity::hex(&device.installation.id().0);
    assert!(!printed.contains(&id), "ids are shortened");
}
