//! Identity logs: what the relay checks before it appends, and the directory that follows.

use std::collections::BTreeSet;

use conclave_core::identity::fold;
use conclave_proto::{
    InboxId,
    codec::{decode_bare, encode_bare},
    identity::{Account, IdentityState},
    relay::PublishOutcome,
};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use crate::format::{ACCOUNTS, IDENTITIES};
use crate::limits::ACCOUNT_KEY_BYTES;
use crate::staging::Refused;
use conclave_redb_file::Failure;

/// Folds an entry onto an inbox's log, and lets the directory follow. An entry that readers would
/// skip is refused: it could only cost them time.
pub(crate) fn accept(
    transaction: &WriteTransaction,
    inbox: InboxId,
    entry: &[u8],
    entries_max: u64,
) -> Result<(), Refused> {
    let mut identities = transaction.open_table(IDENTITIES)?;
    let state: Option<IdentityState> = match identities.get(inbox.0.as_slice())? {
        Some(stored) => Some(decode_bare(stored.value()).map_err(|_| Failure::Damaged)?),
        None => None,
    };
    if state.as_ref().is_some_and(|state| state.sequence >= entries_max) {
        return Err(Refused::Item(PublishOutcome::Invalid));
    }
    let read = fold(inbox, state.as_ref(), 0, entry);
    let (Some(next), None) = (read.state, read.skipped) else {
        return Err(Refused::Item(PublishOutcome::Invalid));
    };
    identities.insert(inbox.0.as_slice(), encode_bare(&next).as_slice())?;
    let before = state.map(|state| state.accounts).unwrap_or_default();
    Ok(list(transaction, inbox, &before, &next.accounts)?)
}

/// Lists accounts that came under the inbox, the last writer winning, and unlists those that went
/// if they still point here.
fn list(
    transaction: &WriteTransaction,
    inbox: InboxId,
    before: &BTreeSet<Account>,
    after: &BTreeSet<Account>,
) -> Result<(), Failure> {
    let mut accounts = transaction.open_table(ACCOUNTS)?;
    for account in after.difference(before).filter(|account| is_listed(account)) {
        accounts.insert(account.identifier().as_str(), inbox.0.as_slice())?;
    }
    for account in before.difference(after).filter(|account| is_listed(account)) {
        let identifier = account.identifier();
        let here = accounts.get(identifier.as_str())?.is_some_and(|found| found.value() == inbox.0);
        if here {
            accounts.remove(identifier.as_str())?;
        }
    }
    Ok(())
}

/// The inbox under which each account is listed.
pub(crate) fn resolve(
    snapshot: &ReadTransaction,
    accounts: &[Account],
) -> Result<Vec<Option<InboxId>>, Failure> {
    let listed = snapshot.open_table(ACCOUNTS)?;
    let resolve = |account: &Account| {
        if !is_listed(account) {
            return Ok(None);
        }
        let Some(found) = listed.get(account.identifier().as_str())? else {
            return Ok(None);
        };
        let inbox = found.value().try_into().map_err(|_| Failure::Damaged)?;
        Ok(Some(InboxId(inbox)))
    };
    accounts.iter().map(resolve).collect()
}

fn is_listed(account: &Account) -> bool {
    account.key.len() <= ACCOUNT_KEY_BYTES
}
