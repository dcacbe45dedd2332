//! Channels: whole messages, in order and exactly once, over the frames of any link.
//!
//! The messages of one direction are one stream of bytes, each behind its length. Over a reliable
//! link the stream is cut into frames and that is all. Over any other link each piece is a
//! numbered segment, which is acknowledged and repeated until it is.
//!
//! A channel waits for nothing. Its driver passes in the frames that a link receives and the time,
//! and takes out frames for the link, messages for itself, and the time to call again:
//!
//! ```
//! use conclave_core::link::{LinkInfo, channel::{Channel, ChannelLimits}};
//! use conclave_proto::Timestamp;
//!
//! let info = LinkInfo { mtu: 64, reliable: false };
//! let mut alice = Channel::new(info, ChannelLimits::default());
//! let mut bob = Channel::new(info, ChannelLimits::default());
//!
//! alice.send(&[7; 1_000]);
//! let mut now = Timestamp(1_700_000_000_000);
//! while alice.queued_bytes() > 0 {
//!     while let Some(frame) = alice.poll_frame(now) {
//!         bob.handle_frame(now, &frame)?;
//!     }
//!     while let Some(frame) = bob.poll_frame(now) {
//!         alice.handle_frame(now, &frame)?;
//!     }
//!     now = now.plus_ms(10);
//!     alice.handle_timeout(now)?;
//!     bob.handle_timeout(now)?;
//! }
//! assert_eq!(bob.poll_message(), Some(vec![7; 1_000]));
//! # Ok::<(), conclave_core::link::channel::ChannelFault>(())
//! ```

use alloc::vec::Vec;

use conclave_proto::{Timestamp, limits};

use self::{
    repeat::Repeating,
    stream::{Incoming, Outgoing},
};
use super::LinkInfo;
use crate::Class;

mod clock;
mod frame;
mod repeat;
mod segments;
mod stream;

/// What a channel takes and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Longest message from the peer, in bytes. The default is the longest that the relay
    /// protocol has; a relay may take less from clients, who send no Welcome bodies that long.
    pub message_bytes: usize,
    /// Above this many queued bytes [`Channel::can_send`] is false. The default, 1 MiB, keeps a
    /// link of 100 MB per second busy for 10 ms, which is longer than any driver needs to refill.
    pub queued_bytes: usize,
    /// Waits without any sign of life after which the peer is gone (unreliable links). The
    /// default, 15, is three minutes on a fast link and six on one of unknown speed; where half of
    /// all frames are lost, one silence in a hundred lasts that long by chance.
    pub repeats: u32,
}

impl Default for ChannelLimits {
    fn default() -> Self {
        Self { message_bytes: limits::RELAY_MESSAGE_BYTES, queued_bytes: 1024 * 1024, repeats: 15 }
    }
}

/// Why a channel cannot go on; its link is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelFault {
    /// A frame that no channel makes.
    #[error("the peer sent a malformed frame")]
    Malformed,
    /// A frame longer than the link or the protocol allows.
    #[error("a frame is longer than {max} bytes")]
    FrameTooLong {
        /// The longest, in bytes.
        max: usize,
    },
    /// A message is announced that is longer than [`ChannelLimits::message_bytes`].
    #[error("a message is longer than {max} bytes")]
    MessageTooLong {
        /// The limit, in bytes.
        max: usize,
    },
    /// A segment from beyond the window: the peer does not wait for acknowledgements.
    #[error("the peer sent a segment from beyond the window")]
    BeyondWindow,
    /// An acknowledgement of a segment that was never sent.
    #[error("the peer acknowledged what was never sent")]
    NeverSent,
    /// Nothing came back, however often segments were repeated.
    #[error("the peer has fallen silent")]
    PeerGone,
}

impl ChannelFault {
    /// What a driver does about it: only a silent peer is worth another link.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::PeerGone => Class::Transient,
            Self::Malformed
            | Self::FrameTooLong { .. }
            | Self::MessageTooLong { .. }
            | Self::BeyondWindow
            | Self::NeverSent => Class::Permanent,
        }
    }
}

/// One end of a channel.
///
/// Both ends start with their link: no frame of an earlier link may arrive on it.
#[derive(Debug)]
pub struct Channel {
    limits: ChannelLimits,
    frame_bytes: usize,
    outgoing: Outgoing,
    incoming: Incoming,
    /// What an unreliable link needs in addition.
    repeating: Option<Repeating>,
    fault: Option<ChannelFault>,
}

impl Channel {
    /// The end of a channel over a link that was just opened.
    ///
    /// An MTU below [`LinkInfo::LEAST_MTU`] is against the link's contract and taken as that.
    #[must_use]
    pub fn new(info: LinkInfo, limits: ChannelLimits) -> Self {
        let most = if info.reliable { STREAM_FRAME_BYTES } else { SEGMENT_FRAME_BYTES };
        let frame_bytes = info.mtu.clamp(LinkInfo::LEAST_MTU, most);
        Self {
            limits,
            frame_bytes,
            outgoing: Outgoing::default(),
            incoming: Incoming::new(limits.message_bytes),
            repeating: (!info.reliable).then(|| Repeating::new(frame_bytes, limits.repeats)),
            fault: None,
        }
    }

    /// Queues one message, which may be empty. It must not be longer than the peer takes, who
    /// closes the link otherwise.
    pub fn send(&mut self, message: &[u8]) {
        if self.fault.is_none() {
            self.outgoing.push(message);
        }
    }

    /// Whether the queue has room; [`send`](Self::send) takes messages all the same.
    #[must_use]
    pub fn can_send(&self) -> bool {
        self.queued_bytes() <= self.limits.queued_bytes
    }

    /// Bytes that were not handed out as frames yet, or, over an unreliable link, not
    /// acknowledged yet.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        let unsettled = self.repeating.as_ref().map_or(0, Repeating::unsettled_bytes);
        self.outgoing.len().saturating_add(unsettled)
    }

    /// The next frame for the link. `None` until something else happens.
    pub fn poll_frame(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        if self.fault.is_some() {
            return None;
        }
        match &mut self.repeating {
            Some(repeating) => repeating.poll_frame(now, &mut self.outgoing),
            None => frame::stream(&mut self.outgoing, self.frame_bytes),
        }
    }

    /// Takes a frame that arrived. Afterwards both [`poll_message`](Self::poll_message) and
    /// [`poll_frame`](Self::poll_frame) may have something; messages that nobody takes stay, so a
    /// driver that is full stops passing frames in.
    ///
    /// # Errors
    ///
    /// The peer breaks the protocol. The channel is of no use any more, except for the messages
    /// that are complete.
    pub fn handle_frame(&mut self, now: Timestamp, frame: &[u8]) -> Result<(), ChannelFault> {
        let taken = self.take(now, frame);
        self.settle(taken)
    }

    /// The next whole message: in order, each exactly once.
    pub fn poll_message(&mut self) -> Option<Vec<u8>> {
        self.incoming.pop()
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called, by the clock of the last
    /// call that took a time. Each such call may change it.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.repeating.as_ref().filter(|_| self.fault.is_none())?.next_timeout()
    }

    /// Does what is due; [`poll_frame`](Self::poll_frame) has the outcome. Too early is fine.
    ///
    /// # Errors
    ///
    /// [`ChannelFault::PeerGone`] after too many repeats without any sign of life, or an earlier
    /// fault.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Result<(), ChannelFault> {
        let done = self.fault.map_or(Ok(()), Err).and_then(|()| match &mut self.repeating {
            Some(repeating) => repeating.handle_timeout(now),
            None => Ok(()),
        });
        self.settle(done)
    }

    /// Bytes of memory that messages from the peer take which nobody has taken out yet, the one that
    /// is not complete included.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        self.incoming.memory_bytes()
    }

    /// Bytes of memory that the channel holds for messages in both directions.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let repeating = self.repeating.as_ref().map_or(0, Repeating::memory_bytes);
        self.outgoing.memory_bytes() + self.incoming.memory_bytes() + repeating
    }

    fn take(&mut self, now: Timestamp, frame: &[u8]) -> Result<(), ChannelFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if frame.len() > self.frame_bytes {
            return Err(ChannelFault::FrameTooLong { max: self.frame_bytes });
        }
        match &mut self.repeating {
            Some(repeating) => repeating.handle_frame(now, frame, &mut self.incoming),
            None => self.incoming.take(frame::read_stream(frame)?),
        }
    }

    /// Ends the channel with its first fault and lets go of what it held for the peer.
    fn settle(&mut self, result: Result<(), ChannelFault>) -> Result<(), ChannelFault> {
        if let Err(fault) = result
            && self.fault.is_none()
        {
            self.fault = Some(fault);
            self.outgoing = Outgoing::default();
            self.incoming.abandon();
            self.repeating = None;
        }
        result
    }
}

/// Longest frame over a reliable link: long enough that its cost does not count, short enough that
/// the peer begins to work while the rest is on its way, and that a frame full of empty messages
/// costs it no more than 2 MB.
pub const STREAM_FRAME_BYTES: usize = 64 * 1024;

/// Longest frame over an unreliable link: with the window of [`WINDOW_SEGMENTS`] the peer can make
/// this end hold 1 MiB of segments that arrived too early.
pub const SEGMENT_FRAME_BYTES: usize = 8 * 1024;

/// Segments that may be on their way: as many as the bitmap of an acknowledgement names in a frame
/// of [`LinkInfo::LEAST_MTU`] bytes, whatever their numbers.
pub const WINDOW_SEGMENTS: u64 = 128;
