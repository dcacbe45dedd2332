//! What makes a database a Conclave store: a private table, and one table per kind of record.

use conclave_core::store::{Claim, Table};
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    TableError, WriteTransaction,
};

use crate::failure::{Failure, checked};
use crate::open::OpenError;

/// The version of the stored format that this crate reads and writes.
pub(crate) const VERSION: u32 = 1;

/// A table of records: key and value as the engine gave them.
pub(crate) type Records = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The table in which the records of one kind lie.
pub(crate) fn records(table: Table) -> Records {
    TableDefinition::new(table.name())
}

/// Makes a database without tables a store without records, in one commit.
pub(crate) fn initialise(db: &Database) -> Result<(), OpenError> {
    let transaction = checked(|| -> Result<_, Failure> {
        let transaction = begin(db)?;
        {
            let mut private = transaction.open_table(PRIVATE)?;
            private.insert(MAGIC_KEY, MAGIC)?;
            private.insert(VERSION_KEY, VERSION.to_be_bytes().as_slice())?;
        }
        for table in Table::ALL {
            transaction.open_table(records(table))?;
        }
        Ok(transaction)
    })?;
    Ok(checked(|| transaction.commit())?)
}

/// Whether a database is a store that this crate knows; changes nothing.
pub(crate) fn check(db: &impl ReadableDatabase) -> Result<(), OpenError> {
    checked(|| verdict(db))?
}

/// Whether a database holds no table at all.
pub(crate) fn is_blank(db: &Database) -> Result<bool, OpenError> {
    let blank = checked(|| -> Result<_, Failure> {
        let reading = db.begin_read()?;
        Ok(reading.list_tables()?.next().is_none()
            && reading.list_multimap_tables()?.next().is_none())
    })?;
    Ok(blank)
}

/// Starts a commit: durable when it returns, and quick to open after a crash.
pub(crate) fn begin(db: &Database) -> Result<WriteTransaction, Failure> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(|_| Failure::Stopped)?;
    // Without it the whole file is read when it is opened after a crash.
    transaction.set_quick_repair(true);
    Ok(transaction)
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

/// Outside, what is wrong with the medium; inside, what is wrong with the contents.
fn verdict(db: &impl ReadableDatabase) -> Result<Result<(), OpenError>, Failure> {
    let private = match db.begin_read()?.open_table(PRIVATE) {
        Ok(private) => private,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(Err(OpenError::NotAStore)),
    };
    if private.get(MAGIC_KEY)?.is_none_or(|magic| magic.value() != MAGIC) {
        return Ok(Err(OpenError::NotAStore));
    }
    let Some(version) = private.get(VERSION_KEY)? else {
        return Err(Failure::Damaged);
    };
    let version = version.value().try_into().map_err(|_| Failure::Damaged)?;
    Ok(match u32::from_be_bytes(version) {
        VERSION => Ok(()),
        found => Err(OpenError::UnknownVersion { found }),
    })
}

/// Not the name of any [`Table`], so that no scan shows what is in it.
const PRIVATE: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("conclave-store");
const MAGIC_KEY: &str = "magic";
const VERSION_KEY: &str = "version";
const CLAIM_KEY: &str = "claim";
const MAGIC: &[u8] = b"conclave engine store";
