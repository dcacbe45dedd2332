//! Licences of everything, and one version of each library that the product names itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Licences that any dependency may have; the same as in `deny.toml`.
const ALLOWED: [&str; 7] =
    ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unicode-3.0", "Zlib"];
/// Weak copyleft by file, for these alone.
const EXCEPTIONS: [(&str, &str); 2] = [("hpke-rs", "MPL-2.0"), ("hpke-rs-crypto", "MPL-2.0")];
/// Members that are for measuring and testing: what only they depend on is not the product.
const NOT_PRODUCT: [&str; 3] = ["conclave-conformance", "conclave-testkit", "conclave-benches"];

#[test]
fn every_dependency_has_an_allowed_licence() {
    let mut bad = Vec::new();
    for package in list(&metadata()["packages"]) {
        let name = text(&package["name"]);
        let licence = text(&package["license"]);
        let allowed = |id: &str| ALLOWED.contains(&id) || EXCEPTIONS.contains(&(name.as_str(), id));
        if !Expression::holds(&licence, allowed) {
            bad.push(format!("{name}: {licence:?}"));
        }
    }
    assert_eq!(bad, Vec::<String>::new(), "licences that are not in deny.toml");
}

#[test]
fn the_product_has_one_version_of_each_library_it_names() {
    let metadata = metadata();
    let packages: BTreeMap<String, &Value> =
        list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), package)).collect();
    let members: Vec<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
    let product: Vec<&String> = members
        .iter()
        .filter(|id| !NOT_PRODUCT.contains(&text(&packages[*id]["name"]).as_str()))
        .collect();
    let named: BTreeSet<String> = product
        .iter()
        .flat_map(|id| list(&packages[*id]["dependencies"]))
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| text(&dependency["name"]))
        .collect();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let all = reachable(&metadata, &product);
    for id in &all {
        if hidden_behind_its_only_user(&metadata, &packages, &all, id) {
            continue;
        }
        let (name, version) = (text(&packages[id]["name"]), text(&packages[id]["version"]));
        versions.entry(name).or_default().insert(version);
    }
    let twice: Vec<_> = versions
        .into_iter()
        .filter(|(name, versions)| named.contains(name) && versions.len() > 1)
        .collect();
    assert!(named.contains("openmls"), "the product names its libraries: {named:?}");
    assert_eq!(twice, Vec::new(), "two versions of one library");
}

/// E5, E6: who implements a trait tests it without the relay, the MLS library, the test kit and what
/// these bring; features that other members of the workspace switch on do not count.
#[test]
fn the_conformance_suites_bring_only_the_inner_rings_and_memory() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--locked", "--edges", "normal,build", "--prefix", "none"]);
    cargo.args(["--format", "{p} {f}", "--package", "conclave-conformance"]);
    let output = cargo.current_dir(super::root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let names: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let ours: Vec<&str> =
        names.iter().copied().filter(|name| name.starts_with("conclave")).collect();
    let allowed =
        ["conclave-conformance", "conclave-core", "conclave-proto", "conclave-store-memory"];
    assert_eq!(ours, allowed);
    let foreign: Vec<&str> = ["openmls", "proptest", "redb", "tokio", "quinn"]
        .into_iter()
        .filter(|name| names.contains(name))
        .collect();
    assert_eq!(foreign, Vec::<&str>::new());
    let core = tree.lines().find(|line| line.starts_with("conclave-core "));
    assert!(!core.expect("it is in the tree").contains("internals"));
}

/// Libraries of which an older version is inside of another library and of nothing else: `ring`,
/// which TLS needs, is on the line before ours of `getrandom`. Whoever else used that version
/// would fail the check.
const HIDDEN: [(&str, &str); 1] = [("getrandom", "ring")];

fn hidden_behind_its_only_user(
    metadata: &Value,
    packages: &BTreeMap<String, &Value>,
    all: &BTreeSet<String>,
    id: &String,
) -> bool {
    let name = text(&packages[id]["name"]);
    let uses = |node: &&Value| {
        all.contains(&text(&node["id"]))
            && list(&node["deps"]).iter().any(|dependency| text(&dependency["pkg"]) == *id)
    };
    let users: Vec<String> = list(&metadata["resolve"]["nodes"])
        .iter()
        .filter(uses)
        .map(|node| text(&packages[&text(&node["id"])]["name"]))
        .collect();
    HIDDEN.iter().any(|(library, user)| name == *library && users == [*user])
}

/// What some packages are built of, themselves included: no dev and build dependencies.
fn reachable(metadata: &Value, from: &[&String]) -> BTreeSet<String> {
    let nodes: BTreeMap<String, &Value> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (text(&node["id"]), node)).collect();
    let mut found = BTreeSet::new();
    let mut waiting: Vec<String> = from.iter().map(|id| (*id).clone()).collect();
    while let Some(id) = waiting.pop() {
        let normal = list(&nodes[&id]["deps"]).iter().filter(|dependency| {
            list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null())
        });
        if found.insert(id.clone()) {
            waiting.extend(normal.map(|dependency| text(&dependency["pkg"])));
        }
    }
    found
}

/// What cargo knows of the workspace and its dependencies. Without the network if possible: all
/// platforms if their packages have been fetched, else this one, which has been built.
fn metadata() -> Value {
    let host = host();
    let fetched = ["--offline"];
    let built = ["--offline", "--filter-platform", &host];
    for how in [&fetched[..], &built[..], &[]] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--format-version", "1", "--locked"]).args(how);
        let output = cargo.current_dir(super::root()).output().expect("cargo runs");
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        }
    }
    panic!("cargo metadata fails: is the lock file as committed?");
}

fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc says what it runs on").to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A licence expression (SPDX): `AND` binds closer than `OR`; a slash is an old `OR`.
struct Expression<'a, F> {
    words: std::iter::Peekable<std::vec::IntoIter<&'a str>>,
    allowed: F,
}

impl<F: Fn(&str) -> bool> Expression<'_, F> {
    fn holds(text: &str, allowed: F) -> bool {
        let spaced = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut expression = Expression { words: words.into_iter().peekable(), allowed };
        expression.any() && expression.words.peek().is_none()
    }

    fn any(&mut self) -> bool {
        let mut holds = self.all();
        while self.words.next_if_eq(&"OR").is_some() {
            holds |= self.all();
        }
        holds
    }

    fn all(&mut self) -> bool {
        let mut holds = self.one();
        while self.words.next_if_eq(&"AND").is_some() {
            holds &= self.one();
        }
        holds
    }

    fn one(&mut self) -> bool {
        let Some(word) = self.words.next() else { return false };
        if word == "(" {
            let holds = self.any();
            return self.words.next() == Some(")") && holds;
        }
        // An exception to a licence (`WITH`) only ever allows more.
        if self.words.next_if_eq(&"WITH").is_some() {
            self.words.next();
        }
        (self.allowed)(word)
    }
}

#[test]
fn licence_expressions_are_understood() {
    let holds = |text| Expression::holds(text, |id| ALLOWED.contains(&id));
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(holds(good), "{good}");
    }
    for bad in ["", "MPL-2.0", "MIT AND GPL-3.0", "(MIT OR GPL-3.0) AND GPL-3.0"] {
        assert!(!holds(bad), "{bad}");
    }
}
