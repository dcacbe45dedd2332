//! What the program says about itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::support;

use support::{done, run};

const COMMANDS: [&[&str]; 17] = [
    &[],
    &["demo"],
    &["relay"],
    &["init"],
    &["whoami"],
    &["group"],
    &["group", "create"],
    &["group", "add"],
    &["group", "remove"],
    &["group", "list"],
    &["group", "members"],
    &["group", "show"],
    &["send"],
    &["read"],
    &["listen"],
    &["chat"],
    &["keys"],
];

/// Every command explains itself.
#[test]
fn every_command_has_help() {
    let rest: [&[&str]; 3] = [&["store"], &["store", "info"], &["completions"]];
    for command in COMMANDS.iter().chain(&rest) {
        let args = [command, &["--help"][..]].concat();
        let output = done(&args);
        assert!(output.out.contains("Usage: conclave"), "{args:?}: {output:?}");
    }
}

/// Whoever asks for help learns the first steps and what the exit status means.
#[test]
fn the_overview_teaches_the_first_steps() {
    let help = done(&["--help"]).out;
    for word in ["conclave demo", "conclave init", "Exit status", "CONCLAVE_DATA"] {
        assert!(help.contains(word), "{word}");
    }
    assert!(!help.contains("__member"), "what only programs use is hidden");
}

/// Completion scripts name the commands.
#[test]
fn completions_are_printed_for_shells() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = done(&["completions", shell]).out;
        assert!(script.contains("whoami"), "{shell}");
        // `group members` is in it.
        let hidden = script.replace("__members", "").contains("__member");
        assert!(!hidden, "what only programs use is hidden: {shell}");
    }
}

/// What the README and the help tell people to type is a command line.
#[test]
fn every_command_line_that_is_printed_parses() {
    let readme = std::fs::read_to_string("../README.md").unwrap();
    let lines = readme.lines().chain(include_str!("../src/args.rs").lines());
    let mut found = 0;
    for line in lines {
        let line = line.trim();
        let line = line.strip_prefix("cargo run --release -- ").or(line.strip_prefix("conclave "));
        let Some(line) = line.filter(|line| !line.contains(['|', '&', '…', '>', '=', '\'']))
        else {
            continue;
        };
        // A comment follows a # or several spaces.
        let line = line.replace("HOST:PORT", "relay.example:4433");
        let line = line.split('#').next().unwrap().split("  ").next().unwrap();
        let mut args: Vec<&str> = line.split_whitespace().collect();
        args.push("--help");
        let output = run(&args);
        assert_eq!(output.code(), 0, "{args:?}: {}", output.err);
        found += 1;
    }
    assert!(found >= 10, "{found} command lines");
}

/// A wrong command line is told from a failure.
#[test]
fn a_wrong_command_line_has_its_own_exit_status() {
    assert_eq!(run(&["tak"]).code(), 2);
    assert!(run(&["sned"]).err.contains("send"), "a near miss is suggested");
    assert_eq!(run(&["demo", "--people", "1"]).code(), 2);
}
