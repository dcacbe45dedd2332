//! Links: whatever carries frames between a client and a relay.
//!
//! A link promises almost nothing, so almost anything can be one: a QUIC stream, a serial line,
//! a radio, two queues in memory. What it does promise it says in [`LinkInfo`].

use alloc::vec::Vec;

use crate::{
    Class,
    bounds::{BoxFuture, MaybeSend, MaybeSync},
};

pub mod channel;

/// What a link promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Longest frame, in bytes; at least [`LinkInfo::LEAST_MTU`].
    pub mtu: usize,
    /// Whether every frame arrives, once and in order, until the link closes. Otherwise frames
    /// may be lost, doubled and reordered, and the protocol above repeats them.
    pub reliable: bool,
}

impl LinkInfo {
    /// The smallest frame that a link has to carry, in bytes.
    pub const LEAST_MTU: usize = 32;
}

/// Why a link does not carry anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// It is closed, by whichever side; another one may be opened.
    #[error("the link is closed")]
    Closed,
    /// A frame is longer than the link's MTU; nothing of the call was sent.
    #[error("a frame is longer than the {mtu} bytes allowed")]
    TooLong {
        /// The link's MTU, in bytes.
        mtu: usize,
    },
    /// It can never work as it is set up: a wrong certificate, a peer of another protocol.
    #[error("the link is set up wrongly: {0}")]
    Misconfigured(&'static str),
}

impl LinkError {
    /// What a driver does about it.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Closed => Class::Transient,
            Self::TooLong { .. } | Self::Misconfigured(_) => Class::Permanent,
        }
    }
}

/// One end of an open link. Frames keep their boundaries and their content; everything else is
/// as [`LinkInfo`] says.
pub trait Link: MaybeSend + MaybeSync + 'static {
    /// What it promises; the same for its whole life and at both ends.
    fn info(&self) -> LinkInfo;

    /// Hands frames over, in order; waits while the link is full. `Ok` says nothing about their
    /// arrival. One call at a time. Dropping the future may have sent any number of the frames.
    fn send(&self, frames: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), LinkError>>;

    /// The frames that have arrived, at least one; waits for it. One call at a time. Dropping the
    /// future loses no frame.
    fn receive(&self) -> BoxFuture<'_, Result<Vec<Vec<u8>>, LinkError>>;

    /// Closes it: both ends get [`LinkError::Closed`], after the frames that have arrived. Frames
    /// on their way may be lost, but what a reliable link took with `Ok` before is delivered if
    /// the other end goes on reading. Twice is fine.
    fn close(&self);
}
