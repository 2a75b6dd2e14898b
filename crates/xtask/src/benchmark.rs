//! `cargo xtask bench`: builds Perch and the load driver, installs the reference PDS, and measures both in turn.

use std::path::Path;

use anyhow::Result;
use bench::server::Kind;
use clap::{Args, ValueEnum};

use crate::{
    clients, install,
    shell::{cargo, command, run as run_command, say},
};

/// The page that a full run writes.
const PAGE: &str = "docs/benchmarks.md";

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Measures only this server; the page is not written then.
    #[arg(long)]
    only: Option<Which>,
    /// A short run to see that all works: its figures are noise, the page is not written.
    #[arg(long)]
    quick: bool,
    /// Times that each server is measured from the start.
    #[arg(long, default_value_t = 1)]
    passes: u32,
    /// Measures the cold repo of 100,000 records on the reference too: minutes more.
    #[arg(long)]
    reference_cold: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Perch,
    Reference,
    /// The time guard's scenarios on Debian's programs that keep the clock; writes their section of the page.
    Clocks,
}

/// Builds, installs, measures, and prints the table.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    if options.only == Some(Which::Clocks) {
        return clocks(root, options.quick);
    }
    install::program(root, &["strace", "--version"], "strace")?;
    install::program(root, &["mkfs.ext4", "-V"], "e2fsprogs")?;
    let mut build = cargo(root, ["build", "--release", "--locked", "--package", "bench"]);
    if options.only != Some(Which::Reference) {
        build.args(["--package", "sim"]);
    }
    run_command(&mut build)?;
    let work = root.join("target/bench/run");
    let mut driver = command(root, "target/release/bench", ["run"]);
    driver.arg("--work").arg(work).args(["--passes", &options.passes.to_string()]);
    if options.only != Some(Which::Reference) {
        driver.arg("--perch").arg(root.join("target/release/perch"));
    }
    if options.only != Some(Which::Perch)
        && let Kind::Reference { node, folder } = clients::reference(root)?
    {
        driver.arg("--reference").arg(folder).arg("--node").arg(node);
    }
    for (wanted, flag) in [(options.quick, "--quick"), (options.reference_cold, "--reference-cold")] {
        if wanted {
            driver.arg(flag);
        }
    }
    if options.only.is_none() && !options.quick {
        driver.arg("--page").arg(root.join(PAGE));
    } else {
        say(format_args!("note: {PAGE} is written by a full run only"));
    }
    run_command(&mut driver)
}

/// Scenarios of a short run.
const QUICK_SCENARIOS: &str = "100";

/// Runs the time guard's scenarios on all programs that keep the clock.
fn clocks(root: &Path, quick: bool) -> Result<()> {
    install::program(root, &["cc", "--version"], "build-essential")?;
    let mut command = cargo(root, ["run", "--quiet", "--locked", "--package", "clocks", "--"]);
    if quick {
        command.args(["--scenarios", QUICK_SCENARIOS]);
    } else {
        command.arg("--page").arg(root.join(PAGE));
    }
    run_command(&mut command)
}
