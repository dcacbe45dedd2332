use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::{
    Epoch, InstallationId,
    codec::Wire,
    group::{Flags, InboxChange, LeafCredential, Policy, SettingChange, StateDelta},
    limits,
};

use super::Judge;
use crate::{
    event::CommitFault,
    group::fixture::{entry, inbox, installation, leaf, person, state},
    mls::{AddedLeaf, CommitFacts},
    state::{Entry, State},
};

/// People 1 (super-admin) and 2, whose leaves are 0 and 1.
struct Group {
    state: State,
    leaves: BTreeMap<LeafCredential, u32>,
}

impl Group {
    fn new() -> Self {
        Self::of(state(&[1, 2], Policy::MODERATED))
    }

    fn of(state: State) -> Self {
        let leaves = state.expected_leaves();
        let mut leaves: Vec<_> = leaves.into_iter().collect();
        let founder = leaf(1);
        leaves.sort_by_key(|credential| *credential != founder);
        Self { state, leaves: leaves.into_iter().zip(0..).collect() }
    }

    fn judge(&self, facts: &CommitFacts) -> Result<State, CommitFault> {
        Judge { state: &self.state, leaves: &self.leaves, epoch: Epoch(4) }.judge(facts)
    }
}

/// A path update of person 1.
fn update() -> CommitFacts {
    CommitFacts {
        leaf: 0,
        committer: Some(leaf(1)),
        proposals_allowed: true,
        adds: vec![],
        removes: vec![],
        deltas: vec![],
        contexts: vec![],
        path: Some(Some(leaf(1))),
        removes_own: false,
    }
}

fn added(seed: u8) -> AddedLeaf {
    AddedLeaf { credential: leaf(seed), post_quantum: true }
}

/// A commit of person 1 with a delta and the context that it leads to.
fn with_delta(group: &Group, delta: &StateDelta) -> CommitFacts {
    let next = group.state.apply(delta, &inbox(1), Epoch(5)).unwrap();
    CommitFacts { deltas: vec![delta.encode()], contexts: vec![Some(next.context())], ..update() }
}

fn join(seed: u8, absent: BTreeSet<InstallationId>) -> StateDelta {
    let change = InboxChange::Join { entries: vec![person(seed).0], absent };
    StateDelta { inboxes: [(inbox(seed), change)].into(), ..StateDelta::default() }
}

/// Person 1 adds person 3.
fn addition(group: &Group) -> CommitFacts {
    let facts = with_delta(group, &join(3, BTreeSet::new()));
    CommitFacts { adds: vec![Some(added(3))], ..facts }
}

/// Person 1 removes person 2.
fn removal(group: &Group) -> CommitFacts {
    let inboxes = [(inbox(2), InboxChange::Leave)].into();
    let facts = with_delta(group, &StateDelta { inboxes, ..StateDelta::default() });
    CommitFacts { removes: vec![(1, Some(leaf(2)))], ..facts }
}

#[test]
fn commits_that_conform_to_the_rules_are_valid() {
    let group = Group::new();
    assert!(group.judge(&update()).unwrap().is_same(&group.state));
    assert!(group.judge(&CommitFacts { path: None, ..addition(&group) }).is_ok());
    let three = group.judge(&addition(&group)).unwrap();
    assert_eq!(three.expected_leaves(), [1, 2, 3].map(leaf).into());
    assert_eq!(three.inbox(&inbox(3)).unwrap().incarnation, Epoch(5));
    assert_eq!(group.judge(&removal(&group)).unwrap().expected_leaves(), [leaf(1)].into());
}

/// Every check of the judge, by the one change that only it refuses (S10, G1, G3; scenarios 25, 26,
/// 27, 30).
#[test]
fn each_check_of_the_judge_refuses_what_only_it_refuses() {
    type Change = fn(&Group, &mut CommitFacts);
    let cases: [(&str, CommitFault, Change); 20] = [
        ("a committer without a credential", CommitFault::Credential, |_, f| f.committer = None),
        ("a committer from another leaf", CommitFault::Credential, |_, f| f.leaf = 1),
        ("a committer who is not in the tree", CommitFault::Credential, |_, f| {
            (f.committer, f.path) = (Some(leaf(9)), Some(Some(leaf(9))));
        }),
        ("a path leaf of another member", CommitFault::Credential, |_, f| {
            f.path = Some(Some(leaf(2)));
        }),
        ("a path leaf that is not of the rules", CommitFault::Leaf, |_, f| f.path = Some(None)),
        ("a forbidden proposal", CommitFault::Proposal, |_, f| f.proposals_allowed = false),
        ("two deltas", CommitFault::Context, |_, f| f.deltas.push(f.deltas[0].clone())),
        ("a delta without a context", CommitFault::Context, |_, f| f.contexts.clear()),
        ("a context without a delta", CommitFault::Context, |_, f| f.deltas.clear()),
        ("a context that is not of the rules", CommitFault::Context, |_, f| f.contexts[0] = None),
        ("other flags", CommitFault::Context, |_, f| {
            f.contexts[0].as_mut().unwrap().flags = Flags(0);
        }),
        ("another rules version", CommitFault::Context, |_, f| {
            f.contexts[0].as_mut().unwrap().rules = 2;
        }),
        ("another root", CommitFault::Root, |_, f| {
            f.contexts[0].as_mut().unwrap().root = [0; 32];
        }),
        ("a delta that does not decode", CommitFault::Delta, |_, f| f.deltas[0].push(0)),
        ("an added leaf that is not of the rules", CommitFault::Leaf, |_, f| f.adds[0] = None),
        ("an added leaf without a post-quantum key", CommitFault::Leaf, |_, f| {
            f.adds[0].as_mut().unwrap().post_quantum = false;
        }),
        ("an added leaf too many", CommitFault::Leaves, |_, f| f.adds.push(Some(added(4)))),
        ("an added leaf too few", CommitFault::Leaves, |_, f| f.adds.clear()),
        ("a leaf that is added twice", CommitFault::Leaves, |_, f| f.adds.push(Some(added(3)))),
        ("a removal beside it", CommitFault::Leaves, |_, f| f.removes.push((1, Some(leaf(2))))),
    ];
    let group = Group::new();
    for (what, fault, change) in cases {
        let mut facts = addition(&group);
        assert!(group.judge(&facts).is_ok());
        change(&group, &mut facts);
        assert_eq!(group.judge(&facts), Err(fault), "{what}");
    }
}

/// G1: leaves leave with their inbox, and only so.
#[test]
fn removed_leaves_are_those_of_the_roster() {
    let group = Group::new();
    let removes = |removes| CommitFacts { removes, ..removal(&group) };
    for (what, facts) in [
        ("none", removes(vec![])),
        ("one without a credential", removes(vec![(1, None)])),
        ("one that is not in the tree", removes(vec![(1, Some(leaf(9)))])),
        ("one twice", removes(vec![(1, Some(leaf(2))), (1, Some(leaf(2)))])),
        ("one without its inbox", CommitFacts { removes: vec![(1, Some(leaf(2)))], ..update() }),
    ] {
        assert_eq!(group.judge(&facts), Err(CommitFault::Leaves), "{what}");
    }
}

/// Scenario 26: removing and adding one installation at once would be an eviction and a return
/// with an old key package.
#[test]
fn a_leaf_is_not_removed_and_added_at_once() {
    let group = Group::new();
    let facts = CommitFacts {
        removes: vec![(1, Some(leaf(2)))],
        adds: vec![Some(added(2))],
        deltas: vec![],
        ..update()
    };
    assert_eq!(group.judge(&facts), Err(CommitFault::Leaves));
}

/// G3: rights are those from before the commit, and the committer's own.
#[test]
fn a_commit_without_the_right_is_invalid() {
    let group = Group::new();
    let facts = |facts: CommitFacts| CommitFacts {
        leaf: 1,
        committer: Some(leaf(2)),
        path: Some(Some(leaf(2))),
        ..facts
    };
    assert!(group.judge(&facts(addition(&group))).is_ok());
    assert_eq!(group.judge(&facts(removal(&group))), Err(CommitFault::Right));
    let settings = vec![SettingChange::SuperAdmin(inbox(2), true)];
    let seize = with_delta(&group, &StateDelta { settings, ..StateDelta::default() });
    assert!(group.judge(&seize).is_ok());
    assert_eq!(group.judge(&facts(seize)), Err(CommitFault::Right));
}

/// A group has at most so many leaves, the same for every member: one leaf more is invalid.
#[test]
fn a_group_has_at_most_so_many_leaves() {
    let full = |leaves: usize| {
        let mut founder = entry(1, Epoch(0));
        let account = founder.identity.installations[&installation(101)].clone();
        let id = |n: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            InstallationId(id)
        };
        let others = (1..u32::try_from(leaves).unwrap()).map(|n| (id(n), account.clone()));
        founder.identity.installations.extend(others);
        let settings = state(&[1], Policy::OPEN).settings().clone();
        Group::of(State::new(settings, [(inbox(1), Entry::new(founder))].into()))
    };
    let group = full(limits::LEAVES_PER_GROUP - 1);
    assert_eq!(group.leaves.len(), limits::LEAVES_PER_GROUP - 1);
    assert!(group.judge(&addition(&group)).is_ok());
    let group = full(limits::LEAVES_PER_GROUP);
    assert_eq!(group.judge(&addition(&group)), Err(CommitFault::Limit));
}
