//! Stores that do not keep order, bounds or snapshots.

use std::ops::ControlFlow;

use conclave_core::store::{Direction, Key, Range, Store, StoreError};
use conclave_testkit::conformance::store::scans;

use super::broken::{Commit, Scan, committing, scanning};
use super::must_catch;

#[test]
fn a_scan_that_only_goes_forward_is_caught() {
    let forward: Scan =
        |store, table, range, _, visit| store.inner.scan(table, range, Direction::Forward, visit);
    let make = scanning(forward);
    must_catch(|| scans::scans_go_forward_and_in_reverse(make));
}

#[test]
fn bounds_that_are_off_by_one_are_caught() {
    let (from, to): (Scan, Scan) = (
        |store, table, range, direction, visit| {
            let from = range.from.map(|order| [order, &[0]].concat());
            let range = Range { from: from.as_deref(), ..range };
            store.inner.scan(table, range, direction, visit)
        },
        |store, table, range, direction, visit| {
            let to = range.to.map(|order| [order, &[0]].concat());
            let range = Range { to: to.as_deref(), ..range };
            store.inner.scan(table, range, direction, visit)
        },
    );
    for scan in [from, to] {
        let make = scanning(scan);
        must_catch(|| scans::scans_start_inclusive_and_end_exclusive(make));
    }
}

#[test]
fn bounds_on_a_whole_table_are_caught() {
    let bounded: Scan = |store, table, range, direction, visit| {
        store.inner.scan(table, range, direction, &mut |key, value| {
            let order = &key[Key::SCOPE_LEN..];
            let is_inside = range.from.is_none_or(|from| from <= order);
            if is_inside { visit(key, value) } else { ControlFlow::Continue(()) }
        })
    };
    let make = scanning(bounded);
    must_catch(|| scans::a_scan_of_a_whole_table_ignores_the_bounds(make));
}

#[test]
fn an_empty_range_that_is_an_error_is_caught() {
    let strict: Scan = |store, table, range, direction, visit| {
        if range.from.zip(range.to).is_some_and(|(from, to)| from > to) {
            return Err(StoreError::Corrupt);
        }
        store.inner.scan(table, range, direction, visit)
    };
    let make = scanning(strict);
    must_catch(|| scans::a_scan_of_an_empty_range_visits_nothing(make));
}

#[test]
fn a_scan_that_does_not_stop_is_caught() {
    let deaf: Scan = |store, table, range, direction, visit| {
        store.inner.scan(table, range, direction, &mut |key, value| {
            let _ = visit(key, value);
            ControlFlow::Continue(())
        })
    };
    let make = scanning(deaf);
    must_catch(|| scans::a_scan_stops_when_told(make));
}

#[test]
fn keys_sorted_as_signed_bytes_are_caught() {
    let signed: Scan = |store, table, range, direction, visit| {
        let mut entries = Vec::new();
        store.inner.scan(table, range, direction, &mut |key, value| {
            entries.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        entries
            .sort_by_key(|(key, _)| key.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>());
        if direction == Direction::Reverse {
            entries.reverse();
        }
        let _ = entries.iter().try_for_each(|(key, value)| visit(key, value));
        Ok(())
    };
    let make = scanning(signed);
    must_catch(|| scans::keys_sort_as_unsigned_bytes(make));
}

#[test]
fn a_batch_that_is_visible_by_halves_is_caught() {
    let halves: Commit = |store, claim, writes| {
        let (first, second) = writes.split_at(writes.len() / 2);
        store.inner.commit(claim, first)?;
        std::thread::sleep(std::time::Duration::from_micros(200));
        store.inner.commit(claim, second)
    };
    let make = committing(halves);
    must_catch(|| scans::a_scan_never_sees_half_a_batch(make));
}
