//! Documents and sources say the same.

use std::{collections::BTreeSet, fs};

use super::{
    citations::{Citations, REQUIREMENTS, SCENARIOS},
    document, root,
};

const SECURITY: &str = "docs/security.md";
/// A row without any.
const NONE: &str = "no test";

/// A row of a table in `docs/security.md`: `| id | what | tests |`.
struct Row {
    id: String,
    what: String,
    tests: Vec<String>,
}

impl Row {
    fn read(line: &str) -> Option<Self> {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.splitn(3, " | ");
        let (id, what, tests) = (cells.next()?, cells.next()?, cells.next()?);
        let quoted = tests.split('`').skip(1).step_by(2).map(str::to_owned);
        let is_id = id.chars().any(|c| c.is_ascii_digit());
        is_id.then(|| Self { id: id.to_owned(), what: what.to_owned(), tests: quoted.collect() })
    }

    fn write(&self, tests: &BTreeSet<String>) -> String {
        let names: Vec<String> = tests.iter().map(|name| format!("`{name}`")).collect();
        let tests = if names.is_empty() { NONE.to_owned() } else { names.join(", ") };
        format!("| {} | {} | {tests} |", self.id, self.what)
    }
}

fn rows() -> Vec<Row> {
    document(SECURITY).lines().filter_map(Row::read).collect()
}

#[test]
fn every_requirement_and_scenario_has_one_row() {
    let mut expected: Vec<String> = REQUIREMENTS
        .iter()
        .flat_map(|(letter, max)| (1..=*max).map(move |number| format!("{letter}{number}")))
        .chain((1..=SCENARIOS).map(|number| number.to_string()))
        .collect();
    let mut there: Vec<String> = rows().into_iter().map(|row| row.id).collect();
    expected.sort();
    there.sort();
    assert_eq!(there, expected);
}

#[test]
fn every_test_named_in_the_security_table_exists() {
    let functions = Citations::read().functions;
    let missing: Vec<String> = rows()
        .into_iter()
        .flat_map(|row| row.tests.into_iter().map(move |test| (row.id.clone(), test)))
        .filter(|(_, test)| !functions.contains(test))
        .map(|(id, test)| format!("{id}: {test}"))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// A test that says what it shows is in the table. `CONCLAVE_BLESS=1` writes the missing ones into
/// it, and takes those out that are not there any more.
#[test]
fn every_test_that_names_an_id_is_in_the_security_table() {
    let citations = Citations::read();
    let bless = std::env::var("CONCLAVE_BLESS").is_ok_and(|value| value == "1");
    let (mut missing, mut lines) = (Vec::new(), Vec::new());
    for line in document(SECURITY).lines() {
        let Some(row) = Row::read(line) else {
            lines.push(line.to_owned());
            continue;
        };
        let shown = citations.tests.get(&row.id).cloned().unwrap_or_default();
        let there: BTreeSet<String> = row.tests.iter().cloned().collect();
        missing.extend(shown.difference(&there).map(|test| format!("{}: {test}", row.id)));
        let by_hand = there.intersection(&citations.functions).cloned();
        lines.push(row.write(&shown.iter().cloned().chain(by_hand).collect()));
    }
    if bless {
        fs::write(root().join(SECURITY), lines.join("\n") + "\n").expect("the table is written");
    } else {
        let help = "to add them: CONCLAVE_BLESS=1 cargo test -p conclave-testkit workspace";
        assert_eq!(missing, Vec::<String>::new(), "{help}");
    }
}

/// The README calls shown only what a test names, calls missing only what none names, and counts
/// right.
#[test]
fn what_the_readme_calls_shown_has_a_test() {
    let tested: BTreeSet<String> =
        rows().into_iter().filter(|row| !row.tests.is_empty()).map(|row| row.id).collect();
    let status: Vec<(String, String)> = document("README.md")
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ").map(str::to_owned);
            let (id, _, state) = (cells.next()?, cells.next()?, cells.next()?);
            id.chars().nth(1)?.is_ascii_digit().then_some((id, state))
        })
        .collect();
    let count: u32 = REQUIREMENTS.iter().map(|(_, max)| max).sum();
    assert_eq!(status.len(), count as usize, "one row for each requirement");
    for state in ["shown", "partly", "not yet"] {
        let rows = status.iter().filter(|(_, of)| of == state).count();
        assert!(document("README.md").contains(&format!("{rows} {state}")), "{rows} {state}");
    }
    for (id, state) in status {
        let known = ["shown", "partly", "not yet"].contains(&state.as_str());
        assert!(known, "{id} is {state:?}");
        assert!(state != "shown" || tested.contains(&id), "{id} is called shown without a test");
        assert!(state != "not yet" || !tested.contains(&id), "{id} has tests and is not there?");
    }
}
