//! What happens in a demonstration, and when: made from a seed before anything begins.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// Rounds, one after another. Within a round everything happens at the same time.
pub(crate) struct Plan {
    pub(crate) rounds: Vec<Round>,
}

/// Messages, and a change of the group among them.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// How many messages each seat sends.
    pub(crate) sends: Vec<usize>,
    pub(crate) change: Option<Change>,
    /// Before how many of its own messages the seat makes the change.
    pub(crate) change_after: usize,
    /// The seat whose process is killed.
    pub(crate) kill: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Keys { by: usize },
    Remove { by: usize, person: usize },
    Add { by: usize, person: usize },
}

impl Change {
    pub(crate) const fn by(self) -> usize {
        match self {
            Self::Keys { by } | Self::Remove { by, .. } | Self::Add { by, .. } => by,
        }
    }
}

/// Decisions, the same ones for the same seed.
struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        let number = self.0.next_u64().checked_rem(bound).unwrap_or_default();
        usize::try_from(number).unwrap_or_default()
    }

    fn pick(&mut self, things: &[usize]) -> Option<usize> {
        things.get(self.below(things.len())).copied()
    }
}

impl Plan {
    /// `seats` says for each seat whose it is. Persons 0 and 1 stay, the others come and go; the
    /// process of seat `victim`, who stays, is killed.
    pub(crate) fn new(seed: u64, messages: usize, seats: &[usize], victim: usize) -> Self {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let count = (messages / 20).clamp(3, 30).max(messages / MOST_PER_ROUND);
        let mut out: Vec<usize> = Vec::new();
        let mut rounds = Vec::new();
        for number in 0..count {
            let kill = (number == count / 2).then_some(victim);
            let share = messages * (number + 1) / count - messages * number / count;
            let mut round =
                Round { sends: sends(&mut dice, share, seats, &out), ..Round::default() };
            round.kill = kill;
            if let Some(victim) = kill {
                give(&mut round.sends, victim, KILLED_MESSAGES.min(share));
            }
            let stayers = (0..seats.len())
                .filter(|seat| seats.get(*seat).is_some_and(|person| *person < 2))
                .filter(|seat| kill != Some(*seat));
            let stayers: Vec<usize> = stayers.collect();
            round.change = change(&mut dice, number, &stayers, seats, &mut out);
            let own = round.change.and_then(|change| round.sends.get(change.by())).copied();
            round.change_after = dice.below(own.unwrap_or_default() + 1);
            rounds.push(round);
        }
        Self { rounds }
    }
}

/// More than that wait in queues and make the change of a round meaningless.
const MOST_PER_ROUND: usize = 200;

/// Messages on their way when the process is killed, at least.
const KILLED_MESSAGES: usize = 8;

fn sends(dice: &mut Dice, share: usize, seats: &[usize], out: &[usize]) -> Vec<usize> {
    let inside = |(_, person): &(usize, &usize)| !out.contains(person);
    let inside: Vec<usize> =
        seats.iter().enumerate().filter(inside).map(|(seat, _)| seat).collect();
    let mut sends = vec![0; seats.len()];
    for _ in 0..share {
        if let Some(count) = dice.pick(&inside).and_then(|seat| sends.get_mut(seat)) {
            *count += 1;
        }
    }
    sends
}

/// Gives a seat at least so many messages, those of the others who have most.
fn give(sends: &mut [usize], to: usize, least: usize) {
    while sends.get(to).is_some_and(|count| *count < least) {
        let others = sends.iter_mut().enumerate().filter(|(seat, _)| *seat != to);
        let Some((_, most)) = others.max_by_key(|(_, count)| **count) else { return };
        if *most == 0 {
            return;
        }
        *most -= 1;
        if let Some(count) = sends.get_mut(to) {
            *count += 1;
        }
    }
}

/// Keys are renewed, somebody goes, somebody comes back, and so on.
fn change(
    dice: &mut Dice,
    number: usize,
    stayers: &[usize],
    seats: &[usize],
    out: &mut Vec<usize>,
) -> Option<Change> {
    let by = dice.pick(stayers)?;
    let mut inside: Vec<usize> =
        seats.iter().copied().filter(|person| *person >= 2 && !out.contains(person)).collect();
    inside.dedup();
    match number % 3 {
        1 if !inside.is_empty() => {
            let person = dice.pick(&inside)?;
            out.push(person);
            Some(Change::Remove { by, person })
        }
        2 if !out.is_empty() => {
            let person = out.remove(dice.below(out.len()));
            Some(Change::Add { by, person })
        }
        _ => Some(Change::Keys { by }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Plan};

    const SEATS: [usize; 4] = [0, 1, 1, 2];

    #[test]
    fn a_plan_has_all_messages_all_changes_and_one_kill() {
        for seed in 0..50 {
            let plan = Plan::new(seed, 60, &SEATS, 2);
            let sent: usize = plan.rounds.iter().flat_map(|round| &round.sends).sum();
            assert_eq!(sent, 60);
            let changes: Vec<Change> = plan.rounds.iter().filter_map(|it| it.change).collect();
            assert!(changes.iter().any(|change| matches!(change, Change::Keys { .. })));
            assert!(changes.iter().any(|change| matches!(change, Change::Remove { .. })));
            assert!(changes.iter().any(|change| matches!(change, Change::Add { .. })));
            let killed: Vec<_> = plan.rounds.iter().filter(|it| it.kill.is_some()).collect();
            assert_eq!(killed.len(), 1);
            assert!(killed[0].sends[2] >= 8);
            assert_ne!(killed[0].change.unwrap().by(), 2);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        let show = |seed| format!("{:?}", Plan::new(seed, 100, &SEATS, 2).rounds);
        assert_eq!(show(7), show(7));
        assert_ne!(show(7), show(8));
    }
}
