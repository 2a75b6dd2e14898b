//! Violations to plant: how a rule is shown to be able to fail.

use std::fmt;

use super::tree::Tree;

/// One violation.
#[derive(Debug)]
pub(crate) enum Plant {
    /// A file that breaks the rule.
    File {
        /// Where it lies; a file that is there already is replaced.
        path: &'static str,
        /// What it says.
        text: String,
    },
    /// A crate of ours that links what it must not.
    Link {
        /// Our crate.
        from: &'static str,
        /// The package.
        package: &'static str,
    },
}

impl Plant {
    /// A file with this text.
    pub(crate) fn file(path: &'static str, text: impl Into<String>) -> Self {
        Self::File { path, text: text.into() }
    }

    /// A Rust file that is in order but for this code.
    pub(crate) fn rust(path: &'static str, code: &str) -> Self {
        Self::File { path, text: format!("//! A planted violation.\n{code}\n") }
    }

    /// Plants the violation in a tree.
    pub(crate) fn apply(&self, tree: &mut Tree) {
        match self {
            Self::File { path, text } => tree.put(path, text),
            Self::Link { from, package } => {
                tree.linked.entry((*from).to_owned()).or_default().insert((*package).to_owned());
            }
        }
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, text } => {
                write!(f, "{path}: {:?}", text.chars().take(120).collect::<String>())
            }
            Self::Link { from, package } => write!(f, "dependency of `{from}` on `{package}`"),
        }
    }
}
