//! `perch`: the whole appliance on this computer. Reads the command line, takes the computer's clock, runs.
//!
//! The only file of this crate that names `platform-linux`: everything else gets its hardware handed over.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use platform::Disk;
use platform_linux::{LinuxClock, LinuxDisk};
use sim::cli::{Action, Cli, RunArgs};
use sim::console;
use sim::run::{Host, Refused, run};

/// Threads that run tasks. Two: one that waits for a slow task leaves another; more only cost memory.
const WORKERS: usize = 2;

/// Threads for blocking work (password hashes, disk): bounded, since each hash takes 12 MiB.
const BLOCKING_MAX: usize = 16;

/// The stack of each thread, of which only what is used takes memory. The deepest recursion is the decoder's, whose
/// depth is limited.
const STACK_BYTES: usize = 1024 * 1024;

/// The exit code when the command line or the data folder is refused, as clap's own.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    // Refused, the process only needs more memory.
    let _kept = !platform_linux::give_memory_back();
    let cli = Cli::parse();
    let done = match cli.action {
        Some(Action::Screenshot { page, file, scale, panel }) => {
            sim::screenshot::save(page, &file, scale, &panel).map(|live| {
                if !live {
                    console::answer(&format!(
                        "No appliance answers at {panel}: {} shows an example.",
                        file.display()
                    ));
                }
            })
        }
        None => start(cli.run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::answer(&format!("perch: {error:#}"));
            if error.is::<Refused>() { ExitCode::from(REFUSED) } else { ExitCode::FAILURE }
        }
    }
}

fn start(args: RunArgs) -> Result<()> {
    log_to(&args)?;
    std::fs::create_dir_all(&args.data)
        .with_context(|| format!("making the folder {}", args.data.display()))?;
    let clock = Arc::new(LinuxClock::new().context("reading the computer's clock")?);
    // Without a disk that can be told the simulated one keeps its own figures.
    let disk = LinuxDisk::of_folder(&args.data).ok().map(|disk| Arc::new(disk) as Arc<dyn Disk>);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("starting the tasks' threads")?;
    let ended = runtime.block_on(run(args, Host { clock, disk }));
    // The thread that reads standard input cannot be woken; it ends with the process.
    runtime.shutdown_background();
    ended
}

/// Sends the log to standard error, or to a file while the screen is drawn on the terminal.
fn log_to(args: &RunArgs) -> Result<()> {
    let log = tracing_subscriber::fmt().with_max_level(args.log).with_target(false);
    if args.headless || !std::io::stdout().is_terminal() {
        log.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
        return Ok(());
    }
    std::fs::create_dir_all(&args.data)
        .with_context(|| format!("making the folder {}", args.data.display()))?;
    let path = sim::run::log_path(&args.data);
    let file = std::fs::File::create(&path).with_context(|| format!("making the log {}", path.display()))?;
    log.with_writer(Arc::new(file)).with_ansi(false).init();
    Ok(())
}
