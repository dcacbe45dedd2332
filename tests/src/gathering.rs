//! Collecting what a Welcome names: gather, then call.

use conclave_proto::{Cursor, Record, Seq, Topic};

use conclave_core::keyring::{Gathered, Held, Invitation};
use conclave_core::session::{LookUpId, Session};

/// The three questions that an invitation asks the relay, and the answers so far.
///
/// Nothing of it needs to survive a restart: the Welcome's record is still in its log then.
#[derive(Debug)]
pub struct Gathering {
    invitation: Invitation,
    commit: Answer,
    body: Answer,
    log: Answer,
}

#[derive(Debug)]
struct Answer {
    asked: LookUpId,
    records: Option<Vec<Record>>,
}

impl Gathering {
    /// Asks.
    pub fn begin(session: &mut Session, invitation: Invitation) -> Self {
        let before = Cursor { seq: Seq(invitation.start.seq.0.saturating_sub(1)), ..Cursor::START };
        let mut ask = |topic, after, count| Answer {
            asked: session.look_up(topic, after, count),
            records: None,
        };
        Self {
            commit: ask(Topic::Group(invitation.group), before, Some(1)),
            body: ask(Topic::Blob(invitation.body), Cursor::START, Some(1)),
            log: ask(Topic::Identity(invitation.inviter), Cursor::START, None),
            invitation,
        }
    }

    /// Takes an answer; whether all are there.
    pub fn found(&mut self, look_up: LookUpId, records: Vec<Record>) -> bool {
        let waiting = [&mut self.commit, &mut self.body, &mut self.log];
        if let Some(answer) = waiting.into_iter().find(|answer| answer.asked == look_up) {
            answer.records = Some(records);
        }
        [&self.commit, &self.body, &self.log].iter().all(|answer| answer.records.is_some())
    }

    /// What the invitation asks for.
    #[must_use]
    pub const fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// What was found; `held` is how this installation stands in the group by its store.
    #[must_use]
    pub fn into_gathered(self, held: Option<Held>) -> Gathered {
        let start = self.invitation.start.seq;
        let first = |answer: Answer| answer.records.unwrap_or_default().into_iter().next();
        let log = self.log.records.unwrap_or_default();
        Gathered {
            commit: first(self.commit).filter(|record| record.seq == start),
            body: first(self.body).map(|record| record.payload),
            inviter_log: log.into_iter().map(|record| record.payload).collect(),
            held,
        }
    }
}
