//! The links keep what every link promises (E6), and the suite notices links that do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use conclave_conformance::link_conformance;
use conclave_links::{
    lossy::{self, LossySettings},
    memory,
};

link_conformance!(memory_small, async || memory::pair(32));
link_conformance!(memory_large, async || memory::pair(1 << 20));
link_conformance!(lossy_radio, async || lossy::pair(LossySettings::default(), 7));
link_conformance!(lossy_storm, async || {
    let storm = LossySettings { mtu: 1_200, lost: 25, doubled: 20, held: 30, passing: 9 };
    lossy::pair(storm, 9)
});
