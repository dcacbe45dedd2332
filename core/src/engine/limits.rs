//! Limits of one engine, each with its reason.

use crate::{config::Limits, session::SessionLimits};

/// What an engine allows itself. Start from the default.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct EngineLimits {
    /// Of groups and the key ring.
    pub core: Limits,
    /// Of the session with the relay.
    pub session: SessionLimits,
    /// Calls of the application that wait in one group. Each call is an own message or wish; a
    /// queue this long means that the store cannot keep up.
    pub group_calls: usize,
    /// Events kept for the application. At a few hundred bytes each, some tens of MB.
    pub events: u64,
    /// Milliseconds after which a group with nothing to do leaves the memory.
    pub idle_ms: u64,
    /// Records of the subscription that wait to be looked at. The relay then sends heads instead.
    /// A long one counts once for each 8 KiB.
    pub delivered: usize,
    /// Groups that are looked through at once after opening, for what was left undone.
    pub look_at_once: usize,
    /// Milliseconds after which a call of the relay counts as unanswered, whatever the delivery
    /// service does. In 5 minutes the longest request, 16 MiB, goes over a link of 56 kB/s; one that
    /// takes longer is made again, which stores nothing twice.
    pub call_ms: u64,
    /// Milliseconds that the relay's word on an own message waits to be told together with the
    /// records of the log, which settle it. A live log brings them within a round trip.
    pub outcome_ms: u64,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            core: Limits::default(),
            session: SessionLimits::default(),
            group_calls: 1_024,
            events: 100_000,
            idle_ms: 10_000,
            delivered: 1_024,
            look_at_once: 4,
            call_ms: 300_000,
            outcome_ms: 1_000,
        }
    }
}
