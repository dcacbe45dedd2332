//! Groups that are not in memory: what can be known of them by a few small reads.

use std::ops::ControlFlow;

use conclave_proto::{Cursor, GroupId, Timestamp, codec::Wire};

use super::{
    LoadError,
    place::{KEPT_ORDERS, Place},
    renewal::Renewal,
    standing::Standing,
    stored::Meta,
};
use crate::{
    config::Limits,
    store::{Direction, Range, Store, StoreError, Table},
};

/// What is known of a group that this installation holds, without loading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// [`Group::standing`](super::Group::standing).
    pub standing: Standing,
    /// [`Group::cursor`](super::Group::cursor).
    pub cursor: Cursor,
    /// Whether something of its own may be on its way or is wished: to be loaded, so that
    /// [`Group::unsettled`](super::Group::unsettled) is published.
    pub undone: bool,
    /// When the oldest past epoch ended.
    oldest_past: Option<Timestamp>,
    /// When its keys are to be renewed.
    update_by: Option<Timestamp>,
}

impl Held {
    /// What a store holds of a group.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn read(store: &dyn Store, group: GroupId) -> Result<Option<Self>, LoadError> {
        let value = store.get(Table::Group, &Place::Meta.key(group))?;
        let Some(value) = value else { return Ok(None) };
        let meta = Meta::decode(&value).map_err(LoadError::undecoded("group record"))?;
        let kept = KEPT_ORDERS.each_ref();
        let undone = has_any(store, Table::Outbox, Range::scope(group.0))?
            || has_any(store, Table::Intent, Range::scope(group.0))?
            || has_any(store, Table::Group, Range::within(group.0, kept[0], kept[1]))?;
        let renews = meta.standing == Standing::Member;
        Ok(Some(Self {
            standing: meta.standing,
            cursor: meta.cursor,
            undone,
            oldest_past: meta.past.first().map(|past| past.ended),
            update_by: Renewal::of(&meta).after_joining().filter(|_| renews),
        }))
    }

    /// When it has something to do although nothing comes: old secrets to erase (S4), keys to
    /// renew (S5). It may be earlier than [`Group::next_timeout`](super::Group::next_timeout),
    /// never later, unless something is [`undone`](Self::undone).
    #[must_use]
    pub fn next_timeout(&self, limits: &Limits) -> Option<Timestamp> {
        let expiry = self.oldest_past.map(|ended| ended.plus_ms(limits.past_epoch_ms));
        [expiry, self.update_by].into_iter().flatten().min()
    }
}

fn has_any(store: &dyn Store, table: Table, range: Range<'_>) -> Result<bool, StoreError> {
    let mut found = false;
    store.scan(table, range, Direction::Forward, &mut |_, _| {
        found = true;
        ControlFlow::Break(())
    })?;
    Ok(found)
}
