//! The other end: the process that a demonstration kills.

use std::{
    io::{BufRead as _, Write as _},
    sync::mpsc,
};

use super::{
    station::Station,
    talk::{Answer, Ask},
};
use crate::{args::MemberArgs, failure::Failure, folder::relay_address};

/// Answers questions on its input until the input ends.
pub(crate) fn run(args: &MemberArgs) -> Result<(), Failure> {
    let relay = relay_address(args.relay.clone(), &args.fingerprint)?;
    let mut station = Station::open(&args.data, relay)?;
    let (questions, next) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if questions.send(line).is_err() {
                return;
            }
        }
        // Whoever asked is gone, perhaps while an answer is being waited for. What was answered
        // is stored.
        std::process::exit(0);
    });
    let mut out = std::io::stdout().lock();
    while let Ok(line) = next.recv() {
        let answer = match serde_json::from_str::<Ask>(&line) {
            Ok(ask) => station.answer(ask),
            Err(error) => Answer::Failed { why: error.to_string() },
        };
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        out.flush()?;
    }
    Ok(())
}
