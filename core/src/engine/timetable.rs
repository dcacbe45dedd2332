//! The times at which groups have something due.

use std::collections::{BTreeMap, BTreeSet};

use conclave_proto::{GroupId, Timestamp};

/// At most one time per group. There may be thousands of groups, and the session asks for the
/// earliest time with every input, so the times are kept sorted.
#[derive(Debug, Default)]
pub(super) struct Timetable {
    by_group: BTreeMap<GroupId, Timestamp>,
    by_time: BTreeSet<(Timestamp, GroupId)>,
}

impl Timetable {
    /// Sets the time of a group, or removes it.
    pub(super) fn set(&mut self, group: GroupId, due: Option<Timestamp>) {
        let before = match due {
            Some(due) => self.by_group.insert(group, due),
            None => self.by_group.remove(&group),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, group));
        }
        if let Some(due) = due {
            self.by_time.insert((due, group));
        }
    }

    /// Returns the earliest time.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Removes and returns the group with the earliest time, if that time has come.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<GroupId> {
        self.first().filter(|due| *due <= now)?;
        let (_, group) = self.by_time.pop_first()?;
        self.by_group.remove(&group);
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use conclave_proto::{GroupId, Timestamp};

    use super::Timetable;

    const GROUPS: [GroupId; 3] = [GroupId([1; 16]), GroupId([2; 16]), GroupId([3; 16])];

    /// E13: groups are due by time, each once, at the last time that was set for it.
    #[test]
    fn groups_are_due_at_the_last_time_that_was_set() {
        let mut table = Timetable::default();
        for (group, due) in GROUPS.into_iter().zip([30, 20, 10]) {
            table.set(group, Some(Timestamp(due)));
        }
        assert_eq!(table.take(Timestamp(9)), None);
        assert_eq!(table.take(Timestamp(10)), Some(GROUPS[2]));
        table.set(GROUPS[1], Some(Timestamp(40)));
        table.set(GROUPS[2], Some(Timestamp(50)));
        table.set(GROUPS[2], None);
        assert_eq!(table.first(), Some(Timestamp(30)));
        assert_eq!(table.take(Timestamp(100)), Some(GROUPS[0]));
        assert_eq!(table.take(Timestamp(100)), Some(GROUPS[1]));
        assert_eq!((table.take(Timestamp(100)), table.first()), (None, None));
    }
}
