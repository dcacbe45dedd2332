//! # The proof that proto and core need no standard library
//!
//! A `no_std` static library with a panic handler and an allocator of its own, over
//! `conclave-proto` and `conclave-core` without the feature `std`. If one of them, or anything
//! that they depend on, links the standard library, there are two panic handlers, and the build
//! ends with
//!
//! ```text
//! error[E0152]: found duplicate lang item `panic_impl`
//! ```
//!
//! Build it on any host; there is nothing to run:
//!
//! ```text
//! cargo build --locked --manifest-path core/no_std_proof/Cargo.toml
//! ```
//!
//! To see it fail, give `conclave-core` the feature `std` in `Cargo.toml`
//! (`features = ["std"]`) and build without `--locked`.
//!
//! What it does not show: that the crates build for a target that has no standard library at
//! all. `.ci/run` checks `wasm32-unknown-unknown` where that target is installed.
#![no_std]

extern crate alloc;

use alloc::vec::Vec;
use core::{
    alloc::{GlobalAlloc, Layout},
    panic::PanicInfo,
};

use conclave_core::{
    identity::{fold, read_log},
    padding::pad,
    store::{Key, Table, Write},
};
use conclave_proto::{ChainHash, GroupId, InboxId, Record, Seq, Topic};

/// Reads an identity log, chains a record and prepares a write: something of everything, so that
/// the crates are linked and not only compiled.
#[unsafe(no_mangle)]
pub extern "C" fn conclave_no_std_proof(byte: u8) -> usize {
    let inbox = InboxId([byte; 32]);
    let entry = Vec::from([byte; 64]);
    let read = fold(inbox, None, 0, &entry);
    let state = read_log(inbox, read.state.as_ref(), [entry.as_slice()]);

    let group = GroupId([byte; 16]);
    let topic = Topic::Group(group);
    let record = Record::chained(&topic, Seq(1), Seq(0), &ChainHash::GENESIS, pad(&entry));
    let write = Write::Put {
        table: Table::Group,
        key: Key::named(group.0, 0, record.hash.as_bytes()),
        value: record.payload,
    };
    write.size() + usize::from(state.is_some())
}

/// Has no memory to give: the library is built, never run.
struct NoMemory;

// SAFETY: a null pointer is what `alloc` returns when there is no memory, and `dealloc` is never
// called, because there is nothing to give back.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn stop(_: &PanicInfo<'_>) -> ! {
    loop {}
}
