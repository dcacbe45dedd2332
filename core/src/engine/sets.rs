//! Write sets that are with the writer.

use std::collections::VecDeque;

use super::{Context, Effect, Token};
use crate::{
    step::{Durable, Lineage, Pending, Step},
    store::{StoreError, Write},
};

/// Write sets of one actor that have no answer yet, in the order in which they were handed in.
#[derive(Debug)]
pub(super) struct Sets<T>(VecDeque<Waiting<T>>);

#[derive(Debug)]
struct Waiting<T> {
    token: Token,
    lineage: Lineage,
    then: T,
    answer: Option<Result<Durable, StoreError>>,
}

/// A write set that has its answer.
#[derive(Debug)]
pub(super) struct Answered<T> {
    /// Who made it.
    pub(super) lineage: Lineage,
    /// What waits for it.
    pub(super) then: T,
    pub(super) result: Result<Durable, StoreError>,
}

impl<T> Default for Sets<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Sets<T> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Hands a step to the writer, with what else is to be stored in the same batch; `then` waits
    /// for its answer.
    pub(super) fn hand_in<R>(
        &mut self,
        context: &Context,
        effects: &mut VecDeque<Effect>,
        step: Step<R>,
        also: Option<Write>,
        then: impl FnOnce(Pending<R>) -> T,
    ) {
        let (mut set, pending) = step.into_parts();
        set.extend(also);
        let (token, lineage) = (context.next_token(), set.lineage());
        self.0.push_back(Waiting { token, lineage, then: then(pending), answer: None });
        effects.push_back(Effect::Commit { token, set });
    }

    /// Notes an answer. Cannot panic, so that no answer is lost to a bug.
    pub(super) fn note(&mut self, token: Token, result: Result<Durable, StoreError>) {
        if let Some(waiting) = self.0.iter_mut().find(|waiting| waiting.token == token)
            && waiting.answer.is_none()
        {
            waiting.answer = Some(result);
        }
    }

    /// The first set, if it has its answer: a writer that has given up answers later sets before
    /// earlier ones.
    pub(super) fn next(&mut self) -> Option<Answered<T>> {
        let result = self.0.front_mut()?.answer.take()?;
        let Waiting { lineage, then, .. } = self.0.pop_front()?;
        Some(Answered { lineage, then, result })
    }

    /// What waits, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|waiting| &waiting.then)
    }

    /// Everything that waits, answered or not: the engine ends.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.0.drain(..).map(|waiting| waiting.then)
    }
}
