//! What the application should know, in a log of its own that outlives the process (E8).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use conclave_core::{
    engine::{Ended, Error},
    event::log::{self, EventCursor, Told},
};

use crate::port::EnginePort;

/// Reads the log of events and waits for more. Each reader has its own position.
pub struct Events {
    port: Arc<dyn EnginePort>,
    id: u64,
    cursor: EventCursor,
    read: std::vec::IntoIter<Told>,
}

impl Events {
    pub(crate) fn new(port: Arc<dyn EnginePort>, after: EventCursor) -> Self {
        let id = if port.is_forked() { 0 } else { port.front().new_reader() };
        Self { port, id, cursor: after, read: Vec::new().into_iter() }
    }

    /// The position after everything that was returned: store it with what you made of it.
    #[must_use]
    pub const fn cursor(&self) -> EventCursor {
        self.cursor
    }

    /// The next event, if it is there.
    ///
    /// # Errors
    /// [`Error::Store`] if the store does not read, or if another engine has opened it;
    /// [`Error::StoreLost`].
    pub fn try_event(&mut self) -> Result<Option<Told>, Error> {
        if let Some(told) = self.read.next() {
            let (Told::Event(at, _) | Told::Lagged(at)) = &told;
            self.cursor = *at;
            return Ok(Some(told));
        }
        if self.port.is_forked() {
            return Err(Error::Closed);
        }
        let ended = self.port.front().state().ended;
        let more = match self.read_more() {
            // The store was given back.
            Err(_) if ended == Some(Ended::ShutDown) => return Ok(None),
            more => more?,
        };
        if more.is_empty() {
            return match ended {
                None | Some(Ended::ShutDown) => Ok(None),
                Some(ended) => Err(ended.into()),
            };
        }
        self.read = more.into_iter();
        self.try_event()
    }

    fn read_more(&mut self) -> Result<Vec<Told>, Error> {
        let look = |after| {
            let front = self.port.front();
            front.with_events(|events| (events.lagged(after), events.end()))
        };
        let (lagged, end) = look(self.cursor);
        if let Some(lagged) = lagged {
            return Ok(vec![lagged]);
        }
        let more = log::read(self.port.store(), self.cursor, end)?;
        // Some may have been erased while the store was read.
        if let (Some(lagged), _) = look(self.cursor) {
            return Ok(vec![lagged]);
        }
        if let [Told::Lagged(at)] = more.as_slice() {
            // A hole at the end is nothing that the application missed.
            self.cursor = *at;
            return Ok(Vec::new());
        }
        Ok(more)
    }

    /// The next event; `None` once the engine is shut down: what was not read by then is read
    /// from the next engine on this store. Waits on this thread.
    ///
    /// # Errors
    /// As for [`Events::try_event`]; [`Error::WouldBlock`] in a simulation.
    pub fn wait_event(&mut self) -> Result<Option<Told>, Error> {
        if !self.port.may_block() {
            let mut context = Context::from_waker(Waker::noop());
            return match Pin::new(&mut Next(self)).poll(&mut context) {
                Poll::Ready(told) => told,
                Poll::Pending => Err(Error::WouldBlock),
            };
        }
        futures_executor::block_on(self.next_event())
    }

    /// The next event; `None` once the engine is shut down, as for
    /// [`wait_event`](Self::wait_event). Works in any runtime; dropping the future loses nothing.
    ///
    /// # Errors
    /// As for [`Events::try_event`].
    pub fn next_event(&mut self) -> impl Future<Output = Result<Option<Told>, Error>> + '_ {
        Next(self)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if !self.port.is_forked() {
            self.port.front().forget_reader(self.id);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

struct Next<'a>(&'a mut Events);

impl Future for Next<'_> {
    type Output = Result<Option<Told>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let events = &mut *self.0;
        if events.port.is_forked() {
            return Poll::Ready(Err(Error::Closed));
        }
        // Registered first: what can be read from here on wakes this task.
        events.port.front().wake_on_event(events.id, context.waker());
        let ended = events.port.front().state().ended.is_some();
        match events.try_event() {
            Ok(None) if !ended => Poll::Pending,
            other => Poll::Ready(other),
        }
    }
}
