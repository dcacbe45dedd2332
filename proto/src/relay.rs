//! What a client and a relay say to each other.
//!
//! A connection starts with one [`ToRelay::Hello`] answered by one [`ToClient::Hello`]. After
//! that the client sends requests, each with a number of its own choice, and the relay answers
//! them in any order; what a subscription brings comes in between. How these messages travel
//! (frames, fragments, acknowledgements) is the link's business and not said here.

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ChainHash, Cursor, InboxId, InstallationId, Record, Seq, Timestamp, Topic, TransmitId,
    codec::Wire, identity::Account, limits,
};

/// The one version of these messages there is.
pub const PROTOCOL: u16 = 1;

/// The ALPN name of this protocol (RFC 7301).
pub const ALPN: &[u8] = b"conclave/1";

/// From a client to a relay. Grows at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToRelay {
    /// First message of a connection.
    Hello(ClientHello),
    /// Something that gets one answer with the same number.
    Request {
        /// Chosen by the client; not used again while it waits for the answer.
        id: u64,
        /// Proof that the client may use this relay, where the operator asks for one.
        admission: Option<Vec<u8>>,
        /// What is asked.
        request: Request,
    },
    /// A change of the connection's one subscription. Has no answer but what it brings.
    Watch(Watch),
}

/// From a relay to a client. Grows at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    /// First message of a connection.
    Hello(RelayHello),
    /// The answer to a request.
    Answer {
        /// The request's number.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// What the subscription brings.
    Delivery(Delivery),
    /// Last message: the relay ends the connection, and why.
    Goodbye(Goodbye),
}

/// How a client begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// Versions it speaks, best first.
    pub versions: Vec<u16>,
    /// What it can do beyond the version, one bit each; none is defined yet.
    pub features: u64,
}

/// How a relay begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayHello {
    /// The version that both speak from here on.
    pub version: u16,
    /// What the relay can do beyond the version, one bit each; none is defined yet.
    pub features: u64,
    /// Turns when the relay's logs were restored from an older copy.
    pub incarnation: [u8; 16],
    /// The key that signs heads of identity logs (Ed25519).
    pub key: [u8; 32],
}

/// Why a relay ends a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goodbye {
    /// It speaks none of the client's versions.
    UnknownVersion {
        /// Versions it speaks.
        speaks: Vec<u16>,
    },
    /// A message that does not decode, or came where it has no place.
    Malformed,
    /// More than a limit allows.
    TooMuch,
    /// It shuts down; another connection may be tried later.
    ShuttingDown,
    /// The client did not say hello in time.
    Silent,
}

/// What a client asks for. Grows at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Append to logs, see [`Answer::Published`].
    Publish(Vec<Publish>),
    /// Read several logs, see [`Answer::Pages`].
    Fetch {
        /// Logs, and where each reader stands.
        after: Vec<(Topic, Cursor)>,
        /// How much to answer.
        limit: PageLimit,
    },
    /// Which of these logs have moved, see [`Answer::Heads`].
    Heads(Vec<(Topic, Seq)>),
    /// The published key packages of installations, see [`Answer::KeyPackages`].
    KeyPackages(Vec<InstallationId>),
    /// Publish an encoded [`crate::package::PackageUpload`], see [`Answer::Uploaded`].
    Upload(#[serde(with = "crate::bytes")] Vec<u8>),
    /// Inboxes of accounts, see [`Answer::Inboxes`]. The answer is a hint: only the inbox's own
    /// log says who belongs to it.
    Resolve(Vec<Account>),
}

/// One envelope to append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The log.
    pub topic: Topic,
    /// [`crate::record::transmit_id`] of topic and payload; the relay computes it again.
    pub id: TransmitId,
    /// Append only if this is the head. Required for identity logs.
    pub expect: Option<Seq>,
    /// The bytes.
    #[serde(with = "crate::bytes")]
    pub payload: Vec<u8>,
    /// Proof of the group's write key.
    pub write: Option<WriteProof>,
}

/// Proof that somebody may write to a group's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteProof {
    /// The write key (Ed25519).
    pub key: [u8; 32],
    /// By it, over the envelope's id.
    pub signature: Vec<u8>,
}

/// How much of the logs one answer may hold. At least one record comes, however long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageLimit {
    /// Records, over all topics.
    pub records: u32,
    /// Bytes of payload, over all topics.
    pub bytes: u32,
}

impl Default for PageLimit {
    fn default() -> Self {
        Self { records: 1_024, bytes: 1024 * 1024 }
    }
}

/// The answer to a [`Request`]. Grows at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Answer `i` belongs to envelope `i`.
    Published(Vec<PublishOutcome>),
    /// A page for each log that was asked for and has something to say, in the order asked.
    Pages(Vec<TopicPage>),
    /// The logs whose head is not what the client said.
    Heads(Vec<(Topic, Cursor)>),
    /// One for each installation that was asked for, in the order asked: the encoded upload, or
    /// `None` if there is none.
    KeyPackages(Vec<Option<Vec<u8>>>),
    /// What became of an upload.
    Uploaded(Uploaded),
    /// One for each account, in the order asked.
    Inboxes(Vec<Option<InboxId>>),
    /// Nothing was done.
    Failed(Failure),
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// Try again after this many milliseconds.
    Unavailable {
        /// Milliseconds.
        retry_ms: u32,
    },
    /// More topics, items or bytes than one request may have.
    TooMuch,
    /// The records before this one are gone.
    Truncated {
        /// Whose.
        topic: Topic,
        /// The first that is left.
        first: Seq,
    },
    /// The operator asks for an admission, and this is none.
    NotAdmitted,
}

/// The outcome of publishing one envelope, the same enum from the store of the logs to the
/// application. For a client it is a claim of the relay: only the log settles an envelope of a
/// group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PublishOutcome {
    /// Stored durably, by this attempt or an earlier one.
    Accepted {
        /// Its position in the log.
        seq: Seq,
        /// The position of the previous record.
        prev: Seq,
    },
    /// The log's head is not the expected one.
    Conflict {
        /// The log's head.
        head: Seq,
    },
    /// Longer than the topic takes.
    TooLarge {
        /// Longest payload, in bytes.
        max: u32,
    },
    /// The topic never accepts such a payload.
    Invalid,
    /// An earlier envelope of the same topic in the request was not accepted.
    Behind,
    /// Not stored; the same envelope may be tried again after this many milliseconds.
    NotStored {
        /// Milliseconds.
        retry_ms: u32,
    },
    /// It may be stored: the store failed midway, or no answer arrived. The log or a retry with the
    /// same id settles it.
    Unknown,
}

impl PublishOutcome {
    /// An envelope that was not stored and may be retried after `retry_after`.
    #[must_use]
    pub fn not_stored(retry_after: Duration) -> Self {
        Self::NotStored { retry_ms: u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX) }
    }

    /// Returns how long to wait before a retry, for an envelope that was not stored.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotStored { retry_ms } => Some(Duration::from_millis((*retry_ms).into())),
            Self::Accepted { .. }
            | Self::Conflict { .. }
            | Self::TooLarge { .. }
            | Self::Invalid
            | Self::Behind
            | Self::Unknown => None,
        }
    }

    /// Whether the envelope is stored durably.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }

    /// Whether the envelope was refused for its content or its position, rather than for trouble of
    /// the relay.
    #[must_use]
    pub const fn is_refused(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::TooLarge { .. } | Self::Invalid | Self::Behind)
    }
}

/// The outcome of uploading a key package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// The outcome. The position of an accepted upload is its counter.
    pub outcome: PublishOutcome,
    /// The head of the installation's Welcome log when the upload took effect: Welcomes up to this
    /// position may use an earlier package. Zero unless accepted.
    pub welcome_head: Seq,
}

impl Uploaded {
    /// An upload that was not accepted, or whose outcome is unknown.
    #[must_use]
    pub const fn failed(outcome: PublishOutcome) -> Self {
        Self { outcome, welcome_head: Seq(0) }
    }
}

/// Some records of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPage {
    /// The log.
    pub topic: Topic,
    /// Records behind the reader's cursor, in order, without a hole.
    pub records: Vec<Record>,
    /// The log's head.
    pub head: Cursor,
    /// Whether more records follow behind these.
    pub more: bool,
    /// For identity logs: the head, signed.
    pub signed: Option<SignedHead>,
}

/// The relay's word on an identity log. Two that contradict each other prove that it lied (I8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// Whose log.
    pub inbox: InboxId,
    /// Its last record.
    pub seq: Seq,
    /// The chain hash there.
    pub hash: ChainHash,
    /// When the relay said so, by its own clock.
    pub time: Timestamp,
    /// Ed25519 by the relay's key over [`SignedHead::signed_bytes`].
    pub signature: Vec<u8>,
}

impl SignedHead {
    /// What the relay signs.
    #[must_use]
    pub fn signed_bytes(inbox: &InboxId, seq: Seq, hash: &ChainHash, time: Timestamp) -> Vec<u8> {
        let mut bytes = Vec::from(*b"conclave identity log head v1");
        bytes.extend(inbox.0);
        bytes.extend(seq.0.to_be_bytes());
        bytes.extend(hash.0);
        bytes.extend(time.0.to_be_bytes());
        bytes
    }
}

/// A change of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Watch {
    /// Deliver these logs from behind these places on. A log that is watched already starts over.
    Add(Vec<(Topic, Seq)>),
    /// Stop delivering these.
    Remove(Vec<Topic>),
    /// Echoed as [`Delivery::CaughtUp`] once everything that was stored before it came has been
    /// delivered, or said by a [`Delivery::Head`].
    Mark(u64),
}

/// What a subscription brings: lossy, but honest about it. A record is delivered only if its
/// `prev` is the last place delivered of its log; else a head says up to where to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// The next record of a log.
    Record(Topic, Record),
    /// A log has come this far, and what lies between is to be fetched.
    Head {
        /// The log.
        topic: Topic,
        /// Its head.
        seq: Seq,
    },
    /// The echo of a [`Watch::Mark`].
    CaughtUp(u64),
}

impl Wire for ToRelay {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::RELAY_MESSAGE_BYTES;
}

impl Wire for ToClient {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::RELAY_MESSAGE_BYTES;
}
