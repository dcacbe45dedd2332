//! Envelopes: what a topic carries.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    codec::{DecodeError, Wire},
    limits,
};

/// Recognises the sender's own envelope in the log: a pseudo-random function of the
/// installation's secret, the topic and a counter. Means nothing to anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark(pub [u8; 16]);

/// What one record's payload says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The sender's mark.
    pub mark: Mark,
    /// Fork evidence: a pseudo-random function of epoch and transcript under the group's beacon
    /// key. `None` until a group uses beacons.
    pub beacon: Option<[u8; 8]>,
    /// The content.
    pub kind: EnvelopeKind,
}

/// The content of an envelope. Grows at the end; a kind that a reader does not know is
/// [`DecodeError::Malformed`] and skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvelopeKind {
    /// An MLS message (RFC 9420 §6), only ever a `PrivateMessage`.
    Mls(#[serde(with = "crate::bytes")] Vec<u8>),
    /// A sealed Welcome, see [`crate::welcome::SealedWelcome`].
    Welcome(#[serde(with = "crate::bytes")] Vec<u8>),
    /// An identity update, see [`crate::identity::IdentityUpdate`].
    Identity(#[serde(with = "crate::bytes")] Vec<u8>),
    /// A sealed note from one installation to another.
    Note(#[serde(with = "crate::bytes")] Vec<u8>),
}

impl Wire for Envelope {
    const VERSION: u8 = 1;
    const MAX_BYTES: usize = limits::ENVELOPE_BYTES;
}

/// MLS wire formats (RFC 9420 §6): `version ‖ wire_format`, two bytes each.
const MLS_10: [u8; 2] = [0, 1];
const PRIVATE_MESSAGE: [u8; 2] = [0, 2];

impl Envelope {
    /// Reads the envelope of a group topic and gives its MLS message.
    ///
    /// Refuses everything but a `PrivateMessage` here, before the MLS library sees it: the
    /// library's own policy lets external commits and external proposals pass (S1).
    ///
    /// # Errors
    /// [`DecodeError`]; [`DecodeError::Malformed`] for anything that is not a `PrivateMessage`.
    pub fn decode_group(bytes: &[u8]) -> Result<(Mark, Vec<u8>), DecodeError> {
        let envelope = Self::decode_canonical(bytes)?;
        match envelope.kind {
            EnvelopeKind::Mls(message) if is_private_message(&message) => {
                Ok((envelope.mark, message))
            }
            EnvelopeKind::Mls(_)
            | EnvelopeKind::Welcome(_)
            | EnvelopeKind::Identity(_)
            | EnvelopeKind::Note(_) => Err(DecodeError::Malformed),
        }
    }
}

fn is_private_message(message: &[u8]) -> bool {
    message.get(..2) == Some(&MLS_10) && message.get(2..4) == Some(&PRIVATE_MESSAGE)
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

    use super::{Envelope, EnvelopeKind, Mark};
    use crate::codec::{DecodeError, Wire};

    fn envelope(message: &[u8]) -> Vec<u8> {
        let kind = EnvelopeKind::Mls(message.to_vec());
        Envelope { mark: Mark([9; 16]), beacon: None, kind }.encode()
    }

    /// S1, scenario 89: a `PublicMessage` never reaches the MLS library.
    #[test]
    fn only_a_private_message_passes_in_a_group_topic() {
        assert!(Envelope::decode_group(&envelope(&[0, 1, 0, 2, 5])).is_ok());
        for other in [&[0, 1, 0, 1, 5][..], &[0, 1, 0, 3], &[0, 2, 0, 2], &[0, 1, 0], &[]] {
            assert_eq!(Envelope::decode_group(&envelope(other)), Err(DecodeError::Malformed));
        }
        let note = Envelope { mark: Mark([0; 16]), beacon: None, kind: EnvelopeKind::Note(vec![]) };
        assert_eq!(Envelope::decode_group(&note.encode()), Err(DecodeError::Malformed));
    }

    /// E10: golden bytes.
    #[test]
    fn the_encoding_of_an_envelope_is_frozen() {
        let mut golden = vec![1];
        golden.extend([9; 16]);
        golden.extend([0, 0, 5, 0, 1, 0, 2, 5]);
        assert_eq!(envelope(&[0, 1, 0, 2, 5]), golden);
    }
}
