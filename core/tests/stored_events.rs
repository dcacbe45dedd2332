//! The log of events in an application's store: golden bytes of everything that can be in it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use conclave_core::event::{
    CommitFault, Event, IntentFault, IntentOutcome, Parked, Rejection, WelcomeRejection,
};
use conclave_proto::{
    Epoch, GroupId, InboxId, InstallationId, IntentId, MessageId, Seq, codec::Wire, identity::hex,
};

const GROUP: GroupId = GroupId([1; 16]);

/// The bytes behind the version, the kind of event and, if it is of one, the group.
fn rest(event: &Event, kind: u8, of_group: bool) -> String {
    let stored = event.encode();
    assert_eq!(Event::decode(&stored).unwrap(), *event);
    let group = if of_group { &GROUP.0[..] } else { &[] };
    let head = [&[1, kind][..], group].concat();
    hex(stored.strip_prefix(&head[..]).expect("version, kind and group come first"))
}

/// E10: what an application has not read yet is read after an upgrade, too.
#[test]
fn the_stored_forms_of_events_are_frozen() {
    let (one, two) = ("01".repeat(32), "02".repeat(32));
    let (sender, seq) = (InstallationId([2; 32]), Seq(300));
    let in_group = [
        (
            0,
            Event::Message { group: GROUP, id: MessageId([1; 32]), seq, own: true },
            format!("{one}ac0201"),
        ),
        (1, Event::Gap { group: GROUP, sender, first: 3, last: 300 }, format!("{two}03ac02")),
        (
            2,
            Event::EpochChanged {
                group: GROUP,
                epoch: Epoch(300),
                added: vec![InboxId([1; 32])],
                removed: vec![InboxId([2; 32])],
            },
            format!("ac0201{one}01{two}"),
        ),
        (6, Event::Resumed { group: GROUP }, String::new()),
        (7, Event::Removed { group: GROUP }, String::new()),
        (8, Event::Joined { group: GROUP, inviter: InboxId([1; 32]) }, one),
        (10, Event::CopyDetected { group: GROUP, seq }, "ac02".to_owned()),
        (11, Event::LogDiffers { group: GROUP, sender, seq }, format!("{two}ac02")),
    ];
    for (kind, event, golden) in in_group {
        assert_eq!(rest(&event, kind, true), golden, "{event:?}");
    }
}

/// E10: reasons are numbers, which never change their meaning.
#[test]
fn the_stored_forms_of_rejections_are_frozen() {
    use CommitFault as F;
    use Rejection as R;
    let plain = [
        R::Malformed,
        R::Replayed,
        R::OtherGroup,
        R::Duplicate,
        R::KeysGone,
        R::TooOld,
        R::FutureEpoch,
        R::TooFarAhead,
        R::Undecryptable,
        R::NotAMember,
        R::NotAllowed,
        R::BadContent,
        R::Forged,
        R::LostRace,
        R::Proposal,
    ];
    let mut rejections: Vec<(Rejection, String)> =
        plain.into_iter().zip(0_u8..).map(|(it, number)| (it, hex(&[number]))).collect();
    let faults = [
        F::Mls,
        F::Proposal,
        F::Credential,
        F::Leaf,
        F::Context,
        F::Delta,
        F::Identity,
        F::Root,
        F::Leaves,
        F::Right,
        F::Limit,
    ];
    let numbered = faults.into_iter().zip(0_u8..);
    rejections
        .extend(numbered.map(|(fault, number)| (R::InvalidCommit(fault), hex(&[15, number]))));
    rejections.extend([(R::NotMember, hex(&[16])), (R::Internal, hex(&[17]))]);
    for (reason, golden) in rejections {
        let event = Event::Rejected { group: GROUP, seq: Seq(5), reason };
        assert_eq!(rest(&event, 3, true), format!("05{golden}"), "{reason:?}");
    }
}

/// E10: and so are outcomes.
#[test]
fn the_stored_forms_of_outcomes_are_frozen() {
    let failed = |fault| IntentOutcome::Failed(fault);
    let outcomes = [
        (IntentOutcome::Done, "00"),
        (IntentOutcome::AlreadySo, "01"),
        (failed(IntentFault::NotAllowed), "0200"),
        (failed(IntentFault::BadInput), "0201"),
        (failed(IntentFault::TooLarge), "0202"),
        (failed(IntentFault::NotMember), "0203"),
    ];
    for (outcome, golden) in outcomes {
        let event = Event::IntentSettled { group: GROUP, intent: IntentId(5), outcome };
        assert_eq!(rest(&event, 4, true), format!("05{golden}"), "{outcome:?}");
    }

    let reasons = [
        (Parked::Undecidable, "00"),
        (Parked::Removal, "01"),
        (Parked::RulesTooNew { rules: 300 }, "02ac02"),
        (Parked::MissingRecords { at: Seq(5) }, "0305"),
        (Parked::OtherHistory { at: Seq(5) }, "0405"),
        (Parked::Entropy, "05"),
    ];
    for (reason, golden) in reasons {
        assert_eq!(rest(&Event::Parked { group: GROUP, reason }, 5, true), golden, "{reason:?}");
    }
}

/// E10: and why a Welcome was not taken.
#[test]
fn the_stored_forms_of_refused_welcomes_are_frozen() {
    use WelcomeRejection as W;
    let reasons = [
        W::Malformed,
        W::UnknownPackage,
        W::Unsealable,
        W::BadInviter,
        W::NotInLog,
        W::BadBody,
        W::Mls,
        W::BadState,
        W::AlreadyMember,
        W::Declined,
        W::Replayed,
        W::Downgraded,
    ];
    for (reason, number) in reasons.into_iter().zip(0_u8..) {
        let event = Event::WelcomeRejected { seq: Seq(5), reason };
        assert_eq!(rest(&event, 9, false), hex(&[5, number]), "{reason:?}");
    }
}
