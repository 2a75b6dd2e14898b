//! `cargo xtask tidy`: the invariants of the design, checked on the text of the tree and on the dependency graph.
//!
//! A check that cannot fail is no check, so every run first plants violations of each rule in a copy of the tree (in
//! memory) and insists that the rule reports them. Style that rustfmt and clippy see is left to these.

mod manifests;
mod plants;
mod promises;
mod rust_text;
mod sources;
mod tree;

use std::path::Path;

use anyhow::Result;

use crate::shell::say;
use plants::Plant;
use tree::Tree;

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    path: String,
    /// 1-based; 0 when the whole file is meant.
    line: usize,
    /// What is wrong, and what to do.
    why: String,
}

impl Finding {
    fn new(path: &str, line: usize, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, why: why.into() }
    }
}

/// One invariant.
#[derive(Debug)]
struct Rule {
    /// What the person reads: the invariant in a few words.
    name: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
    /// Violations that the check must report.
    plants: fn() -> Vec<Plant>,
}

/// Every invariant, in the order in which they are reported.
fn rules() -> Vec<Rule> {
    [sources::rules(), manifests::rules(), promises::rules()].into_iter().flatten().collect()
}

/// Checks the checks, then the tree; prints what is wrong and returns whether all is well.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let tree = Tree::load(root)?;
    let rules = rules();
    let (mut broken, mut planted) = (0_usize, 0_usize);
    let mut findings = 0_usize;
    for rule in &rules {
        let before = (rule.check)(&tree);
        for plant in (rule.plants)() {
            planted += 1;
            if !catches(rule, &tree, &before, &plant) {
                broken += 1;
                say(format_args!("tidy: the rule `{}` does not notice a planted {plant}", rule.name));
            }
        }
        for finding in &before {
            say(format_args!("{}:{}: {} [{}]", finding.path, finding.line, finding.why, rule.name));
        }
        findings += before.len();
    }
    say(format_args!(
        "tidy: {} rules, {planted} planted violations, {broken} of them missed, {findings} findings",
        rules.len()
    ));
    Ok(broken == 0 && findings == 0)
}

/// Whether a rule reports a violation that it did not report before the planting.
fn catches(rule: &Rule, tree: &Tree, before: &[Finding], plant: &Plant) -> bool {
    let mut copy = tree.clone();
    plant.apply(&mut copy);
    (rule.check)(&copy).iter().any(|finding| !before.contains(finding))
}

#[cfg(test)]
mod tests {
    use super::{Tree, catches, rules};

    /// The rules catch their plants in an almost empty tree too, so none leans on what the real one contains.
    #[test]
    fn every_rule_catches_each_planted_violation() {
        let mut tree = Tree::default();
        tree.put("ARCHITECTURE.md", "| `pds` |");
        tree.put("Cargo.lock", "");
        tree.put("crates/pds/Cargo.toml", "[dependencies]\n[lints]\nworkspace = true\n");
        for rule in rules() {
            let before = (rule.check)(&tree);
            assert_eq!(before, [], "{}", rule.name);
            let plants = (rule.plants)();
            assert!(!plants.is_empty(), "{} plants nothing", rule.name);
            for plant in plants {
                assert!(catches(&rule, &tree, &before, &plant), "{}: {plant}", rule.name);
            }
        }
    }
}
