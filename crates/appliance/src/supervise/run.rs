//! Carries out what the policy says: starts and ends programs, feeds the watchdog, tells the screen. It decides nothing
//! and waits for nothing but the next event.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use control::request::{Deed, Reply, Request};
use control::socket;
use control::status::NetworkWord;
use platform::process::{Exit, Launch, ProcessId};
use platform::{NetworkState, Power, PowerRequest, Processes, Watchdog};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::data::{Data, Word};
use super::erase;
use super::policy::{Action, Input, Supervisor};
use crate::children::{self, Paths, Program};
use crate::front::Wish;
use crate::gather::OwnStatus;
use crate::network::{self, Lease};
use crate::storage::Answer;

/// Time between two looks: the longest that an end goes unseen when its signal is lost.
const TICK: Duration = Duration::from_millis(100);

/// Ticks between two looks at the interfaces and their leases: a cable is plugged in by hand.
const NETWORK_TICKS: u64 = 10;

/// Bytes of one line of a program's log; the rest of a longer one is a line of its own.
const LINE_BYTES_MAX: u64 = 2_048;

/// The last line of a program's log, shared with the task that reads it.
type Said = Arc<Mutex<Option<String>>>;

/// Where the box answers, for the pages.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// The PDS's own address for clients; empty when its settings name none.
    pub pds_url: String,
    /// The panel's port.
    pub panel_port: u16,
}

/// What the driver is given.
pub struct Box_ {
    /// Starts and ends programs.
    pub processes: Box<dyn Processes>,
    /// Resets the machine when this program stands still.
    pub watchdog: Option<Box<dyn Watchdog>>,
    /// Restarts and switches off.
    pub power: Box<dyn Power>,
    /// Our programs.
    pub programs: Vec<Program>,
    /// Where things are.
    pub paths: Paths,
    /// Who may write to the data, and when.
    pub data: Data,
    /// What the network is; `None` where nobody watches it.
    pub network: Option<watch::Receiver<NetworkState>>,
    /// Where the panel answers and where the PDS does, for the pages.
    pub addresses: Addresses,
    /// `/sys/class/net`; none looks after no interface.
    pub interfaces: Option<PathBuf>,
    /// The settings of the wireless network, as wpa_supplicant reads them.
    pub wifi_file: Option<PathBuf>,
    /// Why only the most needed programs run, if so.
    pub safe_mode: Option<String>,
    /// What pages show of the box; the driver fills in programs and network.
    pub own: OwnStatus,
    /// Wishes of the button.
    pub wishes: mpsc::Receiver<Wish>,
    /// Deeds that were proven at the door.
    pub deeds: mpsc::Receiver<Deed>,
}

impl std::fmt::Debug for Box_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Box_").field("programs", &self.programs.len()).finish_non_exhaustive()
    }
}

/// Runs the box until it goes off, or `shutdown` asks for its programs to be ended.
///
/// # Errors
/// When the signals of ended children cannot be had.
pub async fn run(parts: Box_, shutdown: CancellationToken) -> std::io::Result<()> {
    let mut ends = signal(SignalKind::child())?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut driver = Driver::new(parts);
    let mut count = 0_u64;
    let mut told = false;
    while !driver.off {
        tokio::select! {
            _ = ticks.tick() => {
                count += 1;
                if count % NETWORK_TICKS == 1 {
                    driver.lend_devices();
                    driver.look_at_network();
                }
                driver.tick();
            }
            _ = ends.recv() => driver.collect(),
            Some(wish) = driver.parts.wishes.recv() => driver.wish(wish),
            Some(deed) = driver.parts.deeds.recv() => driver.deed(&deed),
            () = changed(&mut driver.parts.network) => driver.network_changed(),
            Some(word) = driver.parts.data.words.recv() => driver.data_word(word),
            Some(_) = driver.tasks.join_next() => {}
            () = shutdown.cancelled(), if !told => {
                told = true;
                driver.leaving = true;
                driver.feed(Input::Power(PowerRequest::Restart));
            }
        }
    }
    Ok(())
}

struct Driver {
    parts: Box_,
    supervisor: Supervisor,
    launches: BTreeMap<String, Launch>,
    said: BTreeMap<ProcessId, Said>,
    /// Ends that were seen; told at the next tick, when the last words have been read.
    ended: Vec<(ProcessId, Exit)>,
    leases: BTreeMap<String, Lease>,
    network: NetworkState,
    network_word: NetworkWord,
    /// What is to be told to the guard again until it listens.
    guard_waits: Vec<Request>,
    tasks: JoinSet<()>,
    started: Instant,
    /// The word that asked for the data to be left, until no program uses it.
    leaves: Option<u64>,
    /// The programs only are to be ended, not the machine.
    leaving: bool,
    off: bool,
}

impl Driver {
    fn new(parts: Box_) -> Self {
        let plans = parts.programs.iter().map(|program| program.plan.clone()).collect();
        let launches = parts
            .programs
            .iter()
            .map(|program| (program.plan.name.clone(), program.launch.clone()))
            .collect();
        Self {
            supervisor: Supervisor::new(plans, parts.safe_mode.clone()),
            parts,
            launches,
            said: BTreeMap::new(),
            ended: Vec::new(),
            leases: BTreeMap::new(),
            network: NetworkState::default(),
            network_word: NetworkWord::default(),
            guard_waits: Vec::new(),
            tasks: JoinSet::new(),
            started: Instant::now(),
            leaves: None,
            leaving: false,
            off: false,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn tick(&mut self) {
        for (pid, exit) in std::mem::take(&mut self.ended) {
            let said = self.said.remove(&pid);
            let said = said.and_then(|said| said.lock().unwrap_or_else(PoisonError::into_inner).take());
            let name = self.supervisor.name_of(pid).unwrap_or("a program").to_owned();
            tracing::warn!(name, %exit, "ended");
            self.feed(Input::Exited(pid, exit, said));
        }
        self.collect();
        self.feed(Input::Tick);
        let children = self.supervisor.report(self.now_ms());
        self.parts.own.change(|status| status.system.children = children);
    }

    fn collect(&mut self) {
        let ended = self.parts.processes.ended();
        self.ended.extend(ended);
    }

    /// Gives one input to the policy and carries out its actions, with what these bring about.
    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let now_ms = self.now_ms();
            for action in self.supervisor.handle(input, now_ms) {
                inputs.extend(self.act(action));
            }
        }
        if !self.supervisor.uses_data()
            && let Some(number) = self.leaves.take()
        {
            self.parts.data.door.note_left(number);
        }
    }

    fn data_word(&mut self, word: Word) {
        match word {
            Word::Allow => {
                self.leaves = None;
                self.feed(Input::Data(true));
            }
            Word::Leave { number, torn_off } => {
                self.leaves = Some(number);
                self.feed(if torn_off { Input::DataTorn } else { Input::Data(false) });
            }
            Word::Closed => self.feed(Input::DataClosed),
        }
    }

    fn act(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Start(name) => return Some(self.start(name)),
            Action::Terminate(pid) => self.parts.processes.terminate(pid),
            Action::Kill(pid) => self.parts.processes.kill(pid),
            Action::Feed => {
                if let Some(watchdog) = &mut self.parts.watchdog
                    && let Err(error) = watchdog.feed()
                {
                    tracing::error!(error = &error as &dyn std::error::Error, "the watchdog is not fed");
                }
            }
            Action::CloseData => match &self.parts.data.close {
                // The storage part says when it is done.
                Some(close) => close.store(true, Ordering::Relaxed),
                None => return Some(Input::DataClosed),
            },
            Action::Power(request) => self.power(request),
        }
        None
    }

    fn power(&mut self, request: PowerRequest) {
        self.off = true;
        if self.leaving {
            if let Some(watchdog) = &mut self.parts.watchdog
                && let Err(error) = watchdog.disarm()
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "the watchdog goes on");
            }
            return;
        }
        // The watchdog stays armed: should the machine hang on its way, it is what is left.
        if let Err(error) = self.parts.power.request(request) {
            tracing::error!(error = &error as &dyn std::error::Error, "the machine stays on");
        }
    }

    fn start(&mut self, name: String) -> Input {
        let Some(launch) = self.launches.get(&name) else {
            return Input::StartFailed(name, "it is not known".to_owned());
        };
        match self.parts.processes.spawn(launch) {
            Ok(spawned) => {
                tracing::info!(name, pid = %spawned.pid, "started");
                let said = Said::default();
                self.said.insert(spawned.pid, Arc::clone(&said));
                self.tasks.spawn(listen(name.clone(), spawned.log, said));
                Input::Started(name, spawned.pid)
            }
            Err(error) => {
                let why = std::error::Error::source(&error).map(|source| format!("{error}: {source}"));
                let why = why.unwrap_or_else(|| error.to_string());
                tracing::warn!(name, why, "not started");
                Input::StartFailed(name, why)
            }
        }
    }

    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::AcceptPlacement(question) => {
                let answer = Answer { question, yes: true };
                let told = self.parts.data.answers.as_ref().is_some_and(|to| to.send(answer).is_ok());
                if !told {
                    tracing::warn!("nobody asks about disks");
                }
            }
            Wish::AcceptTime(unix_us) => self.tell_guard(Request::AcceptTime { unix_us }),
            Wish::Do(deed) => self.deed(&deed),
        }
    }

    fn deed(&mut self, deed: &Deed) {
        tracing::warn!("the owner wants the box to {}", deed.words());
        let request = match deed {
            Deed::PowerOff => PowerRequest::Off,
            Deed::Restart => PowerRequest::Restart,
            Deed::FactoryReset => {
                // Carried out at the next start, before anything uses the data.
                match self.parts.data.door.enter(erase::mark) {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        tracing::error!(%error, "nothing is erased: the data does not take the mark");
                        return;
                    }
                    None => {
                        tracing::error!("nothing is erased: the data is not there");
                        return;
                    }
                }
                PowerRequest::Restart
            }
        };
        self.feed(Input::Power(request));
    }

    /// Tells the guard, on a thread of its own since it may be slow.
    fn tell_guard(&mut self, request: Request) {
        self.guard_waits.push(request);
        self.tell_waiting();
    }

    fn tell_waiting(&mut self) {
        let path = self.parts.paths.run.join("timeguard/control.sock");
        // Without its socket the guard is not up yet; it is told at the next look.
        if !path.exists() {
            return;
        }
        for request in std::mem::take(&mut self.guard_waits) {
            let path = path.clone();
            self.tasks.spawn_blocking(move || match socket::ask(&path, &request) {
                Ok(Reply::Done) => {}
                Ok(reply) => tracing::warn!(?reply, "the time guard refuses"),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the time guard"),
            });
        }
    }

    /// Lends devices that came after the start of who uses them.
    fn lend_devices(&mut self) {
        for launch in self.launches.values().filter(|launch| !launch.devices.is_empty()) {
            self.parts.processes.lend(launch);
        }
    }

    /// Looks after interfaces that came, and tells the guard of new leases.
    fn look_at_network(&mut self) {
        self.tell_waiting();
        let Some(folder) = &self.parts.interfaces else { return };
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names: Vec<String> = names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| network::is_ours(name))
            .collect();
        for name in &names {
            for program in children::of_interface(name, &self.parts.paths, self.parts.wifi_file.as_deref()) {
                if self.launches.insert(program.plan.name.clone(), program.launch).is_none() {
                    self.feed(Input::Add(program.plan));
                }
            }
        }
        let leases: BTreeMap<String, Lease> =
            names.into_iter().filter_map(|name| Some((name.clone(), self.lease(&name)?))).collect();
        if leases != self.leases {
            let servers = leases.values().flat_map(|lease| &lease.time_servers);
            let servers = servers.take(network::SERVERS_MAX).map(ToString::to_string).collect();
            self.leases = leases;
            self.tell_guard(Request::TimeServers { servers });
        }
    }

    /// Tells the pages, and those who ask the world anew, what the network is now.
    fn network_changed(&mut self) {
        let Some(network) = &mut self.parts.network else { return };
        let state = network.borrow_and_update().clone();
        let came_up = state.came_up(&self.network);
        let addresses: Vec<String> = state.addresses().map(|address| address.to_string()).collect();
        let Addresses { pds_url, panel_port } = self.parts.addresses.clone();
        let panel_url = state
            .addresses()
            .next()
            .map(|address| format!("http://{}", SocketAddr::new(address, panel_port)));
        self.parts.own.change(|status| {
            status.system.network_up = state.is_up();
            status.system.addresses = addresses;
            status.system.pds_url = pds_url;
            status.system.panel_url = panel_url.unwrap_or_default();
        });
        self.network_word.up = state.is_up();
        self.network_word.came_up += u64::from(came_up);
        self.network = state;
        if let Err(error) =
            control::file::replace(&self.parts.paths.run.join(network::NETWORK_FILE), &self.network_word)
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "the PDS does not hear of the network");
        }
        if came_up {
            self.tell_guard(Request::NetworkUp);
        }
    }

    fn lease(&self, interface: &str) -> Option<Lease> {
        use std::io::Read;
        let path = self.parts.paths.run.join("network").join(format!("{interface}.lease"));
        let mut text = String::new();
        std::fs::File::open(path).ok()?.take(network::LEASE_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(Lease::parse(&text))
    }
}

/// Waits for the network to change; for ever where nobody watches it.
async fn changed(network: &mut Option<watch::Receiver<NetworkState>>) {
    let is_ended = match network {
        Some(watched) => watched.changed().await.is_err(),
        None => true,
    };
    if is_ended {
        std::future::pending::<()>().await;
    }
}

/// Reads what a program says until it ends, keeps its last line, and passes all on to our own log.
async fn listen(name: String, log: OwnedFd, said: Said) {
    let Ok(pipe) = pipe::Receiver::from_owned_fd(log) else { return };
    let mut lines = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        match (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line);
        let line: String = line.trim_end().chars().filter(|letter| !letter.is_control()).collect();
        if !line.is_empty() {
            tracing::info!(target: "program", "{name}: {line}");
            *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
        }
    }
}
