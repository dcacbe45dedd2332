//! Collecting what a Welcome names: gather, then call.

use conclave_proto::{Cursor, Record, Seq, Topic};

use super::{Context, LookUp, Token};
use crate::keyring::{Gathered, Held, Invitation};

/// The three questions that an invitation asks the relay, and the answers so far.
///
/// Nothing of it needs to survive a restart: the Welcome's record is still in its log then.
#[derive(Debug)]
pub(super) struct Gathering {
    invitation: Invitation,
    commit: Answer,
    body: Answer,
    log: Answer,
    /// Where the group stood when it was waited for.
    waited_at: Option<Cursor>,
}

#[derive(Debug)]
struct Answer {
    asked: Token,
    records: Option<Vec<Record>>,
}

impl Gathering {
    /// The questions to ask.
    pub(super) fn begin(invitation: Invitation, context: &Context) -> (Self, [LookUp; 3]) {
        let before = Cursor { seq: Seq(invitation.start.seq.0.saturating_sub(1)), ..Cursor::START };
        let ask = |topic, after, count| LookUp { token: context.next_token(), topic, after, count };
        let questions = [
            ask(Topic::Group(invitation.group), before, Some(1)),
            ask(Topic::Blob(invitation.body), Cursor::START, Some(1)),
            ask(Topic::Identity(invitation.inviter), Cursor::START, None),
        ];
        let [commit, body, log] =
            questions.each_ref().map(|question| Answer { asked: question.token, records: None });
        (Self { invitation, commit, body, log, waited_at: None }, questions)
    }

    /// Where the group stood when it was waited for, if it was.
    pub(super) const fn waited_before(&self) -> Option<Cursor> {
        self.waited_at
    }

    /// The same, after the group was waited for where it stood.
    pub(super) fn waited_at(self, stood: Cursor) -> Self {
        Self { waited_at: Some(stood), ..self }
    }

    /// Takes an answer.
    pub(super) fn found(&mut self, token: Token, records: Vec<Record>) {
        let waiting = [&mut self.commit, &mut self.body, &mut self.log];
        if let Some(answer) = waiting.into_iter().find(|answer| answer.asked == token) {
            answer.records = Some(records);
        }
    }

    /// Whether all answers are there.
    pub(super) fn is_complete(&self) -> bool {
        [&self.commit, &self.body, &self.log].iter().all(|answer| answer.records.is_some())
    }

    /// What the invitation asks for.
    pub(super) const fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// What was found; `held` is how this installation stands in the group by its store.
    pub(super) fn gathered(&self, held: Option<Held>) -> Gathered {
        let start = self.invitation.start.seq;
        let records = |answer: &Answer| answer.records.clone().unwrap_or_default();
        let log = records(&self.log).into_iter().map(|record| record.payload);
        Gathered {
            commit: records(&self.commit).into_iter().next().filter(|first| first.seq == start),
            body: records(&self.body).into_iter().next().map(|record| record.payload),
            inviter_log: log.collect(),
            held,
        }
    }
}
