//! Any records into a live group.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conclave_testkit::fuzz::group_inbound(bytes));
