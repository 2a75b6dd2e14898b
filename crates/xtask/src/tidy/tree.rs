//! The tree that the rules judge: every text file of the checkout, and what each of our crates links.
//!
//! Held in memory, so that a violation can be planted in a copy without touching the checkout.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    rc::Rc,
};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::rust_text::RustText;
use crate::shell;

/// One text file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// What the file says.
    pub(crate) text: Rc<str>,
    /// Taken apart, for `.rs` files; empty for all others.
    pub(crate) rust: Rc<RustText>,
}

/// Every text file of the checkout by its path (with `/`), and the dependency graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, File>,
    /// For each crate of ours the names of all packages that it links, directly or not, tests aside.
    pub(crate) linked: BTreeMap<String, BTreeSet<String>>,
}

impl Tree {
    /// Reads the files that git tracks or would track, and asks cargo for the graph.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let names = shell::output(&mut shell::command(
            root,
            "git",
            ["ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        ))?;
        let mut tree = Self { files: BTreeMap::new(), linked: linked_packages(root)? };
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            // A file that is listed but gone was deleted without `git rm` yet; one that is no UTF-8 is no text.
            if let Ok(text) = std::fs::read_to_string(root.join(name)) {
                tree.put(name, &text);
            }
        }
        Ok(tree)
    }

    /// Adds a file or replaces it.
    pub(crate) fn put(&mut self, path: &str, text: &str) {
        let rust = if path.ends_with(".rs") { RustText::scan(text) } else { RustText::default() };
        self.files.insert(path.to_owned(), File { text: text.into(), rust: Rc::new(rust) });
    }

    /// What a file says, if there is one.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(|file| &*file.text)
    }

    /// All files in the order of their paths.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The Rust files.
    pub(crate) fn rust_files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// Name, manifest path and parsed manifest of each crate of ours.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = (&str, &str, toml::Table)> {
        self.files().filter_map(|(path, file)| {
            let name = path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
            (!name.contains('/')).then(|| (name, path, file.text.parse().unwrap_or_default()))
        })
    }
}

/// The crate whose folder a path lies in.
pub(crate) fn crate_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.split('/').next()
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Kind {
    /// Nothing for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

/// What each crate of ours links on the machines that we build for.
fn linked_packages(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = shell::output(&mut shell::cargo(
        root,
        ["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"],
    ))?;
    let metadata: Metadata = serde_json::from_str(&text).context("cannot read what cargo metadata says")?;
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let direct: BTreeMap<&str, Vec<&str>> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| {
            let normal = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            (node.id.as_str(), normal.map(|dep| dep.pkg.as_str()).collect())
        })
        .collect();
    let mut linked = BTreeMap::new();
    for member in &metadata.workspace_members {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![member.as_str()]);
        while let Some(id) = todo.pop() {
            for next in direct.get(id).into_iter().flatten() {
                if seen.insert(*next) {
                    todo.push(next);
                }
            }
        }
        let closure = seen.iter().filter_map(|id| names.get(id)).map(|name| (*name).to_owned()).collect();
        if let Some(name) = names.get(member.as_str()) {
            linked.insert((*name).to_owned(), closure);
        }
    }
    Ok(linked)
}
