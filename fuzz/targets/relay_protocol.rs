//! Any bytes, in any order of things, to the relay's own code.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conclave_testkit::fuzz_relay::relay_protocol(bytes));
