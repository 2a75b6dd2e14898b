//! Which programs the box has: how each is started, with which rights and limits. Data and no decisions.

use std::path::{Path, PathBuf};

use control::users::{User, Users};
use platform::board::{Board, Memory};
use platform::process::{Capability, Ids, Launch, MemoryLimits};

use crate::network;
use crate::supervise::policy::{Plan, Stage};

/// A program's name, how the policy treats it and how it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// For the policy.
    pub plan: Plan,
    /// For the driver.
    pub launch: Launch,
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The folder with our programs.
    pub bin: PathBuf,
    /// `/run/perch`.
    pub run: PathBuf,
    /// `/data`.
    pub data: PathBuf,
}

/// How long the PDS may take to end in order, milliseconds: it finishes requests and closes its database.
const PDS_END_MS: u64 = 20_000;

/// How long the others may take, milliseconds: they keep nothing that must be written.
const OTHERS_END_MS: u64 = 5_000;

/// Where the panel answers.
pub const PANEL_PORT: u16 = 8080;

/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

/// Open files of the PDS: its connections (its own limits are below) and the database.
const PDS_FILES: u64 = 8_192;

/// Open files of the others.
const FILES: u64 = 256;

/// Processes and threads of any of them.
const TASKS: u64 = 64;

/// Who goes first when memory runs out: the panel, then the PDS; the guard and the network are small and needed.
const OOM_PANEL: i16 = 800;
const OOM_PDS: i16 = 500;
const OOM_NETWORK: i16 = 200;
const OOM_GUARD: i16 = 100;

/// The three programs of ours that run as users of their own. One without its user is left out: it is never run as root.
#[must_use]
pub fn ours(paths: &Paths, users: &Users, memory: &Memory, clock_devices: &[PathBuf]) -> Vec<Program> {
    let socket = |name: &str| paths.run.join(name).join("control.sock").display().to_string();
    let settings = |name: &str| paths.run.join(name).join("settings.toml").display().to_string();
    let pds = users.pds.map(|user| {
        let args = vec![
            "--config".to_owned(),
            settings("pds"),
            "--status-file".to_owned(),
            paths.run.join("pds/status.json").display().to_string(),
            "--supervisor".to_owned(),
            socket("appliance"),
            "--network-file".to_owned(),
            paths.run.join(network::NETWORK_FILE).display().to_string(),
        ];
        let launch = launch("pds", paths.bin.join("perch-pds"), args, user);
        let launch = Launch { open_files_max: PDS_FILES, memory: limits(memory.pds_mib, OOM_PDS), ..launch };
        let plan = Plan {
            needs_data: true,
            in_safe_mode: false,
            end_within_ms: PDS_END_MS,
            ..plan("pds", Stage::Service)
        };
        Program { plan, launch }
    });
    let guard = users.guard.map(|user| {
        let args = vec!["--config".to_owned(), settings("timeguard")];
        let launch = launch("timeguard", paths.bin.join("perch-timeguard"), args, user);
        let memory = limits(memory.timeguard_mib, OOM_GUARD);
        Program {
            plan: Plan { renewed_by_data: true, ..plan("timeguard", Stage::Time) },
            launch: Launch {
                keeps: vec![Capability::SysTime],
                devices: clock_devices.to_vec(),
                memory,
                ..launch
            },
        }
    });
    let panel = users.panel.map(|user| {
        let text = |below: &str| paths.run.join(below).display().to_string();
        let args = vec![
            "--live".to_owned(),
            text("appliance/live.json"),
            "--listen".to_owned(),
            format!("0.0.0.0:{PANEL_PORT}"),
            "--run-dir".to_owned(),
            text("panel"),
        ];
        let launch = launch("panel", paths.bin.join("perch-panel"), args, user);
        Program {
            plan: plan("panel", Stage::Service),
            launch: Launch { memory: limits(memory.panel_mib, OOM_PANEL), ..launch },
        }
    });
    [pds, guard, panel].into_iter().flatten().collect()
}

/// The device files that the time guard is lent on a known board: clock chips, and the bus of the one that it speaks to
/// itself.
#[must_use]
pub fn clock_devices(board: Option<&Board>) -> Vec<PathBuf> {
    let Some(board) = board else { return Vec::new() };
    let bus = board.rtc.as_ref().and_then(|wiring| wiring.bus.as_ref());
    let chips = [PathBuf::from("/dev/rtc*")];
    chips.into_iter().chain(bus.map(PathBuf::from)).collect()
}

/// The programs of one interface: its DHCP client, and what joins the wireless network. They are root's, cut down to
/// the rights of the network.
#[must_use]
pub fn of_interface(name: &str, paths: &Paths, wifi_file: Option<&Path>) -> Vec<Program> {
    let script = paths.run.join("network/udhcpc.sh").display().to_string();
    let run = ("PERCH_RUN".to_owned(), paths.run.join("network").display().to_string());
    let args = ["-f", "-i", name, "-s", &script, "-O", "ntpsrv", "-t", "5", "-T", "3", "-A", "10"];
    let udhcpc = root_launch(&format!("udhcpc {name}"), "/sbin/udhcpc", &args, run.clone());
    let mut all = vec![Program { plan: plan(&udhcpc.name, Stage::Network), launch: udhcpc }];
    if let Some(file) = wifi_file.filter(|_| name.starts_with("wl")) {
        let file = file.display().to_string();
        let args = ["-i", name, "-c", &file, "-D", "nl80211,wext"];
        let launch = root_launch(&format!("wpa_supplicant {name}"), "/usr/sbin/wpa_supplicant", &args, run);
        all.push(Program { plan: plan(&launch.name, Stage::Network), launch });
    }
    all
}

fn plan(name: &str, stage: Stage) -> Plan {
    Plan {
        name: name.to_owned(),
        stage,
        needs_data: false,
        renewed_by_data: false,
        in_safe_mode: true,
        end_within_ms: OTHERS_END_MS,
    }
}

fn limits(max_mib: u32, oom_score: i16) -> MemoryLimits {
    let max = u64::from(max_mib) * MIB;
    // From seven eighths on the kernel takes caches back before it ends anybody.
    MemoryLimits { high_bytes: Some(max / 8 * 7), max_bytes: Some(max), oom_score }
}

fn launch(name: &str, program: PathBuf, args: Vec<String>, user: User) -> Launch {
    Launch {
        name: name.to_owned(),
        program,
        args,
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        user: Some(Ids { uid: user.uid, gid: user.gid }),
        keeps: Vec::new(),
        devices: Vec::new(),
        memory: MemoryLimits::default(),
        open_files_max: FILES,
        tasks_max: TASKS,
    }
}

fn root_launch(name: &str, program: &str, args: &[&str], run: (String, String)) -> Launch {
    Launch {
        name: name.to_owned(),
        program: program.into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![("PATH".to_owned(), "/sbin:/usr/sbin:/bin:/usr/bin".to_owned()), run],
        user: None,
        keeps: vec![Capability::NetAdmin, Capability::NetRaw, Capability::NetBindService],
        devices: Vec::new(),
        memory: MemoryLimits { oom_score: OOM_NETWORK, ..MemoryLimits::default() },
        open_files_max: FILES,
        tasks_max: TASKS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> Paths {
        Paths { bin: "/usr/bin".into(), run: "/run/perch".into(), data: "/data".into() }
    }

    const MEMORY: Memory = Memory { pds_mib: 256, panel_mib: 48, timeguard_mib: 24 };

    #[test]
    fn nobody_runs_as_root_who_faces_the_network_and_only_the_guard_keeps_a_right() {
        let user = |uid| Some(User { uid, gid: uid });
        let users = Users { pds: user(801), guard: user(802), panel: user(803) };
        let all = ours(&paths(), &users, &MEMORY, &["/dev/rtc*".into()]);
        assert_eq!(all.len(), 3);
        for program in &all {
            assert!(program.launch.user.is_some_and(|ids| ids.uid > 800), "{}", program.plan.name);
            let keeps: &[Capability] =
                if program.plan.name == "timeguard" { &[Capability::SysTime] } else { &[] };
            assert_eq!(program.launch.keeps, keeps);
            assert!(program.launch.memory.max_bytes.is_some());
            assert_eq!(program.launch.devices.is_empty(), keeps.is_empty(), "devices are the guard's alone");
        }
        assert!(
            ours(&paths(), &Users::default(), &MEMORY, &[]).is_empty(),
            "without its user none is started"
        );
    }

    #[test]
    fn what_configures_the_network_has_the_rights_of_the_network_only() {
        let wired = of_interface("eth0", &paths(), Some(Path::new("/run/perch/network/wifi.conf")));
        assert_eq!(wired.len(), 1);
        let wireless = of_interface("wlan0", &paths(), Some(Path::new("/run/perch/network/wifi.conf")));
        assert_eq!(wireless.len(), 2);
        for program in wired.iter().chain(&wireless) {
            assert_eq!(
                program.launch.keeps,
                [Capability::NetAdmin, Capability::NetRaw, Capability::NetBindService]
            );
        }
    }
}
