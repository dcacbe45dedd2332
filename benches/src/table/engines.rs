//! The section of whole engines, real and simulated.

use std::{fmt::Write as _, path::Path, time::Duration};

use super::{Budget, Figure, NOT_COUNTED, Table, Target, Value};
use crate::{
    engine::{
        end_to_end, open_with_many_groups, threads_per_engine, two_cores_over_one,
        two_threads_over_one_processor,
    },
    simulation::{self, Simulated},
};

impl Table {
    pub(super) fn add_engines(&mut self, budget: Budget, program: &Path) {
        let found = end_to_end(budget.end_to_end);
        let messages = budget.end_to_end;
        let between = format!("{messages} messages, one at a time, QUIC on loopback");
        let all = "sender, relay and receiver together";
        self.figures.extend([
            Figure::millis("end_to_end_ms_p50", found.p50, between.clone()),
            Figure::millis("end_to_end_ms_p99", found.p99, between),
            Figure::measured("end_to_end_syncs", found.syncs, all.into()),
        ]);
        let repetitions = budget.repetitions.min(ENGINE_REPETITIONS);
        let target = Target::AtLeast(1.6);
        let key = "two_cores_over_one";
        self.figures.push(match two_cores_over_one(budget.two_groups, repetitions) {
            Some((ratio, busy)) => {
                let mut figure = Figure::ratio(key, ratio, target);
                let _ = write!(figure.detail, ", {busy:.2} processors busy");
                figure
            }
            None => Figure::missing(key, target, "this system binds no threads"),
        });
        if let Some(ratio) = two_threads_over_one_processor(budget.repetitions) {
            let key = "two_cores_over_one, threads with nothing in common";
            self.besides.push(Figure::ratio(key, ratio, Target::Reported));
        }
        let opened = open_with_many_groups(budget.groups, program);
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let usable = format!("a message is stored after {:.1} ms", millis(opened.usable));
        self.figures.extend([
            Figure::millis("ready_10000_groups_ms", opened.ready, usable),
            Figure::millis("sync_10000_groups_ms", opened.sync, "nothing new".into()),
            match (opened.resident, opened.peak) {
                (Some(resident), Some(peak)) => {
                    let most = format!("{:.1} MB at most", megabytes(peak));
                    Figure::measured("rss_10000_groups_mb", megabytes(resident), most)
                }
                _ => Figure::missing("rss_10000_groups_mb", Target::Reported, NOT_COUNTED),
            },
            threads(budget.engines, program),
            simulated(budget),
        ]);
    }
}

fn threads(engines: usize, program: &Path) -> Figure {
    let (key, target) = ("threads_per_engine", Target::AtMost(2.0));
    let detail = format!("{engines} further engines on a driver that runs one");
    match threads_per_engine(engines, program) {
        Some(threads) => Figure { key, value: Value::PerMessage(threads), target, detail },
        None => Figure::missing(key, target, NOT_COUNTED),
    }
}

fn simulated(budget: Budget) -> Figure {
    let worlds = simulation::chaotic_worlds(budget.worlds, budget.operations);
    let steps: u64 = worlds.iter().map(|world| world.steps).sum();
    let mut rates: Vec<f64> = worlds.iter().map(Simulated::rate).collect();
    rates.sort_by(f64::total_cmp);
    let (low, high) = (rates[0], rates[rates.len() - 1]);
    let detail = format!("{low:.0} to {high:.0}, {steps} steps in {} worlds", worlds.len());
    Figure::measured("sim_steps_per_second", rates[rates.len() / 2], detail)
}

/// Each takes seconds.
const ENGINE_REPETITIONS: usize = 5;

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
