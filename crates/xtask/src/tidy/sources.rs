//! The rules about what source files say.
//!
//! Words that would break a rule here are put together with `concat!`, so that this file needs no exemption.

use std::collections::BTreeSet;

use super::{
    Finding, Rule,
    plants::Plant,
    tree::{File, Tree, crate_of},
};

/// Longest source file in lines. A file near 600 should be split (STYLE); this is where it must be.
const FILE_LINES_MAX: usize = 800;

/// First words of SQL statements, in capitals.
const SQL_STARTS: &[&str] = &[
    "INSERT INTO ",
    "INSERT OR ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "CREATE INDEX ",
    "CREATE UNIQUE INDEX ",
    "ALTER TABLE ",
    "DROP TABLE ",
    "PRAGMA ",
    "WITH RECURSIVE ",
];

/// Code that reads a clock other than ours.
const CLOCK_WORDS: &[&str] = &[
    "SystemTime::now",
    "UNIX_EPOCH.elapsed",
    "Utc::now",
    "Local::now",
    "OffsetDateTime::now",
    "Zoned::now",
    "Timestamp::now",
    "clock_gettime",
    "gettimeofday",
    ".modified()",
    ".accessed()",
];

/// SQL that reads SQLite's clock.
const SQL_CLOCKS: &[&str] = &[
    concat!("'", "now", "'"),
    concat!("CURRENT_", "TIMESTAMP"),
    concat!("CURRENT_", "DATE"),
    concat!("unix", "epoch("),
    concat!("julian", "day("),
];

/// What a pure part must not touch.
const IO_WORDS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "tokio",
    "async",
    "await",
    "Instant",
    "stdin()",
    "stdout()",
];

/// Hosts that packages come from: a checkout must work behind any mirror, so none is named.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("deb.debian", ".org"),
    concat!("security.debian", ".org"),
    concat!("snapshot.debian", ".org"),
    concat!("static.rust-lang", ".org"),
    concat!("proxy.golang", ".org"),
];

/// Starts of paths that exist on one person's machine only.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// The rules of this file.
pub(crate) fn rules() -> Vec<Rule> {
    vec![
        Rule { name: "SQL only in store", check: sql, plants: sql_plants },
        Rule { name: "axum only in pds, panel, sim", check: web_servers, plants: web_server_plants },
        Rule {
            name: "unsafe and devices only in platform-linux",
            check: unsafe_and_devices,
            plants: unsafe_plants,
        },
        Rule {
            name: "platform-linux named only in main.rs",
            check: named_devices,
            plants: named_device_plants,
        },
        Rule {
            name: "the choice of platform is made in main",
            check: sim_feature,
            plants: sim_feature_plants,
        },
        Rule { name: "policies do no I/O", check: pure, plants: pure_plants },
        Rule { name: "no clock but ours", check: clocks, plants: clock_plants },
        Rule { name: "every file says what it is for", check: heads, plants: head_plants },
        Rule { name: "a TODO has an issue", check: todos, plants: todo_plants },
        Rule { name: "no test is ignored", check: ignored, plants: ignored_plants },
        Rule { name: "no registry hosts, no machine paths", check: places, plants: place_plants },
        Rule { name: "files stay readable", check: lengths, plants: length_plants },
    ]
}

/// Whether `word` stands in `line` by itself, not as a part of a longer identifier.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|tail| tail.chars().next());
        let starts = !word.starts_with(is_part) || !before.is_some_and(is_part);
        starts && (!word.ends_with(is_part) || !after.is_some_and(is_part))
    })
}

/// Findings for each line of the code of a file that has one of the words.
fn words(path: &str, code: &str, banned: &[&str], why: &str) -> Vec<Finding> {
    let hits = |line: &str| banned.iter().find(|word| has_word(line, word)).copied();
    code.lines()
        .enumerate()
        .filter_map(|(at, line)| {
            hits(line).map(|word| Finding::new(path, at + 1, format!("`{word}`: {why}")))
        })
        .collect()
}

/// Findings in the code of all Rust files but those that `exempt` names.
fn code_words(tree: &Tree, exempt: fn(&str) -> bool, banned: &[&str], why: &str) -> Vec<Finding> {
    tree.rust_files()
        .filter(|(path, _)| !exempt(path))
        .flat_map(|(path, file)| words(path, &file.rust.code, banned, why))
        .collect()
}

fn sql(tree: &Tree) -> Vec<Finding> {
    let is_sql = |literal: &str| {
        let start = literal.trim_start().to_ascii_uppercase();
        SQL_STARTS.iter().any(|word| start.strip_prefix(word).is_some_and(|rest| !rest.is_empty()))
            || (start.starts_with("SELECT ") && start.contains(" FROM "))
            || (start.starts_with("UPDATE ") && start.contains(" SET "))
    };
    let exempt = |path: &str| matches!(crate_of(path), Some("store" | "crashfs"));
    let mut findings =
        code_words(tree, exempt, &["rusqlite", "libsqlite3_sys"], "the database belongs to `store`");
    for (path, file) in tree.rust_files().filter(|(path, _)| !exempt(path)) {
        for (line, _) in file.rust.literals.iter().filter(|(_, literal)| is_sql(literal)) {
            findings.push(Finding::new(path, *line, "SQL text: put a method on `Store` and call it"));
        }
    }
    findings
}

fn sql_plants() -> Vec<Plant> {
    vec![
        Plant::rust("crates/pds/src/planted.rs", "const Q: &str = \"select did from repo where id = 1\";"),
        Plant::rust("crates/panel/src/planted.rs", "const Q: &str = \"PRAGMA user_version\";"),
        Plant::rust("crates/sim/src/planted.rs", "fn f(c: &rusqlite::Connection) {}"),
    ]
}

fn web_servers(tree: &Tree) -> Vec<Finding> {
    let exempt = |path: &str| matches!(crate_of(path), Some("pds" | "panel" | "sim"));
    code_words(tree, exempt, &["axum"], "web servers live in `pds`, `panel` and `sim`")
}

fn web_server_plants() -> Vec<Plant> {
    vec![Plant::rust("crates/store/src/planted.rs", "use axum::Router;")]
}

fn unsafe_and_devices(tree: &Tree) -> Vec<Finding> {
    let unsafe_exempt = |path: &str| matches!(crate_of(path), Some("platform-linux" | "crashfs"));
    let device_exempt = |path: &str| crate_of(path) == Some("platform-linux");
    let mut findings = code_words(tree, unsafe_exempt, &["unsafe"], "only `platform-linux` may use it");
    let devices = ["rppal", "nix", "ssd1306", "linux_embedded_hal", "gpiocdev"];
    findings.extend(code_words(
        tree,
        device_exempt,
        &devices,
        "devices are reached through `platform` traits",
    ));
    findings
}

fn unsafe_plants() -> Vec<Plant> {
    vec![
        Plant::rust("crates/store/src/planted.rs", "fn f(p: *const u8) -> u8 { unsafe { *p } }"),
        Plant::rust("crates/appliance/src/planted.rs", "use rppal::gpio::Gpio;"),
        Plant::rust("crates/timeguard/src/planted.rs", "use nix::time::ClockId;"),
        Plant::rust("crates/crashfs/src/planted.rs", "use ssd1306::prelude::*;"),
    ]
}

fn named_devices(tree: &Tree) -> Vec<Finding> {
    let exempt = |path: &str| path.ends_with("/main.rs") || crate_of(path) == Some("platform-linux");
    code_words(tree, exempt, &["platform_linux"], "hardware is chosen in `main.rs` and passed on as traits")
}

fn named_device_plants() -> Vec<Plant> {
    vec![Plant::rust("crates/sim/src/planted.rs", "use platform_linux::Clock;")]
}

fn sim_feature(tree: &Tree) -> Vec<Finding> {
    let why = "no service knows that it is simulated: choose in `main`";
    let in_code = tree.rust_files().flat_map(|(path, file)| {
        let named = file.rust.literals.iter().filter(|(line, literal)| {
            let code = file.rust.code.lines().nth(line.saturating_sub(1)).unwrap_or_default();
            literal == "sim" && has_word(code, "feature")
        });
        named.map(move |(line, _)| Finding::new(path, *line, why)).collect::<Vec<_>>()
    });
    let declared = tree.manifests().filter(|(_, _, manifest)| {
        manifest.get("features").and_then(|features| features.get("sim")).is_some()
    });
    in_code.chain(declared.map(|(_, path, _)| Finding::new(path, 0, why))).collect()
}

fn sim_feature_plants() -> Vec<Plant> {
    vec![
        Plant::rust("crates/pds/src/planted.rs", "#[cfg(feature = \"sim\")]\nfn f() {}"),
        Plant::file("crates/pds/Cargo.toml", "[features]\nsim = []\n[lints]\nworkspace = true\n"),
    ]
}

/// Whether a file must be pure: a policy, or anything of the protocol crate; tests aside.
fn must_be_pure(path: &str) -> bool {
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    let is_policy = path.ends_with("/policy.rs") || path.contains("/policy/");
    !is_test && (is_policy || path.starts_with("crates/atproto/src/"))
}

/// The files of modules that are compiled for tests only (`#[cfg(test)] mod x;`), as `crates/y/…/x.rs`.
fn test_modules(tree: &Tree) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for (path, file) in tree.rust_files() {
        let folder = match path.rsplit_once('/') {
            Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder,
            _ => path.trim_end_matches(".rs"),
        };
        for part in file.rust.code.split("#[cfg(test)]").skip(1) {
            let declared = part.trim_start().split_once("mod ").and_then(|(_, rest)| rest.split_once(';'));
            if let Some((name, _)) = declared.filter(|(name, _)| !name.contains(char::is_whitespace)) {
                files.insert(format!("{folder}/{name}.rs"));
            }
        }
    }
    files
}

fn pure(tree: &Tree) -> Vec<Finding> {
    let why = "a part that decides does no I/O: take it as an argument, return what to do";
    let tests = test_modules(tree);
    tree.rust_files()
        .filter(|(path, _)| must_be_pure(path) && !tests.contains(*path))
        .flat_map(|(path, file)| words(path, file.rust.code_without_tests(), IO_WORDS, why))
        .collect()
}

fn pure_plants() -> Vec<Plant> {
    vec![
        Plant::rust("crates/timeguard/src/policy.rs", "fn f() { let _ = std::fs::read(\"x\"); }"),
        Plant::rust("crates/appliance/src/policy/planted.rs", "async fn f() {}"),
        Plant::rust(
            "crates/atproto/src/planted.rs",
            "fn f() -> std::time::Instant { std::time::Instant::now() }",
        ),
    ]
}

fn clocks(tree: &Tree) -> Vec<Finding> {
    let exempt = |path: &str| crate_of(path) == Some("platform-linux");
    let why = "time is a value: take a `TrustedTime` from `platform::time::Clock`";
    let mut findings = code_words(tree, exempt, CLOCK_WORDS, why);
    for (path, file) in tree.rust_files() {
        let reads = |literal: &str| SQL_CLOCKS.iter().any(|clock| literal.contains(clock));
        for (line, _) in file.rust.literals.iter().filter(|(_, literal)| reads(literal)) {
            findings.push(Finding::new(path, *line, format!("SQLite's clock: {why}")));
        }
    }
    findings
}

fn clock_plants() -> Vec<Plant> {
    let sqlite = format!("const Q: &str = \"SELECT datetime({}now{})\";", '\'', '\'');
    vec![
        Plant::rust("crates/pds/src/planted.rs", "fn f() { std::time::SystemTime::now(); }"),
        Plant::rust("crates/pds/src/planted.rs", "fn f() { std::time::UNIX_EPOCH.elapsed(); }"),
        Plant::rust("crates/pds/src/planted.rs", "fn f() { chrono::Utc::now(); }"),
        Plant::rust("crates/pds/src/planted.rs", "fn f(m: std::fs::Metadata) { m.modified(); }"),
        Plant::rust("crates/store/src/planted.rs", &sqlite),
    ]
}

fn heads(tree: &Tree) -> Vec<Finding> {
    let starts = |file: &File| file.text.starts_with("//! ");
    tree.rust_files()
        .filter(|(_, file)| !starts(file))
        .map(|(path, _)| Finding::new(path, 1, "begin with `//!`: what the file is for, what it must not do"))
        .collect()
}

fn head_plants() -> Vec<Plant> {
    vec![Plant::file("crates/pds/src/planted.rs", "// no head\nfn f() {}\n")]
}

/// Whether a line names an issue: a hash sign and a number.
fn names_issue(line: &str) -> bool {
    line.match_indices('#').any(|(at, _)| {
        line.get(at + 1..).and_then(|rest| rest.chars().next()).is_some_and(|c| c.is_ascii_digit())
    })
}

fn todos(tree: &Tree) -> Vec<Finding> {
    let marks = ["TODO", "FIXME", "XXX"];
    tree.rust_files()
        .flat_map(|(path, file)| {
            file.rust.comments.iter().filter_map(move |(line, text)| {
                let open =
                    text.lines().any(|line| marks.iter().any(|m| has_word(line, m)) && !names_issue(line));
                open.then(|| Finding::new(path, *line, "name the issue that will do it: `TODO(#12)`"))
            })
        })
        .collect()
}

fn todo_plants() -> Vec<Plant> {
    vec![Plant::rust("crates/pds/src/planted.rs", "fn f() {} // TODO: later")]
}

fn ignored(tree: &Tree) -> Vec<Finding> {
    let marked = |line: &str| line.replace(' ', "").contains("#[ignore") || line.contains(", ignore");
    tree.rust_files()
        .flat_map(|(path, file)| {
            let lines = file.rust.code.lines().enumerate();
            lines
                .filter(|(_, line)| marked(line) && !line.contains("ignored"))
                .map(|(at, _)| {
                    Finding::new(path, at + 1, "a flaky test is a failing test: mend or delete it")
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

fn ignored_plants() -> Vec<Plant> {
    vec![Plant::rust("crates/pds/src/planted.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}")]
}

/// Whether a machine path starts in `line`; `…/srv/work/x` is none, since a path goes on before it.
fn has_machine_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '}' | ')' | '/'))
    })
}

fn places(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    // A lock file is written by cargo, which names its registry in it.
    for (path, file) in tree.files().filter(|(path, _)| !path.ends_with("Cargo.lock")) {
        for (at, line) in file.text.lines().enumerate() {
            if let Some(host) = REGISTRY_HOSTS.iter().find(|host| line.contains(**host)) {
                findings.push(Finding::new(
                    path,
                    at + 1,
                    format!("names {host}: say the package's name instead"),
                ));
            }
            if let Some(start) = MACHINE_PATHS.iter().find(|start| has_machine_path(line, start)) {
                findings.push(Finding::new(path, at + 1, format!("a path of one machine ({start}…)")));
            }
        }
    }
    findings
}

fn place_plants() -> Vec<Plant> {
    vec![
        Plant::file("docs/planted.md", concat!("See https://", "crates", ".io/crates/x\n")),
        Plant::file(
            "tests/clients/package-lock.json",
            concat!("\"https://registry.", "npmjs", ".org/a.tgz\""),
        ),
        Plant::file("docs/planted.md", concat!("data lies in /", "root/perch-data\n")),
    ]
}

fn lengths(tree: &Tree) -> Vec<Finding> {
    let written = |path: &str| [".rs", ".mjs", ".py", ".sh"].iter().any(|end| path.ends_with(end));
    tree.files()
        .filter(|(path, _)| written(path))
        .map(|(path, file)| (path, file.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| {
            Finding::new(
                path,
                lines,
                format!("longer than {FILE_LINES_MAX} lines: split it by what it decides"),
            )
        })
        .collect()
}

fn length_plants() -> Vec<Plant> {
    vec![Plant::rust("crates/pds/src/planted.rs", &"// a line\n".repeat(FILE_LINES_MAX))]
}

#[cfg(test)]
mod tests {
    use super::{has_machine_path, has_word, must_be_pure, names_issue};

    #[test]
    fn words_stand_alone() {
        assert!(has_word("use nix::x;", "nix"));
        assert!(!has_word("let unix = 1;", "nix") && !has_word("forbid(unsafe_code)", "unsafe"));
        assert!(has_word("m.modified()?", ".modified()"));
    }

    #[test]
    fn issues_and_paths_are_recognised() {
        assert!(names_issue("TODO(#12): x") && !names_issue("TODO # x"));
        assert!(has_machine_path(concat!("cd /wo", "rk/x"), concat!("/wo", "rk/")));
        assert!(!has_machine_path(concat!("/srv/wo", "rk/x"), concat!("/wo", "rk/")));
    }

    #[test]
    fn tests_of_pure_parts_may_read_files() {
        assert!(must_be_pure("crates/atproto/src/cid.rs") && must_be_pure("crates/timeguard/src/policy.rs"));
        assert!(!must_be_pure("crates/atproto/src/mst/tests.rs") && !must_be_pure("crates/pds/src/lib.rs"));
    }
}
