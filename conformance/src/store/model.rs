//! Random histories against an ordered map (E5).

use std::collections::BTreeMap;

use conclave_core::store::{Direction, Key, Range, Scope, Store, Table, Write};

use super::kit::{Entry, OWNER, claimed, entries, noise};

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
    for history in 0..HISTORIES {
        follow(&claimed(&make), &mut Dice::new(history), history);
    }
}

/// Enough that each pair of kinds of steps meets in some of them.
const HISTORIES: u64 = 96;

fn follow(store: &impl Store, dice: &mut Dice, history: u64) {
    let mut model = Model::new();
    for step in 0..dice.between(1, 40) {
        let op = dice.op();
        let at = || format!("step {step} of history {history}: {op:?}");
        match &op {
            Op::Commit(writes) => {
                let expected = store.limits().check(writes);
                assert_eq!(store.commit(OWNER, writes), expected, "{}", at());
                if expected.is_ok() {
                    writes.iter().for_each(|write| apply(&mut model, write));
                }
            }
            Op::Get(table, key) => {
                let expected = model.get(&(*table, key.as_bytes().to_vec()));
                let found = store.get(*table, key);
                assert_eq!(found.as_ref().map(Option::as_ref), Ok(expected), "{}", at());
            }
            Op::Scan { table, scope, from, to, direction } => {
                let range = Range { scope: *scope, from: from.as_deref(), to: to.as_deref() };
                let expected = visited(&model, *table, range, *direction);
                assert_eq!(entries(store, *table, range, *direction), expected, "{}", at());
            }
        }
    }
    for table in Table::ALL {
        let expected = visited(&model, table, Range::default(), Direction::Forward);
        let found = entries(store, table, Range::default(), Direction::Forward);
        assert_eq!(found, expected, "{} after history {history}", table.name());
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

/// What makes the histories: numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number below `bound` (xorshift64*).
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap_or_default() % bound.max(1)
    }

    fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from)
    }

    fn pick<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())]
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or_default()
    }

    fn op(&mut self) -> Op {
        match self.below(7) {
            0..4 => Op::Commit((0..self.below(24)).map(|_| self.write()).collect()),
            4 => Op::Get(self.table(), self.key()),
            _ => Op::Scan {
                table: self.table(),
                scope: (self.below(2) == 0).then(|| self.scope()),
                from: (self.below(2) == 0).then(|| self.order()),
                to: (self.below(2) == 0).then(|| self.order()),
                direction: self.pick(&[Direction::Forward, Direction::Reverse]),
            },
        }
    }

    fn write(&mut self) -> Write {
        let table = self.table();
        match self.below(9) {
            0..6 => Write::Put { table, key: self.key(), value: self.value() },
            6..8 => Write::Delete { table, key: self.key() },
            _ => Write::DeleteScope { table, scope: self.scope() },
        }
    }

    /// Few tables, scopes and orders, so that writes meet.
    fn table(&mut self) -> Table {
        self.pick(&[Table::Meta, Table::Group, Table::Event])
    }

    fn scope(&mut self) -> Scope {
        let mut below_last = [0xFF; Key::SCOPE_LEN];
        below_last[Key::SCOPE_LEN - 1] = 0xFE;
        self.pick(&[
            [0; Key::SCOPE_LEN],
            [0x7F; Key::SCOPE_LEN],
            [0x80; Key::SCOPE_LEN],
            below_last,
        ])
    }

    fn key(&mut self) -> Key {
        Key::from_parts(self.scope(), &self.order())
    }

    fn order(&mut self) -> Vec<u8> {
        let len = if self.below(5) < 4 { self.below(3) } else { self.between(7, 20) };
        let byte = |dice: &mut Self| match dice.below(4) {
            0 => dice.byte(),
            _ => dice.pick(&[0, 1, 8, 9, 0x7F, 0x80, 0xFF]),
        };
        (0..len).map(|_| byte(self)).collect()
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.below(9) {
            0..2 => 0,
            2..8 => self.between(1, 100),
            _ => self.between(2_000, 9_000),
        };
        noise(len, self.byte())
    }
}
