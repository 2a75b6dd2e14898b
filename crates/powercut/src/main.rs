//! `powercut --programs DIR --states N --seed S`: power cuts below the file system of a running machine, and whether
//! planted faults are noticed.
//!
//! Ends with 1 when a promise is broken or a fault is not noticed, with 2 when the test itself could not run.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use powercut::guest::{Fault, Order, record};
use powercut::judge::{Judging, Run};
use powercut::load::Plan;

/// States within which a planted fault must be noticed.
const FAULT_STATES_MAX: usize = 200;

/// Clients of the sound PDS at the same time, and of each faulty one.
const CLIENTS: usize = 3;
const FAULT_CLIENTS: usize = 2;

/// Calls of each client of a faulty PDS: two accounts and dozens of posts and pictures.
const FAULT_CALLS: usize = 70;

/// Calls of each client of the sound PDS: more for more states, so that they are not all of the same few seconds.
const CALLS_MIN: usize = 100;
const CALLS_MAX: usize = 600;
const STATES_PER_CALL: usize = 10;

/// States between two lines about the progress.
const TELL_EVERY: usize = 500;

/// Set when the process has its own mount namespace.
const ALONE: &str = "PERCH_POWERCUT_ALONE";

/// The command line.
#[derive(Debug, Parser)]
struct Cli {
    /// The folder with the aarch64 programs (`cargo xtask cross --quick`).
    #[arg(long)]
    programs: PathBuf,
    /// Number of crash states.
    #[arg(long, default_value_t = 300)]
    states: usize,
    /// Seed of loads, places and choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Plants no faults.
    #[arg(long)]
    no_faults: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = if std::env::var_os(ALONE).is_some() { run(&cli) } else { run_alone() };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Starts this program again where its mounts are nobody else's, and vanish with it.
fn run_alone() -> Result<bool> {
    let own = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--"]).arg(own).args(std::env::args_os().skip(1)).env(ALONE, "yes");
    let status = command.status().context("cannot start unshare, which needs root")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => anyhow::bail!("the test did not run to its end: {status}"),
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let began = Instant::now();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let keep_in = root.join("target/powercut");
    std::fs::create_dir_all(&keep_in).context("making target/powercut")?;
    let calls = (cli.states / STATES_PER_CALL).clamp(CALLS_MIN, CALLS_MAX);
    let mut orders = vec![Order { fault: None, plan: Plan { seed: cli.seed, clients: CLIENTS, calls } }];
    if !cli.no_faults {
        let faulty = |fault| Order {
            fault: Some(fault),
            plan: Plan { seed: cli.seed, clients: FAULT_CLIENTS, calls: FAULT_CALLS },
        };
        orders.extend(Fault::ALL.map(faulty));
    }
    let runs = record(&cli.programs, &root, &orders)?;
    say(&format!("{} loads ran in the machine, {:.1} s", runs.len(), began.elapsed().as_secs_f64()));
    let (mut sound, mut planted, mut noticed) = (true, 0, 0);
    for (order, recorded) in orders.iter().zip(&runs) {
        match order.fault {
            None => sound &= judge_sound(recorded, cli, &keep_in)?,
            Some(fault) => {
                planted += 1;
                noticed += usize::from(judge_faulty(recorded, fault, cli.seed)?);
            }
        }
    }
    let verdict = if sound { "0 lost" } else { "PROMISES BROKEN" };
    say(&format!(
        "powercut: {verdict}, {noticed} of {planted} planted faults noticed, {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    Ok(sound && noticed == planted)
}

fn judge_sound(recorded: &Run, cli: &Cli, keep_in: &Path) -> Result<bool> {
    let report = recorded.judge(Judging::new(cli.states, cli.seed, keep_in), |report| {
        if report.states % TELL_EVERY == 0 {
            say(&format!("  {report}"));
        }
    })?;
    say(&format!("seed {}: {report}", cli.seed));
    for violation in &report.violations {
        say(&format!("VIOLATION {violation}"));
    }
    Ok(report.violations.is_empty())
}

fn judge_faulty(recorded: &Run, fault: Fault, seed: u64) -> Result<bool> {
    let report = recorded.judge(Judging::until_noticed(FAULT_STATES_MAX, seed), |_| {})?;
    match report.violations.first() {
        Some(violation) => say(&format!("planted {fault:?}: noticed in {violation}")),
        None => say(&format!("planted {fault:?}: NOT NOTICED in {report}")),
    }
    Ok(!report.violations.is_empty())
}

/// Prints a line; a reader that is gone is no reason to stop.
fn say(line: &str) {
    let written = writeln!(io::stdout().lock(), "{line}");
    drop(written);
}
