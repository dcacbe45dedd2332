//! One direction of a pair: a bounded queue with one writer and one reader.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use conclave_core::link::LinkError;
use parking_lot::{Mutex, MutexGuard};

/// Frames that wait for the reader, at most; enough that the writer seldom waits for its turn.
pub(crate) const QUEUED_FRAMES: usize = 256;
/// Their bytes, unless one frame alone is longer.
pub(crate) const QUEUED_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Pipe(Mutex<State>);

#[derive(Debug)]
struct State {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    pub(crate) const fn new() -> Self {
        let frames = VecDeque::new();
        Self(Mutex::new(State { frames, bytes: 0, closed: false, reader: None, writer: None }))
    }

    /// Moves frames into the queue as far as there is room; ready once none is left.
    pub(crate) fn poll_push(
        &self,
        context: &Context<'_>,
        frames: &mut VecDeque<Vec<u8>>,
    ) -> Poll<Result<(), LinkError>> {
        let mut state = self.state();
        if state.closed {
            return Poll::Ready(Err(LinkError::Closed));
        }
        let reader = state.fill(frames);
        let (pushed, replaced) = if frames.is_empty() {
            (Poll::Ready(Ok(())), None)
        } else {
            (Poll::Pending, state.writer.replace(context.waker().clone()))
        };
        drop(state);
        drop(replaced);
        wake(reader);
        pushed
    }

    /// Puts a frame into the queue, or drops it if there is no room.
    pub(crate) fn push_or_drop(&self, frame: Vec<u8>) -> Result<(), LinkError> {
        let mut state = self.state();
        if state.closed {
            return Err(LinkError::Closed);
        }
        let reader = if state.has_room(frame.len()) { state.push(frame) } else { None };
        drop(state);
        wake(reader);
        Ok(())
    }

    /// Takes all frames there are.
    pub(crate) fn poll_pop(&self, context: &Context<'_>) -> Poll<Result<Vec<Vec<u8>>, LinkError>> {
        let mut state = self.state();
        if !state.frames.is_empty() {
            state.bytes = 0;
            let frames = state.frames.drain(..).collect();
            let writer = state.writer.take();
            drop(state);
            wake(writer);
            return Poll::Ready(Ok(frames));
        }
        if state.closed {
            return Poll::Ready(Err(LinkError::Closed));
        }
        let replaced = state.reader.replace(context.waker().clone());
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Takes no more frames; those in the queue can still be read.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let (reader, writer) = (state.reader.take(), state.writer.take());
        drop(state);
        wake(reader);
        wake(writer);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change below is complete before anything that could panic.
        self.0.lock()
    }
}

impl State {
    fn has_room(&self, frame_bytes: usize) -> bool {
        let fits = self.bytes.saturating_add(frame_bytes) <= QUEUED_BYTES;
        self.frames.is_empty() || (fits && self.frames.len() < QUEUED_FRAMES)
    }

    /// Moves frames into the queue as far as there is room; who has to be woken for it.
    fn fill(&mut self, frames: &mut VecDeque<Vec<u8>>) -> Option<Waker> {
        let mut reader = None;
        while let Some(frame) = frames.pop_front() {
            if !self.has_room(frame.len()) {
                frames.push_front(frame);
                break;
            }
            reader = reader.or(self.push(frame));
        }
        reader
    }

    /// Who has to be woken for it.
    #[must_use]
    fn push(&mut self, frame: Vec<u8>) -> Option<Waker> {
        self.bytes = self.bytes.saturating_add(frame.len());
        self.frames.push_back(frame);
        self.reader.take()
    }
}

/// Called without the lock, as every waker is dropped without it: a waker may be the last to hold
/// its task, and that task an end of this very link, which closes the pipe when it goes.
fn wake(waiting: Option<Waker>) {
    waiting.into_iter().for_each(Waker::wake);
}
