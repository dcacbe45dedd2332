//! The value of a group that is awake: loading it, storing what it makes, showing what is stored.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use conclave_core::{
    BlockedOn, Class,
    group::{Group, GroupRecords},
    step::{Durable, Effects, Step},
    store::StoreError,
};

use super::{Continuation, GroupInput, GroupRole, Waiting};
use crate::{call::give, error::Error, session_role::SessionInput, view::GroupView};

impl GroupRole {
    pub(super) fn loaded(&mut self) -> Option<&mut Group> {
        match self.load_value() {
            Ok(()) => self.value.as_mut(),
            Err(error) => {
                tracing::warn!(%error, "a group does not load");
                None
            }
        }
    }

    /// Loads the group if it is not in memory, and publishes what it had left undone.
    pub(super) fn load_value(&mut self) -> Result<(), Error> {
        if self.value.is_some() {
            return Ok(());
        }
        self.reload = None;
        let loaded = self.load();
        if let Err(error) = &loaded {
            self.trouble(error);
        }
        if self.reload.is_none() && std::mem::take(&mut self.owes_answer) {
            self.deferred.push_front(GroupInput::AnswerSession);
        }
        loaded
    }

    /// The store gave no value, or lost one: it is loaded later, ever later while that goes on. If
    /// it will not pass, whoever waits hears of it.
    fn trouble(&mut self, error: &Error) {
        if matches!(error.class(), Class::Transient | Class::Blocked(BlockedOn::Space)) {
            let wait = self.shared.limits.session.trouble_ms << self.failures.min(MOST_DOUBLINGS);
            self.reload = Some(Instant::now() + Duration::from_millis(wait));
            self.failures = self.failures.saturating_add(1);
        } else {
            self.viewers.drain(..).for_each(|viewer| give(viewer, Err(error.clone())));
            self.settlers.drain(..).for_each(|settler| give(settler, Err(error.clone())));
        }
    }

    fn load(&mut self) -> Result<(), Error> {
        let id = self.slot.id;
        let records = GroupRecords::read(&*self.shared.store, id)?.ok_or(Error::UnknownGroup)?;
        let installation = self.shared.installation.get().cloned().ok_or(Error::NotRegistered)?;
        let load = self.shared.next_load();
        let entropy = self.shared.child("group", &id.0, load);
        let limits = self.shared.limits.core;
        let group = Group::load(&records, id, installation, limits, entropy, load)?;
        self.value = Some(group);
        self.owes = true;
        self.view = None;
        self.show();
        Ok(())
    }

    /// Everything that is stored and has no place in the log; the session may know some of it.
    fn publish_unsettled(&mut self) {
        let Some(group) = self.value.as_ref().filter(|_| self.owes) else { return };
        let unsettled = group.unsettled();
        self.owes = false;
        if !unsettled.is_empty() {
            self.shared.tell_session(SessionInput::Publish(self.slot.id, unsettled));
        }
    }

    /// Hands a step to the writer; `then` runs here when it is stored, or lost.
    pub(super) fn drive<T: Send + 'static>(
        &mut self,
        step: Step<T>,
        then: impl FnOnce(&mut Self, Result<T, StoreError>) + Send + 'static,
    ) {
        self.number += 1;
        let number = self.number;
        let (shared, slot) = (Arc::clone(&self.shared), Arc::clone(&self.slot));
        let (pending, hold) = self.shared.events.submit(step, Vec::new(), move |stored| {
            shared.tell_group(&slot, GroupInput::Stored(number, stored));
        });
        let run: Continuation = Box::new(move |role, stored| match stored {
            Ok(proof) => {
                role.failures = 0;
                let released = pending.release(proof);
                role.release(released.effects);
                // Whoever hears of it finds it done.
                role.show();
                then(role, Ok(released.reply));
            }
            Err(error) => {
                // Memory is a cache of the disk. Later steps of this value are refused as well,
                // and until they are, there is no other.
                role.value = None;
                role.trouble(&Error::Store(error.clone()));
                then(role, Err(error));
            }
        });
        let run: Continuation = Box::new(move |role, stored| {
            run(role, stored);
            drop(hold);
        });
        self.pending.push_back(Waiting { number, run, answer: None });
    }

    fn release(&self, effects: Effects) {
        let Effects { transmits, uploads: _, events } = effects;
        for event in &events {
            tracing::debug!(?event, "group");
        }
        // If everything that is unsettled is owed to the session, these go out among the others, in
        // their order.
        if !transmits.is_empty() && !self.owes {
            self.shared.tell_session(SessionInput::Publish(self.slot.id, transmits));
        }
    }

    pub(super) fn stored(&mut self, number: u64, stored: Result<Durable, StoreError>) {
        if let Some(waiting) = self.pending.iter_mut().find(|set| set.number == number) {
            waiting.answer = Some(stored);
        }
        // A writer that has given up answers later sets before earlier ones.
        while let Some(first) = self.pending.front_mut()
            && let Some(stored) = first.answer.take()
            && let Some(first) = self.pending.pop_front()
        {
            (first.run)(self, stored);
        }
        self.show();
    }

    /// Shows what the group looks like now. Only what is stored is shown.
    pub(super) fn show(&mut self) {
        if !self.pending.is_empty() {
            return;
        }
        self.publish_unsettled();
        if let Some(group) = &self.value {
            let view = Arc::new(GroupView::of(group, self.view.as_deref()));
            self.view = Some(Arc::clone(&view));
            self.slot.show(Some(Arc::clone(&view)));
            for viewer in self.viewers.drain(..) {
                give(viewer, Ok(Arc::clone(&view)));
            }
            if group.is_settled() {
                for settler in self.settlers.drain(..) {
                    give(settler, Ok(()));
                }
            }
        }
    }

    /// Loads a value that was lost to the store, when it is time.
    pub(super) fn load_again(&mut self) {
        let is_due = self.reload.is_some_and(|at| at <= Instant::now());
        if !is_due || self.has_to_wait() {
            return;
        }
        self.loaded();
        self.take_deferred();
    }
}

/// A minute, where a first wait is a second.
const MOST_DOUBLINGS: u32 = 6;
