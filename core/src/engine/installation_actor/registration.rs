//! Registration: own keys first, then an entry in the inbox's log that names them.

use core::time::Duration;

use conclave_proto::{
    InboxId, Record, Seq, Timestamp, Topic,
    identity::{Account, AccountKind, IdentityState, Member, Signature},
    record::transmit_id,
};

use super::{
    Answer, CallAnswer, DeliveryCall, Effect, Error, InstallationActor, InstallationRequest,
    InvitationMessage, LogReader, Message, ReplyToken, SessionMessage, Then, Token, Turn,
    unanswered,
};
use crate::{
    delivery::{PublishOutcome, Transmit, TransportError},
    engine::index::StoredInstallation,
    entropy::StepRandom,
    identity::{Draft, normalise_p256_signature, normalise_wallet_signature, read_log},
};

/// Attempts to append to an identity log that others write to as well.
const ATTEMPTS: usize = 5;

/// A registration that is under way.
#[derive(Debug)]
pub(super) struct Registration {
    reply: ReplyToken,
    account: Account,
    inbox: InboxId,
    nonce: u64,
    stored: StoredInstallation,
    attempts: usize,
    state: State,
    /// Until when the relay has to answer; signing may take a person's time.
    deadline: Option<Timestamp>,
}

#[derive(Debug)]
enum State {
    /// New keys are with the writer.
    StoringKeys,
    ReadingLog(Token, LogReader),
    Signing(Token, Box<Draft>, Seq),
    Publishing(Token),
    /// That the log names the installation is with the writer.
    StoringResult,
}

impl Registration {
    pub(super) const fn reply(&self) -> ReplyToken {
        self.reply
    }

    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    pub(super) fn waits_for(&self, of: Token) -> bool {
        match &self.state {
            State::ReadingLog(token, _) | State::Signing(token, ..) | State::Publishing(token) => {
                *token == of
            }
            State::StoringKeys | State::StoringResult => false,
        }
    }

    fn draft(&self, now: Timestamp, state: Option<&IdentityState>) -> Result<Draft, Error> {
        let draft = match state {
            Some(state) => {
                if !state.accounts.contains(&self.account) && state.recovery != self.account {
                    return Err(Error::NotAMember);
                }
                Draft::following(state, now)
            }
            None if InboxId::derive(&self.account.identifier(), self.nonce) == self.inbox => {
                Draft::create(self.account.clone(), self.nonce, now)
            }
            None => return Err(Error::UnknownInbox(self.inbox)),
        };
        Ok(draft.add_installation(self.stored.installation().id(), self.account.clone()))
    }

    fn signed(&self, draft: Draft, signature: Vec<u8>) -> Result<Draft, Error> {
        let normal = match self.account.kind {
            AccountKind::WALLET => normalise_wallet_signature(&signature).map(Vec::from),
            AccountKind::P256 => normalise_p256_signature(&signature).map(Vec::from),
            _ => Some(signature),
        };
        let bytes = normal.ok_or(Error::Signature("it is not one of this kind of account"))?;
        let signer = Member::Account(self.account.clone());
        let signature = Signature { signer, scheme: 0, bytes };
        let installation = self.stored.installation();
        Ok(draft.signature(signature).sign_with_installation(installation.signing_key()))
    }
}

impl InstallationActor {
    pub(super) fn begin_registering(
        &mut self,
        turn: Turn<'_>,
        reply: ReplyToken,
        request: InstallationRequest,
    ) {
        let InstallationRequest::Register { account, inbox, nonce } = request else { return };
        let inbox = inbox.unwrap_or_else(|| InboxId::derive(&account.identifier(), nonce));
        let (stored, fresh) = match self.own_keys(turn, inbox) {
            Ok(keys) => keys,
            Err(error) => return self.reply(reply, Err(error)),
        };
        let is_registered = stored.registered;
        let (state, attempts) = (State::StoringKeys, 0);
        self.registration = Some(Registration {
            reply,
            account,
            inbox,
            nonce,
            stored: stored.clone(),
            attempts,
            state,
            deadline: None,
        });
        if is_registered {
            self.registered(inbox, &stored);
        } else if fresh {
            let step = stored.step(self.context.next_number());
            self.store(step, None, Then::Registered);
        } else {
            self.read_log(turn.now);
        }
    }

    /// The installation's keys, and whether they are new and still to be stored.
    fn own_keys(
        &self,
        turn: Turn<'_>,
        inbox: InboxId,
    ) -> Result<(StoredInstallation, bool), Error> {
        if let Some(stored) = StoredInstallation::read(turn.store)? {
            if stored.inbox == inbox {
                return Ok((stored, false));
            }
            if stored.registered {
                return Err(Error::RegisteredElsewhere);
            }
            // An attempt that came to nothing, or whose answer was lost: new keys for the other
            // inbox, so that no installation belongs to two.
        }
        let mut entropy = self.context.child("installation", &inbox.0, self.context.next_number());
        let mut random: StepRandom = entropy.step()?;
        Ok((StoredInstallation::new(inbox, random.array(), random.array()), true))
    }

    fn read_log(&mut self, now: Timestamp) {
        let Some(inbox) = self.registration.as_ref().map(|registration| registration.inbox) else {
            return;
        };
        let reader = LogReader::new(inbox);
        let token = self.call(reader.call());
        self.set_state(Some(now), State::ReadingLog(token, reader));
    }

    /// Goes on in another state; the relay has to answer in time if a time is given.
    fn set_state(&mut self, now: Option<Timestamp>, state: State) {
        if let Some(registration) = &mut self.registration {
            registration.state = state;
            registration.deadline = now.map(|now| now.plus_ms(self.context.limits.call_ms));
        }
    }

    /// A write set of the registration is stored.
    pub(super) fn stored_registration(&mut self, turn: Turn<'_>) {
        let Some(registration) = &self.registration else { return };
        match registration.state {
            State::StoringKeys => self.read_log(turn.now),
            State::StoringResult => {
                let (inbox, stored) = (registration.inbox, registration.stored.clone());
                self.registered(inbox, &stored);
            }
            State::ReadingLog(..) | State::Signing(..) | State::Publishing(_) => {}
        }
    }

    pub(super) fn go_on_registering(&mut self, turn: Turn<'_>, answer: CallAnswer) {
        let Some(registration) = &mut self.registration else { return };
        self.in_hand = Some(registration.reply);
        let state = std::mem::replace(&mut registration.state, State::StoringKeys);
        registration.deadline = None;
        let went_on = match state {
            State::ReadingLog(_, reader) => self.log_answered(turn, reader, answer),
            State::Signing(_, draft, expect) => self.signed(turn, *draft, expect, answer),
            State::Publishing(_) => self.published(turn, answer),
            State::StoringKeys | State::StoringResult => Ok(()),
        };
        if let Err(error) = went_on {
            self.end_registering(Err(error));
        }
    }

    fn log_answered(
        &mut self,
        turn: Turn<'_>,
        mut reader: LogReader,
        answer: CallAnswer,
    ) -> Result<(), Error> {
        if !reader.take(answer)? {
            let token = self.call(reader.call());
            self.set_state(Some(turn.now), State::ReadingLog(token, reader));
            return Ok(());
        }
        let Some(registration) = &mut self.registration else { return Ok(()) };
        let log = reader.into_log();
        let entries = log.iter().map(|record| record.payload.as_slice());
        let state = read_log(registration.inbox, None, entries);
        let own = registration.stored.installation().id();
        if state.as_ref().is_some_and(|state| state.installations.contains_key(&own)) {
            self.store_result();
            return Ok(());
        }
        if registration.attempts >= ATTEMPTS {
            return Err(Error::Busy);
        }
        registration.attempts += 1;
        let draft = registration.draft(turn.now, state.as_ref())?;
        let (of, text) = (registration.reply, draft.text());
        let expect = log.last().map_or(Seq(0), |record: &Record| record.seq);
        let token = self.context.next_token();
        self.effects.push_back(Effect::Sign { token, of, text });
        self.set_state(None, State::Signing(token, Box::new(draft), expect));
        Ok(())
    }

    fn signed(
        &mut self,
        turn: Turn<'_>,
        draft: Draft,
        expect: Seq,
        answer: CallAnswer,
    ) -> Result<(), Error> {
        let CallAnswer::Signed(signature) = answer else { return Err(unanswered()) };
        let Some(registration) = &self.registration else { return Ok(()) };
        let signature = signature.map_err(Error::Signature)?;
        let payload = registration.signed(draft, signature)?.encode();
        let topic = Topic::Identity(registration.inbox);
        let id = transmit_id(&topic, &payload);
        let transmit = Transmit { topic, id, expect: Some(expect), payload };
        let token = self.call(DeliveryCall::Publish(vec![transmit]));
        self.set_state(Some(turn.now), State::Publishing(token));
        Ok(())
    }

    fn published(&mut self, turn: Turn<'_>, answer: CallAnswer) -> Result<(), Error> {
        let CallAnswer::Published(outcomes) = answer else { return Err(unanswered()) };
        match outcomes.into_iter().next() {
            Some(PublishOutcome::TooLarge { .. } | PublishOutcome::Invalid) => Err(Error::Refused),
            Some(PublishOutcome::NotStored { retry_ms }) => {
                let retry_after = Duration::from_millis(retry_ms.into());
                Err(TransportError::RelayTrouble { retry_after }.into())
            }
            Some(PublishOutcome::Accepted { .. }) => {
                self.store_result();
                Ok(())
            }
            // The log says what became of it.
            Some(
                PublishOutcome::Conflict { .. } | PublishOutcome::Behind | PublishOutcome::Unknown,
            )
            | None => {
                self.read_log(turn.now);
                Ok(())
            }
        }
    }

    /// The log names the installation: that is stored.
    fn store_result(&mut self) {
        let Some(registration) = &mut self.registration else { return };
        registration.stored.registered = true;
        let step = registration.stored.step(self.context.next_number());
        self.set_state(None, State::StoringResult);
        self.store(step, None, Then::Registered);
    }

    fn registered(&mut self, inbox: InboxId, stored: &StoredInstallation) {
        self.context.set_installation(stored.installation());
        self.tell(Message::Session(SessionMessage::Registered));
        self.tell(Message::Invitations(InvitationMessage::Registered));
        self.end_registering(Ok(inbox));
    }

    pub(super) fn end_registering(&mut self, ended: Result<InboxId, Error>) {
        if let Some(registration) = self.registration.take() {
            self.reply(registration.reply, ended.map(Answer::Registered));
        }
    }
}
