//! Micro-benchmarks: messages sent and received in groups of 10 and of 1,000.
//!
//! Criterion sees processor time of the process, as the table does, and 64 messages as one
//! iteration: each needs fresh messages, which are made outside of what is measured.
#![allow(missing_docs, reason = "the macros of criterion make undocumented functions")]

use std::time::Duration;

use conclave_benches::{
    fixture::{Fixture, Shape},
    messages::{self, BATCH, Side},
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIDES: [(&str, Side); 3] = [
    ("send", messages::send_single),
    ("receive", messages::receive_single),
    ("receive in batches of 64", messages::receive_batch),
];

fn all(criterion: &mut Criterion) {
    let mut groups = [10, 1_000].map(|leaves| (leaves, Fixture::new(Shape::of(leaves))));
    for (name, side) in SIDES {
        let mut benches = criterion.benchmark_group(name);
        benches.throughput(Throughput::Elements(BATCH as u64));
        for (leaves, fixture) in &mut groups {
            benches.bench_function(BenchmarkId::from_parameter(*leaves), |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| side(fixture)).sum::<Duration>());
            });
        }
        benches.finish();
    }
}

criterion_group! {
    name = benches;
    // Few and short samples: making messages takes longer than measuring them.
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = all
}
criterion_main!(benches);
