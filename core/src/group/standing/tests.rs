use std::collections::BTreeMap;

use conclave_proto::{
    ChainHash, Cursor, Epoch, GroupId, Record, Seq, Topic,
    record::{chain_hash, transmit_id},
};

use super::{Barred, Evidence, Membership, PEEKS, Sighting, Standing, Witness, chained};
use crate::{
    event::{CommitFault, Event, Parked, Rejection},
    group::{
        ChangeError, SendError,
        fixture::{GROUP, NOW, TOPIC, draft, events, installation},
    },
};

const AT: Seq = Seq(5);
const EPOCH: Epoch = Epoch(3);

fn stuck(removes: &[u8]) -> Membership {
    let mut membership = Membership::new();
    membership.park(&mut draft(), NOW, AT, removes.iter().map(|n| installation(*n)).collect());
    membership
}

fn of(standing: Standing) -> Membership {
    Membership::restore(standing, Vec::new())
}

/// A standing other than membership bars sending and wishing, each with a refusal of its own (G5).
#[test]
fn each_standing_bars_with_its_own_reason() {
    let stuck = |removal| Standing::Stuck { at: AT, removal, since: NOW };
    let other = Parked::OtherHistory { at: AT };
    let barred = [
        (Standing::Removed { at: AT }, Barred::NotMember, SendError::NotMember),
        (stuck(true), Barred::Parked(Parked::Removal), SendError::Parked(Parked::Removal)),
        (stuck(false), Barred::Parked(Parked::Undecidable), SendError::Parked(Parked::Undecidable)),
        (Standing::Forked { at: AT }, Barred::Parked(other), SendError::Parked(other)),
    ];
    for (standing, reason, refusal) in barred {
        assert_eq!(of(standing).may_act(), Err(reason));
        assert_eq!(SendError::from(reason), refusal);
        assert!(!of(standing).is_member());
    }
    assert_eq!(ChangeError::from(Barred::NotMember), ChangeError::NotMember);
    assert_eq!(ChangeError::from(Barred::Parked(other)), ChangeError::Parked(other));
    assert_eq!(of(Standing::Member).may_act(), Ok(()));
}

#[test]
fn a_commit_that_cannot_be_read_parks_as_undecidable_and_a_removal_as_that() {
    for (removes, reason) in [(vec![], Parked::Undecidable), (vec![1], Parked::Removal)] {
        let (mut membership, mut draft) = (Membership::new(), draft());
        let removes: Vec<_> = removes.into_iter().map(installation).collect();
        assert_eq!(membership.park(&mut draft, NOW, AT, removes.clone()), reason);
        assert_eq!(membership.standing().parked(), Some(reason));
        assert_eq!(membership.removes(), removes);
        assert_eq!(events(&draft), [Event::Parked { group: GROUP, reason }]);
        assert!(draft.meta_changed);
    }
}

/// R8: the application is told of another history once, and when it is over.
#[test]
fn a_fork_is_told_once_and_ends_with_the_log_that_was_read() {
    let (mut membership, mut draft) = (Membership::new(), draft());
    membership.follow(&mut draft);
    assert!(!draft.meta_changed);
    let reason = membership.fork(&mut draft, AT);
    assert_eq!(membership.fork(&mut draft, Seq(6)), Parked::OtherHistory { at: Seq(6) });
    assert_eq!(membership.standing(), Standing::Forked { at: AT });
    membership.follow(&mut draft);
    assert!(membership.is_member());
    let parked = Event::Parked { group: GROUP, reason };
    assert_eq!(events(&draft), [parked, Event::Resumed { group: GROUP }]);
}

/// A relay that shows another log must not hide that the group is stuck or over, and showing the
/// log again must not end either.
#[test]
fn another_history_changes_no_other_standing() {
    let removed = || of(Standing::Removed { at: AT });
    for (mut membership, standing) in
        [(stuck(&[1]), stuck(&[1]).standing()), (removed(), removed().standing())]
    {
        let mut draft = draft();
        membership.fork(&mut draft, Seq(9));
        membership.follow(&mut draft);
        assert_eq!(membership.standing(), standing);
        assert!(events(&draft).is_empty() && !draft.meta_changed);
    }
}

#[test]
fn a_commit_that_the_others_passed_over_is_named_as_invalid() {
    let (mut membership, mut draft) = (stuck(&[1]), draft());
    membership.pass_over(&mut draft, AT);
    assert!(membership.is_member() && membership.removes().is_empty());
    let reason = Rejection::InvalidCommit(CommitFault::Mls);
    let rejected = Event::Rejected { group: GROUP, seq: AT, reason };
    assert_eq!(events(&draft), [rejected, Event::Resumed { group: GROUP }]);
    assert!(draft.meta_changed);
}

/// What a record looks like, and what decrypting it shows.
fn message(epoch: u64, sender: u8, read: u64, hash: u8) -> Sighting<Witness> {
    let read = Cursor { seq: Seq(read), hash: ChainHash([hash; 32]) };
    Sighting { epoch: Epoch(epoch), message: Some(Witness { sender: installation(sender), read }) }
}

const fn commit(epoch: u64) -> Sighting<Witness> {
    Sighting { epoch: Epoch(epoch), message: None }
}

fn evidence(membership: &Membership, seen: Vec<Sighting<Witness>>) -> Evidence {
    // The log holds the hash n at position n.
    let heads: BTreeMap<_, _> = (3..9_u8).map(|n| (Seq(n.into()), ChainHash([n; 32]))).collect();
    membership.evidence(AT, EPOCH, &heads, seen.into_iter(), Some)
}

/// G6, scenario 66: only a record of a later epoch, or a message of a present member who had read
/// the commit and still writes in the epoch before it, tells what the others made of it.
#[test]
fn only_the_log_tells_what_the_others_made_of_a_commit() {
    let present = || message(3, 2, 5, 5);
    let cases = [
        ("an empty log", vec![], Evidence::None),
        ("a record of a later epoch", vec![commit(4)], Evidence::Followed),
        ("a message of a later epoch", vec![message(4, 2, 5, 5)], Evidence::Followed),
        ("a later epoch outweighs messages", vec![present(), commit(4)], Evidence::Followed),
        ("a member who read the commit", vec![present()], Evidence::Passed),
        ("a member who read further", vec![message(3, 2, 8, 8)], Evidence::Passed),
        ("a member who had read less", vec![message(3, 2, 4, 4)], Evidence::None),
        ("a member who had read another log", vec![message(3, 2, 5, 6)], Evidence::None),
        ("a member who read what is not here", vec![message(3, 2, 9, 9)], Evidence::None),
        ("another commit of the epoch", vec![commit(3)], Evidence::None),
        ("a message of an earlier epoch", vec![message(2, 2, 5, 5)], Evidence::None),
        ("one that the commit removes too", vec![message(3, 1, 5, 5)], Evidence::None),
    ];
    for (what, seen, told) in cases {
        assert_eq!(evidence(&stuck(&[0, 1]), seen), told, "{what}");
    }
}

#[test]
fn the_newest_messages_are_decrypted_and_no_more_than_the_bound() {
    let seen = (0..2 * PEEKS as u64).map(|n| Sighting { epoch: EPOCH, message: Some(n) });
    let mut peeked = Vec::new();
    let told = stuck(&[]).evidence(AT, EPOCH, &BTreeMap::new(), seen, |n| {
        peeked.push(n);
        None
    });
    assert_eq!(told, Evidence::None);
    let newest: Vec<u64> = (PEEKS as u64..2 * PEEKS as u64).rev().collect();
    assert_eq!(peeked, newest);
}

#[test]
fn a_message_that_does_not_decrypt_is_no_evidence() {
    let seen = [Sighting { epoch: EPOCH, message: Some(()) }].into_iter();
    let told = stuck(&[]).evidence(AT, EPOCH, &BTreeMap::new(), seen, |()| None);
    assert_eq!(told, Evidence::None);
}

fn record(prev: Cursor, payload: &[u8]) -> Record {
    let (seq, id) = (Seq(prev.seq.0 + 1), transmit_id(&TOPIC, payload));
    let hash = chain_hash(&prev.hash, seq, &id, payload);
    Record { seq, prev: prev.seq, id, hash, payload: payload.to_vec() }
}

/// R8: records that the relay injects, of another history, are not evidence.
#[test]
fn evidence_ends_where_the_chain_does() {
    let first = record(Cursor::START, b"first");
    let second = record(first.cursor(), b"second");
    let third = record(second.cursor(), b"third");
    let injected = Record { hash: ChainHash([9; 32]), ..record(first.cursor(), b"injected") };
    let seqs = |topic: &Topic, cursor, batch: &[Record]| {
        chained(topic, cursor, batch).iter().map(|record| record.seq.0).collect::<Vec<_>>()
    };
    let log = [first.clone(), second.clone(), third.clone()];
    assert_eq!(seqs(&TOPIC, Cursor::START, &log), [1, 2, 3]);
    assert_eq!(seqs(&TOPIC, first.cursor(), &log), [2, 3]);
    assert_eq!(seqs(&TOPIC, first.cursor(), &[second.clone(), injected.clone()]), [2]);
    assert_eq!(seqs(&TOPIC, first.cursor(), &[injected, third]), [0; 0]);
    let other = Topic::Group(GroupId([8; 16]));
    assert_eq!(seqs(&other, Cursor::START, &log), [0; 0]);
}
