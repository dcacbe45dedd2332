//! What is published, and what the relay's answers mean.

use conclave_proto::{Timestamp, TransmitId};

use super::{Group, outbox::is_refusal};
use crate::{
    delivery::{PublishOutcome, Transmit},
    event::{IntentFault, IntentOutcome},
    step::Step,
};

impl Group {
    /// Everything that is not settled, in the order of sending: after a load, publish all of it
    /// again. Ids are stable, so a relay that has it already says so.
    #[must_use]
    pub fn unsettled(&self) -> Vec<Transmit> {
        self.commits.live().chain(self.outbox.released()).collect()
    }

    /// What became of a publish.
    ///
    /// Settles bodies and Welcomes, which only the relay sees. Messages and commits are settled by
    /// the log, whatever the answer was; but what the relay refuses holds up nothing that waits for
    /// it any more.
    pub fn handle_publish(
        &mut self,
        now: Timestamp,
        id: TransmitId,
        outcome: &PublishOutcome,
    ) -> Step {
        let refused = is_refusal(outcome);
        // Going on with what waited takes randomness. Without any, the timer does it.
        let goes_on = refused && self.begin().is_ok();
        if !goes_on {
            self.begin_without_entropy();
        }
        self.outbox.answered(&mut self.draft, now, id, outcome);
        if refused {
            let intents = self.commits.refuse(&mut self.draft, id);
            let failed = IntentOutcome::Failed(IntentFault::TooLarge);
            self.intents.settle_all(&mut self.draft, &intents, failed);
        }
        if goes_on {
            self.advance(now);
        }
        self.end(())
    }
}
