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
use platform::DiskKind;
use platform::volumes::{CheckResult, Volumes};
use platform_linux::{LinuxVolumes, check_ext4};
use powercut::guest::{Fault, Order, record};
use powercut::judge::{Judging, Report};
use powercut::load::Plan;
use powercut::pds::Run;
use powercut::relocation;

/// States within which a planted fault must be noticed.
const FAULT_STATES_MAX: usize = 200;

/// Clients of a PDS at the same time.
const CLIENTS: usize = 6;

/// Calls of each client: an account and dozens of posts and pictures. The time that one state takes grows with what was
/// promised, so many states take many loads, not longer ones.
const CALLS: usize = 45;

/// States of one load.
const STATES_PER_LOAD: usize = 500;

/// Loads that run in one machine at the same time.
const LOADS_PER_BOOT: usize = 5;

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
    /// Number of crash states of the data's move from card to SSD.
    #[arg(long, default_value_t = 0)]
    move_states: usize,
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
    let (mut total, mut loads) = (Report::default(), 0_usize);
    let (mut planted, mut noticed) = (0_usize, 0_usize);
    for orders in orders(cli).chunks(LOADS_PER_BOOT) {
        let booted = Instant::now();
        let plans: Vec<Order> = orders.iter().map(|(order, _)| *order).collect();
        let runs = record(&cli.programs, &root, &plans)?;
        say(&format!("{} loads ran in the machine, {:.1} s", runs.len(), booted.elapsed().as_secs_f64()));
        for ((order, states), recorded) in orders.iter().zip(&runs) {
            if let Some(fault) = order.fault {
                planted += 1;
                noticed += usize::from(judge_faulty(recorded, fault, cli.seed)?);
            } else {
                loads += 1;
                total.add(judge_sound(recorded, *states, order.plan.seed, &keep_in)?);
            }
        }
    }
    let mut moved = Report::default();
    if cli.move_states > 0 {
        moved = judge_move(cli, &keep_in, &mut planted, &mut noticed)?;
    }
    let is_sound = total.violations.is_empty() && moved.violations.is_empty();
    let verdict = if is_sound { "0 lost" } else { "PROMISES BROKEN" };
    say(&format!("{loads} loads: {total}"));
    say(&format!("the move: {moved}"));
    say(&format!(
        "powercut: {verdict}, {noticed} of {planted} planted faults noticed, {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    Ok(is_sound && noticed == planted)
}

/// The loads, each with the states that it is judged in.
fn orders(cli: &Cli) -> Vec<(Order, usize)> {
    let mut orders = Vec::new();
    if !cli.no_faults {
        let plan = Plan { seed: cli.seed, clients: CLIENTS, calls: CALLS };
        orders.extend(Fault::ALL.map(|fault| (Order { fault: Some(fault), plan }, FAULT_STATES_MAX)));
    }
    let loads = cli.states.div_ceil(STATES_PER_LOAD);
    let mut left = cli.states;
    for (seed, loads_left) in (cli.seed..).zip((1..=loads).rev()) {
        let states = left.div_ceil(loads_left);
        left -= states;
        let plan = Plan { seed, clients: CLIENTS, calls: CALLS };
        orders.push((Order { fault: None, plan }, states));
    }
    orders
}

fn judge_sound(recorded: &Run, states: usize, seed: u64, keep_in: &Path) -> Result<Report> {
    let report = recorded.judge(Judging::new(states, seed, keep_in), mend, progress())?;
    say(&format!("seed {seed}: {report}"));
    tell_violations(&report);
    Ok(report)
}

fn judge_faulty(recorded: &Run, fault: Fault, seed: u64) -> Result<bool> {
    let report = recorded.judge(Judging::until_noticed(FAULT_STATES_MAX, seed), mend, |_| {})?;
    Ok(tell_fault(&fault, &report))
}

/// Cuts the power while the data moves.
fn judge_move(cli: &Cli, keep_in: &Path, planted: &mut usize, noticed: &mut usize) -> Result<Report> {
    relocation::spare_caches(&keep_in.join("forgotten"))?;
    let booted = Instant::now();
    let recorded = relocation::record(&cli.programs)?;
    say(&format!("the data moved in the machine, {:.1} s", booted.elapsed().as_secs_f64()));
    if !cli.no_faults {
        for fault in relocation::Fault::ALL {
            let how = Judging::until_noticed(FAULT_STATES_MAX, cli.seed);
            *planted += 1;
            *noticed += usize::from(tell_fault(&fault, &recorded.judge_faulty(fault, how, hands)?));
        }
    }
    let report = recorded.judge(Judging::new(cli.move_states, cli.seed, keep_in), hands, progress())?;
    tell_violations(&report);
    Ok(report)
}

/// The box's hands, on devices that stand for disks.
fn hands(live: &Path, scratch: &Path, disks: &[(&str, DiskKind, bool)]) -> Box<dyn Volumes> {
    let none = LinuxVolumes::new(live, scratch);
    let volumes =
        disks.iter().fold(none, |volumes, (name, kind, is_boot)| volumes.only(name, *kind, *is_boot));
    Box::new(volumes)
}

/// Tells of the progress now and then.
fn progress() -> impl FnMut(&Report) {
    let mut examined = 0_usize;
    move |report| {
        examined += 1;
        if examined.is_multiple_of(TELL_EVERY) {
            say(&format!("  {report}"));
        }
    }
}

fn tell_violations(report: &Report) {
    for violation in &report.violations {
        say(&format!("VIOLATION {violation}"));
    }
}

/// Says whether a planted fault was noticed.
fn tell_fault(fault: &impl std::fmt::Debug, report: &Report) -> bool {
    match report.violations.first() {
        Some(violation) => say(&format!("planted {fault:?}: noticed in {violation}")),
        None => say(&format!("planted {fault:?}: NOT NOTICED in {report}")),
    }
    !report.violations.is_empty()
}

/// Checks a file system as the box does at its start.
fn mend(disk: &Path) -> Result<(), String> {
    match check_ext4(disk, false) {
        Ok(CheckResult::Clean | CheckResult::Mended) => Ok(()),
        Ok(CheckResult::Damaged) => Err("the check leaves it to the owner".to_owned()),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

/// Prints a line; a reader that is gone is no reason to stop.
fn say(line: &str) {
    let written = writeln!(io::stdout().lock(), "{line}");
    drop(written);
}
