//! A round of a demonstration: everybody at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
};

use super::{
    cast::Cast,
    plan::{Change, Round},
    screen::Screen,
    seat::Seat,
    talk::{Answer, Ask},
};
use crate::failure::{Exit, Failure};

/// What has happened so far.
#[derive(Default)]
pub(crate) struct Played {
    pub(crate) group: String,
    /// Messages whose sending was acknowledged, by seat.
    pub(crate) acknowledged: BTreeMap<usize, Vec<String>>,
    /// Persons that are not in the group.
    pub(crate) out: BTreeSet<usize>,
    /// Persons that were not in the group at some time.
    pub(crate) left: BTreeSet<usize>,
    pub(crate) kills: usize,
    /// Messages that members were not allowed to send any more.
    pub(crate) refused: usize,
}

/// What one seat has to do in a round.
struct Part {
    sends: Vec<String>,
    /// A wish, and before how many messages it comes.
    wish: Option<(usize, Ask)>,
    dies: bool,
    /// Whether it may be told that it is no member.
    may_fail: bool,
}

/// How that went.
#[derive(Default)]
struct Outcome {
    acknowledged: Vec<String>,
    refused: usize,
    intent: Option<String>,
    /// Of a process that was killed: messages answered before, and those sent again.
    died: Option<(usize, usize)>,
}

impl Played {
    /// Plays a round and waits for its change.
    pub(crate) fn round(
        &mut self,
        cast: &mut Cast,
        round: &Round,
        screen: &Screen,
    ) -> Result<(), Failure> {
        let leaves = match round.change {
            Some(Change::Remove { person, .. }) => Some(person),
            _ => None,
        };
        let parts = self.parts(cast, round, leaves);
        let group = self.group.clone();
        let outcomes: Vec<Result<Outcome, Failure>> = thread::scope(|scope| {
            let seats = cast.seats.iter_mut().zip(&parts);
            let running: Vec<_> =
                seats.map(|(seat, part)| scope.spawn(|| part.act(seat, &group, screen))).collect();
            let panicked = || Err(Failure::new(Exit::Failed, "a thread panicked"));
            running.into_iter().map(|it| it.join().unwrap_or_else(|_| panicked())).collect()
        });
        let mut intent = None;
        for (seat, outcome) in outcomes.into_iter().enumerate() {
            let outcome = outcome?;
            self.acknowledged.entry(seat).or_default().extend(outcome.acknowledged);
            self.refused += outcome.refused;
            intent = intent.or(outcome.intent);
            if let Some((answered, again)) = outcome.died {
                self.kills += 1;
                let name = cast.seats.get(seat).map_or("", |seat| &seat.name);
                screen.say(format!(
                    "    killed {name} after {answered} answers; it came back from its store and \
                     sent {again} messages again"
                ));
            }
        }
        if let (Some(change), Some(intent)) = (round.change, intent) {
            self.finish(cast, change, intent)?;
        }
        self.let_drain(cast)
    }

    fn parts(&self, cast: &Cast, round: &Round, leaves: Option<usize>) -> Vec<Part> {
        let mut parts = Vec::new();
        for (number, seat) in cast.seats.iter().enumerate() {
            let count = round.sends.get(number).copied().unwrap_or_default();
            let before = self.acknowledged.get(&number).map_or(0, Vec::len);
            let sends = (0..count).map(|n| format!("{} #{}", seat.name, before + n + 1)).collect();
            let wish = round.change.filter(|change| change.by() == number);
            let wish = wish.map(|change| (round.change_after, self.wish(cast, change)));
            let may_fail = leaves == Some(seat.person);
            parts.push(Part { sends, wish, dies: round.kill == Some(number), may_fail });
        }
        parts
    }

    fn wish(&self, cast: &Cast, change: Change) -> Ask {
        let group = self.group.clone();
        match change {
            Change::Keys { .. } => Ask::UpdateKeys { group },
            Change::Remove { person, .. } => {
                Ask::Remove { group, inboxes: vec![cast.inbox(person)] }
            }
            Change::Add { person, .. } => Ask::Add { group, inboxes: vec![cast.inbox(person)] },
        }
    }

    /// Waits for the end of a wish, and until whoever was added is there.
    pub(crate) fn finish(
        &mut self,
        cast: &mut Cast,
        change: Change,
        intent: String,
    ) -> Result<(), Failure> {
        let Some(seat) = cast.seats.get_mut(change.by()) else { return Ok(()) };
        match seat.must(Ask::Outcome { intent })? {
            Answer::Ended { well: true, .. } => {}
            Answer::Ended { how, .. } => {
                let text = format!("{}: {change:?} ended as {how}", seat.name);
                return Err(Failure::new(Exit::Failed, text));
            }
            other => return Err(seat.odd(&other)),
        }
        let epoch = seat.state(&self.group)?.epoch;
        match change {
            Change::Keys { .. } => {}
            Change::Remove { person, .. } => {
                self.out.insert(person);
                self.left.insert(person);
            }
            Change::Add { person, .. } => {
                self.out.remove(&person);
                for seat in cast.seats.iter_mut().filter(|seat| seat.person == person) {
                    seat.must(Ask::Member { group: self.group.clone(), epoch })?;
                }
            }
        }
        Ok(())
    }

    /// Waits for those who have much on its way: queues are not what is shown here.
    fn let_drain(&self, cast: &mut Cast) -> Result<(), Failure> {
        for seat in cast.seats.iter_mut().filter(|seat| !self.out.contains(&seat.person)) {
            if seat.state(&self.group)?.unsettled > MOST_UNSETTLED {
                seat.must(Ask::Settled { group: self.group.clone() })?;
            }
        }
        Ok(())
    }
}

const MOST_UNSETTLED: usize = 64;

impl Part {
    fn act(&self, seat: &mut Seat, group: &str, screen: &Screen) -> Result<Outcome, Failure> {
        if self.dies { self.die(seat, group, screen) } else { self.live(seat, group, screen) }
    }

    fn live(&self, seat: &mut Seat, group: &str, screen: &Screen) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        for number in 0..=self.sends.len() {
            if let Some((_, wish)) = self.wish.as_ref().filter(|(at, _)| *at == number) {
                match seat.must(wish.clone())? {
                    Answer::Wish { intent } => outcome.intent = Some(intent),
                    other => return Err(seat.odd(&other)),
                }
            }
            let Some(text) = self.sends.get(number) else { break };
            self.send(seat, group, text, &mut outcome)?;
            screen.message();
        }
        Ok(outcome)
    }

    fn send(
        &self,
        seat: &mut Seat,
        group: &str,
        text: &str,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let ask = Ask::Send { group: group.to_owned(), text: text.to_owned() };
        // Whoever is being removed may not send any more.
        let answer = if self.may_fail { seat.ask(ask)? } else { seat.must(ask)? };
        if let Answer::Sent { .. } = answer {
            outcome.acknowledged.push(text.to_owned());
        } else {
            outcome.refused += 1;
        }
        Ok(())
    }

    /// Hands all messages over, dies in the middle, comes back, looks what became of them, and
    /// sends what was lost.
    fn die(&self, seat: &mut Seat, group: &str, screen: &Screen) -> Result<Outcome, Failure> {
        let group = group.to_owned();
        let ask = |text: &String| Ask::Send { group: group.clone(), text: text.clone() };
        let asks: Vec<Ask> = self.sends.iter().map(ask).collect();
        let answers = seat.die_after(&asks, asks.len() / 2)?;
        let sent = answers.iter().filter(|answer| matches!(answer, Answer::Sent { .. })).count();
        seat.rise()?;
        seat.must(Ask::Settled { group: group.clone() })?;
        let timeline = match seat.must(Ask::Timeline { group: group.clone() })? {
            Answer::Timeline { lines } => lines,
            other => return Err(seat.odd(&other)),
        };
        let there: BTreeSet<String> = timeline.into_iter().map(|line| line.text).collect();
        let mut outcome = Outcome::default();
        outcome.acknowledged.extend(self.sends.iter().take(sent).cloned());
        let mut again = 0;
        for text in self.sends.iter().skip(sent) {
            if there.contains(text) {
                outcome.acknowledged.push(text.clone());
            } else {
                again += 1;
                self.send(seat, &group, text, &mut outcome)?;
            }
        }
        outcome.died = Some((answers.len(), again));
        self.sends.iter().for_each(|_| screen.message());
        Ok(outcome)
    }
}
