//! What is shipped: how many crates a program pulls in, and how large it is.
//!
//! Cargo itself says so, as it builds: the program with everything, and a program of a page
//! (the example `own_delivery`) over the library without actix, QUIC and wallets, with a store and a delivery
//! service of its own.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    process::{Command, Stdio},
};

/// What is built.
#[derive(Clone, Copy, Debug)]
pub enum Product {
    /// The program `conclave`.
    Program,
    /// The library without what can be left out.
    Library,
}

impl Product {
    const fn package(self) -> &'static [&'static str] {
        match self {
            Self::Program => &["--package", "conclave-cli"],
            Self::Library => &["--package", "conclave", "--no-default-features"],
        }
    }

    const fn target(self) -> &'static [&'static str] {
        match self {
            Self::Program => &["--bin", "conclave"],
            Self::Library => &["--example", "own_delivery"],
        }
    }

    /// Bytes of the program, as `cargo build --release` makes it; it builds what is not built
    /// yet. `None` if this was not started by cargo.
    ///
    /// # Panics
    /// If cargo fails.
    #[must_use]
    pub fn bytes(self) -> Option<u64> {
        let mut build = cargo()?;
        build.args(["build", "--release", "--message-format", "json"]);
        build.args(self.package()).args(self.target());
        let built = said(build);
        let path = built.lines().rev().find_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            message["executable"].as_str().map(OsString::from)
        });
        Some(fs::metadata(path.expect("it was built")).expect("it is there").len())
    }

    /// Packages that are linked or run while building, its own included; `None` if this was not started by cargo.
    ///
    /// # Panics
    /// If cargo fails.
    #[must_use]
    pub fn crates(self) -> Option<u64> {
        let mut tree = cargo()?;
        tree.args(["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
        tree.args(self.package());
        let lines = said(tree);
        // The same package with other features is the same package.
        let packages: BTreeSet<&str> =
            lines.lines().map(|line| line.trim_end_matches(" (*)")).collect();
        Some(packages.iter().filter(|line| !line.is_empty()).count() as u64)
    }
}

fn cargo() -> Option<Command> {
    let mut command = Command::new(std::env::var_os("CARGO")?);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    // What cargo says to this program would make build scripts believe that something has changed.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_CRATE_NAME", "OUT_DIR"] {
        command.env_remove(name);
    }
    std::env::vars_os().map(|(name, _)| name).filter(is_of_package).for_each(|name| {
        command.env_remove(name);
    });
    Some(command)
}

fn is_of_package(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_"))
}

fn said(mut command: Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().expect("cargo starts");
    assert!(output.status.success(), "cargo fails");
    String::from_utf8(output.stdout).expect("cargo writes text")
}
