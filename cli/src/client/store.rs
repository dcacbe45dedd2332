//! `conclave store`: what a store holds, without opening an engine.

use std::{fs, ops::ControlFlow};

use conclave::core::store::{Direction, Range, Store as _, Table};
use conclave_store_redb::RedbStore;
use serde_json::json;

use crate::{args::StoreCommand, failure::Failure, folder::Folder};

pub(crate) fn store(command: &StoreCommand, json: bool) -> Result<(), Failure> {
    match command {
        StoreCommand::Info(args) => info(&Folder::new(&args.data), json),
    }
}

fn info(folder: &Folder, json: bool) -> Result<(), Failure> {
    let path = folder.store_path();
    let store = RedbStore::open(&path).map_err(|error| Failure::unopened(&path, &error))?;
    let mut total = 0;
    for table in Table::ALL {
        let (mut records, mut bytes) = (0_u64, 0_u64);
        store.scan(table, Range::default(), Direction::Forward, &mut |key, value| {
            records += 1;
            bytes += u64::try_from(key.len() + value.len()).unwrap_or_default();
            ControlFlow::Continue(())
        })?;
        total += bytes;
        let name = table.name();
        if json {
            println!("{}", json!({ "table": name, "records": records, "bytes": bytes }));
        } else {
            println!("{name:<10} {records:>10} records {bytes:>12} bytes");
        }
    }
    let file = fs::metadata(&path)?.len();
    if json {
        println!("{}", json!({ "path": path, "bytes": total, "file_bytes": file }));
    } else {
        println!("{total} bytes of keys and values, {file} bytes in {}", path.display());
    }
    Ok(())
}
