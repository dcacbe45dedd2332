//! The committer: positions of events, and lineages that end.

use conclave_core::{
    event::{Event, log},
    step::{Committer, Effects, EventRange, Lineage, Step},
    store::{Claim, Key, Scope, Store, StoreError, StoreLimits, Table, Write},
};
use conclave_proto::GroupId;
use conclave_store_memory::MemoryStore;
use conclave_testkit::faulty_store::{Fault, Faulty};

const CLAIM: Claim = Claim([1; 16]);
const GROUP: Scope = [9; 16];

fn store() -> Faulty<MemoryStore> {
    let store = Faulty::new(MemoryStore::new());
    store.claim(CLAIM).unwrap();
    store
}

fn fail_next(store: &Faulty<MemoryStore>, fault: Fault) {
    store.restart();
    store.fail_at(0, fault);
}

fn lineage(life: u64, load: u64) -> Lineage {
    Lineage { owner: GROUP, life, load }
}

fn put(value: u8) -> Write {
    Write::Put { table: Table::Group, key: Key::numbered(GROUP, 2, 0), value: vec![value] }
}

/// A step with two events.
fn telling(lineage: Lineage, value: u8) -> Step {
    let event = Event::Removed { group: GroupId(GROUP) };
    let effects = Effects { events: vec![event.clone(), event], ..Effects::default() };
    Step::new(lineage, vec![put(value)], effects, ())
}

/// The step of a key ring that joins the group.
fn join() -> Step {
    let ring = Lineage { owner: [1; 16], life: 0, load: 1 };
    Step::new(ring, vec![put(7)], Effects::default(), ()).superseding(lineage(8, 0))
}

fn commit(committer: &mut Committer, store: &dyn Store, step: Step) -> Option<EventRange> {
    let result = committer.commit(store, vec![step.into_parts().0]).remove(0);
    result.ok().and_then(|proof| proof.events())
}

fn value(store: &Faulty<MemoryStore>) -> Option<Vec<u8>> {
    store.inner().get(Table::Group, &Key::numbered(GROUP, 2, 0)).unwrap()
}

/// E8: nobody has a position in the log of events that a step would have had which was not stored:
/// the next step has it. After a commit without an answer the store says which are taken.
#[test]
fn places_of_steps_that_failed_are_not_seen() {
    let store = store();
    let mut committer = Committer::with_event_log(CLAIM, log::last_position(&store).unwrap());
    let range = |first, last| Some(EventRange { first, last });
    assert_eq!(commit(&mut committer, &store, telling(lineage(0, 1), 1)), range(1, 2));
    fail_next(&store, Fault::Refuse(StoreError::Full));
    assert_eq!(commit(&mut committer, &store, telling(lineage(0, 2), 2)), None);
    assert_eq!(log::last_position(&store).unwrap(), 2);
    assert_eq!(commit(&mut committer, &store, telling(lineage(0, 3), 3)), range(3, 4));
    let mut again = Committer::with_event_log(CLAIM, log::last_position(&store).unwrap());
    assert_eq!(commit(&mut again, &store, telling(lineage(0, 1), 4)), range(5, 6));
    fail_next(&store, Fault::LoseAnswer);
    assert_eq!(commit(&mut again, &store, telling(lineage(0, 2), 5)), None);
    assert_eq!(commit(&mut again, &store, telling(lineage(0, 3), 6)), range(9, 10));
}

/// E8, E14: while the store does not say which positions are taken, no event is stored, and
/// nothing that events would tell of.
#[test]
fn nothing_is_stored_without_the_events_that_tell_of_it() {
    let store = store();
    let mut committer = Committer::with_event_log(CLAIM, 0);
    store.restart();
    store.fail_at(0, Fault::LoseAnswer);
    store.fail_at(1, Fault::Refuse(StoreError::Unavailable));
    assert_eq!(commit(&mut committer, &store, telling(lineage(0, 1), 1)), None);
    assert_eq!(commit(&mut committer, &store, telling(lineage(0, 2), 2)), None);
    assert_eq!(value(&store), Some(vec![1]));
    assert!(commit(&mut committer, &store, telling(lineage(0, 3), 3)).is_some());
}

/// G8: a join ends the lineages of all memberships before it, also those that are loaded later
/// from what was stored before; its own go on.
#[test]
fn a_join_supersedes_the_membership_before() {
    let store = store();
    let mut committer = Committer::new(CLAIM);
    let sets = vec![telling(lineage(3, 40), 1), join(), telling(lineage(3, 41), 2)];
    let sets = sets.into_iter().map(|step| step.into_parts().0).collect();
    let results = committer.commit(&store, sets);
    let stored: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(stored, [true, true, false], "what was handed in before the join counts");
    assert_eq!(value(&store), Some(vec![7]));
    assert!(committer.drive(&store, telling(lineage(3, 99), 3)).is_err());
    assert!(committer.drive(&store, telling(lineage(8, 1), 4)).is_ok());
    assert_eq!(value(&store), Some(vec![4]));
}

/// E14: of a join without an answer the store says what became of it, before anything of the
/// membership before is stored.
#[test]
fn a_join_without_an_answer_is_looked_up() {
    for done in [true, false] {
        let store = store();
        let mut committer = Committer::new(CLAIM);
        let fault = if done { Fault::LoseAnswer } else { Fault::Refuse(StoreError::Unknown) };
        fail_next(&store, fault);
        assert!(committer.drive(&store, join()).is_err());
        let old = committer.drive(&store, telling(lineage(3, 40), 1)).is_ok();
        assert_eq!(old, !done);
        assert_eq!(value(&store), Some(vec![if done { 7 } else { 1 }]));
    }
}

/// E4: steps that wait together go to the store in as few batches as its limits allow, and no
/// batch is larger than they are.
#[test]
fn batches_are_as_large_as_the_limits_of_the_store_allow() {
    let set = || telling(lineage(0, 1), 1).into_parts().0;
    let stored = |limits: StoreLimits| {
        let store = MemoryStore::with_limits(limits);
        store.claim(CLAIM).unwrap();
        store.reset_counters();
        let mut committer = Committer::with_event_log(CLAIM, 0);
        let results = committer.commit(&store, (0..12).map(|_| set()).collect());
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        store.counters().commits
    };
    let writes = StoreLimits { batch_writes: 18, ..StoreLimits::UNLIMITED };
    assert_eq!(stored(StoreLimits::UNLIMITED), 1);
    assert_eq!(stored(writes), 2, "six steps of three writes");
    let bytes = StoreLimits { batch_bytes: 4 * set().size(), ..StoreLimits::UNLIMITED };
    assert_eq!(stored(bytes), 3, "four steps");
}
