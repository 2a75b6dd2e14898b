//! The driver with programs that are none: what they say, how they end, and the way off.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use control::request::{Deed, Reply, Request};
use control::socket;
use control::status::NetworkWord;
use control::users::{User, Users};
use platform::board::Memory;
use platform::process::{Exit, Launch, ProcessId, Spawned};
use platform::sim::SimPower;
use platform::{DeviceError, Link, NetworkState, PowerRequest, Processes};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::data;
use super::run::{Addresses, Box_, run};
use crate::children::{self, Paths};
use crate::gather::OwnStatus;

/// Programs whose ends the test decides.
#[derive(Clone, Debug, Default)]
pub(super) struct Fakes {
    pub(super) inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) started: Vec<(String, ProcessId)>,
    pub(super) ended: VecDeque<(ProcessId, Exit)>,
    /// Everything that was done to programs and by others, in order.
    pub(super) journal: Vec<String>,
}

impl Inner {
    fn note(&mut self, what: &str, pid: ProcessId) {
        let name = self.started.iter().find(|(_, started)| *started == pid).map(|(name, _)| name.clone());
        self.journal.push(format!("{what} {}", name.unwrap_or_default()));
    }
}

impl Processes for Fakes {
    fn spawn(&mut self, launch: &Launch) -> Result<Spawned, DeviceError> {
        let (log, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"starting\nport 8080 is taken\n").unwrap();
        let mut inner = self.inner.lock().unwrap();
        let pid = ProcessId(u32::try_from(inner.started.len()).unwrap() + 100);
        inner.started.push((launch.name.clone(), pid));
        inner.note("start", pid);
        Ok(Spawned { pid, log: log.into() })
    }

    fn lend(&mut self, _launch: &Launch) {}

    fn ended(&mut self) -> Vec<(ProcessId, Exit)> {
        self.inner.lock().unwrap().ended.drain(..).collect()
    }

    fn terminate(&mut self, pid: ProcessId) {
        let mut inner = self.inner.lock().unwrap();
        inner.note("terminate", pid);
        inner.ended.push_back((pid, Exit::Signal(15)));
    }

    fn kill(&mut self, pid: ProcessId) {
        let mut inner = self.inner.lock().unwrap();
        inner.note("kill", pid);
        inner.ended.push_back((pid, Exit::Signal(9)));
    }
}

pub(super) async fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: never");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_ended_program_is_back_with_its_last_words_and_a_deed_ends_all_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths { bin: "/usr/bin".into(), run: folder.path().into(), data: folder.path().join("data") };
    let users = Users { panel: Some(User { uid: 803, gid: 803 }), ..Users::default() };
    let memory = Memory { pds_mib: 1, panel_mib: 1, timeguard_mib: 1 };
    let (fakes, power, own) = (Fakes::default(), SimPower::default(), OwnStatus::default());
    let (_wish, wishes) = mpsc::channel(1);
    let (deed, deeds) = mpsc::channel(1);
    let parts = Box_ {
        processes: Box::new(fakes.clone()),
        watchdog: None,
        power: Box::new(power.clone()),
        programs: children::ours(&paths, &users, &memory, &[]),
        data: data::elsewhere(&paths.data, users, &own),
        paths,
        network: None,
        addresses: Addresses::default(),
        interfaces: None,
        wifi_file: None,
        safe_mode: None,
        own: own.clone(),
        wishes,
        deeds,
    };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(run(parts, CancellationToken::new()));
    let started = || fakes.inner.lock().unwrap().started.clone();
    until("the first start", || started().len() == 1).await;
    fakes.inner.lock().unwrap().ended.push_back((ProcessId(100), Exit::Code(1)));
    until("the second start", || started().len() == 2).await;
    let why = || own.get().system.children.first().and_then(|child| child.why.clone());
    until("the reason", || why().is_some()).await;
    assert_eq!(why().as_deref(), Some("ended with code 1: port 8080 is taken"));
    deed.send(Deed::PowerOff).await.unwrap();
    until("the end", || power.requests() == [PowerRequest::Off]).await;
    tasks.join_all().await.into_iter().for_each(|ended| ended.unwrap());
    assert_eq!(started().len(), 2, "nothing was started on the way off");
}

#[tokio::test]
async fn guard_pds_and_pages_hear_of_a_network_that_comes_up_and_of_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths { bin: "/usr/bin".into(), run: folder.path().into(), data: folder.path().join("data") };
    for name in ["timeguard", "network"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let heard = Arc::<Mutex<Vec<Request>>>::default();
    let into = Arc::clone(&heard);
    let listener = socket::bind(&folder.path().join("timeguard/control.sock"), 0o600).unwrap();
    let guard = move |_, request| {
        into.lock().unwrap().push(request);
        Reply::Done
    };
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(socket::serve(listener, guard, CancellationToken::new()));
    let (_wish, wishes) = mpsc::channel(1);
    let (_deed, deeds) = mpsc::channel(1);
    let (told, watched) = watch::channel(NetworkState::default());
    let own = OwnStatus::default();
    let parts = Box_ {
        processes: Box::new(Fakes::default()),
        watchdog: None,
        power: Box::new(SimPower::default()),
        programs: Vec::new(),
        data: data::elsewhere(&paths.data, Users::default(), &own),
        paths,
        network: Some(watched),
        addresses: Addresses { pds_url: "https://pds.example.com".to_owned(), panel_port: 8080 },
        interfaces: None,
        wifi_file: None,
        safe_mode: None,
        own: own.clone(),
        wishes,
        deeds,
    };
    tasks.spawn(async move { run(parts, CancellationToken::new()).await.unwrap() });
    let state = |address: &str, has_route| NetworkState {
        links: vec![Link {
            name: "eth0".to_owned(),
            wireless: false,
            carrier: true,
            addresses: vec![address.parse().unwrap()],
        }],
        has_route,
    };
    let word = || {
        let path = folder.path().join(crate::network::NETWORK_FILE);
        control::file::read::<NetworkWord>(&path).unwrap().unwrap_or_default()
    };
    told.send_replace(state("192.168.1.7", true));
    until("the guard", || *heard.lock().unwrap() == [Request::NetworkUp]).await;
    assert_eq!(word(), NetworkWord { up: true, came_up: 1 });
    let system = own.get().system;
    assert!(system.network_up);
    assert_eq!(
        (system.addresses, system.panel_url.as_str()),
        (vec!["192.168.1.7".to_owned()], "http://192.168.1.7:8080")
    );
    told.send_replace(state("192.168.1.7", false));
    until("the loss", || !own.get().system.network_up && !word().up).await;
    told.send_replace(state("10.0.0.9", true));
    until("the other network", || heard.lock().unwrap().len() == 2).await;
    assert_eq!(word(), NetworkWord { up: true, came_up: 2 });
}
