//! What has to hold for the workspace as a whole: dependencies, sources and documents.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod citations;
mod dependencies;
mod documents;
mod sources;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of the workspace.
fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the test kit lies in the workspace").to_path_buf()
}

/// Every product file below a folder of the workspace, in order: its path from there, and its
/// text. Build output, history and files that are not text are left out.
fn files(below: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join(below), &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder is read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                collect(&path, found);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).expect("it lies below the root");
            found.push((path.to_string_lossy().replace('\\', "/"), text));
        }
    }
}

/// One document of the project.
fn document(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
