//! A relay and its engines as processes that are killed: what was acknowledged stays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod children;
mod engine;
mod ledger;
mod people;
mod relay;
mod reporting;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use children::{Children, ENGINES, RELAY};
use conclave_proto::identity::hex;
use conclave_quic::ServerCertificate;
use conclave_testkit::dice::Dice;
use ledger::Ledger;
use tempfile::tempdir;

/// The part that a process plays, and where its files are.
const ROLE: &str = "CONCLAVE_TEST_PROCESS_ROLE";
const FOLDER: &str = "CONCLAVE_TEST_PROCESS_FOLDER";
/// Where the relay listens; 0 at its first start.
const PORT: &str = "CONCLAVE_TEST_PROCESS_PORT";

/// E4, R4, scenario 83: a relay and three engines, each a process with its store on a disk, are
/// killed in turn while all engines send and renew keys. Nothing that an engine stored and nothing
/// that the relay accepted is lost; everybody shows every message once, in one order, and each
/// sender's in the order of sending; all end in one epoch with equal authenticators. Fifty kills;
/// two hundred with `CONCLAVE_EFFORT=full`.
#[test]
fn nothing_acknowledged_is_lost_by_processes_that_are_killed_in_turn() {
    let folder = tempdir().unwrap();
    let certificate = ServerCertificate::self_signed(&["localhost"]).unwrap();
    certificate.save(folder.path().join("certificate")).unwrap();
    relay::found(folder.path());

    let mut children = Children::start(folder.path());
    let mut ledger = Ledger::default();
    let group = found_a_group(&mut children, &mut ledger);
    let start = Instant::now();
    kill_in_turn(&mut children, &mut ledger, kills());
    println!("{} kills in {:?}, {ledger}", kills(), start.elapsed());

    let shown = last_words(&mut children, &mut ledger);
    drop(children);
    ledger.check_timelines(&shown);
    ledger.check_logs(folder.path(), &shown, group);
}

/// Not a test by itself: what the processes do.
#[test]
fn play_a_part() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let port: u16 = std::env::var(PORT).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match role.parse() {
        Ok(number) if number < ENGINES => runtime.block_on(engine::run(&folder, number, port)),
        _ => runtime.block_on(relay::run(&folder, port)),
    }
}

fn kills() -> usize {
    let full = std::env::var("CONCLAVE_EFFORT").is_ok_and(|effort| effort == "full");
    if full { 200 } else { 50 }
}

/// The first engine founds a group and invites the others; gives the group's id in hex.
fn found_a_group(children: &mut Children, ledger: &mut Ledger) -> String {
    children.wait_for_engines(ledger, "uploaded");
    children.tell(0, "found");
    children.wait_for_engines(ledger, "member");
    let group = ledger.group.clone().expect("members say of what");
    (0..ENGINES).for_each(|engine| children.tell(engine, "load"));
    group
}

/// Kills one process after the other, each after a random number of things that were acknowledged
/// since the one before, and starts it again.
fn kill_in_turn(children: &mut Children, ledger: &mut Ledger, kills: usize) {
    let mut dice = Dice::new(u64::from(std::process::id()));
    for kill in 0..kills {
        let victim = [RELAY, 0, 1, 2][kill % 4];
        for _ in 0..=dice.below(40) {
            children.wait(ledger, |line| line.word == "durable" || line.word == "accepted");
        }
        children.kill(ledger, victim);
        children.restart(ledger, victim);
        if victim != RELAY {
            children.tell(victim, "load");
        }
    }
    // Not only what was there is kept: everybody goes on.
    children.wait_for_engines(ledger, "accepted");
}

/// Everybody comes to rest, says one thing more, and tells what it shows when it has heard all.
fn last_words(children: &mut Children, ledger: &mut Ledger) -> Vec<ledger::Shown> {
    (0..ENGINES).for_each(|engine| children.tell(engine, "calm"));
    children.wait_for_engines(ledger, "calm");
    (0..ENGINES).for_each(|engine| children.tell(engine, "words"));
    children.wait_for_engines(ledger, "durable");
    let last = ledger.durable.each_ref().map(|sent| sent.last().unwrap().as_str());
    let last = last.join(" ");
    (0..ENGINES).for_each(|engine| children.tell(engine, &format!("report {last}")));
    children.wait_for_engines(ledger, "epoch");
    ledger.shown()
}

/// Says a line to the process that started this one. The line break before it ends whatever the
/// test harness has begun to say.
fn say(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What the process is told, line by line. It ends with its parent.
fn orders() -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let (sender, orders) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
        std::process::exit(0);
    });
    orders
}

fn certificate(folder: &Path) -> ServerCertificate {
    ServerCertificate::load(folder.join("certificate")).unwrap()
}
