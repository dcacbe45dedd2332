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
        while let Some(frame) = frames.pop_front() {
            if !state.has_room(frame.len()) {
                frames.push_front(frame);
                break;
            }
            state.push(frame);
        }
        if frames.is_empty() {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Puts a frame into the queue, or drops it if there is no room.
    pub(crate) fn push_or_drop(&self, frame: Vec<u8>) -> Result<(), LinkError> {
        let mut state = self.state();
        if state.closed {
            return Err(LinkError::Closed);
        }
        if state.has_room(frame.len()) {
            state.push(frame);
        }
        Ok(())
    }

    /// Takes all frames there are.
    pub(crate) fn poll_pop(&self, context: &Context<'_>) -> Poll<Result<Vec<Vec<u8>>, LinkError>> {
        let mut state = self.state();
        if !state.frames.is_empty() {
            state.bytes = 0;
            wake(&mut state.writer);
            return Poll::Ready(Ok(state.frames.drain(..).collect()));
        }
        if state.closed {
            return Poll::Ready(Err(LinkError::Closed));
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// Takes no more frames; those in the queue can still be read.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        wake(&mut state.reader);
        wake(&mut state.writer);
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

    fn push(&mut self, frame: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(frame.len());
        self.frames.push_back(frame);
        wake(&mut self.reader);
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}
