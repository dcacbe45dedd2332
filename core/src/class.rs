//! The driver's only question to an error: what now?

/// What a driver does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The same call can succeed later, without anything else happening.
    Transient,
    /// The same call will never succeed.
    Permanent,
    /// The same call can succeed after something else has happened.
    Blocked(BlockedOn),
}

/// What has to happen before a blocked call can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlockedOn {
    /// The medium needs room.
    Space,
    /// This engine has to own the store again: open it anew.
    Ownership,
    /// The system's source of randomness has to work.
    Entropy,
    /// Records, key packages or identity entries have to arrive.
    Arrival,
    /// The engine has to be upgraded.
    Upgrade,
    /// A member has to add this installation again.
    Readd,
}
