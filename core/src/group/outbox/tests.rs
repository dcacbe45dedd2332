use std::{collections::BTreeMap, time::Duration};

use conclave_proto::{
    Envelope, EnvelopeKind, Epoch, GroupId, Mark, MessageId, Seq, Timestamp, Topic, TransmitId,
    codec::Wire,
};
use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::{Answer, Outbox, Outgoing, OwnMessage, SentEnvelope, StoredOutgoing};
use crate::{
    delivery::PublishOutcome,
    group::{
        draft::Draft,
        fixture::{NOW, Stored, TOPIC, draft},
        place::Place,
    },
};

fn envelope() -> SentEnvelope {
    SentEnvelope {
        topic: Topic::Group(GroupId([1; 16])),
        id: TransmitId([2; 16]),
        mark: Mark([3; 16]),
        epoch: Epoch(4),
        payload: vec![5],
        since: Timestamp(6),
    }
}

/// E10: golden bytes; old stores open for ever.
#[test]
fn the_stored_forms_of_what_waits_are_frozen() {
    let message = || OwnMessage { id: MessageId([7; 32]), payload: vec![8] };
    let all = [
        Outgoing::Waiting(message()),
        Outgoing::Sent { message: message(), envelope: envelope(), answer: Answer::Refused },
        Outgoing::Held { envelope: envelope(), after: TransmitId([9; 16]) },
        Outgoing::Plain(envelope()),
    ];
    let of = |byte: &str, count: usize| byte.repeat(count);
    let (id, sent) =
        (of("07", 32), format!("0100{}{}{}04010506", of("01", 16), of("02", 16), of("03", 16)));
    let golden = [
        format!("0100{id}01080000"),
        format!("0100{id}0108{sent}00"),
        format!("0101{sent}01{}", of("09", 16)),
        format!("0101{sent}00"),
    ];
    for (stored, golden) in all.iter().zip(golden) {
        assert_eq!(conclave_proto::identity::hex(&stored.encode()), golden);
        let read = StoredOutgoing::decode(&stored.encode()).unwrap();
        assert_eq!(Outgoing::restore(read).unwrap().encode(), stored.encode());
    }
}

const ACCEPTED: PublishOutcome = PublishOutcome::Accepted { seq: Seq(9), prev: Seq(8) };
const REFUSED: PublishOutcome = PublishOutcome::Invalid;

fn own(n: u8) -> OwnMessage {
    OwnMessage { id: MessageId([n; 32]), payload: vec![n; 10] }
}

/// The envelope of own message `n`, encrypted in an epoch.
fn encrypted(n: u8, epoch: u64) -> SentEnvelope {
    let (mark, kind) = (Mark([n; 16]), EnvelopeKind::Mls(vec![n; 4]));
    let payload = Envelope { mark, beacon: None, kind }.encode();
    SentEnvelope::new(TOPIC, mark, Epoch(epoch), payload, NOW)
}

fn published(draft: &Draft) -> Vec<TransmitId> {
    draft.effects.transmits.iter().map(|transmit| transmit.id).collect()
}

fn released(outbox: &Outbox) -> Vec<TransmitId> {
    outbox.released().map(|transmit| transmit.id).collect()
}

fn load(stored: &Stored, next: u64) -> Outbox {
    let read = |number| {
        let value = stored.get(Place::Outgoing(number))?;
        Some((number, StoredOutgoing::decode(value).unwrap()))
    };
    Outbox::restore((0..next).filter_map(read).collect(), next).unwrap()
}

/// A body, and a Welcome that names it.
fn welcome(outbox: &mut Outbox, draft: &mut Draft) -> (TransmitId, TransmitId) {
    let (body, pointer) = (encrypted(1, 0), encrypted(2, 0));
    let ids = (body.id, pointer.id);
    outbox.send_plain(draft, body, None);
    outbox.send_plain(draft, pointer, Some(ids.0));
    ids
}

/// The reader of a Welcome has to find the body that it names. So it is not released before the
/// relay has the body, in this process or after a restart, however much time passes.
#[test]
fn a_welcome_is_released_only_after_its_body() {
    let (mut outbox, mut stored, mut draft) = (Outbox::new(), Stored::default(), draft());
    let (body, pointer) = welcome(&mut outbox, &mut draft);
    assert_eq!(published(&draft), [body]);
    stored.apply(&draft);
    let loaded = load(&stored, outbox.next());
    for mut outbox in [outbox, loaded] {
        assert_eq!(released(&outbox), [body]);
        let mut again = crate::group::fixture::draft();
        outbox.republish(&mut again, NOW.plus_ms(1_000_000), 60);
        assert_eq!(published(&again), [body]);
        let mut after = crate::group::fixture::draft();
        outbox.answered(&mut after, NOW, body, &ACCEPTED);
        assert_eq!((published(&after), released(&outbox)), (vec![pointer], vec![pointer]));
        stored.apply(&after);
        assert_eq!(released(&load(&stored, outbox.next())), [pointer]);
        outbox.answered(&mut after, NOW, pointer, &ACCEPTED);
        assert!(outbox.is_empty());
    }
}

#[test]
fn each_welcome_waits_for_its_own_body() {
    let (mut outbox, mut draft) = (Outbox::new(), draft());
    let (body, pointer) = welcome(&mut outbox, &mut draft);
    let (other_body, other_pointer) = (encrypted(3, 0), encrypted(4, 0));
    let (other, last) = (other_body.id, other_pointer.id);
    outbox.send_plain(&mut draft, other_body, None);
    outbox.send_plain(&mut draft, other_pointer, Some(other));
    outbox.answered(&mut draft, NOW, other, &ACCEPTED);
    assert_eq!(released(&outbox), [body, last]);
    outbox.answered(&mut draft, NOW, body, &ACCEPTED);
    assert_eq!(released(&outbox), [pointer, last]);
}

/// Only what the relay says for good settles a Welcome or a body. After every other answer both are
/// published again: else the invited installation would never join.
#[test]
fn only_a_final_answer_settles_a_welcome_or_a_body() {
    let open = [
        PublishOutcome::Unknown,
        PublishOutcome::not_stored(Duration::ZERO),
        PublishOutcome::Behind,
        PublishOutcome::Conflict { head: Seq(1) },
    ];
    let last = [ACCEPTED, REFUSED, PublishOutcome::TooLarge { max: 1 }];
    let settles = open.iter().map(|o| (o, false)).chain(last.iter().map(|o| (o, true)));
    for (outcome, settles) in settles {
        let (mut outbox, mut draft) = (Outbox::new(), draft());
        let (body, pointer) = welcome(&mut outbox, &mut draft);
        outbox.answered(&mut draft, NOW, body, outcome);
        let next = if settles { pointer } else { body };
        assert_eq!(released(&outbox), [next], "{outcome:?}");
        outbox.answered(&mut draft, NOW, pointer, outcome);
        assert_eq!(outbox.is_empty(), settles, "{outcome:?}");
        assert_eq!(outbox.republish_due(60).is_none(), settles, "{outcome:?}");
    }
}

/// Scenarios 8, 9: no answer settles a message, only the log does.
#[test]
fn no_answer_settles_a_message() {
    for outcome in [ACCEPTED, REFUSED, PublishOutcome::Unknown] {
        let (mut outbox, mut draft) = (Outbox::new(), draft());
        outbox.send(&mut draft, own(1), encrypted(1, 0));
        outbox.answered(&mut draft, NOW, encrypted(1, 0).id, &outcome);
        assert_eq!(released(&outbox), [encrypted(1, 0).id], "{outcome:?}");
        assert_eq!((outbox.message_count(), outbox.holds(&own(1).id)), (1, true));
    }
}

/// G14: messages of two epochs are never on their way at a time, but one that cannot find its
/// position any more holds up no other.
#[test]
fn a_message_of_another_epoch_is_awaited_while_it_may_land() {
    let cases = [
        ("no answer", None, 100, true),
        ("an unknown one", Some(PublishOutcome::Unknown), 100, true),
        ("refused", Some(REFUSED), 1, false),
        ("accepted, and the log is not there yet", Some(ACCEPTED), 8, true),
        ("accepted, and the log has another record there", Some(ACCEPTED), 9, false),
    ];
    for (what, outcome, cursor, awaited) in cases {
        let (mut outbox, mut draft) = (Outbox::new(), draft());
        welcome(&mut outbox, &mut draft);
        outbox.queue(&mut draft, own(4));
        assert!(!outbox.waits_for_other_epochs(Epoch(5), Seq(cursor)), "{what}");
        outbox.send(&mut draft, own(3), encrypted(3, 4));
        if let Some(outcome) = outcome {
            outbox.answered(&mut draft, NOW, encrypted(3, 4).id, &outcome);
        }
        assert_eq!(outbox.waits_for_other_epochs(Epoch(5), Seq(cursor)), awaited, "{what}");
        assert!(!outbox.waits_for_other_epochs(Epoch(4), Seq(cursor)), "{what}");
    }
}

/// G14: a message that came too late is encrypted again in its place in the order of sending, with
/// the same id, and what the relay said of its first envelope is forgotten.
#[test]
fn a_late_message_waits_again_in_its_place() {
    let (mut outbox, mut stored, mut draft) = (Outbox::new(), Stored::default(), draft());
    for n in 1..4 {
        outbox.send(&mut draft, own(n), encrypted(n, 0));
    }
    outbox.answered(&mut draft, NOW, encrypted(2, 0).id, &REFUSED);
    let late = outbox.find(&[2; 4]).unwrap();
    assert_eq!((late.number, late.epoch, &late.message), (1, Epoch(0), &own(2)));
    outbox.send_again(&mut draft, late.number);
    stored.apply(&draft);
    assert_eq!(outbox.message_count(), 3);
    for mut outbox in [load(&stored, outbox.next()), outbox] {
        assert_eq!(outbox.next_waiting(1_000), [1]);
        assert_eq!(outbox.waiting(1), Some(&own(2)));
        assert!(outbox.find(&[2; 4]).is_none());
        let mut draft = crate::group::fixture::draft();
        outbox.encrypted(&mut draft, 1, encrypted(5, 4));
        assert_eq!(published(&draft), [encrypted(5, 4).id]);
        assert!(!outbox.has_waiting() && outbox.waits_for_other_epochs(Epoch(9), Seq(9)));
        let order = [(1, 0), (5, 4), (3, 0)].map(|(n, epoch)| encrypted(n, epoch).id);
        assert_eq!(released(&outbox), order);
    }
}

#[test]
fn a_step_encrypts_waiting_messages_up_to_a_bound() {
    let mut outbox = Outbox::new();
    for n in 0..5 {
        outbox.queue(&mut draft(), own(n));
    }
    // Each payload has 10 bytes.
    for (bytes, taken) in [(0, 1), (1, 1), (10, 1), (11, 2), (30, 3), (1_000, 5)] {
        let numbers: Vec<u64> = (0..taken).collect();
        assert_eq!(outbox.next_waiting(bytes), numbers, "{bytes}");
    }
}

/// What waits is looked at at once after a load, and else when the group says so.
#[test]
fn waiting_messages_have_a_time_and_others_have_none() {
    let (mut outbox, mut stored, mut draft) = (Outbox::new(), Stored::default(), draft());
    outbox.send(&mut draft, own(1), encrypted(1, 0));
    outbox.look_again_at(NOW);
    assert_eq!(outbox.waiting_due(), None);
    outbox.queue(&mut draft, own(2));
    assert_eq!(outbox.waiting_due(), Some(NOW));
    stored.apply(&draft);
    assert_eq!(load(&stored, 2).waiting_due(), Some(Timestamp(0)));
}

/// Scenario 9: an answer may have been a lie. What waits to be encrypted is not published.
#[test]
fn what_was_released_is_published_again_when_its_time_has_passed() {
    let (mut outbox, mut stored, mut draft) = (Outbox::new(), Stored::default(), draft());
    outbox.send(&mut draft, own(1), encrypted(1, 0));
    outbox.queue(&mut draft, own(2));
    stored.apply(&draft);
    for (ms, due) in [(59, false), (60, true), (119, false), (120, true)] {
        let mut draft = crate::group::fixture::draft();
        outbox.republish(&mut draft, NOW.plus_ms(ms), 60);
        assert_eq!(published(&draft).len(), usize::from(due), "{ms}");
        stored.apply(&draft);
    }
    let due = Some(NOW.plus_ms(180));
    assert_eq!((outbox.republish_due(60), load(&stored, 2).republish_due(60)), (due, due));
}

/// Own messages end with the membership. The installations that an own commit has invited still get
/// their Welcomes.
#[test]
fn welcomes_outlive_the_membership_and_messages_do_not() {
    let (mut outbox, mut stored, mut draft) = (Outbox::new(), Stored::default(), draft());
    let (body, _) = welcome(&mut outbox, &mut draft);
    outbox.send(&mut draft, own(3), encrypted(3, 0));
    outbox.queue(&mut draft, own(4));
    outbox.give_up_messages(&mut draft);
    stored.apply(&draft);
    assert_eq!((outbox.message_count(), stored.len()), (0, 2));
    assert_eq!(released(&outbox), [body]);
}

/// A stored entry that no outbox has written is damaged.
#[test]
fn a_combination_that_is_never_stored_is_not_loaded() {
    let (id, sent) = ("07".repeat(32), {
        let of = |byte: &str| byte.repeat(16);
        format!("0100{}{}{}04010506", of("01"), of("02"), of("03"))
    });
    let after = format!("01{}", "09".repeat(16));
    let never = [
        format!("0100{id}010800{after}"),
        format!("0100{id}0108{sent}{after}"),
        "01010000".to_string(),
        format!("010100{after}"),
    ];
    for stored in never {
        let bytes = HEXLOWER.decode(stored.as_bytes()).unwrap();
        let stored = BTreeMap::from([(0, StoredOutgoing::decode(&bytes).unwrap())]);
        assert!(Outbox::restore(stored, 1).is_none());
    }
}

#[derive(Clone, Debug)]
enum Op {
    Queue,
    Send(u64),
    Welcome,
    Answer(usize, u8),
    Encrypt,
    Settle(usize),
    SendAgain(usize),
    Republish(u64),
    GiveUp,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Queue),
        3 => (0..3_u64).prop_map(Op::Send),
        2 => Just(Op::Welcome),
        4 => (any::<usize>(), 0..3_u8).prop_map(|(n, answer)| Op::Answer(n, answer)),
        3 => Just(Op::Encrypt),
        2 => any::<usize>().prop_map(Op::Settle),
        2 => any::<usize>().prop_map(Op::SendAgain),
        1 => (0..200_u64).prop_map(Op::Republish),
        1 => Just(Op::GiveUp),
    ]
}

fn perform(outbox: &mut Outbox, draft: &mut Draft, n: u8, op: &Op) {
    let sent = released(outbox);
    match *op {
        Op::Queue => outbox.queue(draft, own(n)),
        Op::Send(epoch) => outbox.send(draft, own(n), encrypted(n, epoch)),
        Op::Welcome => {
            let body = SentEnvelope { topic: Topic::Blob([n; 32]), ..encrypted(n, 0) };
            let id = body.id;
            outbox.send_plain(draft, body, None);
            let pointer = SentEnvelope { id: TransmitId([n; 16]), ..encrypted(n, 0) };
            outbox.send_plain(draft, pointer, Some(id));
        }
        Op::Answer(which, answer) => {
            let outcome = [ACCEPTED, REFUSED, PublishOutcome::Unknown];
            if let Some(id) = sent.get(which % sent.len().max(1)) {
                outbox.answered(draft, NOW, *id, &outcome[usize::from(answer)]);
            }
        }
        Op::Encrypt => {
            for number in outbox.next_waiting(20) {
                outbox.encrypted(draft, number, encrypted(n, 7));
            }
        }
        Op::Settle(which) => outbox.remove(draft, which as u64 % outbox.next().max(1)),
        Op::SendAgain(which) => outbox.send_again(draft, which as u64 % outbox.next().max(1)),
        Op::Republish(ms) => outbox.republish(draft, NOW.plus_ms(ms), 60),
        Op::GiveUp => outbox.give_up_messages(draft),
    }
}

fn content(outbox: &Outbox) -> Vec<(u64, Vec<u8>)> {
    outbox.entries.iter().map(|(number, outgoing)| (*number, outgoing.encode())).collect()
}

proptest! {
    /// E4: what is stored is what is in memory, after every step; and what a step releases is
    /// what may be published.
    #[test]
    fn an_outbox_is_what_was_stored_of_it(ops in prop::collection::vec(op(), 0..60)) {
        let (mut outbox, mut stored) = (Outbox::new(), Stored::default());
        for (n, op) in ops.iter().enumerate() {
            let (mut draft, before) = (draft(), outbox.next());
            perform(&mut outbox, &mut draft, u8::try_from(n).unwrap(), op);
            stored.apply(&draft);
            prop_assert_eq!(draft.meta_changed, outbox.next() != before);
            prop_assert_eq!(content(&load(&stored, outbox.next())), content(&outbox));
            prop_assert_eq!(stored.len(), outbox.entries.len());
            let released = released(&outbox);
            prop_assert!(published(&draft).iter().all(|id| released.contains(id)));
        }
    }
}
