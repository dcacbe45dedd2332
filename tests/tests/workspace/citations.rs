//! Which tests say that they show what: read from their doc comments.

use std::collections::{BTreeMap, BTreeSet};

/// Ids of requirements, by letter and highest number.
pub(crate) const REQUIREMENTS: [(char, u32); 5] =
    [('S', 18), ('I', 10), ('G', 19), ('E', 14), ('R', 11)];
/// Number of scenarios.
pub(crate) const SCENARIOS: u32 = 153;

/// What the sources say.
#[derive(Default)]
pub(crate) struct Citations {
    /// Every function that there is.
    pub(crate) functions: BTreeSet<String>,
    /// Requirement or scenario number → the tests whose comment names it.
    pub(crate) tests: BTreeMap<String, BTreeSet<String>>,
}

impl Citations {
    pub(crate) fn read() -> Self {
        let mut citations = Self::default();
        for (path, text) in super::files("") {
            if path.ends_with(".rs") {
                let suites = ["conformance/src/", "actors/tests/engine/"];
                citations.note(&text, suites.iter().any(|suite| path.starts_with(suite)));
            }
        }
        citations
    }

    /// A function counts as a test if it carries an attribute that makes it one, or if it belongs
    /// to a suite, which macros make tests of.
    fn note(&mut self, text: &str, of_suite: bool) {
        let (mut comment, mut is_test) = (String::new(), false);
        for line in text.lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("///") {
                comment += words;
            } else if line == "#[test]" || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some(name) = function(line) {
                self.functions.insert(name.to_owned());
                if is_test || (of_suite && line.starts_with("pub")) {
                    for id in cited(&comment) {
                        self.tests.entry(id).or_default().insert(name.to_owned());
                    }
                }
                (comment, is_test) = (String::new(), false);
            } else if !line.starts_with("#[") {
                (comment, is_test) = (String::new(), false);
            }
        }
    }
}

fn function(line: &str) -> Option<&str> {
    let words = ["pub ", "pub(crate) ", "const ", "async "];
    let rest = words.iter().fold(line, |line, word| line.strip_prefix(word).unwrap_or(line));
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}

/// The ids and scenario numbers in a comment.
fn cited(comment: &str) -> BTreeSet<String> {
    let words: Vec<&str> = comment
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '–')
        .filter(|word| !word.is_empty())
        .collect();
    let mut found: BTreeSet<String> = words.iter().copied().flat_map(requirements).collect();
    let mut counting = false;
    for word in words {
        counting =
            match word {
                "scenario" | "scenarios" | "Scenario" | "Scenarios" => true,
                "and" => counting,
                _ if counting => {
                    let numbers = range(word).filter(|(first, last)| {
                        (1..=SCENARIOS).contains(first) && (*first..=SCENARIOS).contains(last)
                    });
                    found.extend(numbers.iter().flat_map(|(first, last)| {
                        (*first..=*last).map(|number| number.to_string())
                    }));
                    numbers.is_some()
                }
                _ => false,
            };
    }
    found
}

/// `S4`, or `S4–S6`.
fn requirements(word: &str) -> Vec<String> {
    let one = |word: &str| -> Option<(char, u32)> {
        let letter = word.chars().next()?;
        let number = word.get(1..)?.parse().ok()?;
        let known =
            REQUIREMENTS.iter().any(|(l, max)| *l == letter && (1..=*max).contains(&number));
        known.then_some((letter, number))
    };
    let (first, last) = word.split_once('–').unwrap_or((word, word));
    match (one(first), one(last)) {
        (Some((letter, first)), Some((other, last))) if letter == other => {
            (first..=last).map(|number| format!("{letter}{number}")).collect()
        }
        _ => Vec::new(),
    }
}

/// `48`, or `48–50`.
fn range(word: &str) -> Option<(u32, u32)> {
    let (first, last) = word.split_once('–').unwrap_or((word, word));
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[test]
fn citations_are_found_in_comments() {
    let found = |comment| cited(comment).into_iter().collect::<Vec<_>>();
    assert_eq!(found("S1, scenario 89: a `PublicMessage`."), ["89", "S1"]);
    assert_eq!(
        found("Scenarios 8, 9 and 48–50; E1–E3, RFC 9420 §12, X25519, P-256."),
        ["48", "49", "50", "8", "9", "E1", "E2", "E3"]
    );
    assert_eq!(found("PROTOCOL 9, S19, scenario 154, 3 of 4."), Vec::<String>::new());
}
