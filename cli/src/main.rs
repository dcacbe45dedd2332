//! `conclave`: end-to-end encrypted groups on the command line.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else a child answers or an error says, the program only reports it"
)]
#![forbid(unsafe_code)]

mod args;
mod client;
mod counting;
mod demo;
mod failure;
mod folder;
mod hex;
mod print;
mod relay;
mod signals;
mod signer;
mod terminal;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, Command};
use failure::{Exit, Failure};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and the version come this way as well.
        Err(other) => return explain(&other),
    };
    let json = arguments.json;
    log_to_stderr();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.silent {
                // Said already.
            } else if json {
                drop(print::json_line(&failure.json()));
            } else {
                print::note(format_args!("error: {failure}"));
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// What the parser says in the place of a command.
fn explain(said: &clap::Error) -> ExitCode {
    let text = said.to_string();
    if said.use_stderr() {
        print::note(text.trim_end());
    } else {
        drop(print::line(text.trim_end()));
    }
    ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(Exit::Usage as u8))
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let json = arguments.json;
    match arguments.command {
        Command::Demo(_) if arguments.data.is_some() => {
            let text = "a demonstration has several data folders";
            Err(Failure::new(Exit::Usage, text).hint("--dir says where they are kept."))
        }
        Command::Demo(args) => demo::run(args, json),
        Command::Member(args) => demo::member(&args),
        Command::Relay(args) => runtime()?.block_on(relay::run(args, json)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut args::shown(), "conclave", &mut script);
            print::line(String::from_utf8_lossy(&script).trim_end())
        }
        Command::Init(args) => client::init(&args, json),
        Command::Whoami(args) => client::whoami(&args, json),
        Command::Group(command) => client::group(&command, json),
        Command::Send(args) => client::send(&args, json),
        Command::Read(args) => client::read(&args, json),
        Command::Listen(args) => client::listen(&args, json),
        Command::Chat(args) => client::chat(&args, json),
        Command::Keys(args) => client::keys(&args, json),
        Command::Store(command) => client::store(&command, json),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// What the engine and the relay say, as far as `RUST_LOG` asks for it.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    let to_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(to_terminal)
        .with_writer(std::io::stderr)
        .init();
}
