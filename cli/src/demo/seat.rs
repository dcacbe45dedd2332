//! Where an installation of a demonstration sits: in this process, or in one of its own.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use conclave::quic::RelayAddress;

use super::{
    station::Station,
    talk::{Answer, Ask, State},
};
use crate::{
    failure::{Exit, Failure},
    hex::hex,
};

/// How an installation is reached.
pub(crate) enum Place {
    Here(Box<Station>),
    There(Process),
}

/// One installation.
pub(crate) struct Seat {
    /// As in `bob-phone`.
    pub(crate) name: String,
    /// Index of its person.
    pub(crate) person: usize,
    place: Place,
    /// Store commits of processes that are gone, as far as they are known.
    commits_before: u64,
    commits: u64,
}

impl Seat {
    pub(crate) const fn new(name: String, person: usize, place: Place) -> Self {
        Self { name, person, place, commits_before: 0, commits: 0 }
    }

    /// Whether it has a process of its own.
    pub(crate) const fn is_process(&self) -> bool {
        matches!(self.place, Place::There(_))
    }

    /// Asks and waits for the answer, whatever it says.
    pub(crate) fn ask(&mut self, ask: Ask) -> Result<Answer, Failure> {
        match &mut self.place {
            Place::Here(station) => Ok(station.answer(ask)),
            Place::There(process) => {
                process.put(&ask)?;
                process.take()
            }
        }
    }

    /// Asks for something that has to work.
    pub(crate) fn must(&mut self, ask: Ask) -> Result<Answer, Failure> {
        let asked = ask.name();
        match self.ask(ask)? {
            Answer::Failed { why } => {
                Err(Failure::new(Exit::Failed, format!("{}: {asked}: {why}", self.name)))
            }
            answer => Ok(answer),
        }
    }

    pub(crate) fn state(&mut self, group: &str) -> Result<State, Failure> {
        match self.must(Ask::State { group: group.to_owned() })? {
            Answer::State(state) => {
                self.commits = state.store_commits;
                Ok(state)
            }
            other => Err(self.odd(&other)),
        }
    }

    /// Commits to its store that are known.
    pub(crate) const fn store_commits(&self) -> u64 {
        self.commits_before + self.commits
    }

    /// An answer to something else.
    pub(crate) fn odd(&self, answer: &Answer) -> Failure {
        Failure::new(Exit::Failed, format!("{}: an unexpected answer: {answer:?}", self.name))
    }

    /// Asks everything at once, and kills the process when `answers` of them are answered. Gives
    /// these answers.
    pub(crate) fn die_after(
        &mut self,
        asks: &[Ask],
        answers: usize,
    ) -> Result<Vec<Answer>, Failure> {
        let Place::There(process) = &mut self.place else { return Ok(Vec::new()) };
        for ask in asks {
            process.put(ask)?;
        }
        let mut heard = Vec::new();
        while heard.len() < answers.min(asks.len()) {
            heard.push(process.take()?);
        }
        process.kill()?;
        // What it had said before is an answer as well.
        while let Ok(answer) = process.take() {
            heard.push(answer);
        }
        self.commits_before += std::mem::take(&mut self.commits);
        Ok(heard)
    }

    /// Starts the process again, from its store.
    pub(crate) fn rise(&mut self) -> Result<(), Failure> {
        if let Place::There(process) = &mut self.place {
            *process = Process::start(&process.folder.clone(), &process.relay.clone())?;
        }
        Ok(())
    }

    /// Ends it in good order.
    pub(crate) fn close(self) {
        match self.place {
            Place::Here(station) => station.shut_down(),
            Place::There(process) => drop(process),
        }
    }
}

/// A process with an installation. Dropping it ends it.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
    relay: RelayAddress,
}

impl Process {
    pub(crate) fn start(folder: &Path, relay: &RelayAddress) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("__member").arg("--data").arg(folder);
        command.arg("--relay").arg(relay.at.to_string());
        if let conclave::quic::Trust::Fingerprint(fingerprint) = &relay.trust {
            command.arg("--fingerprint").arg(hex(fingerprint));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(Failure::new(Exit::Failed, "the process has no input or output"));
        };
        let (folder, relay) = (folder.to_path_buf(), relay.clone());
        Ok(Self { child, input, output: BufReader::new(output), folder, relay })
    }

    fn put(&mut self, ask: &Ask) -> Result<(), Failure> {
        writeln!(self.input, "{}", serde_json::to_string(ask)?)?;
        Ok(self.input.flush()?)
    }

    fn take(&mut self) -> Result<Answer, Failure> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(Failure::new(Exit::Failed, "the process has ended"));
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// SIGKILL, or what comes next to it.
    fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its store is made for that.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
