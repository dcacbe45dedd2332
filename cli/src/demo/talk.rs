//! What a demonstration says to its installations, in this process and in others: JSON, a line
//! for each question and a line for each answer.

use serde::{Deserialize, Serialize};

/// A question; each has one answer. One holds a secret, so there is no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Become part of the inbox that this account founds.
    Register { wallet: bool, secret: String },
    /// Found a group.
    Found,
    /// Wish to add inboxes.
    Add { group: String, inboxes: Vec<String> },
    /// Wish to remove inboxes.
    Remove { group: String, inboxes: Vec<String> },
    /// Wish to renew keys.
    UpdateKeys { group: String },
    /// Wait for the end of a wish.
    Outcome { intent: String },
    /// Send a message.
    Send { group: String, text: String },
    /// Wait until it is a member, in this epoch or later.
    Member { group: String, epoch: u64 },
    /// Wait until it is no member.
    NoMember { group: String },
    /// Wait until the group's log is read up to a place.
    Reached { group: String, seq: u64 },
    /// Wait until nothing of its own waits.
    Settled { group: String },
    /// How the group stands.
    State { group: String },
    /// All messages.
    Timeline { group: String },
    /// What happened, by the log of events.
    History { group: String },
}

impl Ask {
    /// What is asked, without what is secret in it.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Register { .. } => "register",
            Self::Found => "found a group",
            Self::Add { .. } => "add",
            Self::Remove { .. } => "remove",
            Self::UpdateKeys { .. } => "update keys",
            Self::Outcome { .. } => "outcome",
            Self::Send { .. } => "send",
            Self::Member { .. } => "become a member",
            Self::NoMember { .. } => "be no member",
            Self::Reached { .. } => "reach a place",
            Self::Settled { .. } => "settle",
            Self::State { .. } => "state",
            Self::Timeline { .. } => "timeline",
            Self::History { .. } => "history",
        }
    }
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    Registered { inbox: String, installation: String },
    Group { group: String },
    Wish { intent: String },
    Ended { well: bool, how: String },
    Sent { id: String },
    Done,
    State(State),
    Timeline { lines: Vec<Line> },
    History { happenings: Vec<Happening> },
    Failed { why: String },
}

/// How a group stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) member: bool,
    pub(crate) epoch: u64,
    pub(crate) authenticator: String,
    pub(crate) seq: u64,
    pub(crate) members: usize,
    pub(crate) unsettled: usize,
    pub(crate) wishes: usize,
    /// Commits of this process to its store, so far.
    pub(crate) store_commits: u64,
}

/// A message of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) epoch: u64,
    pub(crate) text: String,
}

/// A piece of the log of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "happened", rename_all = "snake_case")]
pub(crate) enum Happening {
    Message { seq: u64 },
    Epoch { epoch: u64, added: Vec<String>, removed: Vec<String> },
}
