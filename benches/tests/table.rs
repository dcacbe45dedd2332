//! What can be counted is held to its targets; what is timed only has to be there.
#![allow(clippy::expect_used, clippy::panic, reason = "a failed expectation fails the test")]

use std::collections::BTreeSet;

use conclave_benches::{
    bytes,
    durable::OnDisk,
    fixture::{Fixture, Shape},
    messages::BATCH,
    table::{Budget, Table},
};

/// The keys of the table.
const KEYS: [&str; 17] = [
    "bytes_per_commit_applied_1000",
    "bytes_per_message_batch64_1000",
    "bytes_per_message_single_1000",
    "engine_over_bare_batch64_10",
    "engine_over_bare_single_10",
    "engine_over_mls_rs_durable_10",
    "engine_over_mls_rs_durable_1000",
    "engine_over_mls_rs_memory_10",
    "engine_over_mls_rs_memory_1000",
    "file_bytes_per_message_batch64_1000",
    "file_bytes_per_message_single_1000",
    "receive_batch64_1000_over_10",
    "receive_single_1000_over_10",
    "send_single_1000_over_10",
    "state_1000_inboxes_over_10",
    "syncs_per_message_batch64",
    "syncs_per_message_single",
];

/// A group of 1,000 writes what one of a few members would: one change, not one copy.
#[test]
fn a_message_and_a_commit_in_a_group_of_1000_write_little() {
    let bytes = bytes::count(&mut Fixture::new(Shape::of(1_000)));
    assert!(bytes.batch <= 768, "{bytes:?}");
    assert!(bytes.single.worst() <= 16_384, "{bytes:?}");
    assert!(bytes.commit <= 40_960, "{bytes:?}");
}

/// Each kind of message has to have been counted: a kind that costs nothing was not received.
#[test]
fn every_kind_of_message_is_counted() {
    let bytes = bytes::count(&mut Fixture::new(Shape::of(10)));
    let single = bytes.single;
    let kinds =
        [single.steady, single.first, single.generation_128, single.one_back, single.three_back];
    for kind in kinds {
        assert!(kind > 100, "content alone is 100 bytes: {bytes:?}");
    }
    assert!(bytes.batch > 100 && bytes.sent > 100 && bytes.commit > 1_000, "{bytes:?}");
    assert_eq!(Some(single.worst()), kinds.into_iter().max());
}

/// A commit to the file is two syncs, whatever it holds: the new pages, and then the header that
/// makes them count. Where the file has to grow first, that is one more.
#[test]
fn a_commit_to_the_file_is_synced_twice() {
    let mut fixture = Fixture::new(Shape::of(10));
    let mut receiver = OnDisk::new(&mut fixture);
    let (single, batch) = (receiver.count(1), receiver.count(BATCH));
    assert_eq!(single.syncs, 2 * BATCH as u64 + single.resizes, "{single:?}");
    assert_eq!(batch.syncs, 2 + batch.resizes, "{batch:?}");
    if let (Some(single), Some(batch)) = (single.io, batch.io) {
        let content = (BATCH * 100) as u64;
        assert!(batch.handed > content, "the content alone is {content} bytes: {batch:?}");
        assert!(single.handed > 4 * batch.handed, "{single:?}, {batch:?}");
    }
}

#[test]
fn bytes_are_the_same_in_every_run() {
    let count = || bytes::count(&mut Fixture::new(Shape::of(12)));
    assert_eq!(count(), count());
}

#[test]
fn the_table_has_exactly_its_keys() {
    let budget = Budget { large: 12, small: 10, inboxes: 12, repetitions: 1 };
    let table = Table::measure(budget);
    let json: serde_json::Value = serde_json::from_str(&table.to_json()).expect("it is JSON");
    let serde_json::Value::Object(json) = json else { panic!("it is one object") };
    let keys: BTreeSet<&str> = json.keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(KEYS));
    for (key, number) in &json {
        let not_counted = number.is_null() && key.starts_with("file_bytes");
        let counted = number.as_f64().is_some_and(|number| number > 0.0);
        assert!(counted || (not_counted && !cfg!(target_os = "linux")), "{key}: {number}");
    }
    let text = table.to_text();
    assert!(KEYS.iter().all(|key| text.contains(key)), "{text}");
}
