//! The rule about documents that name tests: a promise whose test is gone is no promise.

use std::collections::BTreeSet;

use super::{Finding, Rule, plants::Plant, tree::Tree};

/// The document whose tables end each row with the tests that hold its promise.
const THREATS: &str = "docs/threat-model.md";

/// The title of that last column.
const HELD_BY: &str = "held by";

/// The rules of this file.
pub(crate) fn rules() -> Vec<Rule> {
    vec![Rule {
        name: "each promise of the threat model has its test",
        check: promises,
        plants: promise_plants,
    }]
}

/// The names of all tests: functions with an attribute that says so.
fn tests(tree: &Tree) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for (_, file) in tree.rust_files() {
        let mut is_test = false;
        for line in file.rust.code.lines().map(str::trim) {
            if line.starts_with("#[") {
                is_test |= ["#[test]", "#[tokio::test"].iter().any(|attribute| line.contains(attribute));
                continue;
            }
            let name = line.split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
            names.extend(name.filter(|_| is_test));
            is_test = is_test && line.is_empty();
        }
    }
    names
}

fn promises(tree: &Tree) -> Vec<Finding> {
    let tests = tests(tree);
    let mut findings = Vec::new();
    let mut in_table = false;
    for (number, line) in (1..).zip(tree.text(THREATS).unwrap_or_default().lines()) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let last = cells.last().copied().unwrap_or_default();
        if !line.starts_with('|') {
            in_table = false;
        } else if last == HELD_BY {
            in_table = true;
        } else if in_table && !last.starts_with("---") {
            let named: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
            if named.is_empty() {
                findings.push(Finding::new(
                    THREATS,
                    number,
                    "a promise without a test: name one or take it back",
                ));
            }
            for name in named.iter().filter(|name| !tests.contains(**name)) {
                findings.push(Finding::new(THREATS, number, format!("there is no test `{name}`")));
            }
        }
    }
    findings
}

fn promise_plants() -> Vec<Plant> {
    let table = |last: &str| format!("| promise | by what | held by |\n|---|---|---|\n| a | b | {last} |\n");
    vec![
        Plant::file(THREATS, table("`no_such_test_was_ever_written`")),
        Plant::file(THREATS, table("a test")),
        // A function that is no test holds nothing.
        Plant::file(THREATS, table("`promise_plants`")),
    ]
}
