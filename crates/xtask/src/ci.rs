//! `cargo xtask test`: the whole of CI, in order, each step timed, ending at the first failure.
//!
//! It installs what it needs and expects nothing but Rust, git and a Debian system. The last line counts what passed:
//! steps, and the tests that the steps' own runners count.

use std::{path::Path, time::Instant};

use anyhow::{Result, bail};

use crate::{
    clients, cross, emulate, image, install, parity,
    shell::{cargo, run as run_command, run_lines, say},
    tidy,
};

/// One step of CI.
#[derive(Debug)]
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Path) -> Result<Count>,
}

/// Tests that a step ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
}

/// Crash states in CI: enough to meet each kind of file many times, few enough for a minute.
const TORTURE_STATES: u32 = 300;

/// All steps, in the order in which they run: what fails fast comes first.
const STEPS: &[Step] = &[
    Step { name: "packages", about: "a C compiler and git are there", run: packages },
    Step { name: "fmt", about: "rustfmt changes nothing", run: fmt },
    Step { name: "tidy", about: "the invariants of the design", run: tidy_step },
    Step { name: "clippy", about: "no warnings in any target", run: clippy },
    Step { name: "unit", about: "cargo test of the whole workspace", run: unit },
    Step { name: "release", about: "the program `perch` as people run it", run: release },
    Step { name: "first-light", about: "perch serves, restarts and keeps", run: first_light },
    Step { name: "clients-npm", about: "@atproto/api, @atproto/repo, @atproto/sync", run: clients::npm },
    Step { name: "clients-pypi", about: "the Python SDK atproto", run: clients::pypi },
    Step { name: "parity", about: "calls and moves between Perch and the reference", run: parity::run },
    Step { name: "torture", about: "power cuts at a few hundred places", run: torture_step },
    Step { name: "cross", about: "all programs for aarch64", run: cross_build },
    Step { name: "device", about: "what runs in an emulated machine with emulated hardware", run: device },
    Step { name: "image", about: "the flashable image: the same bytes twice, and it boots", run: image_step },
    Step { name: "first-light-aarch64", about: "the same check, emulated", run: first_light_aarch64 },
];

/// Prints the names of the steps.
pub(crate) fn list() {
    for step in STEPS {
        say(format_args!("{:<20} {}", step.name, step.about));
    }
}

/// Runs the steps, or those that `only` names, and returns whether all passed.
///
/// Fails when `only` names a step that does not exist.
pub(crate) fn run(root: &Path, only: &[String]) -> Result<bool> {
    if let Some(unknown) = only.iter().find(|name| !STEPS.iter().any(|step| step.name == name.as_str())) {
        bail!("no step `{unknown}`: see `cargo xtask test --list`");
    }
    let chosen = |step: &&Step| only.is_empty() || only.iter().any(|name| name == step.name);
    let (start, mut total, mut report) = (Instant::now(), Count::default(), Vec::new());
    if !root.join("../shared").is_dir() && std::env::var_os("PERCH_SHARED").is_none() {
        say(format_args!(
            "note: ../shared is absent: tests against its public vectors say so and are not run"
        ));
    }
    for step in STEPS.iter().filter(chosen) {
        say(format_args!("\n== {}: {}", step.name, step.about));
        let began = Instant::now();
        let outcome = (step.run)(root);
        let seconds = began.elapsed().as_secs_f64();
        match outcome {
            Ok(count) => {
                total.passed += count.passed + 1;
                let tests =
                    if count.passed > 0 { format!(", {} tests", count.passed) } else { String::new() };
                report.push(format!("{:<20} {seconds:7.1} s  passed{tests}", step.name));
            }
            Err(error) => {
                total.failed += 1;
                report.push(format!("{:<20} {seconds:7.1} s  FAILED: {error:#}", step.name));
                break;
            }
        }
    }
    say(format_args!("\n== summary ({:.1} s)", start.elapsed().as_secs_f64()));
    for line in &report {
        say(format_args!("{line}"));
    }
    if total.failed > 0 {
        say(format_args!("stopped at the first failure; the steps after it were not run"));
    }
    say(format_args!("{} passed, {} failed", total.passed, total.failed));
    Ok(total.failed == 0)
}

fn packages(root: &Path) -> Result<Count> {
    install::program(root, &["cc", "--version"], "build-essential")?;
    install::program(root, &["git", "--version"], "git")?;
    // Tests of disks and networks make their own: a file system on a loop device, a namespace.
    install::program(root, &["mkfs.ext4", "-V"], "e2fsprogs")?;
    install::program(root, &["ip", "-V"], "iproute2")?;
    Ok(Count::default())
}

fn fmt(root: &Path) -> Result<Count> {
    run_command(&mut cargo(root, ["fmt", "--all", "--check"]))?;
    Ok(Count::default())
}

fn tidy_step(root: &Path) -> Result<Count> {
    if tidy::run(root)? { Ok(Count::default()) } else { bail!("an invariant is broken: see the lines above") }
}

fn clippy(root: &Path) -> Result<Count> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
    run_command(&mut cargo(root, arguments))?;
    Ok(Count::default())
}

fn unit(root: &Path) -> Result<Count> {
    cargo_test(root, &["test", "--workspace", "--locked"])
}

fn release(root: &Path) -> Result<Count> {
    run_command(&mut cargo(root, ["build", "--release", "--locked", "--package", "sim"]))?;
    Ok(Count::default())
}

fn first_light(root: &Path) -> Result<Count> {
    Ok(Count { passed: cross::first_light_native(root)?.into(), failed: 0 })
}

fn torture_step(root: &Path) -> Result<Count> {
    torture(root, TORTURE_STATES, 1)?;
    Ok(Count::default())
}

/// Runs the store's crash test.
pub(crate) fn torture(root: &Path, states: u32, seed: u64) -> Result<()> {
    let (states, seed) = (states.to_string(), seed.to_string());
    let mut command =
        cargo(root, ["run", "--quiet", "--locked", "--package", "crashfs", "--bin", "torture", "--"]);
    command.args(["--states", &states, "--seed", &seed]);
    run_command(&mut command)
}

/// Runs the PDS in an emulated machine, cuts the power of its disk, and checks what is left; planted faults as well.
pub(crate) fn block_cuts(root: &Path, states: u32, seed: u64) -> Result<()> {
    emulate::install_machine(root)?;
    let programs = cross::build(root, cross::Effort::Quick)?;
    let (states, seed) = (states.to_string(), seed.to_string());
    let mut command = cargo(root, ["run", "--quiet", "--locked", "--package", "powercut", "--"]);
    command.arg("--programs").arg(programs).args(["--states", &states, "--seed", &seed]);
    run_command(&mut command)
}

fn cross_build(root: &Path) -> Result<Count> {
    cross::build(root, cross::Effort::Quick)?;
    Ok(Count::default())
}

/// Boots the test machine and runs the tests that need it.
fn device(root: &Path) -> Result<Count> {
    emulate::install_machine(root)?;
    cross::build(root, cross::Effort::Quick)?;
    cross::build_probes(root)?;
    // One machine at a time: an emulated processor takes a real one.
    let arguments = ["test", "--locked", "--package", "testbed", "--features", "guest", "--test", "device"];
    cargo_test(root, &[&arguments[..], &["--", "--test-threads=1"]].concat())
}

/// Makes the test image twice, looks it over, and boots it.
fn image_step(root: &Path) -> Result<Count> {
    emulate::install_machine(root)?;
    let programs = cross::build(root, cross::Effort::Quick)?;
    image::make_twice(root, &programs)?;
    let arguments = ["test", "--locked", "--package", "testbed", "--features", "guest", "--test", "image"];
    cargo_test(root, &[&arguments[..], &["--", "--test-threads=1", "--nocapture"]].concat())
}

fn first_light_aarch64(root: &Path) -> Result<Count> {
    let programs = cross::build(root, cross::Effort::Quick)?;
    Ok(Count { passed: cross::first_light(root, &programs)?.into(), failed: 0 })
}

/// Runs `cargo test …` and counts its tests; fails when one fails or none was run.
fn cargo_test(root: &Path, arguments: &[&str]) -> Result<Count> {
    let mut count = Count::default();
    let done = run_lines(&mut cargo(root, arguments.iter().copied()), |line| {
        if let Some(found) = counted(line) {
            count.passed += found.passed;
            count.failed += found.failed;
        }
    });
    match done {
        Err(error) if count.failed > 0 => bail!("{} tests failed: {error:#}", count.failed),
        Err(error) => Err(error),
        Ok(()) if count.passed == 0 => bail!("no test was run"),
        Ok(()) => Ok(count),
    }
}

/// What a closing line of the Rust test runner counts.
fn counted(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| -> Option<u64> {
        let part = rest.split([';', '.']).find_map(|part| part.trim().strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

#[cfg(test)]
mod tests {
    use super::{Count, counted};

    #[test]
    fn closing_lines_are_counted() {
        let line =
            "test result: ok. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        assert_eq!(counted(line), Some(Count { passed: 12, failed: 3 }));
        assert_eq!(counted("test x ... ok"), None);
    }
}
