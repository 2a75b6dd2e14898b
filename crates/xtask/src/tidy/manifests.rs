//! The rules about crates: who may depend on whom, what is linked, and how many packages there are.

use super::{Finding, Rule, plants::Plant, tree::Tree};

/// Most packages in the lock file. Each is code that we answer for; raising this needs a reason in the commit.
const LOCKED_PACKAGES_MAX: usize = 395;

/// The lock file of the workspace.
const LOCK: &str = "Cargo.lock";

/// Which of our crates a crate may depend on. `platform-linux` may besides be named by crates with a `main.rs`, and
/// tests may use `crashfs` and `testbed`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("platform", &[]),
    ("platform-linux", &["platform"]),
    ("atproto", &["platform"]),
    ("control", &["platform"]),
    ("crashfs", &["platform", "atproto", "store"]),
    ("store", &["platform", "atproto"]),
    ("timeguard", &["platform", "control"]),
    ("appliance", &["platform", "control"]),
    ("pds", &["platform", "atproto", "control", "store"]),
    ("panel", &["platform", "control", "appliance"]),
    (
        "sim",
        &[
            "platform",
            "platform-linux",
            "atproto",
            "control",
            "store",
            "timeguard",
            "appliance",
            "pds",
            "panel",
        ],
    ),
    ("bench", &["atproto"]),
    // Its tests and its example are clients of a whole box, and know the pictures that it draws.
    ("testbed", &["platform", "image", "bench", "appliance", "panel"]),
    ("powercut", &["atproto", "store", "crashfs", "bench", "testbed", "platform", "control", "appliance"]),
    ("image", &["platform"]),
    ("clocks", &["platform", "timeguard", "testbed", "bench"]),
    ("xtask", &["platform", "bench", "testbed", "image"]),
];

/// Packages that talk HTTP, TLS or SQL: the process that runs as root links none of them.
const NOT_AS_ROOT: &[&str] = &[
    "axum",
    "hyper",
    "h2",
    "http",
    "reqwest",
    "ureq",
    "tungstenite",
    "rustls",
    "ring",
    "openssl",
    "native-tls",
    "rusqlite",
    "libsqlite3-sys",
];

/// Crates with lints of their own, because they need `unsafe`.
const OWN_LINTS: &[&str] = &["platform-linux", "crashfs"];

/// The rules of this file.
pub(crate) fn rules() -> Vec<Rule> {
    vec![
        Rule { name: "dependencies point one way", check: direction, plants: direction_plants },
        Rule { name: "appliance links no HTTP, TLS or SQL", check: root_links, plants: root_links_plants },
        Rule { name: "every crate has the workspace's lints", check: lints, plants: lints_plants },
        Rule { name: "few dependencies", check: lock, plants: lock_plants },
        Rule { name: "ARCHITECTURE.md names every crate", check: map, plants: map_plants },
    ]
}

fn direction(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let has_main = |name: &str| tree.text(&format!("crates/{name}/src/main.rs")).is_some();
    for (name, path, manifest) in tree.manifests() {
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
            findings.push(Finding::new(
                path,
                0,
                format!("`{name}` has no place in the map of tidy/manifests.rs"),
            ));
            continue;
        };
        for (table, is_test) in
            [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
        {
            let named =
                manifest.get(table).and_then(|table| table.as_table()).into_iter().flat_map(|t| t.keys());
            for other in named.filter(|other| ALLOWED.iter().any(|(ours, _)| ours == other)) {
                let other = other.as_str();
                let chosen_in_main = other == "platform-linux" && has_main(name);
                let for_tests = is_test && matches!(other, "crashfs" | "testbed");
                if !allowed.contains(&other) && !chosen_in_main && !for_tests {
                    let why =
                        format!("`{name}` must not depend on `{other}`: see the map in ARCHITECTURE.md");
                    findings.push(Finding::new(path, 0, why));
                }
            }
        }
    }
    findings
}

fn direction_plants() -> Vec<Plant> {
    let lints = "[lints]\nworkspace = true\n";
    vec![
        Plant::file("crates/atproto/Cargo.toml", format!("[dependencies]\nstore.workspace = true\n{lints}")),
        Plant::file("crates/control/Cargo.toml", format!("[dependencies]\nplatform-linux = {{}}\n{lints}")),
        Plant::file("crates/pds/Cargo.toml", format!("[dev-dependencies]\nsim = {{}}\n{lints}")),
        Plant::file("crates/planted/Cargo.toml", lints),
    ]
}

fn root_links(tree: &Tree) -> Vec<Finding> {
    let linked = tree.linked.get("appliance").into_iter().flatten();
    linked
        .filter(|package| NOT_AS_ROOT.contains(&package.as_str()))
        .map(|package| {
            let why = format!(
                "links `{package}`, directly or not: it will run as root (`cargo tree -i {package}`)"
            );
            Finding::new("crates/appliance/Cargo.toml", 0, why)
        })
        .collect()
}

fn root_links_plants() -> Vec<Plant> {
    vec![
        Plant::Link { from: "appliance", package: "rustls" },
        Plant::Link { from: "appliance", package: "hyper" },
        Plant::Link { from: "appliance", package: "libsqlite3-sys" },
    ]
}

fn lints(tree: &Tree) -> Vec<Finding> {
    tree.manifests()
        .filter(|(name, _, manifest)| {
            let lints = manifest.get("lints");
            let inherits = lints.and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
            let own = lints.and_then(|lints| lints.get("rust")).and_then(|rust| rust.get("unsafe_code"));
            let denied = own.is_some_and(|level| {
                level.as_str().or_else(|| level.get("level").and_then(toml::Value::as_str)) == Some("deny")
            });
            inherits != Some(true) && !(OWN_LINTS.contains(name) && denied)
        })
        .map(|(_, path, _)| Finding::new(path, 0, "give it `[lints] workspace = true`"))
        .collect()
}

fn lints_plants() -> Vec<Plant> {
    vec![
        Plant::file("crates/pds/Cargo.toml", "[dependencies]\n"),
        Plant::file("crates/platform-linux/Cargo.toml", "[lints.rust]\nunsafe_code = \"allow\"\n"),
    ]
}

fn lock(tree: &Tree) -> Vec<Finding> {
    let packages =
        tree.text(LOCK).map_or(0, |text| text.lines().filter(|line| line.trim() == "[[package]]").count());
    let over = packages > LOCKED_PACKAGES_MAX;
    let why = || {
        format!("{packages} packages, at most {LOCKED_PACKAGES_MAX}: look in the lock file before adding one")
    };
    over.then(|| Finding::new(LOCK, 0, why())).into_iter().collect()
}

fn lock_plants() -> Vec<Plant> {
    vec![Plant::file(LOCK, "[[package]]\nname = \"x\"\n".repeat(LOCKED_PACKAGES_MAX + 1))]
}

fn map(tree: &Tree) -> Vec<Finding> {
    let map = tree.text("ARCHITECTURE.md").unwrap_or_default();
    tree.manifests()
        .filter(|(name, _, _)| !map.contains(&format!("| `{name}` |")))
        .map(|(name, _, _)| Finding::new("ARCHITECTURE.md", 0, format!("the table of crates lacks `{name}`")))
        .collect()
}

fn map_plants() -> Vec<Plant> {
    vec![
        Plant::file("crates/planted/Cargo.toml", "[lints]\nworkspace = true\n"),
        Plant::file("ARCHITECTURE.md", "no table\n"),
    ]
}
