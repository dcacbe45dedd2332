//! Connections against clients that break the rules, without a socket or a clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

mod pair;

use crate::kit::{NOW, group};
use conclave_core::{
    link::{
        LinkInfo,
        channel::{Channel, ChannelLimits},
    },
    relay_client::{ClientLimits, CloseReason, News, RelayClient},
};
use conclave_proto::{
    ChainHash, Cursor, Record, Seq, Timestamp, Topic,
    codec::Wire,
    relay::{
        Answer, ClientHello, Delivery, Failure, Goodbye, PROTOCOL, PublishOutcome, RelayHello,
        Request, ToClient, ToRelay, TopicPage, Watch,
    },
};
use conclave_relay::{ConnectionLimits, Work};
use pair::{Pair, ask, client_hears, default, fetch, heads, hello, number, relay_hello, split};

/// Scenario 57: a client of another version hears which ones there are.
#[test]
fn a_client_of_an_unknown_version_is_told_what_is_spoken() {
    let mut pair = Pair::silent();
    pair.say(&ToRelay::Hello(ClientHello { versions: vec![7, 9], features: u64::MAX }));
    let goodbye = ToClient::Goodbye(Goodbye::UnknownVersion { speaks: vec![PROTOCOL] });
    assert_eq!(pair.hear(), [goodbye]);
    assert!(pair.connection.is_over());

    let mut pair = Pair::silent();
    pair.say(&ToRelay::Hello(ClientHello { versions: vec![7, PROTOCOL], features: 0 }));
    assert!(matches!(pair.hear()[..], [ToClient::Hello(_)]), "one in common is enough");
}

/// Scenario 85: a client that holds a connection and says nothing, or half a hello, loses it; one
/// that has said hello may be silent for ever.
#[test]
fn whoever_says_no_hello_in_time_is_sent_away() {
    for frames in [0, 1, 2] {
        let mut pair = Pair::over(LinkInfo { mtu: LinkInfo::LEAST_MTU, reliable: true }, |_| {});
        let long = ClientHello { versions: vec![PROTOCOL; 200], features: 0 };
        pair.client.send(&ToRelay::Hello(long).encode());
        for _ in 0..frames {
            let frame = pair.client.poll_frame(NOW).unwrap();
            pair.connection.handle_frame(NOW, &frame);
        }
        let due = pair.connection.next_timeout().unwrap();
        assert_eq!(due, NOW.plus_ms(ConnectionLimits::default().hello_ms));
        pair.connection.handle_timeout(Timestamp(due.0 - 1));
        assert!(!pair.connection.is_ending(), "too early is fine");
        pair.now = due;
        pair.connection.handle_timeout(due);
        assert_eq!(pair.hear(), [ToClient::Goodbye(Goodbye::Silent)]);
        assert!(pair.connection.is_over());
    }
    let mut pair = Pair::open();
    assert_eq!(pair.connection.next_timeout(), None);
    pair.connection.handle_timeout(NOW.plus_ms(u64::MAX));
    pair.say(&ask(1, heads(1)));
    assert!(pair.connection.poll_work().is_some());
}

/// R3, scenario 18: what has no place, or makes no sense, ends the connection with a reason, and
/// nothing is done for it.
#[test]
fn what_has_no_place_ends_the_connection() {
    let request = || ask(1, heads(1)).encode();
    let hello = || hello().encode();
    let newer = [&[2], &request()[1..]].concat();
    let cases: [(&str, Vec<Vec<u8>>); 8] = [
        ("a request before the hello", vec![request()]),
        ("a watch before the hello", vec![ToRelay::Watch(Watch::Mark(1)).encode()]),
        ("two hellos", vec![hello(), hello()]),
        ("no message", vec![hello(), Vec::new()]),
        ("another version of messages", vec![hello(), newer]),
        ("an unknown message", vec![hello(), vec![1, 9, 9]]),
        ("a message cut short", vec![hello(), request()[..3].to_vec()]),
        ("two requests of one number", vec![hello(), request(), request()]),
    ];
    for (what, messages) in cases {
        let mut pair = Pair::silent();
        for message in messages {
            pair.say_bytes(&message);
        }
        let said = pair.hear();
        assert_eq!(said.last(), Some(&ToClient::Goodbye(Goodbye::Malformed)), "{what}");
        assert!(pair.connection.is_over(), "{what}");
        assert_eq!(pair.connection.poll_work(), None, "{what}");
        pair.say(&ask(5, heads(1)));
        assert_eq!(pair.connection.poll_work(), None, "{what}: nothing afterwards counts");
    }
}

/// A number may be used again once it is answered.
#[test]
fn an_answered_number_is_free_again() {
    let mut pair = Pair::open();
    for _ in 0..3 {
        pair.say(&ask(4, heads(1)));
        let Some(Work::Answer { id: 4, .. }) = pair.connection.poll_work() else { panic!("work") };
        pair.connection.handle_answer(4, Answer::Heads(vec![]));
        assert_eq!(pair.hear(), [ToClient::Answer { id: 4, answer: Answer::Heads(vec![]) }]);
    }
    pair.connection.handle_answer(4, Answer::Heads(vec![]));
    assert_eq!(pair.hear(), [], "an answer to no question is not sent");
}

/// R6: requests above the bound stay on the link, and every one is answered in the end.
#[test]
fn a_client_that_asks_for_too_much_at_once_waits() {
    let mut pair = Pair::with(|limits| limits.requests = 4);
    pair.greet();
    for id in 0..20 {
        pair.say(&ask(id, heads(1)));
    }
    assert!(!pair.connection.wants_frames());
    let mut begun = 0;
    while let Some(Work::Answer { id, .. }) = pair.connection.poll_work() {
        begun += 1;
        if begun % 3 == 0 {
            pair.connection.handle_answer(id, Answer::Heads(vec![]));
        }
        assert!(begun < 100);
    }
    assert_eq!(begun, 4 + 1, "four, and one for the one that was answered");
    let mut answered = 1;
    let mut id = 0;
    while answered < 20 && id < 10_000 {
        pair.connection.handle_answer(id % 20, Answer::Heads(vec![]));
        while pair.connection.poll_work().is_some() {}
        answered += pair.hear().len();
        id += 1;
    }
    assert!(pair.connection.wants_frames());
}

/// R6: requests and changes that are not worked on are bounded by their bytes too.
#[test]
fn the_bytes_of_what_is_asked_are_bounded() {
    type Message = fn(u64) -> ToRelay;
    let messages: [Message; 3] = [
        |id| ask(id, Request::Upload(vec![1; 60_000])),
        |_| ToRelay::Watch(Watch::Remove(vec![group(1); 3_000])),
        |_| ToRelay::Watch(Watch::Add(vec![(group(1), Seq(0)); 3_000])),
    ];
    for message in messages {
        let mut pair = Pair::with(|limits| limits.request_bytes = 200_000);
        pair.greet();
        let mut taken = 0;
        while pair.connection.wants_frames() && taken < 100 {
            pair.say(&message(taken));
            taken += 1;
        }
        assert!((3..6).contains(&taken), "{taken} messages of 60 KB where 200 KB are kept");
    }
    // Looks that have begun count until they end, and there is one at a time.
    let mut pair = Pair::with(|limits| limits.request_bytes = 200_000);
    pair.greet();
    let mut begun = 0;
    for _ in 0..100 {
        if !pair.connection.wants_frames() {
            break;
        }
        pair.say(&messages[2](0));
        begun += usize::from(pair.connection.poll_work().is_some());
    }
    assert_eq!(begun, 1);
    assert!(!pair.connection.wants_frames());
}

/// Scenario 84: for a client that does not read, no further request is begun, records become
/// heads, and what waits for it is bounded.
#[test]
fn a_client_that_never_reads_costs_a_bounded_amount() {
    let mut pair = Pair::with(|limits| {
        limits.queued_bytes = 100_000;
        limits.delivery_bytes = 20_000;
    });
    pair.greet();
    let topics: Vec<(Topic, Seq)> = (0..10).map(|number| (group(number), Seq(0))).collect();
    pair.say(&ToRelay::Watch(Watch::Add(topics)));
    let Some(Work::Look(_)) = pair.connection.poll_work() else { panic!("a look") };
    pair.connection.handle_heads(&[]);
    let mut logs: Vec<Cursor> = vec![Cursor::START; 10];
    for round in 0..200 {
        pair.say(&ask(round, fetch(30_000)));
        for (number, cursor) in logs.iter_mut().enumerate() {
            let topic = group(u8::try_from(number).unwrap());
            let seq = Seq(cursor.seq.0 + 1);
            let record = Record::chained(&topic, seq, cursor.seq, &cursor.hash, vec![1; 1_000]);
            *cursor = record.cursor();
            pair.connection.handle_appended(&topic, &record);
        }
        while let Some(work) = pair.connection.poll_work() {
            let Work::Answer { id, .. } = work else { panic!("{work:?}") };
            let page = TopicPage {
                topic: group(1),
                records: vec![Record::chained(
                    &group(1),
                    Seq(1),
                    Seq(0),
                    &ChainHash::GENESIS,
                    vec![1; 30_000],
                )],
                head: Cursor::START,
                more: true,
                signed: None,
            };
            pair.connection.handle_answer(id, Answer::Pages(vec![page]));
        }
        assert!(pair.connection.queued_bytes() < 150_000, "{}", pair.connection.queued_bytes());
    }
    // Once it reads, nothing is missing unsaid: the last that it hears of each log is its head.
    let mut at = vec![Seq(0); 10];
    for _ in 0..1_000 {
        for message in pair.hear() {
            match message {
                ToClient::Delivery(Delivery::Record(topic, record)) => {
                    let place = &mut at[number(&topic)];
                    assert_eq!(record.prev, *place, "no silent hole");
                    *place = record.seq;
                }
                ToClient::Delivery(Delivery::Head { topic, seq }) => at[number(&topic)] = seq,
                _ => {}
            }
        }
        while let Some(Work::Answer { id, .. }) = pair.connection.poll_work() {
            pair.connection.handle_answer(id, Answer::Pages(vec![]));
        }
    }
    assert!(at.iter().all(|seq| *seq == Seq(200)), "{at:?}");
}

/// R6: a subscription of more topics than allowed, and a flood of marks, end the connection.
#[test]
fn too_many_topics_or_marks_end_the_connection() {
    let mut pair = Pair::with(|limits| limits.topics = 100);
    pair.greet();
    let topics = |from: u8| (from..from + 60).map(|number| (group(number), Seq(0))).collect();
    pair.say(&ToRelay::Watch(Watch::Add(topics(0))));
    pair.say(&ToRelay::Watch(Watch::Add(topics(0))));
    assert_eq!(pair.hear(), [], "the same again is no more");
    pair.say(&ToRelay::Watch(Watch::Add(topics(100))));
    assert_eq!(pair.hear(), [ToClient::Goodbye(Goodbye::TooMuch)]);

    let mut pair = Pair::with(|limits| limits.requests = 10);
    pair.greet();
    pair.say(&ToRelay::Watch(Watch::Add(vec![(group(1), Seq(0))])));
    for mark in 0..50 {
        pair.say(&ToRelay::Watch(Watch::Mark(mark)));
    }
    assert_eq!(pair.hear(), [ToClient::Goodbye(Goodbye::TooMuch)]);
}

/// Marks wait for the looks before them, whatever comes in between.
#[test]
fn a_mark_is_echoed_after_the_looks_before_it() {
    let mut pair = Pair::open();
    pair.say(&ToRelay::Watch(Watch::Add(vec![(group(1), Seq(0))])));
    assert_eq!(pair.connection.poll_work(), Some(Work::Look(vec![group(1)])));
    pair.say(&ToRelay::Watch(Watch::Add(vec![(group(2), Seq(0))])));
    assert_eq!(pair.connection.poll_work(), None, "one look at a time");
    // Records were missed while the second waits: it looks at everything instead.
    pair.connection.handle_missed();
    pair.say(&ToRelay::Watch(Watch::Mark(5)));
    pair.connection.handle_heads(&[(group(1), Seq(3))]);
    let head = |number, seq| ToClient::Delivery(Delivery::Head { topic: group(number), seq });
    assert_eq!(pair.hear(), [head(1, Seq(3))], "not yet");
    assert_eq!(pair.connection.poll_work(), Some(Work::Look(vec![group(1), group(2)])));
    pair.connection.handle_missed();
    pair.connection.handle_heads(&[(group(1), Seq(4)), (group(2), Seq(2))]);
    let echo = ToClient::Delivery(Delivery::CaughtUp(5));
    assert_eq!(pair.hear(), [head(1, Seq(4)), head(2, Seq(2)), echo]);
    assert!(matches!(pair.connection.poll_work(), Some(Work::Look(_))), "missed once more");
    pair.connection.handle_heads(&[]);
    pair.connection.handle_heads(&[]);
    pair.say(&ToRelay::Watch(Watch::Remove(vec![group(1)])));
    assert_eq!(pair.connection.poll_work(), Some(Work::Forget(vec![group(1)])));
}

/// R3, scenario 18: frames that no channel makes, and lengths that nobody may announce, end the
/// connection and cost nothing.
#[test]
fn frames_that_make_no_sense_end_the_connection() {
    let frames: [(&str, Vec<u8>); 3] = [
        ("a length of 2^62", vec![255, 255, 255, 255, 255, 255, 255, 255, 63]),
        ("a length that never ends", vec![255; 20]),
        ("a frame longer than the link's", vec![0; 100_000]),
    ];
    for (what, frame) in frames {
        let mut pair = Pair::open();
        let mut bytes = pair.frame_of(&ask(1, heads(1)));
        bytes.truncate(bytes.len() - ask(1, heads(1)).encode().len() - 1);
        pair.connection.handle_frame(NOW, &[bytes, frame].concat());
        assert!(pair.connection.is_ending(), "{what}");
        assert!(pair.connection.is_over(), "{what}: nothing is kept");
        assert_eq!(pair.connection.poll_work(), None, "{what}");
    }
    for reliable in [true, false] {
        for length in 0..4 {
            for byte in 0..=255 {
                let mut pair = Pair::over(LinkInfo { mtu: 64, reliable }, |_| {});
                pair.connection.handle_frame(NOW, &vec![byte; length]);
                pair.connection.handle_frame(NOW, &[byte]);
                assert!(pair.connection.queued_bytes() < 1_000);
            }
        }
    }
}

/// Scenario 18: frames of one byte carry messages all the same.
#[test]
fn frames_may_be_as_short_as_they_like() {
    let mut pair = Pair::open();
    let frame = pair.frame_of(&ask(1, heads(1)));
    let Some((kind, stream)) = split(&frame, &ask(1, heads(1)).encode()) else { panic!("a frame") };
    for byte in stream {
        assert_eq!(pair.connection.poll_work(), None);
        pair.connection.handle_frame(NOW, &[kind.clone(), vec![*byte]].concat());
    }
    assert!(matches!(pair.connection.poll_work(), Some(Work::Answer { id: 1, .. })));
}

/// R8: a client that is answered what it did not ask for closes, and what waits is lost.
#[test]
fn a_relay_that_answers_something_else_is_left() {
    let record = |seq: u64, prev: u64| {
        Record::chained(&group(1), Seq(seq), Seq(prev), &ChainHash::GENESIS, vec![1])
    };
    let pages = |topic, records| {
        let page = TopicPage { topic, records, head: Cursor::START, more: false, signed: None };
        Answer::Pages(vec![page])
    };
    let asked = || Request::Fetch { after: vec![(group(1), Cursor::START)], limit: default() };
    let accepted = PublishOutcome::Accepted { seq: Seq(1), prev: Seq(0) };
    let wrong: Vec<(Request, Answer)> = vec![
        (heads(1), Answer::Inboxes(vec![])),
        (heads(1), Answer::Heads(vec![(group(9), Cursor::START)])),
        (heads(1), Answer::Heads(vec![(group(1), Cursor::START); 2])),
        (asked(), pages(group(2), vec![])),
        (asked(), pages(group(1), vec![record(3, 2)])),
        (asked(), pages(group(1), vec![record(1, 0), record(3, 2)])),
        (Request::Publish(vec![]), Answer::Published(vec![accepted])),
        (Request::KeyPackages(vec![]), Answer::KeyPackages(vec![None])),
        (Request::Resolve(vec![]), Answer::Inboxes(vec![None])),
        (Request::Upload(vec![]), Answer::Published(vec![])),
    ];
    for (request, answer) in wrong {
        let said = ToClient::Answer { id: 1, answer: answer.clone() };
        let news = client_hears(request, &[ToClient::Hello(relay_hello()), said]);
        let [News::Opened(_), News::Lost(_), News::Closed(CloseReason::Broken(_))] = &news[..]
        else {
            panic!("{answer:?}: {news:?}");
        };
    }
    let failed = ToClient::Answer { id: 1, answer: Answer::Failed(Failure::TooMuch) };
    let good = client_hears(heads(1), &[ToClient::Hello(relay_hello()), failed.clone()]);
    assert!(matches!(good[..], [News::Opened(_), News::Answered(..)]));
    for messages in [
        vec![failed.clone()],
        vec![ToClient::Hello(relay_hello()), ToClient::Hello(relay_hello())],
        vec![ToClient::Hello(relay_hello()), failed.clone(), failed],
        vec![ToClient::Hello(RelayHello { version: 9, ..relay_hello() })],
        vec![ToClient::Delivery(Delivery::CaughtUp(1))],
    ] {
        let news = client_hears(heads(1), &messages);
        assert!(matches!(news.last(), Some(News::Closed(CloseReason::Broken(_)))), "{news:?}");
    }
}

/// R6: an answer may take long on a slow link that moves; a silent relay is left.
#[test]
fn a_slow_link_is_no_silent_relay() {
    let info = LinkInfo { mtu: 64, reliable: true };
    let mut client = RelayClient::new(NOW, info, ClientLimits::default());
    let mut channel = Channel::new(info, ChannelLimits::default());
    client.request(NOW, heads(1)).unwrap();
    while client.poll_frame(NOW).is_some() {}
    channel.send(&ToClient::Hello(relay_hello()).encode());
    let heads = vec![(group(1), Cursor::START)];
    channel.send(&ToClient::Answer { id: 1, answer: Answer::Heads(heads) }.encode());
    let mut now = NOW;
    while let Some(frame) = channel.poll_frame(now) {
        now = now.plus_ms(50_000);
        client.handle_timeout(now);
        client.handle_frame(now, &frame);
    }
    let news: Vec<News> = std::iter::from_fn(|| client.poll()).collect();
    assert!(matches!(news[..], [News::Opened(_), News::Answered(..)]), "{news:?}");
    client.request(now, self::heads(1)).unwrap();
    while client.poll_frame(now).is_some() {}
    let due = client.next_timeout().unwrap();
    assert_eq!(due, now.plus_ms(60_000));
    client.handle_timeout(due);
    let news: Vec<News> = std::iter::from_fn(|| client.poll()).collect();
    assert!(matches!(news[..], [News::Lost(_), News::Closed(CloseReason::Silent)]), "{news:?}");
}

/// Over a link that loses frames, a goodbye is repeated until it has arrived, and a full
/// connection still hears what has arrived of its answers.
#[test]
fn a_goodbye_over_a_lossy_link_is_repeated() {
    let info = LinkInfo { mtu: 64, reliable: false };
    let mut pair = Pair::over(info, |limits| limits.requests = 2);
    pair.greet();
    for id in 0..5 {
        pair.say(&ask(id, heads(1)));
    }
    assert!(pair.connection.wants_frames(), "they may say what has arrived");
    pair.connection.end(Goodbye::ShuttingDown);
    while pair.connection.poll_frame(pair.now).is_some() {}
    assert!(!pair.connection.is_over(), "lost on the way");
    pair.now = pair.connection.next_timeout().expect("it is repeated");
    pair.connection.handle_timeout(pair.now);
    assert_eq!(pair.hear(), [ToClient::Goodbye(Goodbye::ShuttingDown)]);
    assert!(pair.connection.is_over());
}
