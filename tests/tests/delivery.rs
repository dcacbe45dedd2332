//! The delivery service that Conclave ships keeps what every one promises, over links of each kind
//! (E6, scenarios 10, 84, 94).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

use crate::delivery_kit as kit;

use conclave_testkit::delivery_conformance;
use kit::{over_lossy_links, over_memory, over_quic, run};

delivery_conformance!(over_memory_links, over_memory, run);
delivery_conformance!(over_links_that_lose_frames, over_lossy_links, run);
delivery_conformance!(over_quic_with_logs_in_files, over_quic, run);
