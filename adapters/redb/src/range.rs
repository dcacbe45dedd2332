//! Ranges of a store in the bytes of keys.

use std::ops::Bound;

use conclave_core::store::{Range, Scope};

/// Where a range starts and ends. The database sorts keys as unsigned bytes, as a store has to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
}

impl Bounds {
    /// The bounds of a range; `None` if nothing can be between them.
    pub(crate) fn of(range: Range<'_>) -> Option<Self> {
        let Some(scope) = range.scope else {
            return Some(Self { from: Bound::Unbounded, to: Bound::Unbounded });
        };
        let from = key(scope, range.from.unwrap_or_default());
        let to = match range.to {
            Some(to) => Some(key(scope, to)),
            None => next_scope(scope).map(|next| next.to_vec()),
        };
        if to.as_ref().is_some_and(|to| *to <= from) {
            return None;
        }
        Some(Self { from: Bound::Included(from), to: to.map_or(Bound::Unbounded, Bound::Excluded) })
    }

    /// As the database takes them.
    pub(crate) fn as_slices(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.from.as_ref().map(Vec::as_slice), self.to.as_ref().map(Vec::as_slice))
    }
}

fn key(scope: Scope, order: &[u8]) -> Vec<u8> {
    [&scope, order].concat()
}

/// The scope that sorts directly behind; the last one has none.
fn next_scope(scope: Scope) -> Option<Scope> {
    u128::from_be_bytes(scope).checked_add(1).map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_ends_at_the_next_one_with_a_carry_and_the_last_one_is_open() {
        let mut scope = [0; 16];
        scope[15] = 0xFF;
        let mut next = [0; 16];
        next[14] = 1;
        let bounds = Bounds::of(Range::scope(scope)).unwrap();
        assert_eq!(bounds.as_slices(), (Bound::Included(&scope[..]), Bound::Excluded(&next[..])));
        let last = Bounds::of(Range::scope([0xFF; 16])).unwrap();
        assert_eq!(last.as_slices(), (Bound::Included(&[0xFF; 16][..]), Bound::Unbounded));
    }

    #[test]
    fn a_range_that_ends_where_it_starts_or_before_is_empty() {
        assert_eq!(Bounds::of(Range::within([1; 16], b"b", b"a")), None);
        assert_eq!(Bounds::of(Range::within([1; 16], b"a", b"a")), None);
        assert!(Bounds::of(Range::within([1; 16], b"a", b"aa")).is_some());
    }
}
