//! What somebody can do who has broken into one of the programs: the example `intruder` shuts itself in as that program
//! does, under a user of its own and with the rights that the supervisor leaves it, and tries.
//!
//! Files in the way belong to everybody and may be written by everybody, so that a refusal is the sandbox's.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use platform::Processes;
use platform::process::{Capability, Exit, Ids, Launch, MemoryLimits};
use tempfile::TempDir;

use crate::LinuxProcesses;

/// Users that own nothing: each test has its own, since what one may signal or trace is a question of users first.
const FIRST_USER: u32 = 64_801;

static USERS: AtomicU32 = AtomicU32::new(FIRST_USER);

/// How long a deed may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAMS: [&str; 3] = ["pds", "timeguard", "panel"];

/// What became of a deed.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused(String),
    /// The kernel ended the program for it.
    Ended,
}

/// The box's folders below a folder of the test's, with something of everybody's in each.
struct House {
    root: TempDir,
    user: Ids,
}

impl House {
    fn new() -> Self {
        let id = USERS.fetch_add(1, Ordering::Relaxed);
        let house = Self { root: tempfile::tempdir().unwrap(), user: Ids { uid: id, gid: id } };
        fs::set_permissions(house.root.path(), Permissions::from_mode(0o755)).unwrap();
        let folders = ["boot", "bin", "elsewhere", "run", "data"].into_iter().map(str::to_owned);
        let own = PROGRAMS.into_iter().chain(["appliance"]);
        let own = own.flat_map(|name| [format!("run/perch/{name}"), format!("data/{name}")]);
        for folder in folders.chain(own) {
            let path = house.path(&folder);
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
            house.file(&format!("{folder}/secret"));
        }
        house.file("boot/perch.toml");
        // Where the checkout lies another user may not look.
        // By another program: a file that this one has open for writing while a test beside forks is busy there.
        let copied = Command::new("cp").arg(intruder()).arg(house.path("bin/intruder")).status().unwrap();
        assert!(copied.success());
        fs::set_permissions(house.path("bin/intruder"), Permissions::from_mode(0o755)).unwrap();
        house
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn file(&self, below: &str) {
        let path = self.path(below);
        fs::write(&path, "the owner's").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        chown(&path, Some(self.user.uid), Some(self.user.gid)).unwrap();
    }

    /// Does a deed as a program, with the rights that the supervisor leaves it.
    fn deed(&self, program: &str, deed: &[&str]) -> (Outcome, String) {
        let keeps = if program == "timeguard" { vec![Capability::SysTime] } else { Vec::new() };
        let root = self.root.path().display().to_string();
        let words = [program, &root].into_iter().chain(deed.iter().copied());
        let launch = Launch {
            name: "intruder".to_owned(),
            program: self.path("bin/intruder"),
            args: words.map(str::to_owned).collect(),
            env: Vec::new(),
            user: Some(self.user),
            keeps,
            devices: Vec::new(),
            memory: MemoryLimits::default(),
            open_files_max: 64,
            tasks_max: 64,
        };
        let mut processes = LinuxProcesses::new(None);
        let spawned = processes.spawn(&launch).unwrap();
        let mut said = String::new();
        File::from(spawned.log).read_to_string(&mut said).unwrap();
        let begun = Instant::now();
        let exit = loop {
            if let Some((_, exit)) = processes.ended().first() {
                break *exit;
            }
            assert!(begun.elapsed() < PATIENCE, "{deed:?} never ended");
            std::thread::yield_now();
        };
        let last = said.lines().last().unwrap_or_default().to_owned();
        let outcome = match exit {
            Exit::Code(0) => Outcome::Done,
            Exit::Signal(libc::SIGSYS) => Outcome::Ended,
            Exit::Code(_) => Outcome::Refused(last),
            other => panic!("{program} {deed:?}: {other}: {said}"),
        };
        (outcome, said)
    }

    fn outcome(&self, program: &str, deed: &[&str]) -> Outcome {
        self.deed(program, deed).0
    }

    fn refuses(&self, program: &str, deed: &[&str]) {
        let (outcome, said) = self.deed(program, deed);
        assert!(matches!(outcome, Outcome::Refused(_)), "{program} {deed:?}: {outcome:?}: {said}");
    }

    fn allows(&self, program: &str, deed: &[&str]) {
        let (outcome, said) = self.deed(program, deed);
        assert_eq!(outcome, Outcome::Done, "{program} {deed:?}: {said}");
    }

    fn ends(&self, program: &str, deed: &[&str]) {
        let (outcome, said) = self.deed(program, deed);
        assert_eq!(outcome, Outcome::Ended, "{program} {deed:?}: {said}");
    }

    fn text(&self, below: &str) -> String {
        self.path(below).display().to_string()
    }
}

/// The example, which `cargo test` builds beside this test.
fn intruder() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join("examples/intruder");
    assert!(path.exists(), "{} is not built: cargo build -p platform-linux --examples", path.display());
    path
}

/// The folders that each program may write.
fn own_folders(program: &str) -> Vec<String> {
    match program {
        "panel" => Vec::new(),
        name => vec![format!("data/{name}"), format!("run/perch/{name}")],
    }
}

fn all_folders() -> Vec<String> {
    let own = PROGRAMS.into_iter().chain(["appliance"]);
    let own = own.flat_map(|name| [format!("run/perch/{name}"), format!("data/{name}")]);
    ["boot", "elsewhere", "run", "data"].into_iter().map(str::to_owned).chain(own).collect()
}

#[test]
fn this_kernel_has_every_fence_or_the_tests_beside_this_one_prove_little() {
    let house = House::new();
    for program in PROGRAMS {
        let (outcome, said) = house.deed(program, &["nothing"]);
        assert_eq!(outcome, Outcome::Done, "{said}");
        // Named, so that a kernel that lacks one is known by the failure.
        assert!(!said.contains("gap Folders") && !said.contains("gap Calls"), "{said}");
    }
}

#[test]
fn an_intruder_reads_neither_the_owners_settings_nor_the_other_programs_files() {
    let house = House::new();
    for program in PROGRAMS {
        let mut may: Vec<String> = own_folders(program);
        // What it is told by others.
        may.extend(match program {
            "pds" => vec!["run/perch/timeguard".to_owned()],
            "panel" => vec!["run/perch/appliance".to_owned()],
            _ => Vec::new(),
        });
        house.refuses(program, &["read", &house.text("boot/perch.toml")]);
        for folder in all_folders() {
            let (path, listed) = (house.text(&format!("{folder}/secret")), house.text(&folder));
            for deed in [["read", &path], ["list", &listed]] {
                if may.contains(&folder) {
                    house.allows(program, &deed);
                } else {
                    house.refuses(program, &deed);
                }
            }
        }
        // Another process's memory and environment, by the kernel's files.
        house.refuses(program, &["list", "/proc"]);
        house.refuses(program, &["read", "/proc/1/status"]);
    }
}

#[test]
fn an_intruder_changes_nothing_outside_the_programs_own_folders() {
    let house = House::new();
    for program in PROGRAMS {
        let own = own_folders(program);
        for folder in &own {
            house.allows(program, &["write", &house.text(&format!("{folder}/new"))]);
            house.allows(program, &["empty", &house.text(&format!("{folder}/new"))]);
            house.allows(program, &["remove", &house.text(&format!("{folder}/new"))]);
        }
        for folder in all_folders().iter().filter(|folder| !own.contains(folder)) {
            let (new, old) = (house.text(&format!("{folder}/new")), house.text(&format!("{folder}/secret")));
            house.refuses(program, &["write", &new]);
            house.refuses(program, &["write", &old]);
            house.refuses(program, &["empty", &old]);
            house.refuses(program, &["remove", &old]);
            house.refuses(program, &["rename", &old, &new]);
            if let Some(mine) = own.first() {
                // Nor is a foreign file brought where it may be changed.
                house.refuses(program, &["link", &old, &house.text(&format!("{mine}/linked"))]);
            }
            assert_eq!(fs::read_to_string(house.path(&format!("{folder}/secret"))).unwrap(), "the owner's");
        }
        for folder in
            ["/tmp", "/var/tmp", "/dev/shm", "/run/lock"].iter().filter(|path| Path::new(path).is_dir())
        {
            house.refuses(program, &["write", &format!("{folder}/perch-intruder")]);
        }
    }
}

#[test]
fn an_intruder_starts_no_program_and_no_process_but_threads() {
    let house = House::new();
    for program in PROGRAMS {
        house.allows(program, &["thread"]);
        house.ends(program, &["exec"]);
        house.ends(program, &["become"]);
        house.ends(program, &["fork"]);
    }
}

#[test]
fn an_intruder_in_pds_or_panel_does_not_set_the_clock() {
    let house = House::new();
    for program in ["pds", "panel"] {
        house.ends(program, &["set-clock"]);
        house.refuses(program, &["step-clock"]);
    }
    house.allows("timeguard", &["set-clock"]);
    house.allows("timeguard", &["step-clock"]);
}

#[test]
fn an_intruder_opens_no_raw_sockets_and_listens_nowhere() {
    let house = House::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for program in PROGRAMS {
        house.refuses(program, &["raw-socket"]);
        house.refuses(program, &["packet-socket"]);
        house.refuses(program, &["listen", "0"]);
    }
    for program in ["pds", "timeguard"] {
        house.allows(program, &["connect", &port]);
        house.allows(program, &["resolve", "localhost"]);
    }
    house.refuses("panel", &["connect", &port]);
}

#[test]
fn an_intruder_neither_traces_nor_signals_the_other_programs() {
    let house = House::new();
    // One of the same user, whom users alone would not protect.
    let mut processes = LinuxProcesses::new(None);
    let other = Launch {
        name: "other".to_owned(),
        program: "/bin/sleep".into(),
        args: vec!["1000".to_owned()],
        env: Vec::new(),
        user: Some(house.user),
        keeps: Vec::new(),
        devices: Vec::new(),
        memory: MemoryLimits::default(),
        open_files_max: 16,
        tasks_max: 64,
    };
    let other = processes.spawn(&other).unwrap();
    let pid = other.pid.to_string();
    for program in PROGRAMS {
        house.ends(program, &["trace", &pid]);
        house.ends(program, &["peek", &pid]);
        house.refuses(program, &["signal", &pid]);
    }
    processes.kill(other.pid);
}

#[test]
fn an_intruder_gains_no_rights_and_does_not_touch_the_machine() {
    let house = House::new();
    for program in PROGRAMS {
        for deed in ["set-user", "own-namespace", "mount", "load-module", "restart"] {
            house.ends(program, &[deed]);
        }
        house.ends(program, &["node", &house.text("elsewhere/node")]);
    }
}

#[test]
fn an_intruder_runs_no_memory_that_was_written() {
    let house = House::new();
    for program in PROGRAMS {
        house.refuses(program, &["run-written-memory"]);
        house.refuses(program, &["make-memory-run"]);
    }
}

#[test]
fn the_guard_opens_devices_that_it_was_lent_and_no_others() {
    let house = House::new();
    // Everybody may open this one, and only who has a device folder gets so far.
    house.allows("timeguard", &["device", "/dev/null"]);
    for program in ["pds", "panel"] {
        house.refuses(program, &["device", "/dev/null"]);
    }
    // What is root's stays so.
    for device in ["/dev/kmsg", "/dev/mem", "/dev/watchdog"].iter().filter(|path| Path::new(path).exists()) {
        house.refuses("timeguard", &["device", device]);
    }
}

#[test]
fn what_a_kernel_cannot_enforce_is_said_and_the_program_goes_on() {
    let house = House::new();
    let secret = house.text("boot/perch.toml");
    let (outcome, said) = house.deed("pds", &["without-landlock", "read", &secret]);
    assert!(said.contains("gap Folders: this kernel has no Landlock, or"), "{said}");
    assert_eq!(outcome, Outcome::Done, "{said}");
    // The other fence stands.
    house.ends("pds", &["without-landlock", "fork"]);
    let (outcome, said) = house.deed("pds", &["without-seccomp", "fork"]);
    assert!(said.contains("gap Calls: the kernel takes no filter"), "{said}");
    assert_eq!(outcome, Outcome::Done, "{said}");
    house.refuses("pds", &["without-seccomp", "read", &secret]);
}

#[test]
fn the_intruder_of_these_tests_does_every_deed_when_nothing_holds_it() {
    let house = House::new();
    let free = "nobody";
    house.allows(free, &["read", &house.text("boot/perch.toml")]);
    house.allows(free, &["write", &house.text("elsewhere/new")]);
    house.allows(free, &["exec"]);
    house.allows(free, &["fork"]);
    house.allows(free, &["listen", "0"]);
    house.allows(free, &["run-written-memory"]);
    house.allows(free, &["make-memory-run"]);
    for deed in ["step-clock", "mount", "load-module", "restart", "set-user"] {
        // By its user alone, not by a filter.
        assert!(matches!(house.outcome(free, &[deed]), Outcome::Refused(_)), "{deed}");
    }
}
