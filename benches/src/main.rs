//! `conclave-benches table [SECTION…] [--json]`: prints the table of figures, or sections of it.
// As for the library: what goes wrong ends it, with its place.
#![allow(clippy::expect_used)]

use std::{env::current_exe, path::PathBuf, process::ExitCode};

use conclave_benches::{
    engine,
    table::{Budget, Section, Table},
};
use lexopt::prelude::{Long, Short, Value, ValueExt as _};

const USAGE: &str = "usage: conclave-benches table [messages] [peers] [storage] [relay] [engine] \
                     [links] [product] [--json]";

fn main() -> ExitCode {
    match parse() {
        Ok(Task::Table { sections, json }) => {
            let program = current_exe().expect("this program has a path");
            let sections = if sections.is_empty() { Section::ALL.to_vec() } else { sections };
            let table = Table::measure_sections(&sections, Budget::full(), &program);
            if json {
                println!("{}", table.to_json());
            } else {
                print!("{}", table.to_text());
            }
            ExitCode::SUCCESS
        }
        Ok(Task::Open { groups, file, address, fingerprint }) => {
            let opened = engine::opened_in_this_process(groups, &file, &address, &fingerprint);
            println!("{}", serde_json::to_string(&opened).expect("numbers are JSON"));
            ExitCode::SUCCESS
        }
        Ok(Task::Threads { engines }) => {
            let counted = engine::threads_in_this_process(engines);
            println!("{}", serde_json::to_string(&counted).expect("numbers are JSON"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

enum Task {
    Table {
        /// All if there are none.
        sections: Vec<Section>,
        json: bool,
    },
    /// A part of the table that has a process of its own.
    Open { groups: usize, file: PathBuf, address: String, fingerprint: String },
    /// Another one.
    Threads { engines: usize },
}

fn parse() -> Result<Task, lexopt::Error> {
    let mut arguments = lexopt::Parser::from_env();
    let mut task = None;
    while let Some(argument) = arguments.next()? {
        match (argument, &mut task) {
            (Long("json"), Some(Task::Table { json, .. })) => *json = true,
            (Value(command), None) if command == "table" => {
                task = Some(Task::Table { sections: Vec::new(), json: false });
            }
            (Value(name), Some(Task::Table { sections, .. })) => {
                let section = Section::ALL.into_iter().find(|section| name == section.name());
                sections.push(section.ok_or("there is no such section")?);
            }
            (Value(command), None) if command == "open" => {
                let groups = arguments.value()?.parse_with(str::parse)?;
                let file = arguments.value()?.into();
                let [address, fingerprint] =
                    [arguments.value()?.string()?, arguments.value()?.string()?];
                task = Some(Task::Open { groups, file, address, fingerprint });
            }
            (Value(command), None) if command == "threads" => {
                task = Some(Task::Threads { engines: arguments.value()?.parse_with(str::parse)? });
            }
            (argument @ (Short(_) | Long(_) | Value(_)), _) => return Err(argument.unexpected()),
        }
    }
    task.ok_or_else(|| "a command is missing".into())
}
