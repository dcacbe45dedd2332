use std::collections::BTreeSet;

use conclave_proto::{
    Epoch, InboxId, InstallationId, IntentId, Timestamp,
    group::{InboxChange, Policy, Right},
    identity::{Action, Member},
    limits,
};

use super::{Plan, Planned, Planner, fault_of};
use crate::{
    event::{CommitFault, IntentFault, IntentOutcome},
    group::{
        fixture::{inbox, installation, key, leaf, person, state},
        intents::{Wish, WishedInbox},
    },
    identity::Draft,
    state::State,
};

/// What person 1, the super-admin, would commit. A key package is the id of its installation.
fn plan(state: &State, wishes: &[Wish]) -> Planned<()> {
    plan_of(state, inbox(1), wishes)
}

fn plan_of(state: &State, committer: InboxId, wishes: &[Wish]) -> Planned<()> {
    let open = |bytes: &[u8]| Some((InstallationId(bytes.try_into().ok()?), ()));
    let planner = Planner { state, committer, next: Epoch(3), open };
    planner.plan((0..).map(IntentId).zip(wishes))
}

fn wished(seed: u8) -> WishedInbox {
    let packages = vec![installation(seed + 100).0.to_vec()];
    WishedInbox { inbox: inbox(seed), log: vec![person(seed).0], packages }
}

fn add(seed: u8) -> Wish {
    Wish::Add(vec![wished(seed)])
}

fn remove(seed: u8) -> Wish {
    Wish::Remove(vec![inbox(seed)])
}

fn failed(id: u64, fault: IntentFault) -> (IntentId, IntentOutcome) {
    (IntentId(id), IntentOutcome::Failed(fault))
}

fn ids(plan: &Plan<()>) -> Vec<u64> {
    plan.intents.iter().map(|id| id.0).collect()
}

/// G5: wishes that touch different inboxes are one commit.
#[test]
fn different_wishes_are_one_commit() {
    let group = state(&[1, 2], Policy::OPEN);
    let Planned { plan, settled } = plan(&group, &[add(3), remove(2), Wish::UpdateKeys]);
    let plan = plan.unwrap();
    assert_eq!((ids(&plan), settled), (vec![0, 1, 2], vec![]));
    assert_eq!(plan.adds.keys().copied().collect::<Vec<_>>(), [installation(103)]);
    assert_eq!(plan.removes, BTreeSet::from([leaf(2)]));
    assert_eq!(plan.delta.inboxes[&inbox(2)], InboxChange::Leave);
    let join = InboxChange::Join { entries: vec![person(3).0], absent: BTreeSet::new() };
    assert_eq!(plan.delta.inboxes[&inbox(3)], join);
    let after = group.apply(&plan.delta, &inbox(1), Epoch(3)).unwrap();
    assert_eq!(after.expected_leaves(), BTreeSet::from([leaf(1), leaf(3)]));
}

/// G5: a second wish about the same inbox is for the next commit, on the state after this one.
#[test]
fn a_second_wish_about_an_inbox_waits() {
    let group = state(&[1, 2], Policy::OPEN);
    let Planned { plan, settled } = plan(&group, &[add(3), add(3), remove(2), remove(2)]);
    assert_eq!((ids(&plan.unwrap()), settled), (vec![0, 2], vec![]));
}

/// G5: what another member did first is done, and what is impossible has failed.
#[test]
fn wishes_that_need_no_commit_end_without_one() {
    let group = state(&[1, 2], Policy::OPEN);
    let bad = |change: fn(&mut WishedInbox)| {
        let mut bad = wished(3);
        change(&mut bad);
        Wish::Add(vec![bad])
    };
    let wishes = [
        remove(3),
        add(2),
        bad(|wished| wished.log = vec![b"junk".to_vec()]),
        bad(|wished| wished.packages = vec![b"junk".to_vec()]),
        bad(|wished| wished.log = vec![person(4).0]),
    ];
    let Planned { plan, settled } = plan(&group, &wishes);
    assert!(plan.is_none());
    let already = |id| (IntentId(id), IntentOutcome::AlreadySo);
    let bad = |id| failed(id, IntentFault::BadInput);
    assert_eq!(settled, [already(0), already(1), bad(2), bad(3), bad(4)]);
}

/// G3: a wish that the rights do not allow any more fails; it does not spoil the commit of others.
#[test]
fn a_wish_without_the_right_fails_and_leaves_the_others_alone() {
    let policy = Policy { add: Right::Admins, ..Policy::MODERATED };
    let group = state(&[1, 2, 4], policy);
    let wishes = [add(3), Wish::UpdateKeys, remove(4), remove(1)];
    let Planned { plan, settled } = plan_of(&group, inbox(2), &wishes);
    assert_eq!(ids(&plan.unwrap()), [1]);
    assert_eq!(settled, [0, 2, 3].map(|id| failed(id, IntentFault::NotAllowed)));
}

/// Active installations without a package get no leaf, and the group is told that they have none
/// (G1).
#[test]
fn installations_without_a_package_are_absent() {
    let alone = WishedInbox { packages: vec![], ..wished(3) };
    let Planned { plan, .. } = plan(&state(&[1], Policy::OPEN), &[Wish::Add(vec![alone])]);
    let plan = plan.unwrap();
    let absent = BTreeSet::from([installation(103)]);
    let join = InboxChange::Join { entries: vec![person(3).0], absent };
    assert_eq!(plan.delta.inboxes[&inbox(3)], join);
    assert!(plan.adds.is_empty());
}

/// The log of person 2 after something was added to it.
fn longer(change: impl FnOnce(Draft) -> Draft) -> Vec<Vec<u8>> {
    let (first, identity) = person(2);
    vec![first, change(Draft::following(&identity, Timestamp(9))).encode()]
}

/// G1: adding an inbox that is in the group follows its log: new installations join, revoked ones
/// leave.
#[test]
fn adding_a_member_follows_its_log() {
    let group = state(&[1, 2], Policy::OPEN);
    let grown = longer(|draft| {
        let account = crate::group::fixture::account(2);
        let draft = draft.add_installation(installation(150), account);
        draft.sign_with_account(&key(2)).sign_with_installation(&key(150))
    });
    let revoked = longer(|draft| {
        let member = Member::Installation(installation(102));
        draft.action(Action::Revoke { member }).sign_with_account(&key(2))
    });
    let wish = |log: &[Vec<u8>], packages: &[InstallationId]| {
        let packages = packages.iter().map(|id| id.0.to_vec()).collect();
        Wish::Add(vec![WishedInbox { inbox: inbox(2), log: log.to_vec(), packages }])
    };
    let follow = |planned: Planned<()>| {
        let plan = planned.plan.unwrap();
        let change = plan.delta.inboxes[&inbox(2)].clone();
        group.apply(&plan.delta, &inbox(1), Epoch(3)).unwrap();
        (change, plan.adds.into_keys().collect::<Vec<_>>(), plan.removes)
    };
    let entries = vec![grown[1].clone()];
    // A package of an installation that has a leaf is left out.
    let planned = plan(&group, &[wish(&grown, &[installation(102), installation(150)])]);
    let change = InboxChange::Follow { entries: entries.clone(), absent: BTreeSet::new() };
    assert_eq!(follow(planned), (change, vec![installation(150)], BTreeSet::new()));
    let planned = plan(&group, &[wish(&grown, &[])]);
    let absent = BTreeSet::from([installation(150)]);
    let change = InboxChange::Follow { entries, absent };
    assert_eq!(follow(planned), (change, vec![], BTreeSet::new()));
    let planned = plan(&group, &[wish(&revoked, &[installation(102)])]);
    let entries = vec![revoked[1].clone()];
    let change = InboxChange::Follow { entries, absent: BTreeSet::new() };
    assert_eq!(follow(planned), (change, vec![], BTreeSet::from([leaf(2)])));
    // A log that does not go through the head that the group cites is of no use.
    let planned = plan(&group, &[wish(&grown[1..], &[])]);
    assert_eq!(planned.settled, [failed(0, IntentFault::BadInput)]);
}

/// A wish to add inboxes with logs of more than 4 KB each.
fn large(inboxes: u64) -> Wish {
    let account = crate::group::fixture::account(50);
    let keys = 101..=100 + u8::try_from(limits::INSTALLATIONS_PER_INBOX).unwrap();
    let wished = |nonce| {
        let draft = Draft::create(account.clone(), nonce, Timestamp(1));
        let add = |draft: Draft, n| draft.add_installation(installation(n), account.clone());
        let draft = keys.clone().fold(draft, add).sign_with_account(&key(50));
        let draft = keys.clone().fold(draft, |draft, n| draft.sign_with_installation(&key(n)));
        WishedInbox { inbox: draft.inbox(), log: vec![draft.encode()], packages: vec![] }
    };
    Wish::Add((0..inboxes).map(wished).collect())
}

/// A commit has a longest delta: a wish that does not fit beside others waits for the next commit,
/// and one that does not fit alone has failed.
#[test]
fn a_wish_that_does_not_fit_waits_or_fails() {
    let (group, large) = (state(&[1], Policy::OPEN), large(limits::DELTA_BYTES as u64 / 4_096));
    let Planned { plan, settled } = plan(&group, &[large.clone(), add(3), large, add(4)]);
    assert_eq!(settled, [failed(0, IntentFault::TooLarge)]);
    assert_eq!(ids(&plan.unwrap()), [1, 3]);
}

#[test]
fn faults_of_a_commit_are_told_in_the_words_of_a_wish() {
    assert_eq!(fault_of(CommitFault::Right), IntentFault::NotAllowed);
    assert_eq!(fault_of(CommitFault::Limit), IntentFault::TooLarge);
    for fault in [CommitFault::Mls, CommitFault::Identity, CommitFault::Leaves] {
        assert_eq!(fault_of(fault), IntentFault::BadInput);
    }
}
