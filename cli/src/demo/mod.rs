//! `conclave demo`: a relay, people, and a check that everybody has what the rules give them.

mod cast;
mod check;
mod member;
mod plan;
mod play;
mod screen;
mod seat;
mod station;
mod talk;

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use conclave::{GroupId, proto::Topic, quic::RelayAddress};
pub(crate) use member::run as member;
use serde::Serialize;
use tempfile::TempDir;

use self::{
    cast::{Cast, VICTIM},
    check::{Evidence, Findings},
    plan::{Change, Plan},
    play::Played,
    screen::Screen,
    seat::Seat,
    talk::{Answer, Ask, Happening},
};
use crate::{
    args::DemoArgs,
    failure::{Exit, Failure},
    folder::private_folder,
    hex,
    print::{json_line, line},
    relay::Relay,
};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    seed: u64,
    people: usize,
    installations: usize,
    /// Messages in the history of the group.
    messages: usize,
    /// Messages that are not: whoever was to send them was removed before.
    unsent: usize,
    /// Messages in all timelines.
    delivered: usize,
    missing: usize,
    duplicated: usize,
    unexpected: usize,
    commits: usize,
    epochs: u64,
    kills: usize,
    /// Bytes of all frames between the installations and the relay, both ways.
    wire_bytes: u64,
    /// Commits to the stores of the installations.
    store_commits: u64,
    seconds: f64,
    problems: Vec<String>,
}

/// Runs it, prints, and fails if a check does.
pub(crate) fn run(args: DemoArgs, json: bool) -> Result<(), Failure> {
    let limit = Duration::from_secs(args.timeout);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || drop(tell.send(play(&args, json))));
    let report = told.recv_timeout(limit).unwrap_or_else(|_| {
        let text = format!("the demonstration did not end within {} seconds", limit.as_secs());
        Err(Failure::new(Exit::Failed, text))
    })?;
    let read = if json { json_line(&report) } else { line(&report) };
    if report.ok {
        read
    } else if json {
        // The report says what.
        Err(Failure::silent(Exit::Failed))
    } else {
        Err(Failure::new(Exit::Failed, "a check failed")
            .hint(format!("`conclave demo --seed {}` makes the same plan again.", report.seed)))
    }
}

fn play(args: &DemoArgs, json: bool) -> Result<Report, Failure> {
    let started = Instant::now();
    let (people, messages) = (usize::from(args.people), args.messages as usize);
    let seed = seed(args)?;
    let folder = Stage::new(args.dir.as_deref())?;
    let screen = Screen::new(json, messages);
    screen.say(format!("A demonstration, seed {seed}"));
    let runtime = crate::runtime()?;
    let relay = {
        let _inside = runtime.enter();
        Relay::start(&folder.path().join("relay"), ([127, 0, 0, 1], 0).into())?
    };
    let fingerprint = hex::short(&relay.fingerprint);
    screen
        .say(format!("  {:<14} {} over QUIC, certificate {fingerprint}…", "relay", relay.address));
    let address = RelayAddress::pinned(relay.address.into(), relay.fingerprint);
    let mut cast = Cast::gather(people, args.accounts, folder.path(), &address, &screen)?;
    let mut played = begin(&mut cast, &screen)?;
    let plan = Plan::new(seed, messages, &cast.persons_of_seats(), VICTIM);
    for (number, round) in plan.rounds.iter().enumerate() {
        let sent: usize = round.sends.iter().sum();
        let what = round.change.map(|change| in_words(&cast, change)).unwrap_or_default();
        screen.say(format!("  round {:>2}: {sent} messages, {what}", number + 1));
        played.round(&mut cast, round, &screen)?;
    }
    let report = conclude(&mut cast, &played, &relay, &screen)?;
    let mut problems = report.problems;
    let tried = report.messages + report.unsent;
    if tried != messages {
        problems.push(format!("{tried} of {messages} messages are accounted for"));
    }
    let ok = report.ok && problems.is_empty();
    let report = Report { seed, ok, problems, seconds: started.elapsed().as_secs_f64(), ..report };
    cast.seats.into_iter().for_each(Seat::close);
    // Nobody is left to say goodbye to.
    runtime.block_on(relay.close(Duration::from_millis(100)));
    Ok(report)
}

fn seed(args: &DemoArgs) -> Result<u64, Failure> {
    if let Some(seed) = args.seed {
        return Ok(seed);
    }
    let random = getrandom::u32()
        .map_err(|error| Failure::new(Exit::Failed, format!("no randomness: {error}")))?;
    Ok(u64::from(random % 100_000))
}

/// Founds the group and adds everybody.
fn begin(cast: &mut Cast, screen: &Screen) -> Result<Played, Failure> {
    let mut played = Played::default();
    let Some(founder) = cast.seats.first_mut() else { return Ok(played) };
    match founder.must(Ask::Found)? {
        Answer::Group { group } => played.group = group,
        other => return Err(founder.odd(&other)),
    }
    screen.say(format!("  {} founds group {}", founder.name, played.group));
    for person in 1..cast.people.len() {
        let (group, inboxes) = (played.group.clone(), vec![cast.inbox(person)]);
        let Some(founder) = cast.seats.first_mut() else { break };
        match founder.must(Ask::Add { group, inboxes })? {
            Answer::Wish { intent } => {
                played.finish(cast, Change::Add { by: 0, person }, intent)?;
            }
            other => return Err(founder.odd(&other)),
        }
    }
    screen.say(format!("  everybody is in the group: {} installations", cast.seats.len()));
    Ok(played)
}

fn in_words(cast: &Cast, change: Change) -> String {
    let by = cast.seats.get(change.by()).map_or("nobody", |seat| &seat.name);
    match change {
        Change::Keys { .. } => format!("{by} renews its keys"),
        Change::Remove { person, .. } => format!("{by} removes {}", cast.name(person)),
        Change::Add { person, .. } => format!("{by} adds {} again", cast.name(person)),
    }
}

/// Waits until everybody has everything, and looks at it.
fn conclude(
    cast: &mut Cast,
    played: &Played,
    relay: &Relay,
    screen: &Screen,
) -> Result<Report, Failure> {
    let group = &played.group;
    let inside = |seat: &Seat| !played.out.contains(&seat.person);
    for seat in cast.seats.iter_mut().filter(|seat| inside(seat)) {
        seat.must(Ask::Settled { group: group.clone() })?;
    }
    let id = hex::array(group).map(GroupId).unwrap_or(GroupId([0; 16]));
    let head = relay.head(Topic::Group(id))?;
    let mut seats = Vec::new();
    for seat in &mut cast.seats {
        let group = group.clone();
        let belongs = inside(seat);
        seat.must(if belongs {
            Ask::Reached { group, seq: head.0 }
        } else {
            Ask::NoMember { group }
        })?;
        let inbox = cast.people.get(seat.person).map(|person| person.inbox.clone());
        seats.push(evidence(seat, &played.group, inbox.unwrap_or_default(), belongs)?);
    }
    screen.end();
    let findings = judge(cast, played, &seats)?;
    Ok(report(cast, played.kills, relay, findings))
}

fn evidence(
    seat: &mut Seat,
    group: &str,
    inbox: String,
    belongs: bool,
) -> Result<Evidence, Failure> {
    let timeline = match seat.must(Ask::Timeline { group: group.to_owned() })? {
        Answer::Timeline { lines } => lines,
        other => return Err(seat.odd(&other)),
    };
    let state = seat.state(group)?;
    Ok(Evidence { name: seat.name.clone(), inbox, state, timeline, belongs })
}

fn judge(cast: &mut Cast, played: &Played, seats: &[Evidence]) -> Result<Findings, Failure> {
    let history: Vec<Happening> = match cast.seats.first_mut() {
        Some(founder) => match founder.must(Ask::History { group: played.group.clone() })? {
            Answer::History { happenings } => happenings,
            other => return Err(founder.odd(&other)),
        },
        None => Vec::new(),
    };
    let stayed = |seat: &usize| {
        cast.seats.get(*seat).is_some_and(|seat| !played.left.contains(&seat.person))
    };
    let of = |those: bool| -> BTreeSet<String> {
        let seats = played.acknowledged.iter().filter(|(seat, _)| stayed(seat) == those);
        seats.flat_map(|(_, texts)| texts.iter().cloned()).collect()
    };
    let (owed, uncertain) = (of(true), of(false));
    let mut findings = check::check(&cast.inbox(0), &history, seats, &owed, &uncertain);
    findings.unsent += played.refused;
    Ok(findings)
}

fn report(cast: &Cast, kills: usize, relay: &Relay, findings: Findings) -> Report {
    Report {
        ok: findings.problems.is_empty() && findings.missing == 0 && findings.duplicated == 0,
        seed: 0,
        people: cast.people.len(),
        installations: cast.seats.len(),
        messages: findings.messages,
        unsent: findings.unsent,
        delivered: findings.delivered,
        missing: findings.missing,
        duplicated: findings.duplicated,
        unexpected: findings.unexpected,
        commits: findings.commits,
        epochs: findings.epoch,
        kills,
        wire_bytes: relay.wire_bytes(),
        store_commits: cast.seats.iter().map(Seat::store_commits).sum(),
        seconds: 0.0,
        problems: findings.problems,
    }
}

/// The report, for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  {} messages, {} in all timelines", self.messages, self.delivered)?;
        if self.unsent > 0 {
            let unsent = self.unsent;
            writeln!(f, "  {unsent} more that their senders could not send: they were removed")?;
        }
        writeln!(
            f,
            "  {} missing, {} twice, {} where they do not belong",
            self.missing, self.duplicated, self.unexpected
        )?;
        writeln!(f, "  {} commits, epoch {} at the end", self.commits, self.epochs)?;
        writeln!(
            f,
            "  {} bytes over the wire, {} commits to stores, {:.1} seconds",
            self.wire_bytes, self.store_commits, self.seconds
        )?;
        for problem in self.problems.iter().take(20) {
            writeln!(f, "  PROBLEM: {problem}")?;
        }
        f.write_str(if self.ok {
            "\nEverybody has every message that the rules give it, once, in the same order."
        } else {
            "\nThe checks FAILED."
        })
    }
}

/// Where the stores are: in a folder that is kept, or in one that is removed at the end.
enum Stage {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Stage {
    fn new(dir: Option<&Path>) -> Result<Self, Failure> {
        let Some(dir) = dir else {
            let temporary = tempfile::Builder::new().prefix("conclave-demo-").tempdir()?;
            return Ok(Self::Temporary(temporary));
        };
        private_folder(dir)?;
        if fs::read_dir(dir)?.next().is_some() {
            let text = format!("the folder {} is not empty", dir.display());
            return Err(Failure::new(Exit::Folder, text)
                .hint("A demonstration begins with new stores: name a new folder."));
        }
        Ok(Self::Kept(dir.to_path_buf()))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}
