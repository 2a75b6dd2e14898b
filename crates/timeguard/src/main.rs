//! `perch-timeguard`: decides whether the clock may be trusted, sets it, and tells the others. Reads its settings, opens
//! the machine's clocks and chip, and runs until SIGTERM.
//!
//! The only file of this crate that names `platform-linux`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use control::SandboxReport;
use platform::confine::{self, GuardPlaces, Sandbox};
use platform::time::{BootClock, ClockControl};
use platform::{DriverFirst, Gap, Rtc};
use platform_linux::{LinuxClock, LinuxClockControl, LinuxRtc};
use timeguard::policy::RtcConfig;
use timeguard::service::{Machine, serve};
use timeguard::settings::{FILE_BYTES_MAX, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Threads for what blocks: looking names up and the clock chip. Sixteen: a dead resolver holds each for half a minute,
/// and a new network must find some free.
const BLOCKING_MAX: usize = 16;

/// The stack of those threads, of which only what is used takes memory; the C library's resolver needs most.
const STACK_BYTES: usize = 512 * 1024;

/// The exit code when the settings are refused, as clap's own for the command line.
const REFUSED: u8 = 2;

/// When this program was built, seconds since 1970: an image's build sets it, any other build has this day's midnight,
/// 2026-11-23. It must lie in the past, or no time would ever be trusted.
const BUILT_S: u64 = 1_795_392_000;
const BUILT: Option<&str> = option_env!("PERCH_BUILD_UNIX_S");

/// The command line: everything else is a setting.
#[derive(Debug, Parser)]
#[command(
    name = "perch-timeguard",
    version,
    about = "Decides whether the clock may be trusted. Its settings are listed in docs/settings-time.md.",
    after_help = "Exit codes: 0 ended in order, 1 failed, 2 the command line or the settings are refused."
)]
struct Cli {
    /// The file with the settings (TOML); a missing file is no settings.
    #[arg(long, value_name = "FILE", default_value = "/run/perch/timeguard/settings.toml")]
    config: PathBuf,
    /// The folder with the descriptions of boards.
    #[arg(long, value_name = "FOLDER", default_value = "/etc/perch/boards")]
    boards: PathBuf,
    /// Where verdict, status and control socket are: a folder on tmpfs.
    #[arg(long, value_name = "FOLDER", default_value = "/run/perch/timeguard")]
    run_dir: PathBuf,
    /// Where the last trusted time is kept across restarts.
    #[arg(long, value_name = "FOLDER", default_value = "/data/timeguard")]
    data_dir: PathBuf,
    /// Neither sets the clock nor touches the clock chip: something else keeps this machine's time.
    #[arg(long)]
    no_clock: bool,
    /// Whether it shuts itself in: on, off (it then says so), or strict (an unknown system call ends it; for tests).
    #[arg(long, value_name = "HOW", default_value = "on")]
    sandbox: Sandbox,
}

fn main() -> ExitCode {
    // Refused, the process only needs more memory.
    let _kept = !platform_linux::give_memory_back();
    let cli = Cli::parse();
    let settings = match read_settings(&cli.config) {
        Ok(settings) => settings,
        Err(text) => {
            complain(&format!("perch-timeguard: {}: {text}\n", cli.config.display()));
            return ExitCode::from(REFUSED);
        }
    };
    match start(cli, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("perch-timeguard: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Reads the settings; the error is what to print.
fn read_settings(path: &Path) -> Result<Settings, String> {
    let mut text = String::new();
    match std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)) {
        Ok(_) => Settings::parse(&text).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
        Err(error) => Err(error.to_string()),
    }
}

fn start(cli: Cli, settings: Settings) -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().with_ansi(false).init();
    std::fs::create_dir_all(&cli.run_dir)
        .with_context(|| format!("making the folder {}", cli.run_dir.display()))?;
    let clock = LinuxClock::new().context("reading the machine's clock")?;
    let (control, rtc) = if cli.no_clock { (None, None) } else { devices(&cli.boards, &clock) };
    let build_s = BUILT.and_then(|text| text.parse().ok()).unwrap_or(BUILT_S);
    let report = SandboxReport::open(Some(&cli.run_dir));
    let boot_id = clock.boot_id();
    let confinement = confine::guard(&GuardPlaces {
        run: cli.run_dir.clone(),
        data: cli.data_dir.clone(),
        roots: settings.hosts.roots.clone(),
        name_servers: platform_linux::name_server_file(),
        sets_clock: control.is_some(),
    });
    let machine = Machine {
        boot: Arc::new(clock),
        control,
        rtc,
        build_us: build_s.saturating_mul(1_000_000),
        run_dir: cli.run_dir,
        data_dir: cli.data_dir,
    };
    let gaps = match confinement.when(cli.sandbox) {
        Some(confinement) => platform_linux::confine(&confinement),
        None => Gap::switched_off(),
    };
    report.say(boot_id, &gaps);
    // One thread: a question a second needs no more, and each thread costs memory.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_MAX)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("starting the tasks' thread")?;
    let done = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut ends = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
        let mut interrupts = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
        let told = async {
            tokio::select! {
                _ = ends.recv() => {}
                _ = interrupts.recv() => {}
            }
            shutdown.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = serve(settings, machine, shutdown.clone()) => served.context("serving"),
            () = told => Ok(()),
        }
    });
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    done
}

/// The clock chip and how it drifts.
type OwnedRtc = (Box<dyn Rtc>, RtcConfig);

/// Opens what may set the machine's clock, and the clock chip of its board. A computer that is no known board keeps its
/// own time: there the clock is somebody else's to set.
fn devices(boards: &Path, clock: &LinuxClock) -> (Option<Arc<dyn ClockControl>>, Option<OwnedRtc>) {
    let Some(board) = platform_linux::this_board(boards) else {
        tracing::info!("this machine is no known board: its clock is left alone");
        return (None, None);
    };
    for hand in platform_linux::other_hands() {
        tracing::warn!("{hand}");
    }
    let control = LinuxClockControl::take_over(platform_linux::kernel_writes_chip())
        .inspect_err(|error| tracing::error!(error = ?error, "the clock cannot be set"))
        .ok()
        .map(|control| Arc::new(control) as Arc<dyn ClockControl>);
    let rtc = LinuxRtc::find(board.rtc.as_ref(), clock).map(|rtc| {
        match rtc.driver_first() {
            Some(DriverFirst::FoundStopped) => {
                tracing::warn!("this kernel's driver found that the clock chip had stopped, and cleared its flag");
            }
            Some(DriverFirst::Unknown) => tracing::warn!(
                "this kernel's driver had the clock chip first and may have hidden that it stopped: it counts once time \
                 servers have confirmed it"
            ),
            None => {}
        }
        let config = RtcConfig::of(rtc.kind());
        (Box::new(rtc) as Box<dyn Rtc>, config)
    });
    (control, rtc)
}

/// Says why it ends, also when no log is set up yet.
fn complain(text: &str) {
    // There is nobody else to tell.
    drop(std::io::stderr().write_all(text.as_bytes()));
}
