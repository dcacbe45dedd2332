//! A store that fails when told to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conclave_core::store::{
    Claim, Direction, Key, Range, Store, StoreError, StoreLimits, Table, Visit, Write,
};

/// Wraps a store and fails by a script.
///
/// Calls of `claim`, `commit`, `get` and `scan` are counted, from zero; the script names calls by
/// that number. Clones share the inner store, the count and the script, so a test keeps one and
/// gives another away.
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    inner: Arc<S>,
    script: Arc<Mutex<Script>>,
}

/// What happens to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call does nothing and answers this; a read, which can only be unavailable or corrupt,
    /// answers [`StoreError::Unavailable`] in place of anything else.
    Refuse(StoreError),
    /// The call is done, but its answer is lost: `claim` and `commit` answer
    /// [`StoreError::Unknown`], reads [`StoreError::Unavailable`].
    LoseAnswer,
    /// The call does nothing, and it and every later one answers [`StoreError::Unavailable`].
    DieBefore,
    /// As [`Fault::LoseAnswer`], and every later call answers [`StoreError::Unavailable`].
    DieAfter,
}

#[derive(Default)]
struct Script {
    calls: u64,
    fired: u64,
    is_dead: bool,
    /// What every commit answers that the script does not name.
    commits_refused: Option<StoreError>,
    faults: BTreeMap<u64, Fault>,
    hooks: BTreeMap<u64, Hook>,
}

type Hook = Box<dyn FnOnce() + Send>;

impl<S> Faulty<S> {
    /// Wraps a store; without a script it does what the store does.
    pub fn new(inner: S) -> Self {
        Self { inner: Arc::new(inner), script: Arc::default() }
    }

    /// The store underneath, which never fails.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Lets a call fail; `call` is counted from the beginning or the last
    /// [`restart`](Self::restart).
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.script().faults.insert(call, fault);
    }

    /// Refuses every commit with this from now on, while reads work: such is a disk that is full.
    pub fn refuse_commits(&self, error: StoreError) {
        self.script().commits_refused = Some(error);
    }

    /// Runs `hook` just before a call reaches the store: another owner that gets in between.
    ///
    /// The hook may use the inner store and this one.
    pub fn run_at(&self, call: u64, hook: impl FnOnce() + Send + 'static) {
        self.script().hooks.insert(call, Box::new(hook));
    }

    /// Forgets what the script has for calls to come; the dead stay dead.
    pub fn disarm(&self) {
        let mut script = self.script();
        script.commits_refused = None;
        script.faults.clear();
        script.hooks.clear();
    }

    /// Forgets the script, comes back to life and counts from zero again.
    pub fn restart(&self) {
        *self.script() = Script::default();
    }

    /// How many calls were counted, failed ones included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.script().calls
    }

    /// How many faults and hooks of the script were reached.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.script().fired
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one call and does what the script has for it.
    fn call<T>(
        &self,
        lost: StoreError,
        run: impl FnOnce(&S) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (fault, hook) = self.script().next()?;
        if let Some(hook) = hook {
            hook(); // without the lock: it may call this store
        }
        match fault {
            None => run(&self.inner),
            Some(Fault::Refuse(StoreError::Corrupt)) => Err(StoreError::Corrupt),
            // What a lost answer gives tells reads from writes.
            Some(Fault::Refuse(_)) if lost == StoreError::Unavailable => Err(lost),
            Some(Fault::Refuse(error)) => Err(error),
            Some(Fault::DieBefore) => Err(StoreError::Unavailable),
            Some(Fault::LoseAnswer | Fault::DieAfter) => run(&self.inner).and(Err(lost)),
        }
    }
}

impl Script {
    fn next(&mut self) -> Result<(Option<Fault>, Option<Hook>), StoreError> {
        let call = self.calls;
        self.calls += 1;
        if self.is_dead {
            return Err(StoreError::Unavailable);
        }
        let (fault, hook) = (self.faults.remove(&call), self.hooks.remove(&call));
        self.fired += u64::from(fault.is_some()) + u64::from(hook.is_some());
        self.is_dead = matches!(fault, Some(Fault::DieBefore | Fault::DieAfter));
        Ok((fault, hook))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("calls", &self.calls)
            .field("fired", &self.fired)
            .field("is_dead", &self.is_dead)
            .field("commits_refused", &self.commits_refused)
            .field("faults", &self.faults)
            .field("hooks", &self.hooks.keys())
            .finish()
    }
}

impl<S: Store> Store for Faulty<S> {
    fn claim(&self, claim: Claim) -> Result<(), StoreError> {
        self.call(StoreError::Unknown, |inner| inner.claim(claim))
    }

    fn commit(&self, claim: Claim, writes: &[Write]) -> Result<(), StoreError> {
        let refused = self.script().commits_refused.clone();
        self.call(StoreError::Unknown, |inner| match refused {
            Some(error) => Err(error),
            None => inner.commit(claim, writes),
        })
    }

    fn get(&self, table: Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        self.call(StoreError::Unavailable, |inner| inner.get(table, key))
    }

    fn scan(
        &self,
        table: Table,
        range: Range<'_>,
        direction: Direction,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.call(StoreError::Unavailable, |inner| inner.scan(table, range, direction, visit))
    }

    fn limits(&self) -> StoreLimits {
        self.inner.limits()
    }
}

#[cfg(test)]
mod tests {
    use conclave_store_memory::MemoryStore;

    use super::*;

    const CLAIM: Claim = Claim([1; 16]);

    #[test]
    fn a_refused_call_changes_nothing_and_the_next_one_works() {
        let store = claimed();
        store.fail_at(0, Fault::Refuse(StoreError::Full));
        assert_eq!(store.commit(CLAIM, &[put()]), Err(StoreError::Full));
        assert_eq!(store.get(Table::Group, &key()), Ok(None));
        assert_eq!(store.commit(CLAIM, &[put()]), Ok(()));
        assert_eq!((store.calls(), store.fired()), (3, 1));
    }

    #[test]
    fn a_full_store_refuses_commits_until_there_is_room_and_can_be_read() {
        let store = claimed();
        store.commit(CLAIM, &[put()]).unwrap();
        store.refuse_commits(StoreError::Full);
        for _ in 0..2 {
            assert_eq!(store.commit(CLAIM, &[put()]), Err(StoreError::Full));
            assert_eq!(store.get(Table::Group, &key()), Ok(Some(Vec::new())));
        }
        store.disarm();
        assert_eq!(store.commit(CLAIM, &[put()]), Ok(()));
    }

    #[test]
    fn a_lost_answer_belongs_to_a_commit_that_happened() {
        let store = claimed();
        store.fail_at(0, Fault::LoseAnswer);
        assert_eq!(store.commit(CLAIM, &[put()]), Err(StoreError::Unknown));
        assert_eq!(store.get(Table::Group, &key()), Ok(Some(Vec::new())));
    }

    #[test]
    fn a_lost_answer_of_a_refused_commit_is_its_refusal() {
        let store = claimed();
        store.fail_at(0, Fault::LoseAnswer);
        assert_eq!(store.commit(Claim([2; 16]), &[put()]), Err(StoreError::Fenced));
    }

    #[test]
    fn the_dead_answer_nothing_until_a_restart() {
        for (fault, stored) in [(Fault::DieBefore, None), (Fault::DieAfter, Some(Vec::new()))] {
            let store = claimed();
            store.fail_at(0, fault);
            store.commit(CLAIM, &[put()]).unwrap_err();
            assert_eq!(store.get(Table::Group, &key()), Err(StoreError::Unavailable));
            assert_eq!(store.claim(CLAIM), Err(StoreError::Unavailable));
            store.restart();
            assert_eq!(store.get(Table::Group, &key()), Ok(stored));
        }
    }

    #[test]
    fn a_hook_runs_before_its_call() {
        let store = claimed();
        let rival = store.inner().clone();
        store.run_at(0, move || rival.claim(Claim([2; 16])).unwrap());
        assert_eq!(store.commit(CLAIM, &[put()]), Err(StoreError::Fenced));
    }

    fn claimed() -> Faulty<MemoryStore> {
        let store = Faulty::new(MemoryStore::new());
        store.claim(CLAIM).unwrap();
        store.restart();
        store
    }

    fn key() -> Key {
        Key::from_parts([1; 16], b"order")
    }

    fn put() -> Write {
        Write::Put { table: Table::Group, key: key(), value: Vec::new() }
    }
}
