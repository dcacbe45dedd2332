//! Answers that are on their way.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use conclave_core::engine::{ActorId, Answer, Error, ReplyToken, Request};
use futures_channel::oneshot;

use crate::{
    account::AccountSigner,
    port::{Answered, EnginePort},
};

/// The answer to a call of the engine: a future for whoever has a runtime (any), and
/// [`Call::wait`] for a plain thread.
///
/// Dropping it changes nothing: what was asked for happens all the same. A question (`sync`,
/// `settled`, `view`) is forgotten.
#[must_use = "the call goes on without it, but nobody hears how it ended"]
pub struct Call<T>(State<T>);

enum State<T> {
    Ready(Option<Result<T, Error>>),
    Waiting { answer: oneshot::Receiver<Answered>, asked: Asked, take: Take<T> },
}

/// What the answer means to the caller.
type Take<T> = fn(&Arc<dyn EnginePort>, Answer) -> Option<T>;

/// The call, as long as it waits.
struct Asked {
    port: Arc<dyn EnginePort>,
    /// Whom, and under which name; `None` if no actor answers.
    of: Option<(ActorId, ReplyToken)>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some((actor, reply)) = self.of
            && !self.port.is_forked()
            && self.port.front().forget(reply)
        {
            self.port.withdraw(actor, reply);
        }
    }
}

impl<T> Call<T> {
    /// Asks an engine.
    pub(crate) fn ask(
        port: &Arc<dyn EnginePort>,
        request: Request,
        signer: Option<Arc<dyn AccountSigner>>,
        take: Take<T>,
    ) -> Self {
        if port.is_forked() {
            return Self::ready(Err(Error::Closed));
        }
        let (reply, answer) = port.front().expect();
        let actor = request.actor();
        if let Err(error) = port.submit(reply, request, signer) {
            port.front().forget(reply);
            return Self::ready(Err(error));
        }
        let asked = Asked { port: Arc::clone(port), of: Some((actor, reply)) };
        Self(State::Waiting { answer, asked, take })
    }

    /// Waits for something that no actor answers.
    pub(crate) fn waiting(
        port: &Arc<dyn EnginePort>,
        answer: oneshot::Receiver<Answered>,
        take: Take<T>,
    ) -> Self {
        let asked = Asked { port: Arc::clone(port), of: None };
        Self(State::Waiting { answer, asked, take })
    }

    pub(crate) const fn ready(answer: Result<T, Error>) -> Self {
        Self(State::Ready(Some(answer)))
    }

    /// Waits for the answer on this thread; not for the threads of an event loop.
    ///
    /// # Errors
    /// [`Error`]; [`Error::WouldBlock`] in a simulation, which goes on only when the application
    /// awaits.
    pub fn wait(mut self) -> Result<T, Error> {
        if let State::Waiting { asked, .. } = &self.0
            && !asked.port.may_block()
        {
            let mut context = Context::from_waker(std::task::Waker::noop());
            return match Pin::new(&mut self).poll(&mut context) {
                Poll::Ready(answer) => answer,
                Poll::Pending => Err(Error::WouldBlock),
            };
        }
        futures_executor::block_on(self)
    }
}

impl<T> Unpin for Call<T> {}

impl<T> Future for Call<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(answer) => Poll::Ready(answer.take().unwrap_or(Err(Error::Closed))),
            State::Waiting { answer, asked, take } => {
                let Poll::Ready(answer) = Pin::new(answer).poll(context) else {
                    return Poll::Pending;
                };
                asked.of = None;
                let take = |answer| take(&asked.port, answer).ok_or(Error::Closed);
                Poll::Ready(answer.unwrap_or(Err(Error::Closed)).and_then(take))
            }
        }
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call(..)")
    }
}
