//! The groups of an installation, as the session knows them: which are followed, which are to be
//! woken, which the store did not give.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use conclave_proto::{GroupId, Timestamp, Topic, TransmitId};

use super::{Effect, GroupMessage, SessionActor, Turn};
use crate::{
    Class,
    delivery::PublishOutcome,
    engine::index,
    group::{Held, LoadError, Standing},
    timetable::Timetable,
};

/// An envelope and what the relay said of it.
type Outcome = (TransmitId, PublishOutcome);

/// What is to be done with the list of groups, which the store did not give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Listing {
    #[default]
    Done,
    /// Follow everything that is listed: the engine was just opened.
    Follow,
    /// Look for groups that were joined meanwhile.
    Relist,
}

#[derive(Debug, Default)]
pub(super) struct Roster {
    /// When something is due in a group that is asleep.
    due: Timetable<GroupId>,
    /// Groups with something undone that were not looked at since the engine was opened.
    unseen: VecDeque<GroupId>,
    looking: BTreeSet<GroupId>,
    /// Groups that the store did not give.
    unread: Vec<GroupId>,
    listing: Listing,
    /// When to ask the store again.
    read_again: Option<Timestamp>,
    /// Answers of the relay that wait for the records of the log.
    outcomes: BTreeMap<GroupId, (Timestamp, Vec<Outcome>)>,
}

impl Roster {
    pub(super) fn set_due(&mut self, group: GroupId, due: Option<Timestamp>) {
        self.due.set(&group, due);
    }

    pub(super) fn looked(&mut self, group: GroupId) {
        self.looking.remove(&group);
    }

    pub(super) fn hold_outcome(
        &mut self,
        owner: GroupId,
        until: Timestamp,
        id: TransmitId,
        outcome: PublishOutcome,
    ) {
        let (_, held) = self.outcomes.entry(owner).or_insert_with(|| (until, Vec::new()));
        held.push((id, outcome));
    }

    pub(super) fn take_outcomes(&mut self, owner: GroupId) -> Vec<Outcome> {
        self.outcomes.remove(&owner).map(|(_, held)| held).unwrap_or_default()
    }

    /// Answers that have waited long enough.
    pub(super) fn late_outcomes(
        &mut self,
        now: Timestamp,
    ) -> Vec<(GroupId, TransmitId, PublishOutcome)> {
        let late = self.outcomes.extract_if(.., |_, (until, _)| *until <= now);
        let of = |(owner, (_, held)): (GroupId, (Timestamp, Vec<Outcome>))| {
            held.into_iter().map(move |(id, outcome)| (owner, id, outcome))
        };
        late.flat_map(of).collect()
    }

    pub(super) const fn read_again_at(&self) -> Option<Timestamp> {
        self.read_again
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        let held = self.outcomes.values().map(|(until, _)| *until);
        self.due.first().into_iter().chain(held).min()
    }
}

impl SessionActor {
    /// Follows every group that the store lists.
    pub(super) fn follow_all(&mut self, turn: Turn<'_>) {
        for group in self.listed(turn, Listing::Follow) {
            if !self.session.is_watched(&Topic::Group(group)) {
                self.follow(turn, group);
            }
        }
    }

    /// Looks for groups that were joined without the session being told.
    pub(super) fn relist(&mut self, turn: Turn<'_>) {
        for group in self.listed(turn, Listing::Relist) {
            let topic = Topic::Group(group);
            if !self.session.is_watched(&topic) {
                self.follow(turn, group);
                if self.session.is_watched(&topic) {
                    self.tell_group(group, GroupMessage::Reload);
                }
            }
        }
    }

    /// The groups that the store lists; if it does not say so now, it is asked again for this.
    fn listed(&mut self, turn: Turn<'_>, listing: Listing) -> Vec<GroupId> {
        match index::groups(turn.store) {
            Ok(groups) => {
                self.groups.listing = Listing::Done;
                groups
            }
            Err(error) => {
                // Following everything finds what was joined, too.
                if self.groups.listing != Listing::Follow {
                    self.groups.listing = listing;
                }
                self.effects.push_back(Effect::StoreTrouble(error));
                self.ask_again(turn.now);
                Vec::new()
            }
        }
    }

    /// Watches the log of a group, and takes note of what it has left undone.
    fn follow(&mut self, turn: Turn<'_>, id: GroupId) {
        match Held::read(turn.store, id) {
            Ok(Some(held)) => {
                let topic = Topic::Group(id);
                if !held.standing.is_removed() {
                    self.session.watch(topic.clone(), held.cursor);
                }
                if matches!(held.standing, Standing::Forked { .. }) {
                    // It has to hear as well that nothing stands after its cursor any more.
                    self.session.handled(turn.now, &topic, held.cursor, true);
                }
                if held.undone {
                    self.groups.unseen.push_back(id);
                }
                self.groups.set_due(id, held.next_timeout(&self.context.limits.core));
            }
            Ok(None) => {}
            Err(error) if error.class() == Class::Transient => {
                self.groups.unread.push(id);
                self.ask_again(turn.now);
                if let LoadError::Store(error) = error {
                    self.effects.push_back(Effect::StoreTrouble(error));
                }
            }
            // It stands in the list, and says why when it is asked.
            Err(_) => {}
        }
    }

    fn ask_again(&mut self, now: Timestamp) {
        let at = now.plus_ms(self.context.limits.session.trouble_ms);
        self.groups.read_again = Some(self.groups.read_again.map_or(at, |before| before.min(at)));
    }

    /// Asks the store again for what it did not give, when it is time.
    pub(super) fn read_again(&mut self, turn: Turn<'_>) {
        // The clock may have gone back.
        let latest = turn.now.plus_ms(self.context.limits.session.trouble_ms);
        self.groups.read_again = self.groups.read_again.map(|at| at.min(latest));
        if self.groups.read_again.take_if(|at| *at <= turn.now).is_none() {
            return;
        }
        for id in std::mem::take(&mut self.groups.unread) {
            // It may have been joined anew meanwhile.
            if !self.session.is_watched(&Topic::Group(id)) {
                self.follow(turn, id);
            }
        }
        match self.groups.listing {
            Listing::Done => {}
            Listing::Follow => self.follow_all(turn),
            Listing::Relist => self.relist(turn),
        }
    }

    /// Wakes groups that have something due, and looks through those that were not looked at since
    /// the engine was opened, a few at a time.
    pub(super) fn wake_groups(&mut self, now: Timestamp) {
        while let Some(id) = self.groups.due.take(now) {
            self.tell_group(id, GroupMessage::Look);
        }
        while self.groups.looking.len() < self.context.limits.look_at_once
            && let Some(id) = self.groups.unseen.pop_front()
        {
            self.groups.looking.insert(id);
            self.tell_group(id, GroupMessage::Look);
        }
    }
}
