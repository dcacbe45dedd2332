//! Time passes: what is due, and when.

use conclave_proto::{Timestamp, TransmitId, codec::Wire};

use super::{Group, outbox::Outgoing, place::Place, plan::KEPT_COMMITS};
use crate::{config::PAST_EPOCHS, delivery::Transmit, step::Step};

impl Group {
    /// When [`Group::handle_timeout`] has something to do; `None` if never.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let expiry = self.meta.past.first();
        let expiry = expiry.map(|past| past.ended.plus_ms(self.limits.past_epoch_ms));
        let all = [expiry, self.update_due(), self.republish_due(), self.waiting_due()];
        all.into_iter().flatten().min()
    }

    /// Does what is due: erases old secrets (S4), renews keys (S5), publishes again what has no
    /// place in the log.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Step {
        if self.begin().is_err() {
            // Without randomness nothing can be renewed; the timer stays due.
            self.draft = super::Draft::default();
            self.look_again = now.plus_ms(self.limits.republish_ms);
            return self.end(());
        }
        self.erase_past(now);
        if self.update_due().is_some_and(|due| due <= now) {
            self.wish_key_update();
        }
        self.advance(now);
        self.republish(now);
        self.end(())
    }

    /// Joining with a last-resort package shares its leaf key with every group joined by it: it
    /// is replaced within a day even without sending.
    fn update_due(&self) -> Option<Timestamp> {
        let wanted = self.is_member()
            && self.meta.last_path.is_none()
            && !self.has_live_commit()
            && self.kept.len() < KEPT_COMMITS;
        let joined_by_welcome = self.meta.update_by > self.meta.joined;
        (wanted && joined_by_welcome).then_some(self.meta.update_by)
    }

    /// Messages that are to be encrypted mostly wait for something that comes with a record. Where
    /// nothing comes (a part of them was left by the last step, the commit that was to renew the keys
    /// was refused, they were stored by a process that has ended), time makes them go on.
    fn waiting_due(&self) -> Option<Timestamp> {
        let waits = self.is_member() && self.outbox.values().any(Outgoing::is_waiting);
        waits.then_some(self.look_again)
    }

    fn erase_past(&mut self, now: Timestamp) {
        let kept = self
            .meta
            .past
            .iter()
            .filter(|past| now.since_ms(past.ended) < self.limits.past_epoch_ms)
            .count();
        if kept == self.meta.past.len() {
            return;
        }
        let gone = self.meta.past.len().saturating_sub(kept);
        if self.mls.keep_past_epochs(kept.min(PAST_EPOCHS)).is_err() {
            self.draft.broken = true;
            return;
        }
        self.meta().past.drain(..gone);
    }

    fn republish_due(&self) -> Option<Timestamp> {
        let all = self.kept.len() >= KEPT_COMMITS;
        let commits = self.kept.iter().filter(|(_, kept)| all || !kept.refused);
        let commits = commits.map(|(id, _)| self.published_at(id));
        let envelopes = self.outbox.values().filter_map(Outgoing::released);
        let envelopes = envelopes.map(|envelope| envelope.since);
        let due = commits.chain(envelopes).min()?;
        self.is_member().then(|| due.plus_ms(self.limits.republish_ms))
    }

    fn published_at(&self, id: &TransmitId) -> Timestamp {
        self.published.get(id).copied().unwrap_or_default()
    }

    /// Publishes again what has waited too long: an answer may have been a lie (scenario 9).
    fn republish(&mut self, now: Timestamp) {
        if !self.is_member() {
            return;
        }
        let patience = self.limits.republish_ms;
        let all = self.kept.len() >= KEPT_COMMITS;
        let late: Vec<(TransmitId, Vec<u8>)> = self
            .kept
            .iter()
            .filter(|(_, kept)| all || !kept.refused)
            .filter(|(id, _)| now.since_ms(self.published_at(id)) >= patience)
            .map(|(id, kept)| (*id, kept.payload.clone()))
            .collect();
        for (id, payload) in late {
            self.published.insert(id, now);
            let transmit = self.commit_transmit(id, payload);
            self.transmit(transmit);
        }
        let mut again: Vec<Transmit> = Vec::new();
        let mut stored = Vec::new();
        for (number, outgoing) in &mut self.outbox {
            if outgoing.after.is_some() {
                continue;
            }
            let Some(envelope) = &mut outgoing.envelope else { continue };
            if now.since_ms(envelope.since) >= patience {
                envelope.since = now;
                again.push(envelope.transmit());
                stored.push((*number, outgoing.encode()));
            }
        }
        for (number, value) in stored {
            self.put(Place::Outgoing(number), value);
        }
        for transmit in again {
            self.transmit(transmit);
        }
    }
}
