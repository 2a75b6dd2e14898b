//! The program behind `cargo xtask bench --only clocks`: runs the scenarios on all programs and writes the tables.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use clocks::host::Host;
use clocks::outcome::Outcome;
use clocks::program::PROGRAMS;
use clocks::table::Table;
use clocks::{guard, run};
use platform::time::BootClock;
use platform_linux::LinuxClock;
use timeguard::trial::Scenario;

/// Runs at the same time.
const THREADS: usize = 2;

/// How far this machine's clock may move against CLOCK_BOOTTIME meanwhile, microseconds: what a slew of its own keeper
/// (500 ppm) may do in a quarter of an hour. The scenarios move theirs by years.
const HOST_MOVES_US: u64 = 500_000;

/// The page's section, which this program alone writes.
const HEADING: &str = "## Clocks";

/// The command line.
#[derive(Debug, Parser)]
struct Cli {
    /// Number of scenarios.
    #[arg(long, default_value_t = 1_000)]
    scenarios: u64,
    /// Writes the section of this page.
    #[arg(long)]
    page: Option<PathBuf>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let host = Host::prepare(folder.path())?;
    let before_us = boot_us()?;
    let began = Instant::now();
    let table = measure(&host, cli.scenarios)?;
    let moved_us = boot_us()?.abs_diff(before_us);
    ensure!(moved_us <= HOST_MOVES_US, "this machine's clock was moved by {moved_us} us");
    let section = section(&table);
    writeln!(io::stdout(), "{section}\n{:.0} s", began.elapsed().as_secs_f64())?;
    if let Some(page) = cli.page {
        bench::page::write_section(&page, HEADING, &section)
            .with_context(|| format!("cannot write {}", page.display()))?;
    }
    Ok(())
}

/// When this machine started by CLOCK_REALTIME, UTC microseconds: it changes when the clock is set.
fn boot_us() -> Result<i64> {
    let clock = LinuxClock::new().context("this machine's clock")?;
    Ok(clock.realtime_us() - i64::try_from(clock.boottime_ns() / 1_000)?)
}

/// Runs all programs in all scenarios.
fn measure(host: &Host, scenarios: u64) -> Result<Table> {
    let next = AtomicU64::new(0);
    let rows = Mutex::new(Vec::new());
    let work = || -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= scenarios {
                return Ok(());
            }
            let scenario = Scenario::draw(seed);
            let mut outcomes: Vec<Outcome> = vec![guard::run(&scenario)];
            for program in PROGRAMS {
                outcomes.push(run::run(host, program, &scenario)?);
            }
            if let Ok(mut rows) = rows.lock() {
                rows.push((scenario, outcomes));
            }
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let mut rows = rows.into_inner().context("a run panicked")?;
    rows.sort_by_key(|(scenario, _): &(Scenario, _)| scenario.seed);
    let names = PROGRAMS.iter().map(|program| program.name());
    Ok(Table { programs: std::iter::once("Perch").chain(names).collect(), rows })
}

fn section(table: &Table) -> String {
    let debian = std::fs::read_to_string("/etc/debian_version").unwrap_or_default();
    format!(
        "{HEADING}\n\nWritten by `cargo xtask bench --only clocks`: {} scenarios of 11 minutes each, with the programs of Debian \
         {}.\n\n{}\n{}\n{}",
        table.rows.len(),
        debian.trim(),
        table.wrong(),
        table.good(),
        HOW.trim()
    )
}

/// How the figures are taken, and what they do not say.
const HOW: &str = "
- Scenarios: `timeguard::trial`, seeds from 0: four servers, the clock off by up to 20 years and its crystal by up to 90 ppm,
  delays to 1 s each way with up to 500 ms of jitter (half of them: honest round trips of at most 150 ms), loss to 40 %, up to
  two liars off by seconds, minutes, days or years. Servers, delays and losses are the same for all programs; which server
  is asked first changes from scenario to scenario.
- Who claims: for Perch, a verdict that lets the PDS sign, with its error bound; for the others the kernel's answer to
  `adjtimex` that the clock is synchronised, with its `maxerror`. systemd-timesyncd sets that to 0, whatever it knows: it
  says nothing about its error.
- Set the clock wrong: CLOCK_REALTIME at the end, claimed or not, where the program has moved it by more than a second.
  Wrong while it claimed: at any moment of the 11 minutes.
- Solvable: at least three honest servers, and a second evidence where the policy of Perch asks for one
  (`docs/time-guard.md`). Near and honest: all four are, with round trips of at most 150 ms.
- chrony and systemd-timesyncd are Debian's programs with Debian's settings, in which the time servers are the scenario's.
  They run behind `tests/clocks/shim.c`: a simulated clock, steered as Linux does, in which time passes only while they wait.
  The guard is its policy in the same world.

What it says:

- Perch is never further off than it says. It claims to know with two liars where the lies are smaller than the delays allow
  to see, or where its chip knew. Its price: where the last known time is more than 30 days ago and there is neither a
  certificate nor a chip, it waits for its owner even when all servers are honest. The others take that time, and are right.
- chrony is the most exact once the servers agree, and it learns the crystal's frequency, which Perch does not: Perch counts
  with 100 ppm. What fools it is the start: with Debian's settings the servers that answer first may step the clock by
  years. The claim ends when the others are heard; with two liars the clock mostly stays where it was set. With
  `minsources 3` it was never a minute off, and slower where answers got lost.
- systemd-timesyncd asks one server and believes it. It refuses times before its own release, so that most
  lies of years into the past fail.
";
