//! What a malicious member does (scenarios 25–27, 31, 86, 89, 90, 101), and what everybody judges
//! the same (87).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use conclave_core::{
    event::{CommitFault, Event, Rejection},
    mls::internals::{capabilities, context_extensions},
};
use conclave_proto::{
    Envelope, EnvelopeKind, GroupId, Mark,
    codec::Wire,
    group::{DELTA_PROPOSAL, InboxChange, LeafCredential, SettingChange, StateDelta},
};
use conclave_testkit::{
    rogue::{Evil, Rogue, stolen_credential},
    world::{World, is_member},
};
use openmls::prelude::{Capabilities, ExtensionType, LeafNodeIndex, LeafNodeParameters};

fn trio(seed: u64) -> (World, GroupId) {
    let mut world = World::with_people(seed, 3);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1, 2]));
    world.settle();
    for device in 0..3 {
        world.send(device, group, b"here").unwrap();
        world.settle();
    }
    (world, group)
}

/// Everybody rejects the last record for this reason, nothing has changed, and honest traffic
/// goes on.
fn all_reject(world: &mut World, group: GroupId, fault: CommitFault) {
    let expected = Rejection::InvalidCommit(fault);
    let epoch = world.devices[0].group(group).epoch();
    let state = world.devices[0].group(group).state().root();
    for device in 0..2 {
        world.fetch(device);
        let last = world.devices[device].events().pop();
        assert!(
            matches!(last, Some(Event::Rejected { reason, .. }) if reason == expected),
            "device {device}: {last:?} instead of {fault:?}"
        );
        assert_eq!(world.devices[device].group(group).epoch(), epoch);
        assert_eq!(world.devices[device].group(group).state().root(), state);
    }
    world.send(0, group, b"after it").unwrap();
    world.update_keys(1, group);
    world.settle();
    world.check();
}

fn credential(world: &World, device: usize) -> LeafCredential {
    let installation = &world.devices[device].installation;
    LeafCredential { inbox: installation.inbox(), installation: installation.id() }
}

fn leaf_index(rogue: &Rogue, credential: LeafCredential) -> LeafNodeIndex {
    let bytes = credential.encode();
    let is_it = |member: &openmls::prelude::Member| member.credential.serialized_content() == bytes;
    rogue.group.members().find(is_it).unwrap().index
}

fn custom(delta: &StateDelta) -> Vec<(u16, Vec<u8>)> {
    vec![(DELTA_PROPOSAL, delta.encode())]
}

/// A delta with the context that it leads to, if it applies; with the present one if it does not.
fn delta_and_context(world: &World, group: GroupId, by: usize, change: &StateDelta) -> Evil {
    let value = &world.devices[0].group(group);
    let inbox = world.devices[by].installation.inbox();
    let next = value.state().apply(change, &inbox, value.epoch().next());
    let context = next.map_or_else(|_| value.state().context(), |next| next.context());
    let context = Some(context_extensions(&context).unwrap());
    Evil { custom: custom(change), context, ..Evil::default() }
}

fn one(inbox: conclave_proto::InboxId, change: InboxChange) -> StateDelta {
    StateDelta { inboxes: BTreeMap::from([(inbox, change)]), ..StateDelta::default() }
}

/// S6, S10, scenario 27: another credential, inbox or signature key in the leaf of a commit's update path.
#[test]
fn a_path_leaf_with_another_credential_is_invalid_for_all() {
    let (mut world, group) = trio(1);
    let own = credential(&world, 2);
    let victim = credential(&world, 0);
    let impostor = LeafCredential { inbox: victim.inbox, installation: own.installation };
    let key = own.installation.0.to_vec();
    let leaf = LeafNodeParameters::builder()
        .with_credential_with_key(stolen_credential(impostor.encode(), key))
        .build();
    let mut rogue = Rogue::of(&world, 2, group);
    let commit = rogue.commit(Evil { leaf, ..Evil::default() });
    world.inject(group, commit);
    all_reject(&mut world, group, CommitFault::Credential);
}

/// Scenario 101: a capability dropped, or one added, in a path leaf would block or admit a
/// proposal type for all.
#[test]
fn a_path_leaf_with_other_capabilities_is_invalid_for_all() {
    let more = |capabilities: &Capabilities| {
        let mut extensions = capabilities.extensions().to_vec();
        extensions.push(ExtensionType::ApplicationId);
        Capabilities::builder()
            .versions(capabilities.versions().to_vec())
            .ciphersuites(vec![
                openmls::prelude::Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
            ])
            .extensions(extensions)
            .proposals(capabilities.proposals().to_vec())
            .credentials(capabilities.credentials().to_vec())
            .build()
    };
    let fewer = |capabilities: &Capabilities| {
        let extensions = capabilities.extensions();
        Capabilities::builder()
            .versions(capabilities.versions().to_vec())
            .ciphersuites(vec![
                openmls::prelude::Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519,
            ])
            .extensions(extensions[..extensions.len() - 1].to_vec())
            .proposals(capabilities.proposals().to_vec())
            .credentials(capabilities.credentials().to_vec())
            .build()
    };
    for (seed, changed) in [(2, more(&capabilities())), (3, fewer(&capabilities()))] {
        let (mut world, group) = trio(seed);
        let leaf = LeafNodeParameters::builder().with_capabilities(changed).build();
        let commit = Rogue::of(&world, 2, group).commit(Evil { leaf, ..Evil::default() });
        world.inject(group, commit);
        all_reject(&mut world, group, CommitFault::Leaf);
    }
}

/// Scenario 31: proposals that the rules do not allow.
#[test]
fn a_forbidden_proposal_is_invalid_for_all() {
    let (mut world, group) = trio(4);
    let mut rogue = Rogue::of(&world, 2, group);
    let twice = vec![(DELTA_PROPOSAL, vec![]), (DELTA_PROPOSAL, vec![])];
    let commit = rogue.commit(Evil { custom: twice, ..Evil::default() });
    world.inject(group, commit);
    all_reject(&mut world, group, CommitFault::Context);
}

/// Scenario 86: a commit that cites identity entries that do not exist, or wrong ones.
#[test]
fn a_commit_with_wrong_identity_entries_is_invalid_for_all() {
    let (mut world, group) = trio(5);
    let newcomer = world.add_person();
    world.run_uploads();
    let mut entry = world.people[newcomer].log[0].clone();
    *entry.last_mut().unwrap() ^= 1;
    let inbox = world.people[newcomer].inbox;
    for (round, entries) in [vec![], vec![entry]].into_iter().enumerate() {
        let change = one(inbox, InboxChange::Join { entries, absent: BTreeSet::new() });
        let proposals = delta_and_context(&world, group, 2, &change);
        let commit = Rogue::of(&world, 2, group).commit(proposals);
        world.inject(group, commit);
        all_reject(&mut world, group, CommitFault::Identity);
        assert!(round < 2);
    }
}

/// I7, scenario 86: junk in front of somebody's next entry would push the count of its log ahead;
/// a commit carries accepted entries only.
#[test]
fn a_commit_with_an_entry_that_does_not_count_is_invalid_for_all() {
    let (mut world, group) = trio(12);
    let inbox = world.people[1].inbox;
    let junk = InboxChange::Follow { entries: vec![b"junk".to_vec()], absent: BTreeSet::new() };
    let proposals = delta_and_context(&world, group, 2, &one(inbox, junk));
    let commit = Rogue::of(&world, 2, group).commit(proposals);
    world.inject(group, commit);
    all_reject(&mut world, group, CommitFault::Identity);
    // A log with junk in it still gives its new devices to the group.
    world.people[1].log.push(b"junk that the relay let pass".to_vec());
    let second = world.add_device(1);
    world.run_uploads();
    assert!(world.add(0, group, &[1]));
    world.settle();
    assert!(is_member(&world.devices[second], group));
    world.check();
}

/// G1: leaves that the roster does not give, in both directions.
#[test]
fn a_commit_whose_leaves_are_not_those_of_the_roster_is_invalid_for_all() {
    let (mut world, group) = trio(6);
    // A removal without a word about it in the delta.
    let mut rogue = Rogue::of(&world, 2, group);
    let victim = leaf_index(&rogue, credential(&world, 1));
    let commit = rogue.commit(Evil { removes: vec![victim], ..Evil::default() });
    world.inject(group, commit);
    world.fetch(0);
    let last = world.devices[0].events().pop();
    let expected = Rejection::InvalidCommit(CommitFault::Leaves);
    assert!(matches!(last, Some(Event::Rejected { reason, .. }) if reason == expected), "{last:?}");
    // The victim judges it the same way, though it removes the victim.
    world.fetch(1);
    let last = world.devices[1].events().pop();
    assert!(matches!(last, Some(Event::Rejected { reason, .. }) if reason == expected), "{last:?}");
    // Another epoch: the rogue's copy would use the keys of its first commit again.
    world.update_keys(0, group);
    world.settle();

    // A delta that removes an inbox, and leaves its leaf in the tree.
    let change = one(world.people[1].inbox, InboxChange::Leave);
    let proposals = delta_and_context(&world, group, 2, &change);
    let commit = Rogue::of(&world, 2, group).commit(proposals);
    world.inject(group, commit);
    all_reject(&mut world, group, CommitFault::Leaves);
}

/// G3: a member changes what it has no right to change, or gives a root of its own.
#[test]
fn a_commit_without_the_right_or_with_another_root_is_invalid_for_all() {
    let (mut world, group) = trio(7);
    let own = world.people[2].inbox;
    let seize = StateDelta {
        settings: vec![SettingChange::SuperAdmin(own, true)],
        ..StateDelta::default()
    };
    let proposals = delta_and_context(&world, group, 2, &seize);
    let commit = Rogue::of(&world, 2, group).commit(proposals);
    world.inject(group, commit);
    all_reject(&mut world, group, CommitFault::Right);

    let name = SettingChange::Field(1, Some(b"a name".to_vec()));
    let rename = StateDelta { settings: vec![name], ..StateDelta::default() };
    let mut context = world.devices[0].group(group).state().context();
    context.root = [9; 32];
    let context = Some(context_extensions(&context).unwrap());
    let proposals = Evil { custom: custom(&rename), context, ..Evil::default() };
    let commit = Rogue::of(&world, 2, group).commit(proposals);
    world.inject(group, commit);
    all_reject(&mut world, group, CommitFault::Root);
}

/// Scenario 30: a group context that drops Conclave's extension, changes its flags, or comes
/// without a delta.
#[test]
fn a_context_of_ones_own_is_invalid_for_all() {
    let (mut world, group) = trio(8);
    let mut context = world.devices[0].group(group).state().context();
    context.flags = conclave_proto::group::Flags(0);
    let extensions = Some(context_extensions(&context).unwrap());
    let alone = Evil { context: extensions, ..Evil::default() };
    let commit = Rogue::of(&world, 2, group).commit(alone);
    world.inject(group, commit);
    all_reject(&mut world, group, CommitFault::Context);

    let name = SettingChange::Field(1, Some(b"a name".to_vec()));
    let rename = StateDelta { settings: vec![name], ..StateDelta::default() };
    let context = Some(context_extensions(&context).unwrap());
    let proposals = Evil { custom: custom(&rename), context, ..Evil::default() };
    let commit = Rogue::of(&world, 2, group).commit(proposals);
    world.inject(group, commit);
    all_reject(&mut world, group, CommitFault::Context);
}

/// Scenario 89, S1: an external commit or external proposal is a `PublicMessage`, and is refused
/// when its envelope is decoded, before the MLS library sees it.
#[test]
fn public_messages_are_refused_before_the_library_sees_them() {
    let (mut world, group) = trio(9);
    // version 1.0, wire format PublicMessage, then the group's own id and epoch: a body that the
    // library would look at.
    let mut message = vec![0, 1, 0, 1, 16];
    message.extend(group.0);
    message.extend(world.devices[0].group(group).epoch().0.to_be_bytes());
    message.extend([3, 0, 3]);
    let kind = EnvelopeKind::Mls(message);
    world.inject(group, Envelope { mark: Mark([1; 16]), beacon: None, kind }.encode());
    world.fetch(0);
    let last = world.devices[0].events().pop();
    assert!(matches!(last, Some(Event::Rejected { reason: Rejection::Malformed, .. })));
    world.settle();
    world.check();
}

/// Scenario 26: remove and add of the same credential in one commit.
#[test]
fn removing_and_adding_one_installation_at_once_is_invalid_for_all() {
    let (mut world, group) = trio(10);
    let mut rogue = Rogue::of(&world, 2, group);
    let victim = leaf_index(&rogue, credential(&world, 1));
    let package = world.relay.package(&world.devices[1].installation.id()).unwrap();
    let package = conclave_proto::package::PackageUpload::decode(&package).unwrap().package;
    let package = {
        use openmls::prelude::{
            DeserializeBytes as _, KeyPackageIn, OpenMlsProvider as _, ProtocolVersion,
        };
        KeyPackageIn::tls_deserialize_exact_bytes(&package)
            .unwrap()
            .validate(rogue.provider.crypto(), ProtocolVersion::Mls10)
            .unwrap()
    };
    let second = world.add_device(1);
    let second = world.devices[second].installation.id();
    let change = one(
        world.people[1].inbox,
        InboxChange::Follow {
            entries: vec![world.people[1].log[1].clone()],
            absent: BTreeSet::from([second]),
        },
    );
    let mut proposals = delta_and_context(&world, group, 2, &change);
    proposals.removes.push(victim);
    let commit = rogue.commit(Evil { adds: vec![package], ..proposals });
    world.inject(group, commit);
    world.fetch(0);
    let last = world.devices[0].events().pop();
    let expected = Rejection::InvalidCommit(CommitFault::Leaves);
    assert!(matches!(last, Some(Event::Rejected { reason, .. }) if reason == expected), "{last:?}");
    world.settle();
    world.check();
}

/// Scenario 90 (as far as it goes without forged tags): a removal is not final without evidence.
/// A member that read it and still writes in the epoch before shows that it is void; one of
/// another history shows nothing.
#[test]
fn a_removal_that_a_reader_passes_over_is_passed_over() {
    for other_history in [false, true] {
        let (mut world, group) = trio(11);
        let topic = conclave_proto::Topic::Group(group);
        let mut rogue = Rogue::of(&world, 2, group);
        let change = one(world.people[1].inbox, InboxChange::Leave);
        let mut proposals = delta_and_context(&world, group, 2, &change);
        proposals.removes.push(leaf_index(&rogue, credential(&world, 1)));
        let commit = rogue.commit(proposals);
        let at = world.inject(group, commit);
        world.fetch(1);
        assert!(!is_member(&world.devices[1], group), "parked");
        assert!(!world.devices[1].group(group).standing().is_removed(), "not without evidence");

        let mut read = world.relay.head(1, &topic);
        assert_eq!(read.seq, at);
        if other_history {
            read.hash.0[0] ^= 1;
        }
        let payload = conclave_proto::message::Payload {
            counter: 2,
            previous: conclave_proto::MessageId([0; 32]),
            key: [1; 16],
            time: world.now,
            read,
            body: conclave_proto::message::Body::Content(b"I saw it and stay".to_vec()),
        };
        let message = rogue.message(&conclave_core::padding::pad(&payload.encode()));
        world.inject(group, message);
        world.fetch(1);
        let resumed = world.events(1, |event| matches!(event, Event::Resumed { .. }));
        assert_eq!(resumed, usize::from(!other_history));
        assert_eq!(is_member(&world.devices[1], group), !other_history);
    }
}

/// Scenarios 104 and 91: the envelope is not authenticated. A commit wrapped under another mark,
/// or under the mark of somebody's withheld envelope, is judged by everybody alike.
#[test]
fn a_commit_under_another_mark_is_the_same_commit() {
    let (mut world, group) = trio(13);
    let before = world.devices[0].group(group).epoch();
    world.update_keys(0, group);
    let commit = world.devices[0].take_released().remove(0);
    let mut envelope = Envelope::decode(&commit.payload).unwrap();
    envelope.mark = Mark([1; 16]);
    envelope.beacon = Some([2; 8]);
    world.inject(group, envelope.encode());
    world.run();
    world.check();
    assert_eq!(world.devices[0].group(group).epoch(), before.next(), "the committer follows it");

    world.send(0, group, b"withheld").unwrap();
    let withheld = world.devices[0].take_released().remove(0);
    let mark = Envelope::decode(&withheld.payload).unwrap().mark;
    world.update_keys(1, group);
    let commit = world.devices[1].take_released().remove(0);
    let mut envelope = Envelope::decode(&commit.payload).unwrap();
    envelope.mark = mark;
    world.inject(group, envelope.encode());
    world.settle();
    world.check();
    assert_eq!(world.devices[0].group(group).epoch(), before.next().next());
}

/// Scenario 6 and S3: a Welcome cannot name an inviter whose own log does not list the
/// installation that invites.
#[test]
fn a_welcome_in_somebody_elses_name_is_rejected() {
    let mut world = World::with_people(14, 2);
    let group = world.create_group(0);
    assert!(world.add(0, group, &[1]));
    // The log of the inviter, as everybody else sees it, does not hold the inviting installation.
    let inbox = world.people[0].inbox;
    let other = world.add_person();
    let stranger = world.people[other].log.clone();
    world.relay.identities.insert(inbox, stranger);
    world.settle();
    assert!(world.devices[1].groups().next().is_none());
    let rejected = |event: &Event| {
        use conclave_core::event::WelcomeRejection;
        matches!(event, Event::WelcomeRejected { reason: WelcomeRejection::BadInviter, .. })
    };
    assert_eq!(world.events(1, rejected), 1);
}

/// Scenarios 22 and 31: a standalone proposal is refused for itself and not stored; a commit that
/// refers to it is invalid for all, whichever of the two comes first.
#[test]
fn a_proposal_by_reference_never_counts() {
    let (mut world, group) = trio(15);
    let mut rogue = Rogue::of(&world, 2, group);
    rogue.provider.allow_unused();
    let victim = leaf_index(&rogue, credential(&world, 1));
    let (proposal, _) =
        rogue.group.propose_remove_member(&rogue.provider, &rogue.signer, victim).unwrap();
    let commit = rogue.commit(Evil::default());
    let proposal = conclave_testkit::rogue::envelope(&proposal);
    world.inject(group, commit);
    world.inject(group, proposal);
    for device in 0..2 {
        world.fetch(device);
        let rejected = |expected: Rejection| {
            world.events(
                device,
                |event| matches!(event, Event::Rejected { reason, .. } if *reason == expected),
            )
        };
        assert_eq!(rejected(Rejection::InvalidCommit(CommitFault::Mls)), 1);
        assert_eq!(rejected(Rejection::Proposal), 1);
    }
    assert_eq!(world.devices[0].group(group).members().count(), 3);
    world.send(0, group, b"after it").unwrap();
    world.settle();
    world.check();
}
