//! Answers that are on their way.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_channel::oneshot;

use crate::error::Error;

/// The answer to a call of the engine: a future for whoever has a runtime (any), and
/// [`Call::wait`] for a plain thread.
///
/// Dropping it changes nothing: what was asked for happens all the same.
#[must_use = "the call goes on without it, but nobody hears how it ended"]
pub struct Call<T>(oneshot::Receiver<Result<T, Error>>);

/// Where the answer is given.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

impl<T> Call<T> {
    pub(crate) fn new() -> (Reply<T>, Self) {
        let (reply, answer) = oneshot::channel();
        (reply, Self(answer))
    }

    pub(crate) fn ready(answer: Result<T, Error>) -> Self {
        let (reply, call) = Self::new();
        give(reply, answer);
        call
    }

    /// Waits for the answer on this thread; not for the threads of an event loop.
    ///
    /// # Errors
    /// [`Error`].
    pub fn wait(self) -> Result<T, Error> {
        futures_executor::block_on(self)
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call(..)")
    }
}

/// Gives an answer, if anybody still waits for it.
pub(crate) fn give<T>(reply: Reply<T>, answer: Result<T, Error>) {
    drop(reply.send(answer));
}
