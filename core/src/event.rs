//! What an application is told: events, how its wishes ended, and why something did not count.

pub mod log;

use alloc::vec::Vec;

use conclave_proto::{Epoch, GroupId, InboxId, InstallationId, IntentId, MessageId, Seq};
use serde::{Deserialize, Serialize};

/// Something that an application should know. Grows at the end: applications' stores hold them
/// encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// A message has its place in the log: somebody's, or an own one that arrived there.
    Message {
        /// The group.
        group: GroupId,
        /// The message.
        id: MessageId,
        /// Its place.
        seq: Seq,
        /// Whether this installation sent it.
        own: bool,
    },
    /// Messages of a sender never arrived here: their counters are missing.
    Gap {
        /// The group.
        group: GroupId,
        /// Whose messages.
        sender: InstallationId,
        /// First missing counter.
        first: u64,
        /// Last missing counter.
        last: u64,
    },
    /// The group entered another epoch.
    EpochChanged {
        /// The group.
        group: GroupId,
        /// The epoch.
        epoch: Epoch,
        /// Inboxes that joined.
        added: Vec<InboxId>,
        /// Inboxes that left.
        removed: Vec<InboxId>,
    },
    /// A record of the log changed nothing, and why.
    Rejected {
        /// The group.
        group: GroupId,
        /// The record's place.
        seq: Seq,
        /// The reason.
        reason: Rejection,
    },
    /// A wish has ended: one of the application's, or one that the group made by itself (it
    /// renews its keys after joining).
    IntentSettled {
        /// The group.
        group: GroupId,
        /// The wish.
        intent: IntentId,
        /// How.
        outcome: IntentOutcome,
    },
    /// The group cannot follow its log for now; see the reason. With [`Parked::Removal`] this
    /// installation was removed, it seems: whether others followed that commit only their next
    /// message tells, and then [`Event::Removed`] or [`Event::Resumed`] comes. In a silent group
    /// neither does.
    Parked {
        /// The group.
        group: GroupId,
        /// The reason.
        reason: Parked,
    },
    /// The group follows its log again.
    Resumed {
        /// The group.
        group: GroupId,
    },
    /// This installation is not a member any more.
    Removed {
        /// The group.
        group: GroupId,
    },
    /// This installation joined a group.
    Joined {
        /// The group.
        group: GroupId,
        /// Who invited.
        inviter: InboxId,
    },
    /// A Welcome was not taken, and why.
    WelcomeRejected {
        /// Its place in the Welcome topic.
        seq: Seq,
        /// The reason.
        reason: WelcomeRejection,
    },
    /// An own message was shown in the log by nobody of this store: another engine runs on a
    /// copy of it (its mark verifies), see E9.
    CopyDetected {
        /// The group.
        group: GroupId,
        /// Where it stands.
        seq: Seq,
    },
    /// A sender had read another log than this one up to the same place.
    LogDiffers {
        /// The group.
        group: GroupId,
        /// Who saw another log.
        sender: InstallationId,
        /// The place.
        seq: Seq,
    },
}

/// Why a record of a group's log changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Rejection {
    /// Not an envelope, or of an unknown version, or not a `PrivateMessage` (S1).
    Malformed,
    /// Was handled before: same id, same bytes.
    Replayed,
    /// Names another group.
    OtherGroup,
    /// A message whose content was received before.
    Duplicate,
    /// Its keys are gone: too old, used, or outside the tolerance.
    KeysGone,
    /// Its epoch is older than the kept ones.
    TooOld,
    /// Of an epoch that this log has not led to.
    FutureEpoch,
    /// More generations ahead than keys are derived for.
    TooFarAhead,
    /// Does not decrypt or verify: forged, damaged, or of another fork.
    Undecryptable,
    /// Its sender is not a member at this place of the log (G17).
    NotAMember,
    /// Its sender may not post.
    NotAllowed,
    /// Content that no honest engine makes.
    BadContent,
    /// On this installation's own leaf, but not made by it.
    Forged,
    /// A commit of an epoch that has ended: it lost a race.
    LostRace,
    /// A standalone proposal; these are neither sent nor taken.
    Proposal,
    /// A commit that is invalid for all, see the detail.
    InvalidCommit(CommitFault),
    /// This installation was not a member there.
    NotMember,
    /// The library failed in a way that is a bug; the record is skipped.
    Internal,
}

/// What makes a commit invalid for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CommitFault {
    /// MLS itself refuses it (signature, proposals, tree, confirmation tag).
    Mls,
    /// A proposal that the rules do not allow, or one by reference.
    Proposal,
    /// A credential that does not match its leaf, the roster or the leaf before it.
    Credential,
    /// Capabilities, lifetime or extensions of a leaf that are not those of the rules.
    Leaf,
    /// A group context that is not that of the rules.
    Context,
    /// A state delta that does not decode or does not apply.
    Delta,
    /// An identity entry that is missing or does not verify.
    Identity,
    /// Another root than the delta gives.
    Root,
    /// Leaves that are not those of the roster.
    Leaves,
    /// The committer has no right to it.
    Right,
    /// Beyond a limit of the rules.
    Limit,
}

/// How a wish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum IntentOutcome {
    /// Its commit is in the log.
    Done,
    /// It was true already: somebody else did it first.
    AlreadySo,
    /// It cannot be done (any more); asking again needs fresh input or rights.
    Failed(IntentFault),
}

/// Why a wish cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum IntentFault {
    /// The right to it is missing.
    NotAllowed,
    /// A key package or identity entry in it is not usable.
    BadInput,
    /// The relay or the rules limit its size.
    TooLarge,
    /// This installation is not a member any more.
    NotMember,
}

/// Why a group does not follow its log for now. Its cursor stands before what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Parked {
    /// A commit whose path this installation cannot process; others may. No own commits and
    /// messages until evidence of the epoch or a deadline.
    Undecidable,
    /// A commit that removes this installation; final with evidence that the others followed it.
    Removal,
    /// The group's rules are newer than this build.
    RulesTooNew {
        /// The version it needs.
        rules: u16,
    },
    /// Records are missing between the cursor and this one.
    MissingRecords {
        /// The first record after the hole.
        at: Seq,
    },
    /// This record does not extend the hash chain: the relay shows another log than before.
    OtherHistory {
        /// The record.
        at: Seq,
    },
    /// No randomness.
    Entropy,
}

/// Why a Welcome was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WelcomeRejection {
    /// Not an envelope with a sealed Welcome.
    Malformed,
    /// Sealed to a key package whose private keys are gone, or not to one of ours.
    UnknownPackage,
    /// Does not open.
    Unsealable,
    /// The signature of the inviter is wrong.
    BadInviter,
    /// The log does not hold the commit at the cursor that the Welcome names.
    NotInLog,
    /// The body is not what the pointer names.
    BadBody,
    /// MLS refuses it.
    Mls,
    /// The group state does not fit the tree or the group context.
    BadState,
    /// The group is held already, and this installation was not removed from it (G8).
    AlreadyMember,
    /// Declined by the application.
    Declined,
    /// Of a membership that has ended: its commit stands before the removal.
    Replayed,
    /// Sealed classically in a group that requires post-quantum Welcomes (S8).
    Downgraded,
}

impl conclave_proto::Wire for Event {
    const VERSION: u8 = 1;
    // Own bytes: whatever was written is read back.
    const MAX_BYTES: usize = usize::MAX;
}
