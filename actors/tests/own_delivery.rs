//! The delivery service of the example, judged as every delivery service is (E6).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../examples/own_delivery/board.rs"]
mod board;

use board::Board;

conclave_conformance::delivery_conformance!(example, async || (Board::default().join(), ()));
