//! The guard as a process: the driver with the network, the files and the control socket around it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use platform::Rtc;
use platform::time::{BootClock, ClockControl};
use tokio::sync::mpsc;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::network::NetworkEvidence;
use crate::outlet::FileOutlet;
use crate::policy::{Config, RtcConfig};
use crate::route;
use crate::run::{Command, Platform, run};
use crate::settings::Settings;
use crate::socket::{ControlSocket, SocketError, given_before};

/// Commands that may wait for the driver, which takes each in microseconds.
const COMMANDS_MAX: usize = 16;

/// How often a data folder that is not there yet is looked for.
const DATA_LOOK: Duration = Duration::from_secs(2);

/// What the process gets from its machine.
#[derive(Debug)]
pub struct Machine {
    /// The kernel's clocks.
    pub boot: Arc<dyn BootClock>,
    /// The right to set them; `None` when the clock is somebody else's to set.
    pub control: Option<Arc<dyn ClockControl>>,
    /// The clock chip and how it drifts; `None` when there is none.
    pub rtc: Option<(Box<dyn Rtc>, RtcConfig)>,
    /// When this program was built, UTC microseconds: the lowest floor.
    pub build_us: u64,
    /// The folder of verdict, status and control socket, on tmpfs.
    pub run_dir: PathBuf,
    /// The folder of what is kept across restarts; it may be mounted later.
    pub data_dir: PathBuf,
}

/// Runs the guard until it is told to stop.
///
/// # Errors
/// [`SocketError`] when the run folder cannot be used; nothing else ends it early.
pub async fn serve(
    settings: Settings,
    machine: Machine,
    shutdown: CancellationToken,
) -> Result<(), SocketError> {
    let Machine { boot, control, rtc, build_us, run_dir, data_dir } = machine;
    let socket = ControlSocket::bind(&run_dir, settings.use_dhcp)?;
    let outlet = Arc::new(FileOutlet::new(boot.clone(), &run_dir, &data_dir));
    let late_data = !outlet.can_save();
    let saved = if late_data { crate::policy::Saved::default() } else { outlet.saved() };
    let floor_us = saved.floor_us.max(build_us);
    let pivot_us = i64::try_from(floor_us).unwrap_or(i64::MAX);
    let (commands, received) = mpsc::channel(COMMANDS_MAX);
    let given = if settings.use_dhcp { given_before(&run_dir) } else { Vec::new() };
    if !given.is_empty() {
        // The queue is empty: there is room.
        drop(commands.try_send(Command::Given(given)));
    }
    let (rtc, rtc_config) = match rtc {
        Some((rtc, config)) => (Some(rtc), Some(config)),
        None => (None, None),
    };
    let config = Config {
        servers: settings.servers,
        build_us,
        saved,
        rtc: rtc_config,
        may_set_clock: control.is_some(),
        poll_s: settings.poll_s,
    };
    let evidence = Arc::new(NetworkEvidence::new(boot.clone(), settings.hosts, pivot_us));
    let platform = Platform { boot, control, rtc, evidence, outlet: outlet.clone() };
    let waiting = wait_for_data(late_data, outlet.clone(), commands.clone(), shutdown.clone());
    let watching = route::watch(commands.clone(), shutdown.clone());
    tokio::join!(
        run(config, platform, received, shutdown.clone()),
        socket.serve(commands, outlet, shutdown.clone()),
        waiting,
        watching,
    );
    Ok(())
}

/// Looks for a data folder that was not there at the start, and tells the guard what it holds.
async fn wait_for_data(
    late: bool,
    outlet: Arc<FileOutlet>,
    commands: mpsc::Sender<Command>,
    shutdown: CancellationToken,
) {
    if !late {
        return;
    }
    tracing::info!("the data folder is not there yet: the floor is the build");
    let mut looks = interval(DATA_LOOK);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = looks.tick() => {}
        }
        if outlet.can_save() {
            let saved = outlet.saved();
            // A full queue empties by itself; the next look tries again.
            if commands.try_send(Command::Remember(saved)).is_ok() {
                outlet.save_waiting();
                return;
            }
        }
    }
}
