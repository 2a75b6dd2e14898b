//! One box: the guard's process, its folders, its resolver, and what a reader of the verdict sees.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use control::request::{self, Reply, Request};
use control::status::SourceState;
use control::{Stamped, TimeStatus, VerdictFile};
use platform::Clock;
use platform::time::{BootClock, BootId};
use testbed::time_server::Utc;

use crate::daemons::Running;
use crate::servers::{Zone, resolver};

/// How long anything is waited for: far longer than it takes on a loaded machine.
const WAIT: Duration = Duration::from_secs(40);

/// Names of the servers, one operator each.
pub(crate) const NAMES: [&str; 4] = ["one.test", "two.test", "three.test", "four.test"];

pub(crate) const DAY_US: i64 = 86_400_000_000;

/// A box with its own resolver.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) utc: Utc,
    pub(crate) zone: Zone,
    net: [u8; 2],
    guard: Option<Running>,
}

impl World {
    /// Makes the folders and the resolver; the floor is so long ago.
    pub(crate) fn new(floor_behind_us: i64) -> Self {
        // Each world has its own part of the loopback network, and each process another.
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id().wrapping_mul(16) + WORLDS.fetch_add(1, Ordering::Relaxed);
        let [low, high, ..] = number.to_le_bytes();
        let net = [high % 200 + 30, low];
        let dir = tempfile::tempdir().unwrap();
        for folder in ["run", "data"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let utc = Utc::of_this_computer().unwrap();
        let zone = resolver(Ipv4Addr::new(127, net[0], net[1], 53));
        let world = Self { dir, utc, zone, net, guard: None };
        world.set_floor(utc.us() - floor_behind_us);
        world
    }

    pub(crate) fn set_floor(&self, floor_us: i64) {
        let saved = format!("{{\"floor_us\":{floor_us},\"rtc_set_us\":null}}");
        std::fs::write(self.dir.path().join("data/saved.json"), saved).unwrap();
    }

    /// Gives a loopback address of this world, 1 to 50.
    pub(crate) fn address(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.net[0], self.net[1], host)
    }

    /// Lets the names lead to addresses 1 to 4.
    pub(crate) fn name_all(&self) {
        for (host, name) in (1..).zip(NAMES) {
            self.zone.lock().unwrap().insert(name.to_owned(), self.address(host));
        }
    }

    /// Starts the guard with a resolver file of its own, which only it sees.
    pub(crate) fn start(&mut self, more: &str) {
        let path = |name: &str| self.dir.path().join(name);
        let server = |name: &str| format!("{{ name = \"{name}\", operator = \"{name}\" }},");
        let settings = format!("servers = [{}]\n{more}\n", NAMES.map(server).concat());
        std::fs::write(path("settings.toml"), settings).unwrap();
        let nameserver = format!("nameserver {}\noptions timeout:1 attempts:2\n", self.address(53));
        std::fs::write(path("resolv.conf"), nameserver).unwrap();
        let script = format!(
            "mount --bind {0}/resolv.conf /etc/resolv.conf && exec {1} --no-clock --config {0}/settings.toml \
             --run-dir {0}/run --data-dir {0}/data --sandbox strict 2>{0}/log",
            self.dir.path().display(),
            env!("CARGO_BIN_EXE_perch-timeguard"),
        );
        let guard = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdout(Stdio::null())
            .spawn()
            .expect("util-linux' unshare");
        self.guard = Some(Running(guard));
        self.wait("the guard speaks", |_| true);
    }

    /// Starts the guard in a network of its own beside these servers, which end with it.
    pub(crate) fn start_in_own_network(&mut self, servers: &[String], hosts: &[String; 4]) {
        let server = |host: &String| format!("{{ name = \"{host}\", operator = \"{host}\" }},");
        let settings = format!("servers = [{}]\n", hosts.each_ref().map(server).concat());
        std::fs::write(self.dir.path().join("settings.toml"), settings).unwrap();
        let script = format!(
            "ip link set lo up\n{1}\nexec {2} --no-clock --config {0}/settings.toml --run-dir {0}/run \
             --data-dir {0}/data --sandbox strict 2>{0}/log",
            self.dir.path().display(),
            servers.join("\n"),
            env!("CARGO_BIN_EXE_perch-timeguard"),
        );
        let guard = Command::new("unshare")
            .args(["--net", "--pid", "--fork", "--kill-child", "sh", "-c", &script])
            .stdout(Stdio::null())
            .spawn()
            .expect("util-linux' unshare");
        self.guard = Some(Running(guard));
    }

    /// Kills the guard as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.guard = None;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.guard.as_ref().unwrap().0.id()
    }

    pub(crate) fn status(&self) -> Option<TimeStatus> {
        let path = self.dir.path().join("run/status.json");
        control::file::read::<Stamped<TimeStatus>>(&path).unwrap().map(|stamped| stamped.status)
    }

    /// Waits until the status is as wanted, and says what it was when it never is.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&TimeStatus) -> bool) -> Duration {
        let began = Instant::now();
        loop {
            if self.status().is_some_and(|status| wanted(&status)) {
                return began.elapsed();
            }
            if began.elapsed() > WAIT {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                panic!("waited in vain until {what}: {:#?}\n{log}", self.status());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn ask(&self, request: &Request) -> Reply {
        let began = Instant::now();
        let path = self.dir.path().join("run/control.sock");
        let mut stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(error) => assert!(began.elapsed() < WAIT, "no control socket: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        request::send(&mut stream, request).unwrap();
        request::receive(&mut stream).unwrap().unwrap()
    }

    /// How a server stands.
    pub(crate) fn source(status: &TimeStatus, name: &str) -> SourceState {
        status.sources.iter().find(|source| source.name == name).unwrap().answers
    }

    /// How far the guard's time is from this machine's, when it has one, microseconds.
    pub(crate) fn off_us(&self, status: &TimeStatus) -> Option<i64> {
        Some(i64::try_from(status.unix_us?).unwrap() - self.utc.us())
    }

    /// A clock as the PDS has it, with hands on it.
    pub(crate) fn reader(&self) -> (Clock, Arc<Hands>) {
        let hands =
            Arc::new(Hands { utc: self.utc, later_ns: AtomicU64::new(0), jump_us: AtomicI64::new(0) });
        let file = VerdictFile::new(self.dir.path().join("run/verdict.json"));
        (Clock::new(hands.clone(), Arc::new(file)), hands)
    }
}

/// This machine's clocks, as a reader would see them later or after somebody set them.
#[derive(Debug)]
pub(crate) struct Hands {
    utc: Utc,
    pub(crate) later_ns: AtomicU64,
    pub(crate) jump_us: AtomicI64,
}

impl BootClock for Hands {
    fn boottime_ns(&self) -> u64 {
        // The only place where CLOCK_BOOTTIME stands in a file; in hundredths of a second, so one more is added.
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = text.split(' ').next().unwrap().parse().unwrap();
        Duration::from_secs_f64(seconds + 0.01).as_nanos().try_into().unwrap_or(u64::MAX)
            + self.later_ns.load(Ordering::Relaxed)
    }

    fn realtime_us(&self) -> i64 {
        let later_us = self.later_ns.load(Ordering::Relaxed) / 1_000;
        self.utc.us() + i64::try_from(later_us).unwrap() + self.jump_us.load(Ordering::Relaxed)
    }

    fn boot_id(&self) -> BootId {
        let text = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).unwrap();
        BootId::parse(&text).unwrap()
    }
}
