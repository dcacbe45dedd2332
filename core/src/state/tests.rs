use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use conclave_proto::{
    Epoch, InboxId, Timestamp,
    group::{Flags, InboxChange, Policy, Right, SettingChange, StateDelta},
    identity::{Action, IdentityState, Member},
};

use super::State;
use crate::{
    event::CommitFault,
    identity::{
        Draft,
        people::{installation, key, person},
    },
};

fn revocation(identity: &IdentityState, seed: u8) -> Vec<u8> {
    Draft::following(identity, Timestamp(9))
        .action(Action::Revoke { member: Member::Installation(installation(seed + 100)) })
        .sign_with_account(&key(seed))
        .encode()
}

fn group() -> State {
    State::found(person(1).1, installation(101), Policy::MODERATED, Flags::POST_QUANTUM)
}

fn one(inbox: InboxId, change: InboxChange) -> StateDelta {
    StateDelta { inboxes: BTreeMap::from([(inbox, change)]), ..StateDelta::default() }
}

fn join(seed: u8) -> (InboxId, StateDelta) {
    let (entry, identity) = person(seed);
    let change = InboxChange::Join { entries: vec![entry], absent: BTreeSet::new() };
    (identity.inbox, one(identity.inbox, change))
}

fn with_two() -> (State, InboxId, InboxId) {
    let founder = person(1).1.inbox;
    let (second, delta) = join(2);
    (group().apply(&delta, &founder, Epoch(1)).unwrap(), founder, second)
}

/// G1: the root commits to everything; the wire form gives the same root.
#[test]
fn the_root_changes_with_every_change_and_survives_the_wire() {
    let (two, ..) = with_two();
    assert_ne!(group().root(), two.root());
    assert_eq!(State::from_wire(two.to_wire()).root(), two.root());
    assert_eq!(two.expected_leaves().len(), 2);
}

/// Scenario 86: entries that do not verify give no inbox.
#[test]
fn a_join_with_a_wrong_identity_entry_is_invalid() {
    let founder = person(1).1.inbox;
    let (inbox, _) = join(2);
    let with_junk = vec![person(2).0, b"junk".to_vec()];
    for entries in [vec![], vec![b"junk".to_vec()], vec![person(3).0], with_junk] {
        let delta = one(inbox, InboxChange::Join { entries, absent: BTreeSet::new() });
        assert_eq!(group().apply(&delta, &founder, Epoch(1)), Err(CommitFault::Identity));
    }
}

/// G3: removing needs the right, and nobody removes a super-admin.
#[test]
fn removal_needs_the_right_and_spares_super_admins() {
    let (two, founder, second) = with_two();
    let leave = one(second, InboxChange::Leave);
    assert!(two.apply(&leave, &founder, Epoch(2)).is_ok());
    assert_eq!(two.apply(&leave, &second, Epoch(2)), Err(CommitFault::Right));
    let coup = one(founder, InboxChange::Leave);
    assert_eq!(two.apply(&coup, &founder, Epoch(2)), Err(CommitFault::Right));
}

/// PROTOCOL 2: anybody may carry out what an inbox's own log says, and nothing more.
#[test]
fn following_a_log_removes_revoked_installations_only() {
    let (two, _, second) = with_two();
    let identity = two.inbox(&second).unwrap().identity.clone();
    let entries = vec![revocation(&identity, 2)];
    let follow = one(second, InboxChange::Follow { entries, absent: BTreeSet::new() });
    let after = two.apply(&follow, &second, Epoch(2)).unwrap();
    assert_eq!(after.expected_leaves().len(), 1);

    let absent = BTreeSet::from([installation(102)]);
    let eviction = one(second, InboxChange::Follow { entries: vec![], absent });
    assert_eq!(two.apply(&eviction, &second, Epoch(2)), Err(CommitFault::Right));
    let nothing = InboxChange::Follow { entries: vec![], absent: BTreeSet::new() };
    assert_eq!(two.apply(&one(second, nothing), &second, Epoch(2)), Err(CommitFault::Delta));
}

/// Scenarios 28, 29: rights are those before the commit, and a super-admin always remains.
#[test]
fn settings_change_by_the_rights_held_before() {
    let (two, founder, second) = with_two();
    let settings = |settings| StateDelta { settings, ..StateDelta::default() };
    let seize = settings(vec![SettingChange::SuperAdmin(second, true)]);
    assert_eq!(two.apply(&seize, &second, Epoch(2)), Err(CommitFault::Right));
    assert!(two.apply(&seize, &founder, Epoch(2)).is_ok());
    let abdicate = settings(vec![SettingChange::SuperAdmin(founder, false)]);
    assert_eq!(two.apply(&abdicate, &founder, Epoch(2)), Err(CommitFault::Right));
    let field = settings(vec![SettingChange::Field(1, Some(b"name".to_vec()))]);
    let named = two.apply(&field, &second, Epoch(2)).unwrap();
    assert_eq!(named.settings().fields[&1], b"name");
    let rules = settings(vec![SettingChange::Rules(2)]);
    assert_eq!(two.apply(&rules, &founder, Epoch(2)), Err(CommitFault::Limit));
    assert!(!two.may(&second, Right::Admins) && two.may(&founder, Right::Admins));
}

/// PROTOCOL 3: an inbox that was added again is another incarnation.
#[test]
fn an_old_incarnation_is_no_member() {
    let (two, founder, second) = with_two();
    let gone = two.apply(&one(second, InboxChange::Leave), &founder, Epoch(2)).unwrap();
    let back = gone.apply(&join(2).1, &founder, Epoch(3)).unwrap();
    let leaf = back.expected_leaves().into_iter().find(|leaf| leaf.inbox == second).unwrap();
    assert!(back.is_member_since(&leaf, Epoch(3)));
    assert!(!back.is_member_since(&leaf, Epoch(2)));
    assert!(!gone.is_member_since(&leaf, Epoch(1)));
}
