//! `conclave store`: what a store holds, without opening an engine.

use std::{fs, ops::ControlFlow};

use conclave::core::store::{Direction, Range, Store as _, Table};
use serde_json::json;

use crate::{
    args::StoreCommand,
    failure::Failure,
    folder::Folder,
    print::{json_line, line},
};

pub(crate) fn store(command: &StoreCommand, json: bool) -> Result<(), Failure> {
    match command {
        StoreCommand::Info(args) => info(&Folder::new(&args.data), json),
    }
}

fn info(folder: &Folder, json: bool) -> Result<(), Failure> {
    let path = folder.store_path();
    let store = folder.open_store()?;
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
            json_line(&json!({ "table": name, "records": records, "bytes": bytes }))?;
        } else {
            line(format_args!("{name:<10} {records:>10} records {bytes:>12} bytes"))?;
        }
    }
    let file = fs::metadata(&path)?.len();
    if json {
        json_line(&json!({ "path": path, "bytes": total, "file_bytes": file }))
    } else {
        let path = path.display();
        line(format_args!("{total} bytes of keys and values, {file} bytes in {path}"))
    }
}
