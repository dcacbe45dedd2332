//! The session's actor alone.

use std::sync::Arc;

use conclave_core::{
    engine::{Actor, Context, EngineLimits, Input, SessionActor, SessionMessage},
    entropy::Entropy,
};
use conclave_proto::{ChainHash, Cursor, GroupId, Seq, Timestamp, Topic};
use conclave_store_memory::MemoryStore;
use conclave_testkit::entropy::SimEntropy;

const GROUP: GroupId = GroupId([1; 16]);

fn cursor(seq: u64) -> Cursor {
    Cursor { seq: Seq(seq), hash: ChainHash([2; 32]) }
}

fn told(actor: &mut SessionActor, message: SessionMessage) {
    actor.handle(Timestamp(1), &MemoryStore::new(), Input::Told(message));
}

fn handled(life: u64, seq: u64) -> SessionMessage {
    let (group, cursor, parked) = (GROUP, cursor(seq), false);
    SessionMessage::Handled { group, life, cursor, parked, removed: true }
}

/// Scenarios 67 and 149: a group is joined again as soon as its removal is stored. What its
/// membership before says after that must not end the new one.
#[test]
fn the_last_word_of_a_membership_does_not_end_the_next_one() {
    let entropy = Entropy::new(Box::new(SimEntropy::new(1, 1, 1)));
    let context = Arc::new(Context::new(EngineLimits::default(), entropy));
    let mut actor = SessionActor::new(context);
    let is_watched = |actor: &SessionActor| actor.session().is_watched(&Topic::Group(GROUP));
    told(&mut actor, SessionMessage::Watch(GROUP, cursor(8)));
    told(&mut actor, handled(2, 11));
    assert!(is_watched(&actor));
    told(&mut actor, handled(8, 12));
    assert!(!is_watched(&actor), "the present one has ended");
}
