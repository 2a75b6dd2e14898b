//! `perch-pds`: the PDS alone on any Linux machine. Reads settings, takes the machine's clock, runs until SIGTERM.
//!
//! The only file of this crate that names `platform-linux`: everything else gets its hardware handed over.

use std::{
    io::{IsTerminal, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use control::{
    PdsStatus, SandboxReport, Stamped,
    socket::SupervisorScreen,
    status::{NetworkWord, PdsState},
    verdict::VerdictFile,
};
use pds::{
    Platform,
    settings::{self, Log, Settings, TimeSource},
};
use platform::{
    CodeScreen, Confinement, Disk, Gap,
    confine::{self, PdsPlaces, Sandbox},
    time::{BootClock, Clock, VERDICT_LIFE_NS, Verdict, VerdictSource},
};
use platform_linux::{KernelVerdict, LinuxClock, LinuxDisk};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
};
use tokio_util::sync::CancellationToken;

/// Threads that run tasks. Two: one that waits for a slow task leaves another; more only cost memory.
const WORKERS: usize = 2;

/// Threads for blocking work (password hashes, disk): bounded, since each hash takes 12 MiB.
const BLOCKING_MAX: usize = 16;

/// The stack of each thread, of which only what is used takes memory. The deepest recursion is the decoder's, whose
/// depth is limited.
const STACK_BYTES: usize = 1024 * 1024;

/// The exit code when the settings are refused, as clap's own for the command line.
const REFUSED: u8 = 2;

/// The command line: everything else is a setting.
#[derive(Debug, Parser)]
#[command(
    name = "perch-pds",
    version,
    about = "An AT Protocol personal data server. Its settings are listed in docs/settings.md.",
    after_help = "Every setting can also be given as an environment variable: PERCH_PDS_ and its name in capitals.\n\
        Exit codes: 0 ended in order, 1 failed, 2 the command line or the settings are refused."
)]
struct Cli {
    /// The file with the settings (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Says what is wrong with the settings, or what is in force, and ends.
    #[arg(long)]
    check_config: bool,
    /// On the device: the file that takes the status, for the screen.
    #[arg(long, value_name = "FILE")]
    status_file: Option<PathBuf>,
    /// On the device: the supervisor's socket, where one-time codes go to be shown.
    #[arg(long, value_name = "SOCKET")]
    supervisor: Option<PathBuf>,
    /// On the device: the file that tells of the network; relays are asked anew when it comes back.
    #[arg(long, value_name = "FILE")]
    network_file: Option<PathBuf>,
    /// Whether it shuts itself in: on, off (it then says so), or strict (an unknown system call ends it; for tests).
    #[arg(long, value_name = "HOW", default_value = "on")]
    sandbox: Sandbox,
}

fn main() -> ExitCode {
    // Refused, the process only needs more memory.
    let _kept = !platform_linux::give_memory_back();
    let cli = Cli::parse();
    let settings = match read_settings(cli.config.as_deref()) {
        Ok(settings) => settings,
        Err(text) => {
            complain(&text);
            return ExitCode::from(REFUSED);
        }
    };
    if cli.check_config {
        answer(&settings.in_force());
        for note in &settings.notes {
            answer(&format!("# Note: {note}\n"));
        }
        return ExitCode::SUCCESS;
    }
    match start(settings, cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("perch-pds: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Reads file and environment; the error is what to print.
fn read_settings(file: Option<&Path>) -> Result<Settings, String> {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(settings::ENV_PREFIX))?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    let text = match file {
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => Some((path.display().to_string(), text)),
            Err(error) => return Err(format!("perch-pds: cannot read {}: {error}\n", path.display())),
        },
        None => None,
    };
    let file = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    settings::read(file, variables).map_err(|problems| {
        let count = problems.len();
        let mut text =
            format!("perch-pds: {count} problem{} in the settings\n", if count == 1 { "" } else { "s" });
        for problem in problems {
            text.push_str(&format!("  {problem}\n"));
        }
        text
    })
}

fn start(settings: Settings, cli: Cli) -> Result<()> {
    log_by(settings.log);
    for note in &settings.notes {
        tracing::warn!("{note}");
    }
    let config = settings.config;
    // Durable now: the folder above it cannot be opened later. The second complains of a file in its place.
    store::make_dirs(&store::OsFiles, &config.data_dir)
        .and_then(|()| std::fs::create_dir_all(&config.data_dir))
        .with_context(|| format!("making the folder {} (data_dir)", config.data_dir.display()))?;
    let boot = Arc::new(LinuxClock::new().context("reading the machine's clock")?);
    let clock = Clock::new(boot.clone(), verdicts(&settings.time, boot.clone()));
    let report = SandboxReport::open(cli.status_file.as_deref().and_then(Path::parent));
    let confinement = confinement(&config, &settings.time, &cli);
    let boot_id = boot.boot_id();
    let network = cli.network_file.map(NetworkFile::new);
    let told = cli.status_file.map(|path| StatusFile { path, boot });
    let codes = cli.supervisor.map(|path| Arc::new(SupervisorScreen::new(path)) as Arc<dyn CodeScreen>);
    // Without a disk that can be told only its room is not shown.
    let disk = LinuxDisk::of_folder(&config.data_dir).ok().map(|disk| Arc::new(disk) as Arc<dyn Disk>);
    if let Err(untrusted) = clock.now() {
        tracing::warn!("nothing is signed until the clock is trusted: {untrusted}");
    }
    let listener = listen(settings.listen, settings.listen_chosen)
        .with_context(|| format!("listening on {} (listen_address, port)", settings.listen))?;
    // From here on; the threads that are made below are in it as well.
    let gaps = match confinement.when(cli.sandbox) {
        Some(confinement) => platform_linux::confine(&confinement),
        None => Gap::switched_off(),
    };
    report.say(boot_id, &gaps);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("starting the tasks' threads")?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        hostname = config.hostname,
        data_dir = %config.data_dir.display(),
        listen = %listener.local_addr()?,
        "perch-pds starts"
    );
    let platform = Platform { codes, ..Platform::new(clock, disk) };
    runtime.block_on(serve(config, platform, listener, told, network))
}

/// What the machine still gives once strangers are answered.
fn confinement(config: &pds::Config, time: &TimeSource, cli: &Cli) -> Confinement {
    confine::pds(&PdsPlaces {
        data: config.data_dir.clone(),
        status: cli.status_file.clone(),
        network: cli.network_file.clone(),
        verdict: match time {
            TimeSource::Guard(file) => Some(file.clone()),
            TimeSource::Kernel | TimeSource::Unproven => None,
        },
        name_servers: platform_linux::name_server_file(),
        metrics: config.metrics_address.map(|address| address.port()),
    })
}

/// Whose word about the clock is taken. It is never simply believed, but in dev mode.
fn verdicts(source: &TimeSource, boot: Arc<LinuxClock>) -> Arc<dyn VerdictSource> {
    match source {
        TimeSource::Kernel => Arc::new(KernelVerdict::new(LinuxClock::clone(&boot))),
        TimeSource::Guard(file) => Arc::new(VerdictFile::new(file.clone())),
        TimeSource::Unproven => Arc::new(Unproven(boot)),
    }
}

/// The machine's clock without proof, for dev mode.
#[derive(Debug)]
struct Unproven(Arc<LinuxClock>);

impl VerdictSource for Unproven {
    fn verdict(&self) -> Option<Verdict> {
        let boottime_ns = self.0.boottime_ns();
        Some(Verdict {
            boot_id: self.0.boot_id(),
            boottime_ns,
            unix_us_at_boottime: u64::try_from(self.0.realtime_us()).ok()?,
            error_bound_us: 0,
            rate_ppb: 0,
            generation: boottime_ns,
            valid_until_boottime_ns: boottime_ns.saturating_add(VERDICT_LIFE_NS),
        })
    }

    fn refusal(&self) -> Option<String> {
        None
    }
}

/// Binds the address; without IPv6 on the machine, the IPv4 one in place of a default `::`.
fn listen(address: SocketAddr, chosen: bool) -> std::io::Result<StdListener> {
    let bound = match StdListener::bind(address) {
        Err(error) if !chosen && address.is_ipv6() && error.kind() != std::io::ErrorKind::AddrInUse => {
            StdListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
        }
        bound => bound,
    };
    let listener = bound?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(
    config: pds::Config,
    platform: Platform,
    listener: StdListener,
    file: Option<StatusFile>,
    mut network: Option<NetworkFile>,
) -> Result<()> {
    let shutdown = CancellationToken::new();
    // Taken first: a signal during the start must end in order as well.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut user = signal(SignalKind::user_defined1())?;
    let heal = Arc::new(Notify::new());
    let watched_network = network.as_ref().map(|network| network.told.subscribe());
    let platform = Platform { heal: Some(Arc::clone(&heal)), network: watched_network, ..platform };
    let (status, mut watched) = watch::channel(PdsStatus::default());
    let listener = TcpListener::from_std(listener)?;
    let mut running = std::pin::pin!(pds::run(config, platform, listener, status, shutdown.clone()));
    let mut told = None;
    let mut renewals = tokio::time::interval(STATUS_EVERY);
    let mut looks = tokio::time::interval(NETWORK_LOOK);
    loop {
        tokio::select! {
            ended = running.as_mut() => return ended.map_err(anyhow::Error::from),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = user.recv() => {
                tracing::info!("told to heal repositories that were signed in the future");
                heal.notify_one();
            }
            Ok(()) = watched.changed() => {
                say_what_changed(&watched.borrow_and_update(), &mut told);
                if let Some(file) = &file {
                    file.write(&watched.borrow());
                }
            }
            _ = looks.tick(), if network.is_some() => {
                if let Some(network) = &mut network {
                    network.look();
                }
            }
            _ = renewals.tick(), if file.is_some() => {
                if let Some(file) = &file {
                    file.write(&watched.borrow());
                }
            }
        }
    }
    tracing::info!("told to end");
    notify("STOPPING=1");
    shutdown.cancel();
    running.await?;
    tracing::info!("ended in order");
    Ok(())
}

/// How often the status is written anew: three times within its life of 15 s.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// How often the file that tells of the network is read: relays may as well be asked two seconds later.
const NETWORK_LOOK: Duration = Duration::from_secs(2);

/// The file that tells how the network is.
#[derive(Debug)]
struct NetworkFile {
    path: PathBuf,
    last: NetworkWord,
    told: watch::Sender<bool>,
}

impl NetworkFile {
    /// Takes the network for granted until the file says otherwise.
    fn new(path: PathBuf) -> Self {
        Self { path, last: NetworkWord { up: true, came_up: 0 }, told: watch::Sender::new(true) }
    }

    fn look(&mut self) {
        let Ok(Some(word)) = control::file::read::<NetworkWord>(&self.path) else { return };
        if word != self.last {
            self.last = word;
            // Also when it is up as before: it is another network then.
            self.told.send_replace(word.up);
        }
    }
}

/// The file that tells the box's screen how the PDS is.
#[derive(Debug)]
struct StatusFile {
    path: PathBuf,
    boot: Arc<LinuxClock>,
}

impl StatusFile {
    fn write(&self, status: &PdsStatus) {
        let (boot_id, boottime_ns) = (self.boot.boot_id(), self.boot.boottime_ns());
        let stamped = Stamped { boot_id, boottime_ns, status: status.clone() };
        if let Err(error) = control::file::replace(&self.path, &stamped) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the status is not written");
        }
    }
}

/// What the log and the service manager were told last.
type Told = Option<Option<String>>;

/// Tells the service manager of the start, and the log of what keeps the server from writing.
fn say_what_changed(status: &PdsStatus, told: &mut Told) {
    if status.state != PdsState::Serving {
        return;
    }
    if told.is_none() {
        notify("READY=1");
    }
    if told.as_ref() != Some(&status.refuses_writes) {
        match &status.refuses_writes {
            Some(why) => tracing::warn!("writes are refused: {why}"),
            None => {
                tracing::info!(accounts = status.accounts, last_seq = status.last_seq, "writes are taken");
            }
        }
        *told = Some(status.refuses_writes.clone());
    }
}

/// Tells systemd how the service is, when it asked for it (sd_notify).
fn notify(state: &str) {
    use std::os::{linux::net::SocketAddrExt, unix::net};
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let told = match path.to_str().and_then(|path| path.strip_prefix('@')) {
        Some(name) => net::SocketAddr::from_abstract_name(name),
        None => net::SocketAddr::from_pathname(&path),
    }
    .and_then(|address| net::UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        tracing::warn!("the service manager cannot be told {state}: {error}");
    }
}

/// Sends the log to standard error.
fn log_by(log: Log) {
    let lines =
        tracing_subscriber::fmt().with_max_level(log.level).with_target(false).with_writer(std::io::stderr);
    if log.json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).init();
    }
}

/// Prints to standard output; a closed one is no failure.
fn answer(text: &str) {
    let _closed = std::io::stdout().lock().write_all(text.as_bytes()).is_err();
}

/// Prints to standard error, before there is a log.
fn complain(text: &str) {
    let _closed = std::io::stderr().lock().write_all(text.as_bytes()).is_err();
}
