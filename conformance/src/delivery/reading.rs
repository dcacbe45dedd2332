//! What a service promises of reading logs.

use conclave_core::delivery::{DeliveryService, PageLimit};
use conclave_proto::{Cursor, Record, Seq, Topic};

use super::kit::{accepted, everything, fetch, group, log, several, transmit};
use crate::link::within;

/// R6: an answer has no more than was asked for, over all topics; what did not fit is said to be
/// more, and asking on brings all of it.
pub async fn a_fetch_keeps_to_its_limit_and_says_what_is_left<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topics: Vec<Topic> = (1..=3).map(group).collect();
    for topic in &topics {
        accepted(&service, several(topic, 0..10)).await;
    }
    let after: Vec<_> = topics.iter().map(|topic| (topic.clone(), Cursor::START)).collect();
    let limit = PageLimit { records: 7, ..PageLimit::default() };
    let pages = fetch(&service, after.clone(), limit).await;
    let found: usize = pages.iter().map(|page| page.records.len()).sum();
    assert!((1..=7).contains(&found), "{found} records where 7 were asked for");
    for page in &pages {
        assert!(page.records.len() == 10 || page.more, "what does not fit has more");
    }
    let limit = PageLimit { bytes: 4 * 5, ..PageLimit::default() };
    let pages = fetch(&service, after, limit).await;
    let bytes: usize = pages.iter().flat_map(|page| &page.records).map(|r| r.payload.len()).sum();
    assert!((1..=20).contains(&bytes), "{bytes} bytes where 20 were asked for");
    for limit in [limit, PageLimit { records: 7, ..limit }, PageLimit::default()] {
        let all = everything(&service, &topics, limit).await;
        assert!(all.values().map(Vec::len).eq([10, 10, 10]), "asking on brings everything");
    }
}

/// At least one record comes, however long it is.
pub async fn a_record_longer_than_the_limit_comes_all_the_same<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topic = group(1);
    accepted(&service, vec![transmit(&topic, vec![1; 2_000]), transmit(&topic, vec![2; 10])]).await;
    for limit in [PageLimit { records: 10, bytes: 1 }, PageLimit { records: 0, bytes: 0 }] {
        let pages = fetch(&service, vec![(topic.clone(), Cursor::START)], limit).await;
        let page = pages.first().expect("a page of a log with news");
        assert_eq!(page.records.len(), 1, "exactly the first record");
        assert!(page.more, "and more is said to follow");
    }
}

/// A page begins behind the reader's cursor; at the head there is nothing.
pub async fn a_reader_that_has_everything_gets_nothing<S: DeliveryService, K>(
    make: impl AsyncFn() -> (S, K),
) {
    let (service, _kept) = make().await;
    let topic = group(1);
    accepted(&service, several(&topic, 0..4)).await;
    let records = log(&service, &topic).await;
    for (place, record) in records.iter().enumerate() {
        let after = vec![(topic.clone(), record.cursor())];
        let pages = fetch(&service, after, PageLimit::default()).await;
        let rest: Vec<Record> = pages.into_iter().flat_map(|page| page.records).collect();
        assert_eq!(rest, records[place + 1..], "exactly what follows the cursor");
    }
    let empty = fetch(&service, vec![(group(2), Cursor::START)], PageLimit::default()).await;
    assert!(empty.iter().all(|page| page.records.is_empty() && !page.more), "an empty log");
}

/// Heads are said of those topics only whose head is not what the caller says.
pub async fn heads_say_only_what_differs<S: DeliveryService, K>(make: impl AsyncFn() -> (S, K)) {
    let (service, _kept) = make().await;
    let one = *accepted(&service, several(&group(1), 0..3)).await.last().expect("three places");
    let two = *accepted(&service, several(&group(2), 0..2)).await.last().expect("two places");
    let heads = async |known: Vec<(Topic, Seq)>| {
        let heads = within("heads", service.heads(known)).await;
        heads.expect("a healthy service can be read")
    };
    let said = heads(vec![(group(1), one), (group(2), Seq(0)), (group(3), Seq(0))]).await;
    let last = log(&service, &group(2)).await.last().map(Record::cursor);
    assert_eq!(said, [(group(2), last.expect("a record"))], "one of the three differs");
    let said = heads(vec![(group(1), one), (group(2), two), (group(3), Seq(0))]).await;
    assert!(said.is_empty(), "none differs: {said:?}");
    let said = heads(vec![(group(3), Seq(5)), (group(1), Seq(0))]).await;
    let said: Vec<_> = said.into_iter().map(|(topic, head)| (topic, head.seq)).collect();
    assert!(said.contains(&(group(1), one)) && said.contains(&(group(3), Seq(0))), "{said:?}");
}
