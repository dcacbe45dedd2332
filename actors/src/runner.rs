//! An actor that runs: it is given its inputs, what it wants done is done, and its panics end here.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use conclave_core::engine::{Actor, ActorId, Input};
use conclave_proto::Timestamp;

use crate::{
    inside,
    mailbox::{Mail, Mailbox},
    say::say,
    shell::Shell,
};

/// What an actor wants after it has handled something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To run when an input comes.
    Wait,
    /// To run when an input comes, or after this long: [`Runner::due`].
    In(Duration),
    /// Nothing: it is done and is to be dropped.
    End,
}

/// An actor of an engine, to be run by a [`Driver`](crate::driver::Driver). Only engines make
/// these.
pub struct Runner<A: Actor> {
    actor: A,
    id: ActorId,
    mailbox: Arc<Mailbox<A>>,
    shell: Arc<Shell>,
    /// An input that was taken when a panic kept it from being handled.
    kept: Option<Input<A::Request, A::Message>>,
    /// Its last input panicked.
    lost: Lost,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    No,
    /// It recovers at once.
    Once,
    /// Recovering panicked as well: it is tried again, more slowly.
    Again,
}

/// The delay before an actor whose recovery panicked tries it again.
const RECOVERY: Duration = Duration::from_millis(100);

/// The longest delay between two looks at what is due: clocks jump.
const LOOK: Duration = Duration::from_secs(3_600);

impl<A: Actor> Runner<A> {
    pub(crate) fn new(id: ActorId, actor: A, mailbox: Arc<Mailbox<A>>, shell: Arc<Shell>) -> Self {
        shell.started();
        Self { actor, id, mailbox, shell, kept: None, lost: Lost::No }
    }

    /// Handles an input. Never blocks for long, never panics.
    pub fn handle(&mut self, mail: Mail<A>) -> Next {
        let _inside = inside::during();
        self.mailbox.taken();
        let Mail { input, room } = mail;
        self.recover_first();
        self.run(input);
        drop(room);
        self.next()
    }

    /// Looks at what is due; to be called when the time of [`Next::In`] has passed.
    pub fn due(&mut self) -> Next {
        let _inside = inside::during();
        if self.lost == Lost::No {
            self.run(Input::Due);
        } else {
            self.recover_first();
        }
        self.next()
    }

    /// After a panic an actor handles nothing before it has recovered.
    fn recover_first(&mut self) {
        if self.lost != Lost::No {
            say(|| tracing::error!("an actor was lost to a bug and starts over"));
            self.run(Input::Recover);
        }
        if let Some(kept) = self.kept.take() {
            self.run(kept);
        }
    }

    fn run(&mut self, input: Input<A::Request, A::Message>) {
        let _inside = say(|| match self.id {
            ActorId::Group(id) => tracing::debug_span!("group", ?id).entered(),
            ActorId::Session => tracing::debug_span!("session").entered(),
            ActorId::Invitations => tracing::debug_span!("invitations").entered(),
            ActorId::Installation => tracing::debug_span!("installation").entered(),
        });
        let events = match &input {
            Input::Stored { result: Ok(proof), .. } => proof.events(),
            Input::Stored { .. }
            | Input::Asked { .. }
            | Input::Withdrawn(_)
            | Input::Answered { .. }
            | Input::Told(_)
            | Input::Due
            | Input::Recover
            | Input::Stop(_) => None,
        };
        let recovers = matches!(input, Input::Recover);
        let mut input = Some(input);
        let handled = catch_unwind(AssertUnwindSafe(|| {
            let now = self.shell.now();
            if let Some(input) = input.take() {
                self.actor.handle(now, self.shell.store(), input);
            }
        }));
        match handled {
            Ok(()) if recovers => self.lost = Lost::No,
            Ok(()) => {}
            Err(_) => {
                self.lost = if recovers { Lost::Again } else { Lost::Once };
                // Handling it has not begun.
                self.kept = input.filter(|input| !matches!(input, Input::Recover));
            }
        }
        self.carry_out();
        if let Some(range) = events {
            self.shell.events_handled(range);
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.actor.poll() {
            self.shell.carry_out(self.id, effect);
        }
    }

    fn next(&mut self) -> Next {
        match self.lost {
            Lost::Once => return Next::In(Duration::ZERO),
            Lost::Again => return Next::In(RECOVERY),
            Lost::No => {}
        }
        if self.actor.is_idle() && self.mailbox.retire() {
            return Next::End;
        }
        let due = catch_unwind(AssertUnwindSafe(|| (self.actor.next_timeout(), self.shell.now())));
        match due {
            Ok((Some(due), now)) => Next::In(wait(now, due)),
            Ok((None, _)) => Next::Wait,
            Err(_) => {
                self.lost = Lost::Once;
                Next::In(Duration::ZERO)
            }
        }
    }
}

impl<A: Actor> Drop for Runner<A> {
    fn drop(&mut self) {
        self.shell.ended();
    }
}

fn wait(now: Timestamp, due: Timestamp) -> Duration {
    Duration::from_millis(due.since_ms(now)).min(LOOK)
}
