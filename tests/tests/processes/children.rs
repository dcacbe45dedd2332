//! The processes, as their parent sees them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use crate::{FOLDER, PORT, ROLE, ledger::Ledger};

/// How many engines there are; they are numbered from 0.
pub(crate) const ENGINES: usize = 3;
/// The number of the relay.
pub(crate) const RELAY: usize = ENGINES;

/// What a process said.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) from: usize,
    pub(crate) word: String,
    pub(crate) rest: Vec<String>,
}

/// All processes. They end with this value.
pub(crate) struct Children {
    folder: PathBuf,
    port: String,
    running: Vec<Option<Child>>,
    sender: Sender<Line>,
    lines: Receiver<Line>,
}

impl Children {
    /// Starts the relay, and then the engines.
    pub(crate) fn start(folder: &Path) -> Self {
        let (sender, lines) = channel();
        let mut children = Self {
            folder: folder.into(),
            port: "0".into(),
            running: (0..=RELAY).map(|_| None).collect(),
            sender,
            lines,
        };
        let mut nothing = Ledger::default();
        children.restart(&mut nothing, RELAY);
        (0..ENGINES).for_each(|engine| children.spawn(engine));
        children
    }

    /// Starts a process; a relay listens when this returns.
    pub(crate) fn restart(&mut self, ledger: &mut Ledger, number: usize) {
        self.spawn(number);
        if number == RELAY {
            let line = self.wait(ledger, |line| line.word == "listening");
            self.port = line.rest[0].clone();
        }
    }

    fn spawn(&mut self, number: usize) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["play_a_part", "--exact", "--nocapture"])
            .env(ROLE, number.to_string())
            .env(FOLDER, &self.folder)
            .env(PORT, &self.port)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            let said = output.lines().map_while(Result::ok);
            for line in said.filter_map(|line| line.strip_prefix('@').map(str::to_owned)) {
                let mut words = line.split(' ').map(str::to_owned);
                let word = words.next().unwrap();
                // Nobody hears it when the test is over.
                let _ = sender.send(Line { from: number, word, rest: words.collect() });
            }
            let _ = sender.send(Line { from: number, word: "gone".into(), rest: Vec::new() });
        });
        self.running[number] = Some(child);
    }

    /// Kills a process; what it has said before is still heard.
    pub(crate) fn kill(&mut self, ledger: &mut Ledger, number: usize) {
        let mut child = self.running[number].take().unwrap();
        // SIGKILL on Unix.
        child.kill().unwrap();
        child.wait().unwrap();
        self.wait(ledger, |line| line.from == number && line.word == "gone");
    }

    /// Tells an engine what to do.
    pub(crate) fn tell(&mut self, engine: usize, order: &str) {
        let child = self.running[engine].as_mut().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    /// Listens until every engine has said a word.
    pub(crate) fn wait_for_engines(&mut self, ledger: &mut Ledger, word: &str) {
        let mut heard = [false; ENGINES];
        while heard.contains(&false) {
            let line =
                self.wait(ledger, |line| line.word == word && heard.get(line.from) == Some(&false));
            heard[line.from] = true;
        }
    }

    /// Listens until somebody says something, and notes everything that is said until then.
    pub(crate) fn wait(&mut self, ledger: &mut Ledger, is_it: impl Fn(&Line) -> bool) -> Line {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("nobody says it: {ledger}"));
            ledger.note(&line);
            if is_it(&line) {
                return line;
            }
            let alive = self.running[line.from].is_some();
            assert!(line.word != "gone" || !alive, "{} ended by itself: {ledger}", line.from);
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How long to wait for a word before something hangs.
const PATIENCE: Duration = Duration::from_secs(120);
