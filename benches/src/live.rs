//! A member that runs an engine: a group, a store, and the few lines that drive it.

use std::ops::ControlFlow;

use conclave_core::{
    delivery::Transmit,
    group::{Group, Taken},
    step::{Committer, Step},
    store::{Claim, Direction, Key, Range, Store, Table, Write},
};
use conclave_proto::{MessageId, Record};
use conclave_store_memory::MemoryStore;

use crate::fixture::NOW;

/// Records that a member reads at once when it is not measured.
const READ_TOGETHER: usize = 64;
/// The claim of every engine here.
pub const CLAIM: Claim = Claim([1; 16]);

/// One member.
pub struct Live {
    /// Its group.
    pub group: Group,
    /// Its store, to count what it is given. Left behind once it has moved.
    pub store: MemoryStore,
    /// The store that it has moved to.
    moved_to: Option<Box<dyn Store>>,
    /// How many records of the log it has read.
    pub read: usize,
    committer: Committer,
    released: Vec<Transmit>,
}

impl Live {
    /// A member of a group that is stored.
    #[must_use]
    pub const fn new(group: Group, store: MemoryStore, committer: Committer) -> Self {
        Self { group, store, moved_to: None, read: 0, committer, released: Vec::new() }
    }

    /// Copies everything to another store, and goes on there.
    ///
    /// # Panics
    /// If one of the stores fails.
    pub fn move_to(&mut self, store: Box<dyn Store>) {
        store.claim(CLAIM).expect("a store takes a claim");
        for table in Table::ALL {
            let mut writes = Vec::new();
            let copy = &mut |key: &[u8], value: &[u8]| {
                let key = Key::from_stored(key).expect("keys have a scope");
                writes.push(Write::Put { table, key, value: value.to_vec() });
                ControlFlow::Continue(())
            };
            let all = Range::default();
            self.store.scan(table, all, Direction::Forward, copy).expect("a memory store reads");
            store.commit(CLAIM, &writes).expect("it fits into one commit");
        }
        self.moved_to = Some(store);
    }

    /// Stores a step and keeps the envelopes that it releases.
    ///
    /// # Panics
    /// If the store fails.
    pub fn drive<T>(&mut self, step: Step<T>) -> T {
        let store = self.moved_to.as_deref().unwrap_or(&self.store);
        let released = self.committer.drive(store, step).expect("the store works");
        self.released.extend(released.effects.transmits);
        released.reply
    }

    /// Sends a message; its envelope is released, not published.
    ///
    /// # Panics
    /// If the engine refuses.
    pub fn send(&mut self, key: [u8; 16], content: Vec<u8>) -> MessageId {
        let step = self.group.send(NOW, key, content).expect("a member sends");
        self.drive(step)
    }

    /// Receives records in one step, which is what is measured.
    ///
    /// # Panics
    /// If a record is not taken.
    pub fn receive(&mut self, records: &[Record]) {
        let step = self.group.handle_records(NOW, records);
        let taken: Taken = self.drive(step);
        assert_eq!(taken.count, records.len(), "every record is taken: {taken:?}");
        self.read += records.len();
    }

    /// Reads a log to its end.
    pub fn read_log(&mut self, log: &[Record]) {
        while self.read < log.len() {
            let end = log.len().min(self.read + READ_TOGETHER);
            self.receive(&log[self.read..end]);
        }
    }

    /// Envelopes released since the last call.
    pub fn take_released(&mut self) -> Vec<Transmit> {
        std::mem::take(&mut self.released)
    }

    /// Puts back what was taken, as if it had just been released.
    pub fn put_released(&mut self, released: Vec<Transmit>) {
        self.released.extend(released);
    }

    /// Whether there are any.
    #[must_use]
    pub fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Bytes that the store is given while some work is done.
    pub fn bytes_of(&mut self, work: impl FnOnce(&mut Self)) -> u64 {
        let before = self.store.counters().bytes;
        work(self);
        self.store.counters().bytes - before
    }
}
