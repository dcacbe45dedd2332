//! What a relay allows itself and its clients, beyond the sizes that hold for everybody on the
//! wire ([`conclave_proto::limits`]).

use conclave_proto::limits;

/// Limits of one relay. Start from the default and change what the machine asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayLimits {
    /// Bytes of payload in one answer to a fetch, unless its first record alone is longer. 4 MiB:
    /// a fast link is busy with it long enough that the round trip no longer counts, and hundreds
    /// of answers at once still fit into memory.
    pub page_bytes: usize,
    /// Records in one answer to a fetch. 4,096: what surrounds them stays far below a page.
    pub page_records: usize,
    /// Topics in a fetch that asks for a body. 64: with the longest body, their heads still fit
    /// into one message.
    pub topics_with_body: usize,
    /// Installations in one question for key packages. 1,000: as many uploads of the longest kind
    /// as one message takes.
    pub packages_per_request: usize,
    /// Calls that wait for the writer. 4,096: at a thousand calls a second a client waits for a
    /// few seconds at most, which is where it would give up.
    pub queue_calls: usize,
    /// Bytes that wait for the writer. 64 MiB: some of the longest bodies at once.
    pub queue_bytes: usize,
    /// Calls in one commit. 1,024: beyond that the sync costs next to nothing per call.
    pub commit_calls: usize,
    /// Bytes in one commit, unless one call alone has more. 16 MiB: written in well under a
    /// second, so that nobody waits long behind others.
    pub commit_bytes: usize,
    /// Milliseconds without work after which the writer makes a commit that a crash cannot make
    /// slow to open. 1,000: a quiet relay is soon safe, a busy one never pays for it.
    pub settle_after_ms: u64,
    /// Records that one commit trims. 4,096: the writer serves others between them.
    pub trim_records: usize,
    /// Entries of one identity log. 4,096: a device each month for some centuries. Each append
    /// rewrites what the log says, which grows with it.
    pub identity_entries: u64,
    /// Milliseconds after which somebody who met a full queue or a failure may try again. 250:
    /// some commits later.
    pub retry_ms: u32,
    /// Milliseconds after which somebody who met a full medium may try again. 30,000: a person
    /// has to make room.
    pub retry_full_ms: u32,
    /// Memory for pages of the file, in bytes. 256 MiB: the inner pages of some ten GB of logs.
    pub cache_bytes: usize,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            page_bytes: 4 * 1024 * 1024,
            page_records: 4_096,
            topics_with_body: 64,
            packages_per_request: 1_000,
            queue_calls: 4_096,
            queue_bytes: 64 * 1024 * 1024,
            commit_calls: 1_024,
            commit_bytes: 16 * 1024 * 1024,
            settle_after_ms: 1_000,
            trim_records: 4_096,
            identity_entries: 4_096,
            retry_ms: 250,
            retry_full_ms: 30_000,
            cache_bytes: 256 * 1024 * 1024,
        }
    }
}

/// Longest record of a Welcome topic: a sealed Welcome and the envelope around it. A mark (16), a
/// beacon (9), version, kind and length (7).
pub(crate) const WELCOME_RECORD_BYTES: usize = limits::SEALED_WELCOME_BYTES + 32;

/// Longest body: sealed with ChaCha20-Poly1305, whose tag has 16 bytes.
pub(crate) const BODY_RECORD_BYTES: usize = limits::WELCOME_BODY_BYTES + 16;

/// Longest account key that the directory looks up; the longest kind there is has 33 bytes.
pub(crate) const ACCOUNT_KEY_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// What a record of a page takes besides its payload: seq, prev, id, hash, length.
    const RECORD: usize = 10 + 10 + 16 + 32 + 5;
    /// What a topic takes: itself, counts, its head, and a signed head.
    const TOPIC: usize = 34 + 5 + 42 + 1 + 1 + (32 + 10 + 32 + 10 + 66);

    #[test]
    fn the_longest_answers_fit_into_one_message() {
        let chosen = RelayLimits::default();
        let page = chosen.page_bytes.max(limits::ENVELOPE_BYTES)
            + chosen.page_records * RECORD
            + limits::TOPICS_PER_REQUEST * TOPIC;
        assert!(page < limits::RELAY_MESSAGE_BYTES);
        let body = BODY_RECORD_BYTES + RECORD + chosen.topics_with_body * TOPIC;
        assert!(body < limits::RELAY_MESSAGE_BYTES);
        let packages = chosen.packages_per_request * (limits::KEY_PACKAGE_BYTES + 4);
        assert!(packages < limits::RELAY_MESSAGE_BYTES);
    }
}
