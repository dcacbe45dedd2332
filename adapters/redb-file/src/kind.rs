//! Whose a file is: a private table with a magic and a version.

use redb::{Database, Durability, ReadableDatabase, TableDefinition, TableError, WriteTransaction};

use crate::failure::{Failure, checked};
use crate::open::OpenError;

/// A table of named bytes.
pub type Marks = TableDefinition<'static, &'static str, &'static [u8]>;

/// A kind of file.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The table with magic and version, in which the kind may keep other marks of its own.
    pub table: Marks,
    /// What nobody else has there.
    pub magic: &'static [u8],
    /// The version of the stored format that is read and written.
    pub version: u32,
}

impl Kind {
    /// Makes a database without tables one of this kind, in one commit.
    pub(crate) fn found_if_blank(
        &self,
        db: &Database,
        found: impl FnOnce(&WriteTransaction) -> Result<(), Failure>,
    ) -> Result<(), OpenError> {
        if !is_blank(db)? {
            return Ok(());
        }
        let transaction = checked(|| -> Result<_, Failure> {
            let transaction = begin(db, true)?;
            {
                let mut marks = transaction.open_table(self.table)?;
                marks.insert(MAGIC_KEY, self.magic)?;
                marks.insert(VERSION_KEY, self.version.to_be_bytes().as_slice())?;
            }
            found(&transaction)?;
            Ok(transaction)
        })?;
        Ok(checked(|| transaction.commit())?)
    }

    /// Whether a database is of this kind; changes nothing.
    pub(crate) fn check(&self, db: &impl ReadableDatabase) -> Result<(), OpenError> {
        checked(|| self.verdict(db))?
    }

    /// Outside, what is wrong with the medium; inside, what is wrong with the contents.
    fn verdict(&self, db: &impl ReadableDatabase) -> Result<Result<(), OpenError>, Failure> {
        let marks = match db.begin_read()?.open_table(self.table) {
            Ok(marks) => marks,
            Err(TableError::Storage(error)) => return Err(error.into()),
            Err(_) => return Ok(Err(OpenError::Foreign)),
        };
        if marks.get(MAGIC_KEY)?.is_none_or(|magic| magic.value() != self.magic) {
            return Ok(Err(OpenError::Foreign));
        }
        let Some(version) = marks.get(VERSION_KEY)? else {
            return Err(Failure::Damaged);
        };
        let version = version.value().try_into().map_err(|_| Failure::Damaged)?;
        Ok(match u32::from_be_bytes(version) {
            known if known == self.version => Ok(()),
            found => Err(OpenError::UnknownVersion { found, known: self.version }),
        })
    }
}

/// Starts a commit that is durable when it returns. With `quick` the file opens at once after a
/// crash, without being read as a whole, as long as it is the last commit.
///
/// # Errors
/// [`Failure`].
pub fn begin(db: &Database, quick: bool) -> Result<WriteTransaction, Failure> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(|_| Failure::Stopped)?;
    transaction.set_quick_repair(quick);
    Ok(transaction)
}

/// Whether a database holds no table at all.
fn is_blank(db: &Database) -> Result<bool, OpenError> {
    let blank = checked(|| -> Result<_, Failure> {
        let reading = db.begin_read()?;
        Ok(reading.list_tables()?.next().is_none()
            && reading.list_multimap_tables()?.next().is_none())
    })?;
    Ok(blank)
}

const MAGIC_KEY: &str = "magic";
const VERSION_KEY: &str = "version";
