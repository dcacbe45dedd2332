//! Random histories against an ordered map (E5).

use std::collections::BTreeMap;

use conclave_core::store::{Direction, Key, Range, Scope, Store, Table, Write};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::kit::{Entry, OWNER, broken, claimed, entries, noise};

/// One step of a history.
#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<Write>),
    Get(Table, Key),
    Scan { table: Table, scope: Option<Scope>, from: Order, to: Order, direction: Direction },
}

type Order = Option<Vec<u8>>;

/// What a store is: a map from table and key to value.
type Model = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Random commits, gets and scans do to the store what they do to an ordered map; a batch beyond
/// the limits is refused as [`StoreLimits::check`](conclave_core::store::StoreLimits::check) says
/// and changes nothing (E5).
///
/// The histories are the same in each run.
pub fn random_histories_match_an_ordered_map<S: Store>(make: impl Fn() -> S) {
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, random).run(&history(), |ops| {
        follow(&claimed(&make), ops);
        Ok(())
    });
    if let Err(error) = outcome {
        broken("the store does what an ordered map does", &error);
    }
}

fn follow(store: &impl Store, ops: Vec<Op>) {
    let mut model = Model::new();
    for op in ops {
        match op {
            Op::Commit(writes) => {
                let expected = store.limits().check(&writes);
                assert_eq!(store.commit(OWNER, &writes), expected);
                if expected.is_ok() {
                    writes.iter().for_each(|write| apply(&mut model, write));
                }
            }
            Op::Get(table, key) => {
                let expected = model.get(&(table, key.as_bytes().to_vec()));
                assert_eq!(store.get(table, &key).as_ref().map(Option::as_ref), Ok(expected));
            }
            Op::Scan { table, scope, from, to, direction } => {
                let range = Range { scope, from: from.as_deref(), to: to.as_deref() };
                let expected = visited(&model, table, range, direction);
                assert_eq!(entries(store, table, range, direction), expected, "{range:?}");
            }
        }
    }
    for table in Table::ALL {
        let expected = visited(&model, table, Range::default(), Direction::Forward);
        assert_eq!(entries(store, table, Range::default(), Direction::Forward), expected);
    }
}

fn apply(model: &mut Model, write: &Write) {
    match write {
        Write::Put { table, key, value } => {
            model.insert((*table, key.as_bytes().to_vec()), value.clone());
        }
        Write::Delete { table, key } => {
            model.remove(&(*table, key.as_bytes().to_vec()));
        }
        Write::DeleteScope { table, scope } => {
            model.retain(|(other, key), _| other != table || !key.starts_with(scope));
        }
    }
}

fn visited(model: &Model, table: Table, range: Range<'_>, direction: Direction) -> Vec<Entry> {
    let is_inside = |key: &[u8]| {
        let Some(scope) = range.scope else {
            return true;
        };
        key.strip_prefix(&scope[..]).is_some_and(|order| {
            range.from.is_none_or(|from| order >= from) && range.to.is_none_or(|to| order < to)
        })
    };
    let mut visited: Vec<Entry> = model
        .iter()
        .filter(|((other, key), _)| *other == table && is_inside(key))
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect();
    match direction {
        Direction::Forward => {}
        Direction::Reverse => visited.reverse(),
    }
    visited
}

fn history() -> impl Strategy<Value = Vec<Op>> {
    vec(op(), 1..40)
}

fn op() -> impl Strategy<Value = Op> {
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Reverse)];
    prop_oneof![
        4 => vec(write(), 0..24).prop_map(Op::Commit),
        1 => (table(), key()).prop_map(|(table, key)| Op::Get(table, key)),
        2 => (table(), of(scope()), of(order()), of(order()), direction).prop_map(
            |(table, scope, from, to, direction)| Op::Scan { table, scope, from, to, direction }
        ),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (table(), key(), value()).prop_map(|(table, key, value)| Write::Put { table, key, value }),
        2 => (table(), key()).prop_map(|(table, key)| Write::Delete { table, key }),
        1 => (table(), scope()).prop_map(|(table, scope)| Write::DeleteScope { table, scope }),
    ]
}

/// Few tables, scopes and orders, so that writes meet.
fn table() -> impl Strategy<Value = Table> {
    select(vec![Table::Meta, Table::Group, Table::Event])
}

fn scope() -> impl Strategy<Value = Scope> {
    let mut below_last = [0xFF; Key::SCOPE_LEN];
    below_last[Key::SCOPE_LEN - 1] = 0xFE;
    select(vec![[0; Key::SCOPE_LEN], [0x7F; Key::SCOPE_LEN], [0x80; Key::SCOPE_LEN], below_last])
}

fn key() -> impl Strategy<Value = Key> {
    (scope(), order()).prop_map(|(scope, order)| Key::new(scope, &order))
}

fn order() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => select(vec![0, 1, 8, 9, 0x7F, 0x80, 0xFF]), 1 => any::<u8>()];
    prop_oneof![4 => vec(byte.clone(), 0..3), 1 => vec(byte, 7..20)]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![2 => Just(0), 6 => 1..100_usize, 1 => 2000..9000_usize];
    (len, any::<u8>()).prop_map(|(len, seed)| noise(len, seed))
}
