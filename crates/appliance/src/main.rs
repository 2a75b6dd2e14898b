//! `perch-appliance`: keeps the box running. Reads the owner's settings, opens the machine's devices, starts the other
//! programs, and ends when the machine goes off.
//!
//! It runs as root and opens no network socket.

use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use appliance::children::{self, Paths};
use appliance::config::{self, Settings};
use appliance::front::presence::Means;
use appliance::front::{Desk, Display};
use appliance::supervise::door::Door;
use appliance::supervise::erase;
use appliance::supervise::policy::WATCHDOG_LIFE_S;
use appliance::supervise::run::{Box_, run};
use appliance::{live, network};
use clap::Parser;
use control::status::{PdsStatus, Stamped, TimeStatus};
use control::users::{PASSWD_BYTES_MAX, Users};
use control::{Status, SystemStatus, socket};
use platform::Watchdog;
use platform::board::Memory;
use platform::time::BootClock;
use platform_linux::{LinuxClock, LinuxPower, LinuxProcesses, LinuxWatchdog};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Memory limits of a board that is not known, MiB: those of the smallest that we know.
const MEMORY: Memory = Memory { pds_mib: 192, panel_mib: 32, timeguard_mib: 16 };

/// Wishes and deeds that may wait: a person makes one at a time.
const WAITING: usize = 8;

/// The command line. On the device it is empty.
#[derive(Debug, Parser)]
#[command(name = "perch-appliance", version, about = "Keeps a Perch box running.")]
struct Cli {
    /// The owner's settings.
    #[arg(long, value_name = "FILE", default_value = "/boot/perch.toml")]
    config: PathBuf,
    /// The folder with the other programs.
    #[arg(long, value_name = "FOLDER", default_value = "/usr/bin")]
    bin: PathBuf,
    /// Where status files and sockets are: a folder on tmpfs.
    #[arg(long, value_name = "FOLDER", default_value = "/run/perch")]
    run_dir: PathBuf,
    /// Where the data is.
    #[arg(long, value_name = "FOLDER", default_value = "/data")]
    data: PathBuf,
    /// The watchdog; without one a box that hangs stays hung.
    #[arg(long, value_name = "DEVICE", default_value = "/dev/watchdog")]
    watchdog: PathBuf,
    /// Runs only the most needed programs.
    #[arg(long)]
    safe_mode: bool,
    /// Looks after no network interface: something else does.
    #[arg(long)]
    no_network: bool,
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
    // First of all: from here on a hang ends by itself.
    let watchdog = match LinuxWatchdog::open(&cli.watchdog, WATCHDOG_LIFE_S) {
        Ok((watchdog, _)) => Some(Box::new(watchdog) as Box<dyn Watchdog>),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no watchdog");
            None
        }
    };
    let clock = Arc::new(LinuxClock::new().context("reading the machine's clock")?);
    let paths = Paths { bin: cli.bin, run: cli.run_dir, data: cli.data };
    let users = Users::of_passwd(&read(Path::new("/etc/passwd"), PASSWD_BYTES_MAX).unwrap_or_default());
    let (settings, problem) =
        match read(&cli.config, config::FILE_BYTES_MAX).map(|text| Settings::parse(&text)) {
            None => (Settings::default(), None),
            Some(Ok(settings)) => (settings, None),
            Some(Err(error)) => (Settings::default(), Some(error.to_string())),
        };
    let safe_mode = match erase::finish(&paths.data) {
        Err(error) if paths.data.is_dir() => Some(format!("Erasing everything failed: {error}.")),
        Ok(_) | Err(_) => cli.safe_mode.then(|| "It was asked for.".to_owned()),
    };
    let wifi_file = folders(&paths, &users, &settings).context("making the folders of the programs")?;
    let system = Arc::new(Mutex::new(SystemStatus {
        hostname: settings.hostname.clone().unwrap_or_else(|| "perch".to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        safe_mode: safe_mode.clone(),
        settings_problem: problem,
        ..SystemStatus::default()
    }));
    let desk = Arc::new(Desk::new(Means { secret: settings.secret.clone(), ..Means::default() }));
    let (wished, wishes) = mpsc::channel(WAITING);
    let (deed, deeds) = mpsc::channel(WAITING);
    let parts = Box_ {
        processes: Box::new(LinuxProcesses::new(Some(Path::new("/sys/fs/cgroup")))),
        watchdog,
        power: Box::new(LinuxPower),
        programs: children::ours(&paths, &users, &MEMORY),
        interfaces: (!cli.no_network).then(|| PathBuf::from("/sys/class/net")),
        wifi_file,
        safe_mode,
        system: Arc::clone(&system),
        wishes,
        deeds,
        paths: paths.clone(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let (_button, presses) = std::sync::mpsc::channel();
    let display = Display {
        gather: gather(&paths, &clock, system),
        screen: None,
        button: None,
        led: None,
        show: show(&paths, &clock),
        presses,
        desk: Arc::clone(&desk),
        wish: Box::new(move |wish| {
            if wished.try_send(wish).is_err() {
                tracing::warn!("too many wishes at once");
            }
        }),
        blank_after_ms: Some(appliance::screen::BLANK_AFTER_MS),
        boottime_ns: Box::new({
            let clock = Arc::clone(&clock);
            move || clock.boottime_ns()
        }),
    };
    let stopped = Arc::clone(&stop);
    let drawing =
        std::thread::Builder::new().name("screen".to_owned()).spawn(move || display.run(&stopped))?;
    let door = Door { users, desk, deeds: deed, shows_codes: false };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(parts, door, &paths));
    stop.store(true, Ordering::Relaxed);
    // A bus that hangs keeps the thread; it ends with the process.
    drop(drawing);
    runtime.shutdown_background();
    ended
}

async fn serve(parts: Box_, door: Door, paths: &Paths) -> Result<()> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    // Everybody may connect; the kernel tells who asks.
    let listener =
        socket::bind(&paths.run.join("appliance/control.sock"), 0o666).context("opening the socket")?;
    let stop = shutdown.clone();
    tokio::select! {
        ended = run(parts, shutdown.clone()) => ended.map_err(Into::into),
        () = socket::serve(listener, move |uid, request| door.answer(uid, request), CancellationToken::new()) => Ok(()),
        () = async move {
            let _gone = terminate.recv().await.is_none();
            stop.cancel();
            std::future::pending::<()>().await;
        } => Ok(()),
    }
}

/// Reads a text file up to a length; `None` when it is not there or is no text.
fn read(path: &Path, bytes_max: u64) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(bytes_max).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Makes each program's folder, its own and nobody else's to write, with its part of the settings. Gives the file of the
/// wireless network, if there is one.
fn folders(paths: &Paths, users: &Users, settings: &Settings) -> Result<Option<PathBuf>> {
    let make = |path: &Path, mode: u32, owner: Option<control::users::User>| -> Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        if let Some(owner) = owner {
            std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))?;
        }
        Ok(())
    };
    for (name, owner) in [
        ("appliance", None),
        ("network", None),
        ("pds", users.pds),
        ("timeguard", users.guard),
        ("panel", users.panel),
    ] {
        make(&paths.run.join(name), 0o755, owner)?;
    }
    if paths.data.is_dir() {
        make(&paths.data.join("pds"), 0o700, users.pds)?;
        make(&paths.data.join("timeguard"), 0o700, users.guard)?;
    }
    // Where things are on the device is not the owner's to say.
    let mut pds = settings.pds.clone();
    for (key, path) in [
        ("data_dir", paths.data.join("pds")),
        ("time_verdict_file", paths.run.join("timeguard/verdict.json")),
    ] {
        pds.insert(key.to_owned(), toml::Value::String(path.display().to_string()));
    }
    for (name, table, owner) in [("pds", &pds, users.pds), ("timeguard", &settings.time, users.guard)] {
        let path = paths.run.join(name).join("settings.toml");
        secret_file(&path, &toml::to_string(table)?)?;
        if let Some(owner) = owner {
            std::os::unix::fs::chown(&path, Some(owner.uid), Some(owner.gid))?;
        }
    }
    let script = paths.run.join("network/udhcpc.sh");
    std::fs::write(&script, network::UDHCPC_SCRIPT)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let Some(wifi) = &settings.wifi else { return Ok(None) };
    let path = paths.run.join("network/wpa_supplicant.conf");
    secret_file(&path, &wifi.wpa_supplicant())?;
    Ok(Some(path))
}

/// Writes a file that only its owner may read.
fn secret_file(path: &Path, text: &str) -> Result<()> {
    let _none = std::fs::remove_file(path).is_err();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

/// Gathers what each program says; one that says nothing for 15 s is silent.
fn gather(
    paths: &Paths,
    clock: &Arc<LinuxClock>,
    system: Arc<Mutex<SystemStatus>>,
) -> Box<dyn FnMut() -> Status + Send> {
    let (pds, guard) = (paths.run.join("pds/status.json"), paths.run.join("timeguard/status.json"));
    let clock = Arc::clone(clock);
    Box::new(move || {
        let (boot_id, now_ns) = (clock.boot_id(), clock.boottime_ns());
        let pds: Option<Stamped<PdsStatus>> = control::file::read(&pds).ok().flatten();
        let time: Option<Stamped<TimeStatus>> = control::file::read(&guard).ok().flatten();
        let mut system = system.lock().unwrap_or_else(PoisonError::into_inner).clone();
        system.uptime_s = now_ns / 1_000_000_000;
        Status {
            pds: pds.filter(|pds| pds.is_fresh(boot_id, now_ns)).map(|pds| pds.status),
            time: time.filter(|time| time.is_fresh(boot_id, now_ns)).map(|time| time.status),
            system,
            ..Status::default()
        }
    })
}

/// Writes status and picture for the panel and `perchctl`.
fn show(paths: &Paths, clock: &Arc<LinuxClock>) -> Box<dyn FnMut(appliance::front::Live) + Send> {
    let (path, clock) = (paths.run.join("appliance/live.json"), Arc::clone(clock));
    Box::new(move |shown| {
        if let Err(error) = live::write(&path, &shown, clock.boot_id(), clock.boottime_ns()) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the status is not written");
        }
    })
}
