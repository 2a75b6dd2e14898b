//! `perch-appliance`: keeps the box running. Reads the owner's settings, opens the machine's devices, starts the other
//! programs, and ends when the machine goes off.
//!
//! It runs as root and opens no network socket. Devices are opened here and handed over; nothing is decided here.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use appliance::children::{self, Paths};
use appliance::config::{self, Settings};
use appliance::front::presence::Means;
use appliance::front::{Desk, Display, Live, Wish};
use appliance::gather::{Gatherer, OwnStatus};
use appliance::log::Log;
use appliance::notes::{NOTES_BYTES_MAX, NOTES_FILE, NoteBook};
use appliance::supervise::data;
use appliance::supervise::door::Door;
use appliance::supervise::policy::WATCHDOG_LIFE_S;
use appliance::supervise::run::{Addresses, Box_, run};
use appliance::supervise::starts;
use appliance::upkeep::{self, Hands, Upkeep};
use appliance::{folders, live, network};
use clap::Parser;
use control::users::{PASSWD_BYTES_MAX, Users};
use control::{SystemStatus, socket};
use platform::time::BootClock;
use platform::{Button, Disk, FrontDevices, KernelLog, NetworkState, Watchdog};
use platform_linux::{
    LinuxClock, LinuxDisk, LinuxDiskHealth, LinuxDisks, LinuxGauges, LinuxKernelLog, LinuxNetwork,
    LinuxPower, LinuxProcesses, LinuxSpeedTest, LinuxTrim, LinuxUsb, LinuxVolumes, LinuxWatchdog,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Wishes and deeds that may wait: a person makes one at a time.
const WAITING: usize = 8;

/// Where the data is mounted.
const DATA: &str = "/data";

/// The value of `--watchdog` that opens none.
const NO_WATCHDOG: &str = "none";

/// The command line. On the device it is empty.
#[derive(Debug, Parser)]
#[command(name = "perch-appliance", version, about = "Keeps a Perch box running.")]
struct Cli {
    /// The owner's settings.
    #[arg(long, value_name = "FILE", default_value = "/boot/perch.toml")]
    config: PathBuf,
    /// The folder with the descriptions of boards.
    #[arg(long, value_name = "FOLDER", default_value = "/etc/perch/boards")]
    boards: PathBuf,
    /// The folder with the other programs.
    #[arg(long, value_name = "FOLDER", default_value = "/usr/bin")]
    bin: PathBuf,
    /// Where status files and sockets are: a folder on tmpfs.
    #[arg(long, value_name = "FOLDER", default_value = "/run/perch")]
    run_dir: PathBuf,
    /// Takes this folder as the data and leaves all disks alone: something else looks after them.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Who the users of the programs are.
    #[arg(long, value_name = "FILE", default_value = "/etc/passwd")]
    passwd: PathBuf,
    /// The watchdog, or `none`: a box that hangs then stays hung.
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
    let cli = Cli::parse();
    match start_log().and_then(|()| start(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Past the log's thread, which ends with the process. What cannot be written is lost.
            let _lost = writeln!(std::io::stderr(), "perch-appliance: {error:#}").is_err();
            ExitCode::FAILURE
        }
    }
}

fn start_log() -> Result<()> {
    let log = Log::start(std::io::stderr()).context("starting the log")?;
    tracing_subscriber::fmt().with_writer(log).without_time().with_ansi(false).init();
    Ok(())
}

fn start(cli: Cli) -> Result<()> {
    // First of all: from here on a hang ends by itself.
    let watchdog = open_watchdog(&cli.watchdog);
    for kept in [
        platform_linux::give_up_what_nobody_needs().map_err(|gap| gap.to_string()),
        platform_linux::outlive_the_others().map_err(|error| format!("may run out of memory first: {error}")),
    ] {
        if let Err(why) = kept {
            tracing::warn!("less protected than it could be: {why}");
        }
    }
    let clock: Arc<dyn BootClock> = Arc::new(LinuxClock::new().context("reading the machine's clock")?);
    let board = platform_linux::this_board(&cli.boards);
    match &board {
        Some(board) => tracing::info!("this is a {}", board.name),
        None => tracing::warn!(
            "this machine is none of the boards in {}: no screen, button or light is looked for",
            cli.boards.display()
        ),
    }
    let mut devices = platform_linux::open_front(board.as_ref());
    let mut button = open_button(&mut devices);
    let held = button.as_mut().is_some_and(|button| button.is_down().unwrap_or(false));
    let data = cli.data.clone().unwrap_or_else(|| PathBuf::from(DATA));
    let paths = Paths { bin: cli.bin, run: cli.run_dir, data };
    let users = Users::of_passwd(&read(&cli.passwd, PASSWD_BYTES_MAX).unwrap_or_default());
    let (settings, problem) =
        match read(&cli.config, config::FILE_BYTES_MAX).map(|text| Settings::parse(&text)) {
            None => (Settings::default(), None),
            Some(Ok(settings)) => (settings, None),
            Some(Err(error)) => (Settings::default(), Some(error.to_string())),
        };
    let wifi_file =
        folders::make_run(&paths, &users, &settings).context("making the folders of the programs")?;
    let starts_file = paths.run.join("appliance/starts.json");
    let looped = starts::note(&starts_file, &*clock);
    let asked = cli.safe_mode.then(|| "It was asked for.".to_owned());
    let safe_mode = held.then(|| "The button was held at the start.".to_owned()).or(looped).or(asked);
    if let Some(why) = &safe_mode {
        tracing::warn!(why, "safe mode");
    }
    let own = OwnStatus::default();
    own.change(|status| {
        status.system = SystemStatus {
            hostname: settings.hostname.clone().unwrap_or_else(|| config::HOSTNAME.to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            board: board.as_ref().map(|board| board.name.clone()),
            safe_mode: safe_mode.clone(),
            settings_problem: problem,
            ..SystemStatus::default()
        };
    });
    let notes = note_book(&cli.config);
    let secret = settings.secret.clone().filter(|secret| !notes.is_used(secret));
    let desk = Arc::new(Desk::new(Means { secret, ..Means::default() }));
    let (wished, wishes) = mpsc::channel(WAITING);
    let (deed, deeds) = mpsc::channel(WAITING);
    // First, since it ends the programs of an earlier supervisor.
    let processes = LinuxProcesses::new(Some(Path::new("/sys/fs/cgroup")));
    let data = match (cli.data.is_some(), &board) {
        (false, Some(_)) => {
            let bridges =
                upkeep::keep_from_uas(upkeep::listed_bridges(), notes.clone(), Box::new(LinuxUsb::default()));
            let volumes = LinuxVolumes::new(&paths.data, &paths.run.join("appliance/disks"))
                .looked_at_first_by(bridges);
            volumes.detach_left().context("unmounting what an earlier supervisor left mounted")?;
            data::manage(Box::new(volumes), users, &own).context("starting the storage part")?
        }
        // The disks of a machine that is no known board are not Perch's to touch.
        (true, _) | (false, None) => data::elsewhere(&paths.data, users, &own),
    };
    let clock_devices = children::clock_devices(board.as_ref());
    let memory = board.map(|board| board.memory).unwrap_or_default();
    let upkeep =
        Upkeep::new(hands(&clock, data.close.is_some()), data.door.clone(), own.clone(), notes.clone());
    let stop = Arc::new(AtomicBool::new(false));
    own.change(|status| status.system.without_limits = !processes.has_groups());
    let parts = Box_ {
        processes: Box::new(processes),
        watchdog,
        power: Box::new(LinuxPower),
        programs: children::ours(&paths, &users, &memory, &clock_devices),
        network: watch_network(&stop),
        addresses: Addresses { pds_url: settings.pds_url(), panel_port: children::PANEL_PORT },
        interfaces: (!cli.no_network).then(|| PathBuf::from("/sys/class/net")),
        wifi_file,
        safe_mode,
        data,
        own: own.clone(),
        wishes,
        deeds,
        paths: paths.clone(),
    };
    let gatherer = Gatherer::new(own, &paths, Arc::clone(&clock));
    let display = Display {
        gather: Box::new(move || gatherer.status()),
        devices: Box::new(devices),
        button,
        picture_is_screen: false,
        show: show(&paths, Arc::clone(&clock)),
        presses: None,
        desk: Arc::clone(&desk),
        wish: wishing(wished),
        blank_after_ms: Some(appliance::screen::BLANK_AFTER_MS),
        boottime_ns: Box::new(move || clock.boottime_ns()),
    };
    let stopped = Arc::clone(&stop);
    let front = std::thread::Builder::new().name("front".to_owned()).spawn(move || display.run(&stopped))?;
    let stopped = Arc::clone(&stop);
    // Not waited for at the end: a disk may take its time to answer.
    let _runs_on =
        std::thread::Builder::new().name("upkeep".to_owned()).spawn(move || upkeep.run(&stopped))?;
    let door = Door { users, desk, notes, deeds: deed };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(parts, door, &paths));
    if ended.is_ok() {
        starts::forget(&starts_file);
    }
    stop.store(true, Ordering::Relaxed);
    // It leaves a dark screen; it waits for no bus that hangs.
    let _panicked = front.join().is_err();
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

fn open_watchdog(path: &Path) -> Option<Box<dyn Watchdog>> {
    if path == Path::new(NO_WATCHDOG) {
        return None;
    }
    match LinuxWatchdog::open(path, WATCHDOG_LIFE_S) {
        Ok((watchdog, _)) => Some(Box::new(watchdog)),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no watchdog");
            None
        }
    }
}

/// Opens the button early, to see whether it is held; one that fails is opened again later.
fn open_button(devices: &mut impl FrontDevices) -> Option<Box<dyn Button>> {
    devices.button().unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "no button yet");
        None
    })
}

/// Reads a text file up to a length; `None` when it is not there or is no text.
fn read(path: &Path, bytes_max: u64) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(bytes_max).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The notes beside the settings, on the boot partition.
fn note_book(config: &Path) -> NoteBook {
    let path = config.with_file_name(NOTES_FILE);
    let text = read(&path, NOTES_BYTES_MAX);
    NoteBook::new(path, text.as_deref(), Box::new(platform_linux::replace_on_boot))
}

/// Watches the network on a thread of its own; a machine that does not tell of it has one all the same.
fn watch_network(stop: &Arc<AtomicBool>) -> Option<watch::Receiver<NetworkState>> {
    let network = match LinuxNetwork::open() {
        Ok(network) => network,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the network is not watched");
            return None;
        }
    };
    let (told, watched) = watch::channel(NetworkState::default());
    let stop = Arc::clone(stop);
    let run = move || network::watch::run(Box::new(network), &told, &stop);
    // Not waited for at the end: it waits in the kernel.
    std::thread::Builder::new().name("network".to_owned()).spawn(run).map(|_| watched).ok()
}

/// The devices of the part that looks after machine and disk.
fn hands(clock: &Arc<dyn BootClock>, is_ours: bool) -> Hands {
    let clock = Arc::clone(clock);
    let log = LinuxKernelLog::open().inspect_err(|error| {
        tracing::warn!(error = error as &dyn std::error::Error, "the kernel's log is not read");
    });
    Hands {
        machine: Box::new(LinuxGauges::default()),
        disks: Box::new(LinuxDisks::new()),
        health: Box::new(LinuxDiskHealth::default()),
        log: log.ok().map(|log| Box::new(log) as Box<dyn KernelLog>),
        speed: Box::new(LinuxSpeedTest),
        trim: Box::new(LinuxTrim::default()),
        space: Box::new(|folder| LinuxDisk::of_folder(folder).ok()?.space().ok()),
        is_ours,
        uptime_s: Box::new(move || clock.boottime_ns() / 1_000_000_000),
    }
}

/// Passes the wishes of the button on to the supervisor.
fn wishing(wished: mpsc::Sender<Wish>) -> Box<dyn FnMut(Wish) + Send> {
    Box::new(move |wish| {
        if wished.try_send(wish).is_err() {
            tracing::warn!("too many wishes at once");
        }
    })
}

/// Writes status and picture for the panel and `perchctl`.
fn show(paths: &Paths, clock: Arc<dyn BootClock>) -> Box<dyn FnMut(Live) + Send> {
    let path = paths.run.join("appliance/live.json");
    Box::new(move |shown| {
        if let Err(error) = live::write(&path, &shown, clock.boot_id(), clock.boottime_ns()) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the status is not written");
        }
    })
}
