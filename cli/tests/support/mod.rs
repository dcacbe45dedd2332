//! The program as a process: with a time limit, and dead when the test is.
#![allow(dead_code, reason = "each test uses some of it")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// Generous: a machine may be busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// What a process came to.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Output {
    /// Each line of its output as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    pub(crate) fn code(&self) -> i32 {
        self.status.code().expect("it ended by itself")
    }
}

/// A process that ends with the test.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    pub(crate) input: Option<ChildStdin>,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Self::command(args).stdout(Stdio::piped()).spawn().expect("it starts");
        let out = child.stdout.take().expect("it has an output");
        Self::of(child, out)
    }

    /// One whose lines are those of its output for errors.
    pub(crate) fn errors_of(args: &[&str]) -> Self {
        let command = &mut Self::command(args);
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let err = child.stderr.take().expect("it has an output for errors");
        Self::of(child, err)
    }

    fn command(args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
        command.args(args).env_remove("CONCLAVE_DATA").env_remove("RUST_LOG");
        command.stdin(Stdio::piped());
        command
    }

    fn of(mut child: Child, out: impl std::io::Read + Send + 'static) -> Self {
        let out = BufReader::new(out);
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Self { child, lines, input }
    }

    /// The next line that it prints.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line is printed in time")
    }

    /// Lines until one satisfies a question; gives that one.
    pub(crate) fn line_that(&self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.line();
            if is_it(&line) {
                return line;
            }
        }
    }

    pub(crate) fn write(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        writeln!(input, "{line}").expect("it reads");
        input.flush().expect("it reads");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has closed its output, and for its end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        drop(self.input.take());
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return self.child.wait().expect("it ends");
                }
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Kills the process if nobody waits for it any more.
struct Mortal(Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
    command.args(args).env_remove("CONCLAVE_DATA").env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Mortal(command.spawn().expect("the program starts"));
    let out = read(child.0.stdout.take().expect("it has an output"));
    let err = read(child.0.stderr.take().expect("it has an output for errors"));
    // Both outputs end when the process does.
    let out = out.recv_timeout(PATIENCE).expect("it ends in time");
    let err = err.recv_timeout(PATIENCE).expect("it ends in time");
    Output { status: child.0.wait().expect("it ends"), out, err }
}

/// Runs the program to its end with an output that nobody reads.
pub(crate) fn unread(args: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
    command.args(args).env_remove("CONCLAVE_DATA").env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let mut child = Mortal(command.spawn().expect("the program starts"));
    drop(command);
    let err = read(child.0.stderr.take().expect("it has an output for errors"));
    let err = err.recv_timeout(PATIENCE).expect("it ends in time");
    Output { status: child.0.wait().expect("it ends"), out: String::new(), err }
}

/// Runs the program, which has to succeed.
pub(crate) fn done(args: &[&str]) -> Output {
    let output = run(args);
    assert_eq!(output.code(), 0, "{args:?}: {output:?}");
    output
}

fn read(mut from: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.by_ref().read_to_end(&mut all);
        drop(tell.send(String::from_utf8_lossy(&all).into_owned()));
    });
    told
}

/// A folder that is removed with the value.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempdir().expect("a folder is made"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> String {
        self.path().join(name).to_str().expect("a readable path").to_owned()
    }
}

/// A relay process.
pub(crate) struct Relay {
    pub(crate) running: Running,
    pub(crate) address: String,
    pub(crate) fingerprint: String,
}

impl Relay {
    pub(crate) fn start(folder: &Folder) -> Self {
        let data = folder.join("relay");
        let running =
            Running::start(&["relay", "--listen", "127.0.0.1:0", "--data", &data, "--json"]);
        let said: Value = serde_json::from_str(&running.line()).expect("JSON");
        let text = |key: &str| said[key].as_str().expect("it says where it is").to_owned();
        Self { address: text("address"), fingerprint: text("fingerprint"), running }
    }

    /// Makes an installation; gives its inbox.
    pub(crate) fn init(&self, data: &str, more: &[&str]) -> String {
        let (address, fingerprint) = (&self.address, &self.fingerprint);
        let mut args =
            vec!["init", "--relay", address, "--fingerprint", fingerprint, "--data", data];
        args.extend(["--json"].iter().chain(more));
        done(&args).json()[0]["inbox"].as_str().expect("an inbox").to_owned()
    }
}
