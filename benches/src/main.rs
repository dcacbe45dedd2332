//! `conclave-benches table [--json]`: prints the table of figures.

use std::process::ExitCode;

use conclave_benches::table::{Budget, Table};
use lexopt::prelude::{Long, Short, Value};

const USAGE: &str = "usage: conclave-benches table [--json]";

fn main() -> ExitCode {
    match parse() {
        Ok(json) => {
            let table = Table::measure(Budget::full());
            if json {
                println!("{}", table.to_json());
            } else {
                print!("{}", table.to_text());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// Whether JSON is wanted.
fn parse() -> Result<bool, lexopt::Error> {
    let (mut json, mut table) = (false, false);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("json") => json = true,
            Value(command) if command == "table" && !table => table = true,
            Short(_) | Long(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    if table { Ok(json) } else { Err("a command is missing".into()) }
}
