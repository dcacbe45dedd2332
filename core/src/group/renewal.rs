//! When this installation renews its keys in a group (S5).

use conclave_proto::Timestamp;

use super::{draft::Draft, stored::Meta};

/// The path updates of this installation: the last one, and when the next one is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    pub(super) joined: Timestamp,
    /// When a path update is due even without sending. Equal to `joined` in a group that this
    /// installation founded: there is none.
    pub(super) update_by: Timestamp,
    /// When a commit with a path was applied; `None` before the first.
    pub(super) last: Option<Timestamp>,
}

impl Renewal {
    pub(super) const fn new(joined: Timestamp, update_by: Timestamp) -> Self {
        Self { joined, update_by, last: None }
    }

    /// As it is stored.
    pub(super) const fn of(meta: &Meta) -> Self {
        Self { joined: meta.joined, update_by: meta.update_by, last: meta.last_path }
    }

    /// Whether a path update is due before anything is sent.
    pub(super) fn is_due(&self, now: Timestamp, update_ms: u64) -> bool {
        self.last.is_none_or(|last| now.since_ms(last) >= update_ms)
    }

    /// When a path update is due although nothing is sent. A last-resort key package gives its leaf
    /// key to every group that is joined by it, so the key is replaced within a day.
    pub(super) fn after_joining(&self) -> Option<Timestamp> {
        let joined_by_welcome = self.update_by > self.joined;
        (self.last.is_none() && joined_by_welcome).then_some(self.update_by)
    }

    /// A commit of this installation was applied; every own commit has a path.
    pub(super) fn renewed(&mut self, draft: &mut Draft, now: Timestamp) {
        self.last = Some(now);
        draft.change_meta();
    }
}

#[cfg(test)]
mod tests {
    use conclave_proto::Timestamp;

    use super::Renewal;
    use crate::group::fixture::draft;

    /// S5: only an installation that joined by a Welcome shares its leaf key with other groups.
    #[test]
    fn only_who_joined_by_a_welcome_renews_without_sending() {
        let founder = Renewal::new(Timestamp(10), Timestamp(10));
        assert_eq!(founder.after_joining(), None);
        let mut joined = Renewal::new(Timestamp(10), Timestamp(90));
        assert_eq!(joined.after_joining(), Some(Timestamp(90)));
        let mut draft = draft();
        joined.renewed(&mut draft, Timestamp(50));
        assert_eq!(joined.after_joining(), None);
        assert_eq!(joined.last, Some(Timestamp(50)));
        assert!(draft.meta_changed);
    }

    /// S5, scenario 70: due before the first message, and again when the time has passed.
    #[test]
    fn a_path_update_is_due_before_the_first_message_and_after_the_interval() {
        let mut renewal = Renewal::new(Timestamp(10), Timestamp(10));
        assert!(renewal.is_due(Timestamp(10), 100));
        renewal.renewed(&mut draft(), Timestamp(50));
        assert!(!renewal.is_due(Timestamp(149), 100));
        assert!(renewal.is_due(Timestamp(150), 100));
    }
}
