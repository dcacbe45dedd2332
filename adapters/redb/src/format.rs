//! What makes a database a Conclave store: a private table, and one table per kind of record.

use conclave_core::store::{Claim, Table};
use conclave_redb_file::{Failure, Kind, Marks};
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

/// The version of the stored format that this crate reads and writes.
pub(crate) const VERSION: u32 = 1;

/// How a store is told from other files.
pub(crate) const KIND: Kind =
    Kind { table: PRIVATE, magic: b"conclave engine store", version: VERSION };

/// A table of records: key and value as the engine gave them.
pub(crate) type Records = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The table in which the records of one kind lie.
pub(crate) fn records(table: Table) -> Records {
    TableDefinition::new(table.name())
}

/// What a store holds from the beginning: its tables, empty.
pub(crate) fn found(transaction: &WriteTransaction) -> Result<(), Failure> {
    for table in Table::ALL {
        transaction.open_table(records(table))?;
    }
    Ok(())
}

/// The claim that stands, as a commit sees it.
pub(crate) fn claim_in(transaction: &WriteTransaction) -> Result<Option<Claim>, Failure> {
    claim_of(&transaction.open_table(PRIVATE)?)
}

/// The claim that stands, as a read sees it.
pub(crate) fn claim_seen(transaction: &ReadTransaction) -> Result<Option<Claim>, Failure> {
    claim_of(&transaction.open_table(PRIVATE)?)
}

/// Replaces the claim.
pub(crate) fn set_claim(transaction: &WriteTransaction, claim: Claim) -> Result<(), Failure> {
    transaction.open_table(PRIVATE)?.insert(CLAIM_KEY, claim.0.as_slice())?;
    Ok(())
}

fn claim_of(
    private: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Option<Claim>, Failure> {
    let Some(stored) = private.get(CLAIM_KEY)? else {
        return Ok(None);
    };
    let claim = stored.value().try_into().map_err(|_| Failure::Damaged)?;
    Ok(Some(Claim(claim)))
}

/// Not the name of any [`Table`], so that no scan shows what is in it.
const PRIVATE: Marks = TableDefinition::new("conclave-store");
const CLAIM_KEY: &str = "claim";
