//! The times at which groups or topics have something due.

use alloc::collections::{BTreeMap, BTreeSet};

use conclave_proto::Timestamp;

/// At most one time per key. There may be thousands of keys, and the earliest time is asked for
/// with every input, so the times are kept sorted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Timetable<K> {
    by_key: BTreeMap<K, Timestamp>,
    by_time: BTreeSet<(Timestamp, K)>,
}

impl<K> Default for Timetable<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Clone + Ord> Timetable<K> {
    /// Sets the time of a key, or removes it.
    pub(crate) fn set(&mut self, key: &K, due: Option<Timestamp>) {
        let before = match due {
            Some(due) => self.by_key.insert(key.clone(), due),
            None => self.by_key.remove(key),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, key.clone()));
        }
        if let Some(due) = due {
            self.by_time.insert((due, key.clone()));
        }
    }

    /// Returns the earliest time.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// Removes and returns the key with the earliest time, if that time has come.
    pub(crate) fn take(&mut self, now: Timestamp) -> Option<K> {
        self.first().filter(|due| *due <= now)?;
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
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
        for (group, due) in GROUPS.iter().zip([30, 20, 10]) {
            table.set(group, Some(Timestamp(due)));
        }
        assert_eq!(table.take(Timestamp(9)), None);
        assert_eq!(table.take(Timestamp(10)), Some(GROUPS[2]));
        table.set(&GROUPS[1], Some(Timestamp(40)));
        table.set(&GROUPS[2], Some(Timestamp(50)));
        table.set(&GROUPS[2], None);
        assert_eq!(table.first(), Some(Timestamp(30)));
        assert_eq!(table.take(Timestamp(100)), Some(GROUPS[0]));
        assert_eq!(table.take(Timestamp(100)), Some(GROUPS[1]));
        assert_eq!((table.take(Timestamp(100)), table.first()), (None, None));
    }
}
