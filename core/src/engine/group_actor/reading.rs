//! Records from the session: handled in parts, one by one if a batch breaks the value.

use super::{GroupActor, Life, SessionMessage, Taken, Turn, storing::Then};
use conclave_proto::{Record, Seq};

/// Where the group is with the records that the session gave it.
#[derive(Debug, Default)]
pub(super) enum Reading {
    /// The session waits for nothing.
    #[default]
    Idle,
    /// These are to be handled.
    Next(Unread),
    /// A step over some of them is with the writer.
    Storing,
    /// The session is to be told where the group stands.
    Answer,
}

/// Records that are left.
#[derive(Debug)]
pub(super) struct Unread {
    records: Vec<Record>,
    /// Most records of one step.
    max: usize,
}

/// A step over records that is with the writer.
#[derive(Debug)]
pub(super) struct Read {
    /// The records of the step.
    records: Vec<Record>,
    rest: Unread,
    /// Where the group stood before it.
    from: Seq,
    was_parked: bool,
}

impl Reading {
    /// The value is gone: what was not handled comes again.
    pub(super) fn give_up(&mut self) {
        if matches!(self, Self::Storing) {
            *self = Self::Answer;
        }
    }

    /// After a panic; a step that is with the writer goes on when that answers.
    pub(super) fn recover(&mut self, is_storing: bool) {
        match self {
            Self::Storing if is_storing => {}
            Self::Storing | Self::Next(_) | Self::Answer => *self = Self::Answer,
            Self::Idle => {}
        }
    }
}

impl GroupActor {
    pub(super) fn read(&mut self, records: Vec<Record>) {
        self.reading = Reading::Next(Unread { records, max: usize::MAX });
    }

    /// Goes on with records; whether there was something to do.
    pub(super) fn read_on(&mut self, turn: Turn<'_>) -> bool {
        // A panic from here on must leave the session an answer to wait for.
        match std::mem::replace(&mut self.reading, Reading::Answer) {
            Reading::Next(unread) => {
                self.read_part(turn, unread);
                true
            }
            Reading::Answer => self.answer_session(turn),
            waiting @ (Reading::Idle | Reading::Storing) => {
                self.reading = waiting;
                false
            }
        }
    }

    fn read_part(&mut self, turn: Turn<'_>, unread: Unread) {
        let Unread { mut records, max } = unread;
        let Some(group) = self.loaded(turn) else {
            self.reading = Reading::Answer;
            return;
        };
        let rest = records.split_off(records.len().min(max));
        let (from, was_parked) = (group.cursor().seq, group.standing().parked().is_some());
        let step = group.handle_records(turn.now, &records);
        if step.reply().broken {
            // The value is of no use from here on, and its step stores nothing.
            drop(step);
            self.drop_value();
            // One of several records breaks the library: one by one, it is only that one.
            self.reading = if records.len() > 1 {
                records.extend(rest);
                Reading::Next(Unread { records, max: 1 })
            } else {
                Reading::Answer
            };
            return;
        }
        let read = Read { records, rest: Unread { records: rest, max }, from, was_parked };
        self.reading = Reading::Storing;
        match if self.sets.is_empty() { step.into_idle() } else { Err(step) } {
            // What changed nothing goes to no writer.
            Ok(taken) => self.was_read(read, &taken),
            Err(step) => self.store(step, |pending| Then::Records(read, pending)),
        }
    }

    /// A part has been handled and stored.
    pub(super) fn was_read(&mut self, read: Read, taken: &Taken) {
        let Read { mut records, rest, from, was_parked } = read;
        self.reading = if taken.parked.is_some() && self.has_parked(from, was_parked) {
            // The records after the commit may be evidence of what became of it: the group looks
            // at them next.
            records.extend(rest.records);
            Reading::Next(Unread { records, max: rest.max })
        } else if rest.records.is_empty() {
            Reading::Answer
        } else {
            Reading::Next(rest)
        };
    }

    /// Whether the group stands before a commit that it did not stand before.
    fn has_parked(&self, from: Seq, was_parked: bool) -> bool {
        self.group().is_some_and(|group| {
            group.standing().parked().is_some() && (!was_parked || group.cursor().seq > from)
        })
    }

    /// Tells the session where the group stands; if that cannot be read yet, once it can.
    fn answer_session(&mut self, turn: Turn<'_>) -> bool {
        if matches!(self.life, Life::Unloadable { retry_at } if retry_at > turn.now) {
            self.reading = Reading::Answer;
            return false;
        }
        let id = self.id;
        let stands = self.loaded(turn).map(|group| SessionMessage::Handled {
            group: id,
            life: group.lineage().life,
            cursor: group.cursor(),
            parked: group.standing().parked().is_some(),
            removed: group.standing().is_removed(),
        });
        let message = match stands {
            Some(stands) => stands,
            None if matches!(self.life, Life::Unloadable { .. }) => {
                self.reading = Reading::Answer;
                return false;
            }
            None => SessionMessage::Unreadable(id),
        };
        self.reading = Reading::Idle;
        self.tell_session(message);
        true
    }
}
