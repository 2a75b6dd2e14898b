//! Makes the same calls on the reference PDS and on Perch, and moves an account both ways between them.
//!
//! The calls and what may differ are in `tests/parity`; here only what they need is installed and started.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use bench::server::Kind;

use crate::{
    ci::Count,
    clients, install,
    shell::{command, run_lines},
};

/// Copies a folder's files below `to`, which is made anew.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry.context("cannot list a folder")?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}

/// Runs the comparison with the release build of `perch`.
pub(crate) fn run(root: &Path) -> Result<Count> {
    let Kind::Reference { node, folder } = clients::reference(root)? else {
        bail!("the reference is no reference");
    };
    // The scripts lie below the reference's packages, where Node looks for them.
    let scripts = folder.join("parity");
    copy(&root.join("tests/parity"), &scripts)?;
    let mut tests = command(&scripts, &node.to_string_lossy(), ["run.mjs"]);
    tests.arg("--perch").arg(root.join("target/release/perch"));
    let packages = install::npm(root, &root.join("tests/clients"), &root.join("target/npm/clients"))?;
    tests.arg("--reference").arg(&folder).arg("--clients").arg(packages);
    tests.arg("--folder").arg(root.join("target/parity"));
    let mut count = Count::default();
    let number =
        |line: &str, word: &str| line.strip_prefix(word).and_then(|number| number.trim().parse().ok());
    let done = run_lines(&mut tests, |line| {
        count.passed = number(line, "# pass ").unwrap_or(count.passed);
        count.failed = number(line, "# fail ").unwrap_or(count.failed);
    });
    done.context("Perch and the reference differ: see the lines above and tests/parity/deviations.json")?;
    if count.passed == 0 { bail!("no call was made") } else { Ok(count) }
}
