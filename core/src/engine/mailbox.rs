//! An actor and what waits for it, for drivers that run an [`Engine`](super::Engine) as one value.

use std::collections::VecDeque;

use conclave_proto::Timestamp;

use super::{Actor, Effect, Input};
use crate::store::Store;

#[derive(Debug)]
pub(super) struct Mailbox<A: Actor> {
    actor: A,
    inputs: VecDeque<Input<A::Request, A::Message>>,
}

impl<A: Actor> Mailbox<A> {
    pub(super) const fn new(actor: A) -> Self {
        Self { actor, inputs: VecDeque::new() }
    }

    pub(super) const fn actor(&self) -> &A {
        &self.actor
    }

    #[cfg(feature = "internals")]
    pub(super) const fn actor_mut(&mut self) -> &mut A {
        &mut self.actor
    }

    #[cfg(feature = "internals")]
    pub(super) fn take_if(
        &mut self,
        wanted: impl Fn(&Input<A::Request, A::Message>) -> bool,
    ) -> Vec<Input<A::Request, A::Message>> {
        let all = std::mem::take(&mut self.inputs);
        let (taken, left) = all.into_iter().partition(|input| wanted(input));
        self.inputs = left;
        let taken: VecDeque<_> = taken;
        taken.into()
    }

    pub(super) fn put(&mut self, input: Input<A::Request, A::Message>) {
        self.inputs.push_back(input);
    }

    pub(super) fn put_first(&mut self, input: Input<A::Request, A::Message>) {
        self.inputs.push_front(input);
    }

    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        !self.inputs.is_empty() || self.next_timeout().is_some_and(|due| due <= now)
    }

    pub(super) fn run(&mut self, now: Timestamp, store: &dyn Store) {
        let input = self.inputs.pop_front().unwrap_or(Input::Due);
        self.actor.handle(now, store, input);
    }

    pub(super) fn poll(&mut self) -> Option<Effect> {
        self.actor.poll()
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.actor.next_timeout()
    }
}
