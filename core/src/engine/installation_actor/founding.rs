//! Founding a group: the own identity log is read first.

use conclave_proto::Timestamp;

use super::{
    Answer, CallAnswer, Effect, Error, Group, GroupMessage, InstallationActor, LogReader, Message,
    ReplyToken, SessionMessage, Then, Token, Turn,
};
use crate::{engine::index, group::GroupConfig, identity::read_log, step::Step};

/// A group that is to be founded.
#[derive(Debug)]
pub(super) struct Founding {
    pub(super) reply: ReplyToken,
    config: GroupConfig,
    token: Token,
    reader: LogReader,
    pub(super) deadline: Timestamp,
}

impl InstallationActor {
    pub(super) fn found(&mut self, turn: Turn<'_>, reply: ReplyToken, config: GroupConfig) {
        let Some(installation) = self.context.installation() else {
            return self.reply(reply, Err(Error::NotRegistered));
        };
        let reader = LogReader::new(installation.inbox());
        let token = self.call(reader.call());
        let deadline = turn.now.plus_ms(self.context.limits.call_ms);
        self.foundings.push(Founding { reply, config, token, reader, deadline });
    }

    pub(super) fn go_on_founding(&mut self, turn: Turn<'_>, token: Token, answer: CallAnswer) {
        let Some(at) = self.foundings.iter().position(|founding| founding.token == token) else {
            return;
        };
        let mut founding = self.foundings.remove(at);
        self.in_hand = Some(founding.reply);
        match founding.reader.take(answer) {
            Ok(false) => {
                founding.token = self.call(founding.reader.call());
                founding.deadline = turn.now.plus_ms(self.context.limits.call_ms);
                self.foundings.push(founding);
            }
            Ok(true) => {
                let reply = founding.reply;
                match self.create(turn, founding) {
                    Ok(step) => {
                        let listed = index::put(step.reply().id());
                        self.store(step, Some(listed), |pending| {
                            Then::Founded(reply, Box::new(pending))
                        });
                    }
                    Err(error) => self.reply(reply, Err(error)),
                }
            }
            Err(error) => self.reply(founding.reply, Err(error)),
        }
    }

    fn create(&self, turn: Turn<'_>, founding: Founding) -> Result<Step<Group>, Error> {
        let installation = self.context.installation().ok_or(Error::NotRegistered)?;
        let inbox = installation.inbox();
        let log = founding.reader.into_log();
        let identity = read_log(inbox, None, log.iter().map(|record| record.payload.as_slice()));
        let identity = identity.ok_or(Error::UnknownInbox(inbox))?;
        let entropy = self.context.child("new group", &[], self.context.next_number());
        let limits = self.context.limits.core;
        Ok(Group::create(turn.now, founding.config, identity, installation, limits, entropy)?)
    }

    /// The group is stored: its actor gets the value before anybody hears of it.
    pub(super) fn founded(&mut self, reply: ReplyToken, group: Group) {
        let (id, cursor) = (group.id(), group.cursor());
        let created = GroupMessage::Created(Box::new(group));
        self.effects.push_back(Effect::Tell(Message::Group(id, created)));
        self.tell(Message::Session(SessionMessage::Watch(id, cursor)));
        self.reply(reply, Ok(Answer::Group(id)));
    }
}
