//! Calls of the relay that have no answer yet.

use std::collections::BTreeMap;

use conclave_proto::{Cursor, Timestamp, Topic, relay::PageLimit};

use super::{CallId, Effect, SessionActor, Token};
use crate::{delivery::Transmit, engine::DeliveryCall, step::Upload};

/// What a call is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum SessionCall {
    Fetch(CallId),
    Publish(CallId),
    Upload(CallId),
}

/// Calls by their tokens, with their deadlines. The session bounds their number.
#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<Token, (SessionCall, Timestamp)>);

impl Calls {
    /// The call that an answer is for; `None` if it is over.
    pub(super) fn take(&mut self, token: Token) -> Option<SessionCall> {
        self.0.remove(&token).map(|(call, _)| call)
    }

    /// Calls whose deadline has passed.
    pub(super) fn expired(&mut self, now: Timestamp) -> Vec<SessionCall> {
        let expired = self.0.extract_if(.., |_, (_, deadline)| *deadline <= now);
        expired.map(|(_, (call, _))| call).collect()
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.0.values().map(|(_, deadline)| *deadline).min()
    }
}

impl SessionActor {
    pub(super) fn fetch(
        &mut self,
        now: Timestamp,
        call: CallId,
        after: Vec<(Topic, Cursor)>,
        limit: PageLimit,
    ) {
        self.call(now, SessionCall::Fetch(call), DeliveryCall::Fetch { after, limit });
    }

    pub(super) fn publish(&mut self, now: Timestamp, call: CallId, batch: Vec<Transmit>) {
        self.call(now, SessionCall::Publish(call), DeliveryCall::Publish(batch));
    }

    pub(super) fn upload(&mut self, now: Timestamp, call: CallId, upload: Upload) {
        self.call(now, SessionCall::Upload(call), DeliveryCall::Upload(upload));
    }

    fn call(&mut self, now: Timestamp, of: SessionCall, call: DeliveryCall) {
        let token = self.context.next_token();
        let deadline = now.plus_ms(self.context.limits.call_ms);
        self.calls.0.insert(token, (of, deadline));
        self.effects.push_back(Effect::Call { token, call });
    }
}
