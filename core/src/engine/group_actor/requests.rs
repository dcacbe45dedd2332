//! What the application asks of a group.

use conclave_proto::message::{Body, message_id};

use super::{
    Answer, CallAnswer, Effect, Error, Group, GroupActor, GroupRequest, IntentId, Life, MessageId,
    ReplyToken, Timestamp, Token, Turn, storing::Then,
};
use crate::{
    engine::candidates::{Gatherer, unanswered},
    group::{ChangeError, find_message},
    step::Step,
};

/// A wish to add, for which the relay is asked first.
#[derive(Debug)]
pub(super) struct Adding {
    pub(super) reply: ReplyToken,
    gatherer: Gatherer,
}

impl Adding {
    pub(super) const fn deadline(&self) -> Timestamp {
        self.gatherer.deadline()
    }
}

impl GroupActor {
    pub(super) fn asked(&mut self, turn: Turn<'_>, reply: ReplyToken, request: GroupRequest) {
        match request {
            GroupRequest::Send { key, content, once } => {
                self.asked_to_send(turn, reply, key, content, once);
            }
            GroupRequest::Add(inboxes) => {
                let effects = &mut self.effects;
                let gatherer = Gatherer::begin(turn.now, inboxes, &self.context, effects);
                self.adding.push(Adding { reply, gatherer });
            }
            GroupRequest::Remove(who) => {
                self.wish(turn, reply, |now, group| group.remove(now, who))
            }
            GroupRequest::UpdateKeys => self.wish(turn, reply, |now, group| group.update_keys(now)),
            GroupRequest::View => match self.try_loaded(turn) {
                Ok(_) => {
                    self.viewers.insert(reply);
                    self.show();
                }
                Err(error) => self.reply(reply, Err(error)),
            },
            GroupRequest::Settled => match self.try_loaded(turn) {
                Ok(_) => {
                    self.settlers.insert(reply);
                    self.show();
                }
                Err(error) => self.reply(reply, Err(error)),
            },
        }
    }

    fn asked_to_send(
        &mut self,
        turn: Turn<'_>,
        reply: ReplyToken,
        key: [u8; 16],
        content: Vec<u8>,
        once: bool,
    ) {
        if once {
            // Messages whose step is still with the writer the value knows.
            match self.sent_before(turn, &key, &Body::Content(content.clone())) {
                Ok(None) => {}
                Ok(Some(id)) => return self.reply(reply, Ok(Answer::Message(id))),
                Err(error) => return self.reply(reply, Err(error)),
            }
        }
        let now = turn.now;
        let step = self.try_loaded(turn).and_then(|group| Ok(group.send(now, key, content)?));
        self.store_answered(reply, step, Answer::Message, |pending| Then::Message(reply, pending));
    }

    /// The id of an own message that has its position, by the store.
    fn sent_before(
        &self,
        turn: Turn<'_>,
        key: &[u8; 16],
        body: &Body,
    ) -> Result<Option<MessageId>, Error> {
        let Some(installation) = self.context.installation() else { return Ok(None) };
        let id = message_id(&self.id, &installation.id(), key, body);
        let found = find_message(turn.store, self.id, id)?;
        Ok(found.map(|_| id))
    }

    fn wish(
        &mut self,
        turn: Turn<'_>,
        reply: ReplyToken,
        wish: impl FnOnce(Timestamp, &mut Group) -> Result<Step<IntentId>, ChangeError>,
    ) {
        let now = turn.now;
        let step = self.try_loaded(turn).and_then(|group| Ok(wish(now, group)?));
        self.store_answered(reply, step, Answer::Intent, |pending| Then::Intent(reply, pending));
    }

    /// Stores what the application asked for; the answer comes when it is stored.
    fn store_answered<T>(
        &mut self,
        reply: ReplyToken,
        step: Result<Step<T>, Error>,
        answer: fn(T) -> Answer,
        then: impl FnOnce(crate::step::Pending<T>) -> Then,
    ) {
        match step {
            // With nothing before it on its way, what changes nothing is durable.
            Ok(step) if self.sets.is_empty() => match step.into_idle() {
                Ok(done) => self.reply(reply, Ok(answer(done))),
                Err(step) => self.store(step, then),
            },
            Ok(step) => self.store(step, then),
            Err(error) => self.reply(reply, Err(error)),
        }
    }

    pub(super) fn answered(&mut self, turn: Turn<'_>, token: Token, answer: CallAnswer) {
        let Some(at) = self.adding.iter().position(|it| it.gatherer.waits_for(token)) else {
            return;
        };
        let Some(adding) = self.adding.get_mut(at) else { return };
        let gathered =
            adding.gatherer.take(turn.now, token, answer, &self.context, &mut self.effects);
        if let Err(error) = gathered {
            let Adding { reply, .. } = self.adding.remove(at);
            self.reply(reply, Err(error));
        }
    }

    pub(super) fn expire_calls(&mut self, turn: Turn<'_>) {
        let expired = self.adding.extract_if(.., |adding| adding.deadline() <= turn.now);
        let answer = |Adding { reply, .. }| Effect::Reply { to: reply, answer: Err(unanswered()) };
        self.effects.extend(expired.map(answer).collect::<Vec<_>>());
    }

    /// Takes a wish to add for which everything is there; whether there was one.
    pub(super) fn finish_adding(&mut self, turn: Turn<'_>) -> bool {
        if matches!(self.life, Life::Over(_)) {
            return false;
        }
        let Some(at) = self.adding.iter().position(|adding| adding.gatherer.is_ready()) else {
            return false;
        };
        let Adding { reply, gatherer } = self.adding.remove(at);
        self.in_hand = Some(reply);
        let who = gatherer.into_candidates();
        self.wish(turn, reply, |now, group| group.add(now, who));
        true
    }
}
