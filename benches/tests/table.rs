//! What can be counted is held to its targets; what is timed only has to be there.
#![allow(clippy::expect_used, clippy::panic, reason = "a failed expectation fails the test")]

use std::{collections::BTreeSet, path::Path, time::Duration};

use conclave_benches::{
    bytes,
    durable::OnDisk,
    fixture::{Fixture, Shape},
    messages::BATCH,
    relay::OverQuic,
    table::{Budget, Table},
};

/// The keys of the table.
const KEYS: [&str; 36] = [
    "binary_bytes",
    "binary_bytes_library",
    "bytes_per_commit_applied_1000",
    "bytes_per_message_batch64_1000",
    "bytes_per_message_single_1000",
    "channel_p99_over_quic_20_loss",
    "crates_in_tree",
    "crates_in_tree_library",
    "end_to_end_ms_p50",
    "end_to_end_ms_p99",
    "end_to_end_syncs",
    "engine_over_bare_batch64_10",
    "engine_over_bare_single_10",
    "engine_over_mls_rs_durable_10",
    "engine_over_mls_rs_durable_1000",
    "engine_over_mls_rs_memory_10",
    "engine_over_mls_rs_memory_1000",
    "file_bytes_per_message_batch64_1000",
    "file_bytes_per_message_single_1000",
    "heads_10000_bytes",
    "heads_10000_ms",
    "ready_10000_groups_ms",
    "receive_batch64_1000_over_10",
    "receive_single_1000_over_10",
    "relay_cpu_us_per_publish",
    "relay_over_redb_256",
    "relay_over_redb_64",
    "rss_10000_groups_mb",
    "send_single_1000_over_10",
    "sim_steps_per_second",
    "state_1000_inboxes_over_10",
    "sync_10000_groups_ms",
    "syncs_per_message_batch64",
    "syncs_per_message_single",
    "threads_per_engine",
    "two_cores_over_one",
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

/// A record of 1 KiB on its way over QUIC: what surrounds it is some dozen bytes, its answer is
/// shorter still, and one call alone is one commit. With 64 on their way frames and commits are
/// shared, which never costs more.
#[test]
fn a_publish_costs_a_few_bytes_more_than_its_record() {
    let relay = OverQuic::start();
    let alone = relay.publish(100, 1);
    assert!((1_024 * 100..(1_024 + 64) * 100).contains(&alone.up), "{alone:?}");
    assert!((1..24 * 100).contains(&alone.down), "{alone:?}");
    // A relay that had nothing to do for a second makes a commit of its own.
    assert!((100..=150).contains(&alone.commits), "{alone:?}");
    let again = relay.publish(100, 1);
    assert!(again.up.abs_diff(alone.up) <= 200 && again.down.abs_diff(alone.down) <= 300);
    let together = relay.publish(1_000, 64);
    assert!(together.up <= (1_024 + 64) * 1_000, "{together:?}");
    assert!(together.down <= 24 * 1_000 && together.commits <= 1_000, "{together:?}");
}

#[test]
fn bytes_are_the_same_in_every_run() {
    let count = || bytes::count(&mut Fixture::new(Shape::of(12)));
    assert_eq!(count(), count());
}

#[test]
fn the_table_has_exactly_its_keys() {
    let budget = Budget {
        large: 12,
        small: 10,
        inboxes: 12,
        repetitions: 1,
        relay_side: Duration::from_millis(100),
        heads: 100,
        end_to_end: 20,
        two_groups: 50,
        groups: 20,
        engines: 2,
        worlds: 1,
        operations: 10,
        link_runs: 1,
        link_run: Duration::from_millis(500),
        build: false,
    };
    let program = Path::new(env!("CARGO_BIN_EXE_conclave-benches"));
    let table = Table::measure(budget, program);
    let json: serde_json::Value = serde_json::from_str(&table.to_json()).expect("it is JSON");
    let serde_json::Value::Object(json) = json else { panic!("it is one object") };
    let keys: BTreeSet<&str> = json.keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(KEYS));
    for (key, number) in &json {
        let counted = number.as_f64().is_some_and(|number| number > 0.0);
        // Programs are not built here; only some systems count files and memory, or bind threads
        // to the second of two processors.
        let processors = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        let may_miss = match key.as_str() {
            "binary_bytes" | "binary_bytes_library" => true,
            "two_cores_over_one" => !cfg!(target_os = "linux") || !processors,
            key => {
                let counted = ["file", "rss", "threads"];
                !cfg!(target_os = "linux") && counted.iter().any(|start| key.starts_with(start))
            }
        };
        assert!(counted || (number.is_null() && may_miss), "{key}: {number}");
    }
    let text = table.to_text();
    assert!(KEYS.iter().all(|key| text.contains(key)), "{text}");
}
