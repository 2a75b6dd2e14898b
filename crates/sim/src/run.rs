//! Wires everything together and runs it: sockets, world, PLC directory, PDS, panel, screen, commands.

use std::io;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use appliance::front::presence::Means;
use appliance::front::{Desk, Display, Wish};
use control::status::PdsState;
use control::{PdsStatus, Status, SystemStatus};
use panel::{Live, Press};
use platform::sim::SimFront;
use platform::time::BootClock;
use platform::{Disk, Screen};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::{Plc, RunArgs};
use crate::command::{Command, HELP};
use crate::console::{self, TerminalScreen};
use crate::pds_service::{Service, ServiceError};
use crate::plc_directory::{self, Directory};
use crate::world::World;

/// The file of the built-in PLC directory in the data folder.
const PLC_FILE: &str = "plc-directory.jsonl";

/// The word by which a data folder remembers the built-in directory. Its file lies in the folder, so that its address
/// may change between two starts.
const PLC_BUILTIN: &str = "builtin";

/// How many presses may wait: nobody presses faster than the screen draws.
const PRESSES_WAITING: usize = 8;

/// How long everything may take to end in order; a task that hangs must not keep the process.
const ENDING_WAIT: Duration = Duration::from_secs(10);

/// How long `READY` waits for a clock that may be trusted. Programs post right after it; without time servers they must
/// learn that from the answers.
const TRUST_WAIT: Duration = Duration::from_secs(2);

/// How often the clock is asked meanwhile.
const TRUST_POLL: Duration = Duration::from_millis(5);

/// What the computer offers: its clock and the disk under the data folder.
#[derive(Debug)]
pub struct Host {
    /// CLOCK_BOOTTIME and CLOCK_REALTIME.
    pub clock: Arc<dyn BootClock>,
    /// The disk, when it can be told.
    pub disk: Option<Arc<dyn Disk>>,
}

/// The data folder cannot be used as asked; the owner must say something else.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Refused(#[from] ServiceError);

/// The addresses that people and programs use.
#[derive(Clone, Debug)]
struct Addresses {
    pds: String,
    panel: String,
    plc: String,
}

/// Runs the appliance until it is told to end.
pub async fn run(args: RunArgs, host: Host) -> Result<()> {
    std::fs::create_dir_all(&args.data)
        .with_context(|| format!("making the folder {}", args.data.display()))?;
    let shutdown = CancellationToken::new();
    // Taken first: a signal during the start must end in order as well.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut tasks = JoinSet::new();
    let appliance = Appliance::start(&args, &host, &mut tasks, &shutdown)?;
    let mut lines = console::lines().context("reading standard input")?;
    let mut status = appliance.status.clone();
    let clock = appliance.world.clock();
    let mut ready = std::pin::pin!(async move {
        let serving = status.wait_for(|status| status.state == PdsState::Serving).await.is_ok();
        let trusted = async {
            while clock.now().is_err() {
                tokio::time::sleep(TRUST_POLL).await;
            }
        };
        // Without trust within the wait it is ready for reading.
        let _waited = tokio::time::timeout(TRUST_WAIT, trusted).await;
        serving
    });
    let mut waiting = true;
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            serving = ready.as_mut(), if waiting => {
                waiting = false;
                // If not, the service ended; its task says why.
                if serving {
                    appliance.announce(&args)?;
                }
            }
            line = lines.recv(), if !lines.is_closed() || !lines.is_empty() => {
                // The end of input is no reason to end: a script may have nothing to say.
                let Some(line) = line else { continue };
                if !appliance.command(&line) {
                    break Ok(());
                }
            }
            ended = tasks.join_next() => {
                break ended.map_or(Err(anyhow!("nothing runs")), |ended| ended.context("a task failed").flatten());
            }
        }
    };
    shutdown.cancel();
    end(tasks).await;
    ended
}

struct Appliance {
    world: Arc<World>,
    addresses: Addresses,
    status: watch::Receiver<PdsStatus>,
    presses: mpsc::SyncSender<Press>,
    /// Whether the terminal shows the screen.
    drawn: bool,
}

impl Appliance {
    fn start(
        args: &RunArgs,
        host: &Host,
        tasks: &mut JoinSet<Result<()>>,
        shutdown: &CancellationToken,
    ) -> Result<Self> {
        let pds_listener = bind(args.pds_port).context("the PDS (--pds-port)")?;
        let panel_listener = bind(args.panel_port).context("the status page (--panel-port)")?;
        let world = Arc::new(World::new(host.clock.clone(), host.disk.clone(), args.seed));
        let plc = match &args.plc {
            Plc::Url(url) => url.clone(),
            Plc::Builtin => start_plc(args, &world, tasks, shutdown)?,
        };
        let addresses = Addresses { pds: url(&pds_listener)?, panel: url(&panel_listener)?, plc };
        let status = watch::Sender::new(PdsStatus::default());
        let watched = status.subscribe();
        let (presses, presses_taken) = mpsc::sync_channel(PRESSES_WAITING);
        let (live, live_taken) = watch::channel(Live::default());
        // The panel's picture and its button serve where there is no terminal.
        let desk = Arc::new(Desk::new(Means { screen: true, button: true, secret: None }));
        let service = Service {
            config: pds_config(args, pds_listener.local_addr()?.port(), &addresses)?,
            platform: pds::Platform {
                network: Some(world.network()),
                heal: Some(world.heal()),
                codes: Some(desk.clone()),
                ..pds::Platform::new(world.clock(), Some(world.disk()))
            },
            listener: pds_listener,
            plugged: world.plugged(),
            status,
        };
        let stop = shutdown.clone();
        tasks.spawn(async move { service.run(stop).await.map_err(|error| Refused(error).into()) });
        let (stop, running) = (shutdown.clone(), Arc::clone(&world));
        tasks.spawn(async move {
            running.run(stop).await;
            Ok(())
        });
        let panel_config = panel::Config {
            listener: TcpListener::from_std(panel_listener)?,
            names: Vec::new(),
            button: Some(presses.clone()),
        };
        let stop = shutdown.clone();
        tasks.spawn(async move {
            panel::run(panel_config, live_taken, stop).await;
            Ok(())
        });
        let screen = screen(args, &addresses);
        let drawn = screen.is_some();
        let front = Front { live, presses: presses_taken, desk, screen };
        let display = display(args, host, &world, &addresses, watched.clone(), front);
        draw(display, tasks, shutdown);
        Ok(Self { world, addresses, status: watched, presses, drawn })
    }

    fn announce(&self, args: &RunArgs) -> io::Result<()> {
        let Addresses { pds, panel, plc } = &self.addresses;
        if args.headless {
            console::say(&format!("READY pds={pds} panel={panel} plc={plc}"))
        } else if self.drawn {
            // The addresses stand below the picture.
            Ok(())
        } else {
            console::say(&format!(
                "PDS {pds}\nStatus page {panel}\nPLC directory {plc}\nType help for the commands."
            ))
        }
    }

    /// Carries a typed line out. False ends the process in order.
    fn command(&self, line: &str) -> bool {
        if line.trim().is_empty() {
            return true;
        }
        let command: Command = match line.parse() {
            Ok(command) => command,
            Err(error) => {
                console::answer(&format!("{error}"));
                return true;
            }
        };
        match command {
            // Neither destructors nor exit handlers run and no buffer of ours is written: what is not on its way to the
            // disk already is lost, as when the plug is pulled. (The kernel keeps what it has; cuts below it are the
            // crash test's.)
            Command::PowerCut => std::process::abort(),
            Command::Quit => return false,
            Command::Help => console::answer(HELP),
            Command::ButtonShort | Command::ButtonLong => {
                let press = if command == Command::ButtonShort { Press::Short } else { Press::Long };
                match self.presses.try_send(press) {
                    Ok(()) => console::answer(&format!("ok: {}", line.trim())),
                    Err(_) => console::answer("too many presses at once; try again"),
                }
            }
            fault => {
                self.world.apply(fault);
                console::answer(&format!("ok: {}", line.trim()));
            }
        }
        true
    }
}

async fn end(mut tasks: JoinSet<Result<()>>) {
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(ENDING_WAIT, all).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
}

/// Binds a port of loopback; 0 lets the system choose.
fn bind(port: u16) -> Result<StdListener> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("port {port} on 127.0.0.1 cannot be used; is Perch running already?"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn url(listener: &StdListener) -> io::Result<String> {
    Ok(format!("http://localhost:{}", listener.local_addr()?.port()))
}

fn start_plc(
    args: &RunArgs,
    world: &Arc<World>,
    tasks: &mut JoinSet<Result<()>>,
    shutdown: &CancellationToken,
) -> Result<String> {
    let listener = bind(args.plc_port).context("the PLC directory (--plc-port)")?;
    let address = url(&listener)?;
    let time = Arc::clone(world);
    let directory = Directory::open(&args.data.join(PLC_FILE), Box::new(move || time.true_us()))?;
    let router = plc_directory::router(Arc::new(directory));
    let (listener, stop) = (TcpListener::from_std(listener)?, shutdown.clone());
    tasks.spawn(async move {
        panel::server::serve(listener, router, stop).await;
        Ok(())
    });
    Ok(address)
}

/// The settings of the PDS: a desk's, and over them the variables that `perch-pds` takes too.
fn pds_config(args: &RunArgs, port: u16, addresses: &Addresses) -> Result<pds::Config> {
    let mut config = pds::Config::local(args.data.clone(), port, addresses.plc.clone());
    if args.plc == Plc::Builtin {
        PLC_BUILTIN.clone_into(&mut config.plc_identity);
    }
    config.rate_limits = pds::limits::RateLimits::times(args.rate_limit_multiplier);
    // A variable that is set to nothing is not set.
    let given = std::env::vars().filter(|(_, text)| !text.is_empty());
    let mut config = pds::settings::overlay(config, given).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("{}", problems.join("\n"))
    })?;
    config.data_dir.clone_from(&args.data);
    Ok(config)
}

/// The ends of the front that others hold.
struct Front {
    live: watch::Sender<Live>,
    presses: mpsc::Receiver<Press>,
    desk: Arc<Desk>,
    screen: Option<Box<dyn Screen>>,
}

/// Lets the screen's thread run until `shutdown`.
fn draw(display: Display, tasks: &mut JoinSet<Result<()>>, shutdown: &CancellationToken) {
    let (stop, stopped) = (shutdown.clone(), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&stopped);
    tasks.spawn(async move {
        stop.cancelled().await;
        told.store(true, Ordering::Relaxed);
        Ok(())
    });
    tasks.spawn_blocking(move || {
        display.run(&stopped);
        Ok(())
    });
}

fn display(
    args: &RunArgs,
    host: &Host,
    world: &Arc<World>,
    addresses: &Addresses,
    pds: watch::Receiver<PdsStatus>,
    front: Front,
) -> Display {
    let clock = Arc::clone(&host.clock);
    let started_ns = clock.boottime_ns();
    let system = SystemStatus {
        hostname: "localhost".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        simulation: args.plc == Plc::Builtin,
        addresses: Vec::new(),
        pds_url: addresses.pds.clone(),
        panel_url: addresses.panel.clone(),
        plc_url: addresses.plc.clone(),
        network_up: true,
        ..SystemStatus::default()
    };
    let (parts, network) = (Arc::clone(world), world.network());
    let gather = move || Status {
        pds: Some(pds.borrow().clone()),
        time: Some(parts.time_status()),
        storage: Some(parts.storage_status()),
        placement: None,
        system: SystemStatus {
            network_up: *network.borrow(),
            uptime_s: clock.boottime_ns().saturating_sub(started_ns) / 1_000_000_000,
            ..system.clone()
        },
    };
    let (confirmed, boot) = (Arc::clone(world), Arc::clone(&host.clock));
    let wish = move |wish| match wish {
        Wish::AcceptTime(_) => confirmed.confirm(),
        // The simulation manages no disks and asks nothing about them.
        Wish::AcceptPlacement(_) => {}
        Wish::Do(deed) => tracing::warn!("a box would now {}; this is a simulation", deed.words()),
    };
    Display {
        gather: Box::new(gather),
        picture_is_screen: front.screen.is_none(),
        devices: Box::new(SimFront { screen: front.screen, ..SimFront::default() }),
        button: None,
        show: Box::new(move |shown| drop(front.live.send_replace(shown))),
        presses: Some(front.presses),
        desk: front.desk,
        wish: Box::new(wish),
        // A picture on a computer does not burn in: it never rests.
        blank_after_ms: None,
        boottime_ns: Box::new(move || boot.boottime_ns()),
    }
}

/// The terminal, when a person sits at one.
fn screen(args: &RunArgs, addresses: &Addresses) -> Option<Box<dyn Screen>> {
    if args.headless {
        return None;
    }
    let Addresses { pds, panel, plc } = addresses;
    let below = vec![
        format!("PDS {pds}   status page {panel}"),
        format!("PLC directory {plc}   data {}", args.data.display()),
        "Type: button short, clock +600, ntp off, ssd pull, disk full, help, quit".to_owned(),
    ];
    let screen = TerminalScreen::open(below)?;
    Some(Box::new(screen))
}

/// The file that takes the log while the terminal shows the screen.
pub fn log_path(data: &Path) -> PathBuf {
    data.join("perch.log")
}
