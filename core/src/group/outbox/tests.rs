use conclave_proto::{Epoch, GroupId, Mark, MessageId, Timestamp, Topic, TransmitId, codec::Wire};

use super::{Answer, Outgoing, OwnMessage, SentEnvelope, StoredOutgoing};

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
