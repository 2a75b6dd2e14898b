//! What goes beside an image: its sums, the bill of materials, the list for Raspberry Pi Imager.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use image::sbom::{self, Component, Origin};
use serde_json::Value;
use testbed::Package;

use super::{Edition, tree};
use crate::shell::{cargo, command, output};

/// Our packages whose programs are in an image.
const SHIPPED: &[&str] = &["appliance", "pds", "timeguard", "panel"];

/// What they are built for: a package for other systems only is not in them.
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// Writes `*.sha256`, `*.cdx.json`.
pub(super) fn write(
    root: &Path,
    edition: &Edition,
    packages: &[Package],
    raw: &Path,
    compressed: &Path,
) -> Result<()> {
    let folder = compressed.parent().unwrap_or(compressed);
    let mut sums = String::new();
    for file in [compressed, raw] {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        sums.push_str(&output(&mut command(folder, "sha256sum", [&*name]))?);
    }
    tree::written(&compressed.with_added_extension("sha256"), &sums)?;
    let mut components: Vec<Component> = packages
        .iter()
        .map(|package| Component {
            origin: Origin::Debian,
            name: package.name.clone(),
            version: package.version.clone(),
            license: None,
        })
        .collect();
    components.extend(crates(root)?);
    let text = sbom::text(&edition.file_stem(), &edition.version, components);
    tree::written(&folder.join(format!("{}.cdx.json", edition.file_stem())), &text)?;
    Ok(())
}

/// The Rust packages that are linked into the shipped programs.
fn crates(root: &Path) -> Result<Vec<Component>> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET];
    let said = output(&mut cargo(root, arguments))?;
    linked(&serde_json::from_str(&said).context("cargo metadata is no JSON")?)
        .context("cargo metadata is not of the known form")
}

/// Follows the dependencies of the shipped packages that are not for building or testing only.
fn linked(metadata: &Value) -> Option<Vec<Component>> {
    let text = |value: &Value, key: &str| value.get(key)?.as_str().map(str::to_owned);
    let packages: BTreeMap<String, &Value> =
        metadata.get("packages")?.as_array()?.iter().filter_map(|p| Some((text(p, "id")?, p))).collect();
    let nodes: BTreeMap<String, &Value> = metadata
        .get("resolve")?
        .get("nodes")?
        .as_array()?
        .iter()
        .filter_map(|node| Some((text(node, "id")?, node)))
        .collect();
    let shipped = packages.iter().filter(|(_, package)| {
        let name = text(package, "name").unwrap_or_default();
        package.get("source").is_some_and(Value::is_null) && SHIPPED.contains(&name.as_str())
    });
    let mut waiting: Vec<String> = shipped.map(|(id, _)| id.clone()).collect();
    let mut seen = BTreeSet::new();
    let mut components = Vec::new();
    while let Some(id) = waiting.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let package = packages.get(&id)?;
        components.push(Component {
            origin: Origin::Cargo,
            name: text(package, "name")?,
            version: text(package, "version")?,
            // `MIT/Apache-2.0` is an old way to write the choice.
            license: text(package, "license").map(|license| license.replace('/', " OR ")),
        });
        for dependency in nodes.get(&id)?.get("deps")?.as_array()? {
            let kinds = dependency.get("dep_kinds")?.as_array()?;
            if kinds.iter().any(|kind| kind.get("kind").is_some_and(Value::is_null)) {
                waiting.push(text(dependency, "pkg")?);
            }
        }
    }
    Some(components)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_linked_is_followed_and_nothing_else() {
        let package = |name: &str, source: Value| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": source });
        let dependency = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let registry = json!("registry");
        let metadata = json!({
            "packages": [
                package("pds", Value::Null), package("xtask", Value::Null), package("linked", registry.clone()),
                package("further", registry.clone()), package("for-tests", registry.clone()),
                package("for-building", registry),
            ],
            "resolve": { "nodes": [
                { "id": "pds", "deps": [
                    dependency("linked", Value::Null), dependency("for-tests", json!("dev")),
                    dependency("for-building", json!("build")),
                ] },
                { "id": "linked", "deps": [dependency("further", Value::Null)] },
                { "id": "further", "deps": [dependency("linked", Value::Null)] },
            ] },
        });
        let mut found = linked(&metadata).unwrap();
        found.sort();
        let names: Vec<&str> = found.iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["further", "linked", "pds"]);
        assert_eq!(found[0].license.as_deref(), Some("MIT OR Apache-2.0"));
        assert!(linked(&json!({})).is_none());
    }
}
