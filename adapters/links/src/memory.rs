//! A reliable link: two bounded queues.

use std::{collections::VecDeque, future::poll_fn, sync::Arc};

use conclave_core::{
    bounds::BoxFuture,
    link::{Link, LinkError, LinkInfo},
};

use crate::pipe::Pipe;

/// Two ends of a reliable link with frames of up to `mtu` bytes.
///
/// A sender waits while 256 frames or 1 MiB of them are unread. Dropping one end closes both.
#[must_use]
pub fn pair(mtu: usize) -> (MemoryLink, MemoryLink) {
    let (there, back) = (Arc::new(Pipe::new()), Arc::new(Pipe::new()));
    let end = |sends: &Arc<Pipe>, receives: &Arc<Pipe>| MemoryLink {
        mtu,
        sends: Arc::clone(sends),
        receives: Arc::clone(receives),
    };
    (end(&there, &back), end(&back, &there))
}

/// One end of a reliable link in memory, see [`pair`].
#[derive(Debug)]
pub struct MemoryLink {
    mtu: usize,
    sends: Arc<Pipe>,
    receives: Arc<Pipe>,
}

impl Link for MemoryLink {
    fn info(&self) -> LinkInfo {
        LinkInfo { mtu: self.mtu, reliable: true }
    }

    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            if frames.iter().any(|frame| frame.len() > self.mtu) {
                return Err(LinkError::TooLong { mtu: self.mtu });
            }
            let mut left = VecDeque::from(frames);
            poll_fn(|context| self.sends.poll_push(context, &mut left)).await
        })
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>> {
        Box::pin(poll_fn(|context| self.receives.poll_pop(context)))
    }

    fn close(&self) {
        self.sends.close();
        self.receives.close();
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        self.close();
    }
}
