//! Sizes that hold on the wire, for everybody, whatever their configuration.
//!
//! These belong to rules version 1 of the group state; an engine's own limits may only be
//! stricter for what it sends.

/// Longest envelope: a commit may carry a [`DELTA_BYTES`] delta and the path of a large tree.
pub const ENVELOPE_BYTES: usize = 2 * 1024 * 1024;
/// Longest state delta: the identity logs of a few hundred new inboxes.
pub const DELTA_BYTES: usize = 256 * 1024;
/// Longest application payload after padding; larger content goes as an attachment.
pub const PAYLOAD_BYTES: usize = 1024 * 1024;
/// Longest identity update: 64 actions and their signatures.
pub const IDENTITY_UPDATE_BYTES: usize = 64 * 1024;
/// Actions in one identity update: more is an attack on verifiers.
pub const ACTIONS_PER_UPDATE: usize = 64;
/// Signatures in one identity update: two per action.
pub const SIGNATURES_PER_UPDATE: usize = 2 * ACTIONS_PER_UPDATE;
/// Active installations of one inbox: devices of one person, with room for agents.
pub const INSTALLATIONS_PER_INBOX: usize = 32;
/// Accounts of one inbox.
pub const ACCOUNTS_PER_INBOX: usize = 64;
/// Leaves of one group: where applying a commit still takes milliseconds.
pub const LEAVES_PER_GROUP: usize = 5_000;
/// Inboxes that one group state lists.
pub const INBOXES_PER_GROUP: usize = 5_000;
/// Longest Welcome body: GroupInfo, ratchet tree and group state of a group at its limit.
pub const WELCOME_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Longest sealed Welcome pointer.
pub const SEALED_WELCOME_BYTES: usize = 16 * 1024;
/// Longest key package upload: about 1.6 KB are used.
pub const KEY_PACKAGE_BYTES: usize = 16 * 1024;
/// Longest value of one metadata field.
pub const FIELD_BYTES: usize = 8 * 1024;
/// Metadata fields of one group.
pub const FIELDS_PER_GROUP: usize = 64;
/// Longest message between a client and a relay: one Welcome body and what goes around it.
pub const RELAY_MESSAGE_BYTES: usize = WELCOME_BODY_BYTES + 64 * 1024;
/// Topics in one request: a client with 10,000 groups asks for their heads in one round trip.
pub const TOPICS_PER_REQUEST: usize = 10_000;
/// Envelopes in one publish request: more gain nothing, one commit of the relay takes them all.
pub const ENVELOPES_PER_PUBLISH: usize = 256;
/// Topics of one subscription: 10,000 groups, with room for identity logs.
pub const TOPICS_PER_SUBSCRIPTION: usize = 20_000;
/// Requests of one connection that wait for their answer.
pub const REQUESTS_PER_CONNECTION: usize = 512;
