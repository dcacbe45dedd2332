//! A scan visits one snapshot, in key order, within its bounds (E5).

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use conclave_core::store::Direction::{Forward, Reverse};
use conclave_core::store::{Direction, Key, Range, Scope, Store, Table, Write};

use super::kit::{
    SCOPE, claimed, commit, delete_scope, entries, holding, many, noise, orders, put, value,
};

const TABLE: Table = Table::Group;

/// Forward is ascending, reverse is descending, and both visit the same records.
pub fn scans_go_forward_and_in_reverse<S: Store>(make: impl Fn() -> S) {
    let store = letters(&make);
    let forward = entries(&store, TABLE, Range::scope(SCOPE), Forward);
    let mut reverse = entries(&store, TABLE, Range::scope(SCOPE), Reverse);
    let expected: Vec<_> = (b'a'..=b'f')
        .map(|letter| (Key::from_parts(SCOPE, &[letter]).as_bytes().to_vec(), noise(40, letter)))
        .collect();
    assert_eq!(forward, expected, "whole keys, in order, with their values");
    reverse.reverse();
    assert_eq!(reverse, expected, "the same from the other end");
}

/// `from` is visited, `to` is not, in both directions, whether or not there are such keys.
pub fn scans_start_inclusive_and_end_exclusive<S: Store>(make: impl Fn() -> S) {
    let store = letters(&make);
    type Case = (Option<&'static [u8]>, Option<&'static [u8]>, &'static str);
    let cases: [Case; 8] = [
        (Some(b"b"), Some(b"e"), "bcd"),
        (Some(b"b"), None, "bcdef"),
        (None, Some(b"c"), "ab"),
        (None, None, "abcdef"),
        (Some(b"b\0"), Some(b"e\0"), "cde"),
        (Some(b""), Some(b"\xFF\xFF"), "abcdef"),
        (Some(b"ccc"), Some(b"dd"), "d"),
        (Some(b"f"), Some(b"g"), "f"),
    ];
    for (from, to, letters) in cases {
        let range = Range { scope: Some(SCOPE), from, to };
        let mut expected: Vec<_> = letters.bytes().map(|letter| vec![letter]).collect();
        assert_eq!(orders(&store, range, Forward), expected, "{from:?} to {to:?}");
        expected.reverse();
        assert_eq!(orders(&store, range, Reverse), expected, "{from:?} to {to:?}, reverse");
    }
}

/// Without a scope a scan visits the whole table, whatever the bounds say.
pub fn a_scan_of_a_whole_table_ignores_the_bounds<S: Store>(make: impl Fn() -> S) {
    let store = claimed(&make);
    let scopes: [Scope; 4] = [[0; 16], [0x7F; 16], [0x80; 16], [0xFF; 16]];
    for scope in scopes.iter().rev() {
        let writes = [put(TABLE, *scope, b"", "1"), put(TABLE, *scope, b"x", "2")];
        commit(&store, &writes);
        commit(&store, &[put(Table::Message, *scope, b"other table", "3")]);
    }
    let mut expected: Vec<_> = scopes
        .iter()
        .flat_map(|scope| [Key::from_parts(*scope, b""), Key::from_parts(*scope, b"x")])
        .map(|key| key.as_bytes().to_vec())
        .collect();
    let bounded = Range { scope: None, from: Some(b"x"), to: Some(b"a") };
    for range in [Range::default(), bounded] {
        assert_eq!(keys(&store, range, Forward), expected);
    }
    expected.reverse();
    assert_eq!(keys(&store, bounded, Reverse), expected);
}

/// A range without keys, or one that ends where or before it starts, is empty and no error.
pub fn a_scan_of_an_empty_range_visits_nothing<S: Store>(make: impl Fn() -> S) {
    let store = letters(&make);
    let ranges = [
        Range::scope([0x33; 16]),
        Range::within(SCOPE, b"c", b"c"),
        Range::within(SCOPE, b"d", b"b"),
        Range::within(SCOPE, b"x", b"z"),
        Range::within([0xFF; 16], b"\xFF", b""),
    ];
    for range in ranges {
        for direction in [Forward, Reverse] {
            assert!(keys(&store, range, direction).is_empty(), "{range:?} {direction:?}");
        }
    }
    assert!(entries(&store, Table::Event, Range::default(), Forward).is_empty());
}

/// After `Break` nothing more is visited, and the scan is a success.
pub fn a_scan_stops_when_told<S: Store>(make: impl Fn() -> S) {
    let store = letters(&make);
    for (direction, expected) in [(Forward, [b"a", b"b"]), (Reverse, [b"f", b"e"])] {
        for range in [Range::scope(SCOPE), Range::default()] {
            let mut visited = Vec::new();
            let answer = store.scan(TABLE, range, direction, &mut |key, _| {
                visited.push(super::kit::order_of(key));
                if visited.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert_eq!(answer, Ok(()), "being told to stop is no error");
            assert_eq!(visited, expected, "{direction:?}");
        }
    }
}

/// Keys are bytes, compared unsigned from the left; a key sorts before those it begins.
pub fn keys_sort_as_unsigned_bytes<S: Store>(make: impl Fn() -> S) {
    let sorted: Vec<Vec<u8>> = [
        &b""[..],
        b"\0",
        b"\0\0",
        b"\0\xFF",
        b"\x01",
        b"a",
        b"a\0",
        b"a\0b",
        b"aa",
        b"b",
        b"\x7F",
        b"\x7F\xFF",
        b"\x80",
        b"\x80\0",
        b"\xFE\xFF",
        b"\xFF",
        b"\xFF\0",
        b"\xFF\xFF",
    ]
    .into_iter()
    .map(<[u8]>::to_vec)
    .collect();
    let store = claimed(&make);
    // In an order that is neither this one nor its reverse.
    for start in 0..7 {
        for order in sorted.iter().skip(start).step_by(7) {
            commit(&store, &[put(TABLE, SCOPE, order, order.clone())]);
        }
    }
    assert_eq!(orders(&store, Range::scope(SCOPE), Forward), sorted);
    assert_eq!(orders(&store, Range::default(), Forward), sorted);
    for order in &sorted {
        assert_eq!(value(&store, TABLE, SCOPE, order).as_ref(), Some(order));
    }
    for (low, from) in sorted.iter().enumerate() {
        for (high, to) in sorted.iter().enumerate().skip(low) {
            let mut expected = sorted.iter().take(high).skip(low).cloned().collect::<Vec<_>>();
            assert_eq!(orders(&store, Range::within(SCOPE, from, to), Forward), expected);
            expected.reverse();
            assert_eq!(orders(&store, Range::within(SCOPE, from, to), Reverse), expected);
        }
    }
}

/// While another thread commits, each scan sees whole batches only.
///
/// Every batch gives all keys of a scope the same value or deletes the scope.
pub fn a_scan_never_sees_half_a_batch<S: Store>(make: impl Fn() -> S) {
    let store = claimed(&make);
    let count = many(store.limits());
    let is_done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let _done = SetOnDrop(&is_done); // also if this thread fails
            for round in 0..150 {
                commit(&store, &generation(round, count));
            }
        });
        let mut direction = Forward;
        while !is_done.load(Ordering::Acquire) {
            direction = if direction == Forward { Reverse } else { Forward };
            let visited = entries(&store, TABLE, Range::scope(SCOPE), direction);
            let len = visited.len();
            assert!(len == 0 || len == usize::from(count), "{len} keys of {count}");
            let mut values = visited.iter().map(|(_, value)| value);
            let first = values.next();
            let is_whole = values.all(|value| Some(value) == first);
            assert!(is_whole, "values of two batches in one scan");
        }
    });
}

fn letters<S: Store>(make: &impl Fn() -> S) -> S {
    let writes: Vec<Write> =
        b"cafebd".iter().map(|letter| put(TABLE, SCOPE, &[*letter], noise(40, *letter))).collect();
    let store = holding(make, &writes);
    for neighbour in [[0x50; 16], [0x52; 16]] {
        commit(&store, &[put(Table::Message, neighbour, b"c", "neighbour")]);
    }
    store
}

fn keys(store: &impl Store, range: Range<'_>, direction: Direction) -> Vec<Vec<u8>> {
    entries(store, TABLE, range, direction).into_iter().map(|(key, _)| key).collect()
}

fn generation(round: u8, count: u16) -> Vec<Write> {
    if round % 5 == 4 {
        return vec![delete_scope(TABLE, SCOPE)];
    }
    (0..count).map(|order| put(TABLE, SCOPE, &order.to_be_bytes(), [round])).collect()
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
