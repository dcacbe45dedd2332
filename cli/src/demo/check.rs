//! Whether everybody has what the rules give them.

use std::collections::{BTreeMap, BTreeSet};

use super::talk::{Happening, Line, State};

/// What is known of a seat at the end.
pub(crate) struct Evidence {
    pub(crate) name: String,
    pub(crate) inbox: String,
    pub(crate) state: State,
    pub(crate) timeline: Vec<Line>,
    /// Whether it should be a member now.
    pub(crate) belongs: bool,
}

/// From one epoch on, up to a place in the log.
#[derive(Clone, Copy, Debug)]
struct Membership {
    epoch: u64,
    until: Option<u64>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Different messages, wherever they are.
    pub(crate) messages: usize,
    /// Messages that were acknowledged and are nowhere, because who sent them was removed.
    pub(crate) unsent: usize,
    pub(crate) delivered: usize,
    pub(crate) missing: usize,
    pub(crate) duplicated: usize,
    /// Shown to somebody whom the rules do not give it.
    pub(crate) unexpected: usize,
    pub(crate) commits: usize,
    pub(crate) epoch: u64,
    /// In words, for people.
    pub(crate) problems: Vec<String>,
}

/// Holds everybody to the rules. `founder` is the log of events of who has always been there;
/// `owed` are messages that were acknowledged to somebody who never left; `uncertain` are those of the others.
pub(crate) fn check(
    founder_inbox: &str,
    founder: &[Happening],
    seats: &[Evidence],
    owed: &BTreeSet<String>,
    uncertain: &BTreeSet<String>,
) -> Findings {
    let mut findings = Findings::default();
    let memberships = memberships(founder_inbox, founder, &mut findings);
    check_states(seats, &mut findings);
    let all = union(seats, &mut findings);
    findings.messages = all.len();
    let none = Vec::new();
    for seat in seats {
        let memberships = memberships.get(&seat.inbox).unwrap_or(&none);
        check_timeline(seat, memberships, &all, &mut findings);
    }
    let there: BTreeSet<&String> = all.values().map(|line| &line.text).collect();
    findings.unsent = uncertain.iter().filter(|text| !there.contains(text)).count();
    for text in owed.iter().filter(|text| !there.contains(text)) {
        findings.missing += 1;
        findings.problems.push(format!("nobody has the message {text:?}"));
    }
    findings
}

fn memberships(
    founder_inbox: &str,
    founder: &[Happening],
    findings: &mut Findings,
) -> BTreeMap<String, Vec<Membership>> {
    let mut memberships: BTreeMap<String, Vec<Membership>> = BTreeMap::new();
    let start = Membership { epoch: 0, until: None };
    memberships.insert(founder_inbox.to_owned(), vec![start]);
    let mut last = 0;
    for happening in founder {
        match happening {
            Happening::Message { seq } => last = *seq,
            Happening::Epoch { epoch, added, removed } => {
                findings.commits += 1;
                findings.epoch = *epoch;
                for inbox in removed {
                    let open = memberships.get_mut(inbox).and_then(|all| all.last_mut());
                    if let Some(membership) = open {
                        membership.until = Some(last);
                    }
                }
                for inbox in added {
                    let membership = Membership { epoch: *epoch, until: None };
                    memberships.entry(inbox.clone()).or_default().push(membership);
                }
            }
        }
    }
    memberships
}

fn check_states(seats: &[Evidence], findings: &mut Findings) {
    let mut members = seats.iter().filter(|seat| seat.belongs);
    let Some(first) = members.next() else { return };
    for seat in members {
        if (seat.state.epoch, &seat.state.authenticator)
            != (first.state.epoch, &first.state.authenticator)
        {
            findings.problems.push(format!(
                "{} is in epoch {} and {} in epoch {}, or in different histories",
                first.name, first.state.epoch, seat.name, seat.state.epoch
            ));
        }
    }
    for seat in seats.iter().filter(|seat| seat.state.member != seat.belongs) {
        let is = if seat.state.member { "is" } else { "is not" };
        findings.problems.push(format!("{} {is} a member", seat.name));
    }
}

/// All messages that anybody has, by their places.
fn union<'a>(seats: &'a [Evidence], findings: &mut Findings) -> BTreeMap<u64, &'a Line> {
    let mut all: BTreeMap<u64, &Line> = BTreeMap::new();
    for seat in seats {
        for line in &seat.timeline {
            let before = all.insert(line.seq, line);
            if before.is_some_and(|before| before != line) {
                let seq = line.seq;
                findings.problems.push(format!("two messages have the place {seq}"));
            }
        }
    }
    let mut texts = BTreeSet::new();
    for line in all.values().filter(|line| !texts.insert(&line.text)) {
        findings.duplicated += 1;
        findings.problems.push(format!("{:?} is there twice", line.text));
    }
    all
}

fn check_timeline(
    seat: &Evidence,
    memberships: &[Membership],
    all: &BTreeMap<u64, &Line>,
    findings: &mut Findings,
) {
    findings.delivered += seat.timeline.len();
    let given = |line: &&Line| {
        memberships.iter().any(|membership| {
            line.epoch >= membership.epoch && membership.until.is_none_or(|end| line.seq <= end)
        })
    };
    let expected: BTreeSet<&String> =
        all.values().copied().filter(given).map(|line| &line.id).collect();
    let mut shown = BTreeSet::new();
    let mut place = 0;
    for line in &seat.timeline {
        if !shown.insert(&line.id) {
            findings.duplicated += 1;
            findings.problems.push(format!("{} has {:?} twice", seat.name, line.text));
        }
        if line.seq <= place {
            findings.problems.push(format!("{} has {:?} out of order", seat.name, line.text));
        }
        place = line.seq;
    }
    for line in all.values() {
        let (has, should) = (shown.contains(&line.id), expected.contains(&line.id));
        if should && !has {
            findings.missing += 1;
            let (name, text, seq) = (&seat.name, &line.text, line.seq);
            findings.problems.push(format!("{name} lacks {text:?}, place {seq}"));
        }
        if has && !should {
            findings.unexpected += 1;
            let (name, text, seq) = (&seat.name, &line.text, line.seq);
            findings.problems.push(format!("{name} should not have {text:?}, place {seq}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, epoch: u64) -> Line {
        Line { seq, id: format!("id {seq}"), epoch, text: format!("text {seq}") }
    }

    fn seat(name: &str, belongs: bool, timeline: Vec<Line>) -> Evidence {
        let state = State {
            member: belongs,
            epoch: 2,
            authenticator: "same".to_owned(),
            seq: 9,
            members: 2,
            unsettled: 0,
            wishes: 0,
            store_commits: 0,
        };
        Evidence { name: name.to_owned(), inbox: name.to_owned(), state, timeline, belongs }
    }

    /// Carol was added in epoch 1 and removed in epoch 2, behind place 5.
    fn story() -> Vec<Happening> {
        let epoch = |epoch, added: &[&str], removed: &[&str]| Happening::Epoch {
            epoch,
            added: added.iter().map(ToString::to_string).collect(),
            removed: removed.iter().map(ToString::to_string).collect(),
        };
        vec![
            Happening::Message { seq: 1 },
            epoch(1, &["carol"], &[]),
            Happening::Message { seq: 3 },
            Happening::Message { seq: 5 },
            epoch(2, &[], &["carol"]),
            Happening::Message { seq: 7 },
        ]
    }

    fn alice() -> Evidence {
        seat("alice", true, vec![line(1, 0), line(3, 0), line(5, 1), line(7, 1)])
    }

    fn judge(carol: Vec<Line>, owed: &[&str]) -> Findings {
        let owed = owed.iter().map(ToString::to_string).collect();
        let late = BTreeSet::from(["text 3".to_owned(), "text 9".to_owned()]);
        check("alice", &story(), &[alice(), seat("carol", false, carol)], &owed, &late)
    }

    #[test]
    fn a_removed_member_has_what_lies_between_its_coming_and_going() {
        let findings = judge(vec![line(5, 1)], &["text 7"]);
        assert!(findings.problems.is_empty(), "{:?}", findings.problems);
        assert_eq!((findings.messages, findings.unsent, findings.delivered), (4, 1, 5));
        assert_eq!((findings.commits, findings.epoch), (2, 2));
    }

    #[test]
    fn what_is_missing_twice_or_too_much_is_found() {
        assert_eq!(judge(vec![], &[]).missing, 1);
        assert_eq!(judge(vec![line(5, 1), line(7, 1)], &[]).unexpected, 1);
        assert_eq!(judge(vec![line(5, 1), line(5, 1)], &[]).duplicated, 1);
        assert_eq!(judge(vec![line(5, 1)], &["text 8"]).missing, 1);
        let other = Line { text: "another".to_owned(), ..line(5, 1) };
        assert_eq!(judge(vec![other], &[]).problems.len(), 1);
    }

    #[test]
    fn members_of_different_histories_are_found() {
        let mut other = alice();
        other.state.authenticator = "another".to_owned();
        let findings =
            check("alice", &story(), &[alice(), other], &BTreeSet::new(), &BTreeSet::new());
        assert_eq!(findings.problems.len(), 1);
    }
}
