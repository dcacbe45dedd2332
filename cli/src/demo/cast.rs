//! The people of a demonstration, and their installations.

use std::path::Path;

use conclave::quic::RelayAddress;
use zeroize::Zeroizing;

use super::{
    screen::Screen,
    seat::{Place, Process, Seat},
    station::Station,
    talk::{Answer, Ask},
};
use crate::{
    args::Accounts,
    failure::{Exit, Failure},
    folder::private_folder,
    hex::hex,
};

/// A person.
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) inbox: String,
    wallet: bool,
    secret: Zeroizing<String>,
}

/// Everybody. Alice has one installation, Bob two of which one is a process of its own, all
/// others one.
pub(crate) struct Cast {
    pub(crate) people: Vec<Person>,
    pub(crate) seats: Vec<Seat>,
}

/// The seat of the process.
pub(crate) const VICTIM: usize = 2;

impl Cast {
    /// Opens the installations, in folders of their own, and registers them.
    pub(crate) fn gather(
        count: usize,
        accounts: Accounts,
        folder: &Path,
        relay: &RelayAddress,
        screen: &Screen,
    ) -> Result<Self, Failure> {
        let people: Result<Vec<_>, _> = (0..count).map(|n| Person::new(n, accounts)).collect();
        let mut cast = Self { people: people?, seats: Vec::new() };
        for (person, name, process) in installations(&cast.people) {
            let path = folder.join(&name);
            let place = if process {
                private_folder(&path)?;
                Place::There(Process::start(&path, relay)?)
            } else {
                Place::Here(Box::new(Station::open(&path, relay.clone())?))
            };
            cast.register(Seat::new(name, person, place), screen)?;
        }
        Ok(cast)
    }

    fn register(&mut self, mut seat: Seat, screen: &Screen) -> Result<(), Failure> {
        let Some(person) = self.people.get_mut(seat.person) else { return Ok(()) };
        let (wallet, secret) = (person.wallet, person.secret.to_string());
        let answer = seat.must(Ask::Register { wallet, secret })?;
        let Answer::Registered { inbox, installation } = answer else {
            return Err(seat.odd(&answer));
        };
        screen.say(format!(
            "  {:<14} inbox {}…  installation {}…  {}{}",
            seat.name,
            inbox.get(..8).unwrap_or_default(),
            installation.get(..8).unwrap_or_default(),
            if wallet { "wallet" } else { "account key" },
            if seat.is_process() { ", a process of its own" } else { "" },
        ));
        person.inbox = inbox;
        self.seats.push(seat);
        Ok(())
    }

    /// Whose each seat is.
    pub(crate) fn persons_of_seats(&self) -> Vec<usize> {
        self.seats.iter().map(|seat| seat.person).collect()
    }

    pub(crate) fn name(&self, person: usize) -> &str {
        self.people.get(person).map_or("nobody", |person| &person.name)
    }

    pub(crate) fn inbox(&self, person: usize) -> String {
        self.people.get(person).map(|person| person.inbox.clone()).unwrap_or_default()
    }
}

impl Person {
    fn new(number: usize, accounts: Accounts) -> Result<Self, Failure> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret)
            .map_err(|error| Failure::new(Exit::Failed, format!("no randomness: {error}")))?;
        let wallet = match accounts {
            Accounts::Keys => false,
            Accounts::Wallets => true,
            Accounts::Both => number % 2 == 1,
        };
        let name = NAMES.get(number).map_or_else(|| format!("person{number}"), ToString::to_string);
        Ok(Self { name, inbox: String::new(), wallet, secret: Zeroizing::new(hex(&*secret)) })
    }
}

const NAMES: [&str; 10] =
    ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"];

/// Person, name, and whether it is a process of its own.
fn installations(people: &[Person]) -> Vec<(usize, String, bool)> {
    let mut all = Vec::new();
    for (number, person) in people.iter().enumerate() {
        if number == 1 {
            all.push((number, format!("{}-laptop", person.name), false));
            all.push((number, format!("{}-phone", person.name), true));
        } else {
            all.push((number, person.name.clone(), false));
        }
    }
    all
}
