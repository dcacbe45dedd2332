//! Waiting without an executor of a certain make.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use super::{PATIENCE, Test};

/// Runs a test on this thread.
pub fn block_on(mut test: Test<'_>) {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    while test.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
}

/// Runs two futures until both are done.
pub async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_done, mut b_done) = (None, None);
    poll_fn(move |context| {
        if a_done.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(context)
        {
            a_done = Some(output);
        }
        if b_done.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(context)
        {
            b_done = Some(output);
        }
        match (a_done.take(), b_done.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (a_done, b_done) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}

/// What a future gives within [`PATIENCE`].
///
/// # Panics
///
/// With `what` if it gives nothing.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = stays_pending(future, PATIENCE).await;
    assert!(done.is_some(), "not within {PATIENCE:?}: {what}");
    done.expect("it was just checked")
}

/// What a future gives in some time; `None`, and the future dropped, if that is nothing.
pub(super) async fn stays_pending<T>(future: impl Future<Output = T>, time: Duration) -> Option<T> {
    let end = Instant::now() + time;
    let mut future = pin!(future);
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if Instant::now() >= end => Poll::Ready(None),
        Poll::Pending => {
            wake_soon(context.waker());
            Poll::Pending
        }
    })
    .await
}

/// Wakes in some milliseconds, from one thread for all tests of the process.
pub(super) fn wake_soon(waker: &Waker) {
    static WAITING: OnceLock<Arc<Mutex<Vec<Waker>>>> = OnceLock::new();
    let waiting = WAITING.get_or_init(|| {
        let waiting = Arc::<Mutex<Vec<Waker>>>::default();
        let ticking = Arc::clone(&waiting);
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(5));
                let woken =
                    std::mem::take(&mut *ticking.lock().unwrap_or_else(PoisonError::into_inner));
                woken.into_iter().for_each(Waker::wake);
            }
        });
        waiting
    });
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    if !waiting.iter().any(|other| other.will_wake(waker)) {
        waiting.push(waker.clone());
    }
}
