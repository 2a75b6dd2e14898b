//! `perch-panel`: the pages on the home network, of what the box's supervisor says.
//!
//! The only file of this crate that names `platform-linux`.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use appliance::front::Live;
use appliance::live::LiveFile;
use clap::Parser;
use control::SandboxReport;
use platform::Gap;
use platform::confine::{self, Sandbox};
use platform::time::BootClock;
use platform_linux::LinuxClock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the supervisor's file is read: as often as it draws.
const READ_EVERY: Duration = Duration::from_millis(500);

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "perch-panel", version, about = "The status pages of a Perch box.")]
struct Cli {
    #[command(flatten)]
    live: LiveFile,
    /// Where it listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// A further name or address that it answers to, without port. The box's own are known.
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// The folder on tmpfs where it says how far it is shut in.
    #[arg(long, value_name = "FOLDER")]
    run_dir: Option<PathBuf>,
    /// Whether it shuts itself in: on, off (it then says so), or strict (an unknown system call ends it; for tests).
    #[arg(long, value_name = "HOW", default_value = "on")]
    sandbox: Sandbox,
}

fn main() -> ExitCode {
    // Refused, the process only needs more memory.
    let _kept = !platform_linux::give_memory_back();
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_ansi(false).init();
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<()> {
    let clock = LinuxClock::new().context("reading the machine's clock")?;
    let listener = TcpListener::bind(cli.listen)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| format!("listening on {} (--listen)", cli.listen))?;
    let report = SandboxReport::open(cli.run_dir.as_deref());
    let gaps = match confine::panel(&cli.live.path).when(cli.sandbox) {
        Some(confinement) => platform_linux::confine(&confinement),
        None => Gap::switched_off(),
    };
    report.say(clock.boot_id(), &gaps);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(cli, listener, clock))
}

async fn serve(cli: Cli, listener: TcpListener, clock: LinuxClock) -> Result<()> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (live, watched) = watch::channel(Live::default());
    let config = panel::Config { listener, names: cli.name, button: None };
    let mut pages = std::pin::pin!(panel::run(config, watched, shutdown.clone()));
    let mut reads = tokio::time::interval(READ_EVERY);
    loop {
        tokio::select! {
            () = pages.as_mut() => return Ok(()),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reads.tick() => {
                let read = appliance::live::read(&cli.live.path).ok().flatten();
                // A supervisor that says nothing is told as silence, not as its last word.
                let fresh = read.filter(|read| read.is_fresh(clock.boot_id(), clock.boottime_ns()));
                live.send_replace(fresh.map(|read| read.status).unwrap_or_default());
            }
        }
    }
    shutdown.cancel();
    pages.await;
    Ok(())
}
