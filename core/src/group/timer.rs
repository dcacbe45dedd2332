//! Time passes: what is due, and when.

use conclave_proto::Timestamp;

use super::Group;
use crate::{config::PAST_EPOCHS, step::Step};

impl Group {
    /// When [`Group::handle_timeout`] has something to do; `None` if never.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let expiry = self.past.expiry(self.limits.past_epoch_ms);
        let repeat_ms = self.limits.republish_ms;
        let as_member = self.membership.is_member().then(|| {
            // Messages that are to be encrypted mostly wait for something that comes with a
            // record. Where nothing comes (a part of them was left by the last step, the commit
            // that was to renew the keys was refused, they were stored by a process that has
            // ended), time makes them go on.
            let waiting = self.outbox.waiting_due();
            let commits = self.commits.republish_due(repeat_ms);
            [self.update_due(), waiting, commits, self.outbox.republish_due(repeat_ms)]
        });
        as_member.into_iter().flatten().chain([expiry]).flatten().min()
    }

    /// Does what is due: erases old secrets (S4), renews keys (S5), publishes again what has no
    /// place in the log.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Step {
        if self.begin().is_err() {
            // Without randomness nothing can be renewed; the timer stays due.
            self.begin_without_entropy();
            self.outbox.look_again_at(now.plus_ms(self.limits.republish_ms));
            return self.end(());
        }
        self.erase_past(now);
        if self.update_due().is_some_and(|due| due <= now) {
            self.wish_key_update();
        }
        self.advance(now);
        if self.membership.is_member() {
            self.commits.republish(&mut self.draft, now, self.limits.republish_ms);
            self.outbox.republish(&mut self.draft, now, self.limits.republish_ms);
        }
        self.end(())
    }

    /// When a path update is to be wished although nothing is sent.
    fn update_due(&self) -> Option<Timestamp> {
        let may = self.membership.is_member() && self.commits.may_make();
        self.renewal.after_joining().filter(|_| may)
    }

    fn erase_past(&mut self, now: Timestamp) {
        let Some(kept) = self.past.expire(now, self.limits.past_epoch_ms) else { return };
        match self.mls.keep_past_epochs(kept.min(PAST_EPOCHS)) {
            Ok(()) => self.past.keep(&mut self.draft, kept),
            Err(_) => self.draft.broken = true,
        }
    }
}
