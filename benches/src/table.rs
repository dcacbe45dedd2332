//! The table: every figure, as text for people and as JSON for machines.

mod engines;

use std::{fmt::Write as _, path::Path, time::Duration};

use crate::{
    bare::BareGroup,
    bytes::{self, Bytes},
    durable::{Cost, OnDisk},
    fixture::{Fixture, Shape},
    links::tails_over_quic,
    measure::Ratio,
    messages::{self, BATCH, Side},
    mls_rs_peer::{self, Persisting},
    relay::OverQuic,
    shipped::Product,
};

/// A part of the table that can be measured alone, in at most five minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What messages cost, by the size of the group and of its state.
    Messages,
    /// The engine beside bare OpenMLS and mls-rs.
    Peers,
    /// Stores on a disk.
    Storage,
    /// The relay over QUIC.
    Relay,
    /// Whole engines.
    Engine,
    /// Our channel beside QUIC.
    Links,
    /// What a user gets: crates and programs.
    Product,
}

impl Section {
    /// All, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Messages,
        Self::Peers,
        Self::Storage,
        Self::Relay,
        Self::Engine,
        Self::Links,
        Self::Product,
    ];

    /// What it is called on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Peers => "peers",
            Self::Storage => "storage",
            Self::Relay => "relay",
            Self::Engine => "engine",
            Self::Links => "links",
            Self::Product => "product",
        }
    }
}

/// How much is measured. The keys name the sizes of [`Budget::full`].
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Leaves of the large group.
    pub large: usize,
    /// Leaves of the small one.
    pub small: usize,
    /// Inboxes of the group whose state is large.
    pub inboxes: usize,
    /// Repetitions of every comparison.
    pub repetitions: usize,
    /// How long each side of a comparison at the relay goes on.
    pub relay_side: Duration,
    /// Logs whose heads are asked for.
    pub heads: u64,
    /// Messages from one person to another.
    pub end_to_end: usize,
    /// Messages in each of two groups.
    pub two_groups: usize,
    /// Groups of one engine.
    pub groups: usize,
    /// Engines beside the first one on a shared driver.
    pub engines: usize,
    /// Simulated worlds.
    pub worlds: u64,
    /// Random operations in each of them.
    pub operations: usize,
    /// Runs of the comparison with QUIC.
    pub link_runs: u64,
    /// How long one of them goes on.
    pub link_run: Duration,
    /// Whether programs are built that are not built yet.
    pub build: bool,
}

impl Budget {
    /// What the table is defined with.
    #[must_use]
    pub const fn full() -> Self {
        Self {
            large: 1_000,
            small: 10,
            inboxes: 1_000,
            repetitions: 21,
            relay_side: Duration::from_secs(2),
            heads: 10_000,
            end_to_end: 500,
            two_groups: 4_000,
            groups: 10_000,
            engines: 20,
            worlds: 60,
            operations: 200,
            link_runs: 9,
            link_run: Duration::from_secs(15),
            build: true,
        }
    }
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// Reported only.
    Reported,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A ratio of processor times or rates.
    Ratio(Ratio),
    /// Bytes, the same in every run.
    Bytes(u64),
    /// A number of things, the same in every run.
    Number(u64),
    /// A number of things per message, the same in every run.
    PerMessage(f64),
    /// A measured number, in the unit that its key names.
    Measured(f64),
    /// What this system does not count.
    Missing,
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its key.
    pub key: &'static str,
    /// What was found.
    pub value: Value,
    /// What it has to be.
    pub target: Target,
    /// What it is made of, for the readable table.
    pub detail: String,
}

impl Figure {
    fn ratio(key: &'static str, ratio: Ratio, target: Target) -> Self {
        let detail = format!(
            "{:.1} µs : {:.1} µs, {:.2} to {:.2} in {}",
            ratio.first_us, ratio.second_us, ratio.low, ratio.high, ratio.repetitions
        );
        Self { key, value: Value::Ratio(ratio), target, detail }
    }

    fn bytes(key: &'static str, bytes: u64, max: u32, detail: String) -> Self {
        Self { key, value: Value::Bytes(bytes), target: Target::AtMost(max.into()), detail }
    }

    fn file_bytes(key: &'static str, cost: Cost) -> Self {
        let per_message = |bytes: u64| bytes.div_ceil(BATCH as u64);
        let (value, detail) = match cost.io {
            Some(io) => (
                Value::Bytes(per_message(io.handed)),
                format!("handed to write calls; pages dirtied {} B", per_message(io.dirtied)),
            ),
            None => (Value::Missing, NOT_COUNTED.into()),
        };
        Self { key, value, target: Target::Reported, detail }
    }

    fn measured(key: &'static str, number: f64, detail: String) -> Self {
        Self { key, value: Value::Measured(number), target: Target::Reported, detail }
    }

    fn millis(key: &'static str, time: Duration, detail: String) -> Self {
        Self::measured(key, time.as_secs_f64() * 1e3, detail)
    }

    fn missing(key: &'static str, target: Target, why: &str) -> Self {
        Self { key, value: Value::Missing, target, detail: why.into() }
    }

    fn syncs(key: &'static str, cost: Cost) -> Self {
        let value = Value::PerMessage(cost.syncs as f64 / BATCH as f64);
        let detail = format!("{} for {BATCH} messages", cost.syncs);
        Self { key, value, target: Target::Reported, detail }
    }

    /// The number that stands under its key; not a number if there is none.
    #[must_use]
    pub fn number(&self) -> f64 {
        match self.value {
            Value::Ratio(ratio) => ratio.median,
            Value::Bytes(number) | Value::Number(number) => number as f64,
            Value::PerMessage(number) | Value::Measured(number) => number,
            Value::Missing => f64::NAN,
        }
    }

    /// Whether it is what it has to be; `None` if nothing is asked of it.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        if self.value == Value::Missing {
            return None;
        }
        match self.target {
            Target::AtMost(max) => Some(self.number() <= max),
            Target::AtLeast(min) => Some(self.number() >= min),
            Target::Reported => None,
        }
    }
}

/// All figures.
#[derive(Clone, Debug)]
pub struct Table {
    /// Those of the issue, under their keys.
    pub figures: Vec<Figure>,
    /// Others, for people only.
    pub besides: Vec<Figure>,
}

impl Table {
    /// Measures everything. `program` is the program of this crate, which runs some of it in a
    /// process of its own.
    #[must_use]
    pub fn measure(budget: Budget, program: &Path) -> Self {
        Self::measure_sections(&Section::ALL, budget, program)
    }

    /// Measures some sections, see [`measure`](Self::measure).
    #[must_use]
    pub fn measure_sections(sections: &[Section], budget: Budget, program: &Path) -> Self {
        let mut table = Self { figures: Vec::new(), besides: Vec::new() };
        for section in sections {
            match section {
                Section::Messages => table.add_messages(budget),
                Section::Peers => table.add_peers(budget),
                Section::Storage => table.add_durable(budget),
                Section::Relay => table.add_relay(budget),
                Section::Engine => table.add_engines(budget, program),
                Section::Links => table.add_links(budget),
                Section::Product => table.add_shipped(budget),
            }
        }
        table
    }

    fn add_messages(&mut self, budget: Budget) {
        let Budget { large, small, repetitions, .. } = budget;
        let mut small = Fixture::new(Shape::of(small));
        self.add_growth(&mut Fixture::new(Shape::of(large)), &mut small, repetitions);
        self.add_bytes(&bytes::count(&mut Fixture::new(Shape::of(large))));
        self.add_state(budget);
    }

    fn add_peers(&mut self, budget: Budget) {
        let mut small = Fixture::new(Shape::of(budget.small));
        self.add_bare(&mut small, budget.repetitions);
        self.add_mls_rs(budget, &mut small);
    }

    fn add_growth(&mut self, large: &mut Fixture, small: &mut Fixture, repetitions: usize) {
        let mut growth = |side| messages::compare(large, small, repetitions, side);
        let (batch, at_most) = (growth(messages::receive_batch), Target::AtMost(1.25));
        let (sent, received) = (growth(messages::send_single), growth(messages::receive_single));
        self.figures.extend([
            Figure::ratio("receive_batch64_1000_over_10", batch, at_most),
            Figure::ratio("send_single_1000_over_10", sent, Target::Reported),
            Figure::ratio("receive_single_1000_over_10", received, Target::Reported),
        ]);
    }

    fn add_bytes(&mut self, bytes: &Bytes) {
        let single = bytes.single;
        let kinds = format!(
            "steady {}, first of a sender {}, generation 127 to 128 {}, one epoch back {}, three \
             back {}",
            single.steady, single.first, single.generation_128, single.one_back, single.three_back
        );
        let batch = format!("{BATCH} messages by 8 senders; a message sent alone {}", bytes.sent);
        self.figures.extend([
            Figure::bytes("bytes_per_message_batch64_1000", bytes.batch, 768, batch),
            Figure::bytes("bytes_per_message_single_1000", single.worst(), 16_384, kinds),
            Figure::bytes(
                "bytes_per_commit_applied_1000",
                bytes.commit,
                40_960,
                "the worst of 5, path updates by 4 members".into(),
            ),
        ]);
    }

    fn add_bare(&mut self, engine: &mut Fixture, repetitions: usize) {
        let mut bare = BareGroup::new();
        bare.receive();
        let mut against = |side: Side| {
            side(engine);
            Ratio::interleaved(repetitions, BATCH, || side(engine), || bare.receive()).of_rates()
        };
        let single = against(messages::receive_single);
        let batch = against(messages::receive_batch);
        self.figures.extend([
            Figure::ratio("engine_over_bare_single_10", single, Target::AtLeast(0.7)),
            Figure::ratio("engine_over_bare_batch64_10", batch, Target::AtLeast(0.9)),
        ]);
    }

    fn add_mls_rs(&mut self, budget: Budget, small: &mut Fixture) {
        let ratio = against_mls_rs(budget, budget.small, small, Persisting::Everything);
        self.figures.push(Figure::ratio("engine_over_mls_rs_memory_10", ratio, Target::Reported));
        let mut large = Fixture::new(Shape::of(budget.large));
        let ratio = against_mls_rs(budget, budget.large, &mut large, Persisting::Everything);
        self.figures.push(Figure::ratio("engine_over_mls_rs_memory_1000", ratio, Target::Reported));
        let ratio = against_mls_rs(budget, budget.large, &mut large, Persisting::WithoutTree);
        self.besides.push(Figure::ratio(
            "memory_1000, mls-rs writing no tree",
            ratio,
            Target::Reported,
        ));
    }

    fn add_durable(&mut self, budget: Budget) {
        let mut small = Fixture::new(Shape::of(budget.small));
        let mut large = Fixture::new(Shape::of(budget.large));
        let mut small = OnDisk::new(&mut small);
        let mut large = OnDisk::new(&mut large);
        let (few, many) = ("engine_over_mls_rs_durable_10", "engine_over_mls_rs_durable_1000");
        let sizes = [
            (few, "durable_10, stored after every 64", &mut small, budget.small),
            (many, "durable_1000, stored after every 64", &mut large, budget.large),
        ];
        for (key, by_64, engine, size) in sizes {
            let mut peer = engine.peer(size);
            let repetitions = budget.repetitions.min(DURABLE_REPETITIONS);
            let single = engine.over_mls_rs(&mut peer, repetitions, 1);
            let batch = engine.over_mls_rs(&mut peer, repetitions, BATCH);
            self.figures.push(Figure::ratio(key, single, Target::Reported));
            self.besides.push(Figure::ratio(by_64, batch, Target::Reported));
        }
        let (single, batch) = (large.count(1), large.count(BATCH));
        self.figures.extend([
            Figure::file_bytes("file_bytes_per_message_single_1000", single),
            Figure::file_bytes("file_bytes_per_message_batch64_1000", batch),
            Figure::syncs("syncs_per_message_single", single),
            Figure::syncs("syncs_per_message_batch64", batch),
        ]);
    }

    fn add_state(&mut self, budget: Budget) {
        let shape = Shape { per_inbox: 1, ..Shape::of(budget.small) };
        let silent = budget.inboxes.saturating_sub(budget.small);
        let mut many = Fixture::new(Shape { without_leaves: silent, ..shape });
        let mut few = Fixture::new(shape);
        let side = messages::send_and_receive;
        let growth = messages::compare(&mut many, &mut few, budget.repetitions, side);
        let target = Target::AtMost(1.2);
        self.figures.push(Figure::ratio("state_1000_inboxes_over_10", growth, target));
    }

    fn add_relay(&mut self, budget: Budget) {
        let Budget { relay_side: side, .. } = budget;
        let relay = OverQuic::start();
        let repetitions = budget.repetitions.min(RELAY_REPETITIONS);
        let (of_64, cost) = relay.over_store(repetitions, side, 64);
        let (of_256, _) = relay.over_store(repetitions, side, 256);
        let heads = relay.heads(budget.heads, repetitions);
        let cost = Figure::measured(
            "relay_cpu_us_per_publish",
            cost.as_secs_f64() * 1e6,
            "client, relay and store together, 64 calls on their way".into(),
        );
        let time = Figure::measured(
            "heads_10000_ms",
            heads.time.as_secs_f64() * 1e3,
            format!("one round trip for {} logs, nothing new", budget.heads),
        );
        let bytes = Figure {
            key: "heads_10000_bytes",
            value: Value::Bytes(heads.bytes),
            target: Target::Reported,
            detail: "frames, both ways".into(),
        };
        self.figures.extend([
            Figure::ratio("relay_over_redb_64", of_64, Target::AtLeast(0.65)),
            Figure::ratio("relay_over_redb_256", of_256, Target::AtLeast(0.5)),
            cost,
            time,
            bytes,
        ]);
    }

    /// The figure is the worse of two: a group that talks, and one in which somebody does.
    fn add_links(&mut self, budget: Budget) {
        let intervals = [10, 100].map(Duration::from_millis);
        let tails = tails_over_quic(budget.link_runs, budget.link_run, &intervals);
        let key = "channel_p99_over_quic_20_loss";
        let mut figures: Vec<Figure> = intervals
            .into_iter()
            .zip(tails)
            .map(|(every, tail)| {
                let mut figure = Figure::ratio(key, tail, Target::AtMost(1.25));
                let _ = write!(figure.detail, ", a message every {every:?}");
                figure
            })
            .collect();
        figures.sort_by(|a, b| a.number().total_cmp(&b.number()));
        self.figures.extend(figures.pop());
        let besides = "channel_p99, at the other pace";
        self.besides.extend(figures.into_iter().map(|figure| Figure { key: besides, ..figure }));
    }

    fn add_shipped(&mut self, budget: Budget) {
        let of = [
            (Product::Program, ["crates_in_tree", "binary_bytes"], "the program `conclave`"),
            (
                Product::Library,
                ["crates_in_tree_library", "binary_bytes_library"],
                "a program over the library without actix, QUIC, wallets",
            ),
        ];
        for (product, [crates, bytes], what) in of {
            let number = |key, number: Option<u64>| match number {
                Some(number) => Figure {
                    key,
                    value: Value::Number(number),
                    target: Target::Reported,
                    detail: what.into(),
                },
                None => Figure::missing(key, Target::Reported, "cargo is asked, and not here"),
            };
            self.figures.push(number(crates, product.crates()));
            let size = if budget.build { product.bytes() } else { None };
            self.figures.push(number(bytes, size));
        }
    }

    /// One JSON object: each key and its number.
    #[must_use]
    pub fn to_json(&self) -> String {
        let numbers = self.figures.iter().map(|figure| {
            let number = match figure.value {
                Value::Ratio(Ratio { median: number, .. }) | Value::Measured(number) => {
                    ((number * 1_000.0).round() / 1_000.0).into()
                }
                Value::Bytes(number) | Value::Number(number) => number.into(),
                Value::PerMessage(number) => number.into(),
                Value::Missing => serde_json::Value::Null,
            };
            (figure.key.to_owned(), number)
        });
        serde_json::Value::Object(numbers.collect()).to_string()
    }

    /// A line for each figure: its number, what it has to be, and what it is made of.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for figure in self.figures.iter().chain(&self.besides) {
            let number = match figure.value {
                Value::Ratio(ratio) => format!("{:.2}", ratio.median),
                Value::Bytes(bytes) => format!("{bytes} B"),
                Value::Number(number) => number.to_string(),
                Value::PerMessage(number) => format!("{number:.3}"),
                Value::Measured(number) => format!("{number:.1}"),
                Value::Missing => "–".to_owned(),
            };
            let target = match figure.target {
                Target::AtMost(max) => format!("<= {max}"),
                Target::AtLeast(min) => format!(">= {min}"),
                Target::Reported => String::new(),
            };
            let verdict = match figure.is_met() {
                Some(true) => "met",
                Some(false) => "MISSED",
                None => "",
            };
            let Figure { key, detail, .. } = figure;
            let _ = writeln!(text, "{key:<36} {number:>9}  {target:<8} {verdict:<6}  {detail}");
        }
        text
    }
}

/// Syncs of a virtual disk vary more than processors do, and take longer.
const DURABLE_REPETITIONS: usize = 7;

const NOT_COUNTED: &str = "this system does not count it";

/// Each takes seconds.
const RELAY_REPETITIONS: usize = 5;

fn against_mls_rs(
    budget: Budget,
    size: usize,
    engine: &mut Fixture,
    persisting: Persisting,
) -> Ratio {
    let mut peer = mls_rs_peer::group(size);
    messages::receive_single(engine);
    peer.receive(persisting);
    Ratio::interleaved(
        budget.repetitions,
        BATCH,
        || messages::receive_single(engine),
        || peer.receive(persisting),
    )
    .of_rates()
}
