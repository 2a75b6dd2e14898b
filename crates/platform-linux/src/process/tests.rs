//! What a child is after its start, read from its own `/proc/self`; these run as root, as the supervisor does.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use platform::process::{Ids, MemoryLimits};

use super::*;

/// A user that owns nothing.
const NOBODY: Ids = Ids { uid: 65_534, gid: 65_534 };

fn launch(script: &str) -> Launch {
    Launch {
        name: "test child".to_owned(),
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        user: Some(NOBODY),
        keeps: Vec::new(),
        devices: Vec::new(),
        memory: MemoryLimits { oom_score: 321, ..MemoryLimits::default() },
        open_files_max: 77,
        tasks_max: 1_000,
    }
}

/// Runs a child to its end and gives what it said.
fn run(launch: &Launch) -> (String, Exit) {
    let mut processes = LinuxProcesses::new(None);
    let spawned = processes.spawn(launch).unwrap();
    let mut said = String::new();
    File::from(spawned.log).read_to_string(&mut said).unwrap();
    (said, end_of(&mut processes, spawned.pid))
}

fn end_of(processes: &mut LinuxProcesses, pid: ProcessId) -> Exit {
    let begun = Instant::now();
    loop {
        if let Some((_, exit)) = processes.ended().into_iter().find(|(ended, _)| *ended == pid) {
            return exit;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "the child never ended");
        std::thread::yield_now();
    }
}

fn field<'a>(said: &'a str, name: &str) -> &'a str {
    let line = said.lines().find(|line| line.starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {said}")).split_once(':').unwrap().1.trim()
}

#[test]
fn a_child_has_its_user_and_no_rights_and_can_get_none() {
    let (said, exit) = run(&launch("cat /proc/self/status; cat /proc/self/oom_score_adj; ulimit -n; env"));
    assert_eq!(exit, Exit::Code(0), "{said}");
    assert_eq!(field(&said, "Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(field(&said, "Gid"), "65534\t65534\t65534\t65534");
    assert_eq!(field(&said, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&said, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&said, "NoNewPrivs"), "1");
    assert!(said.contains("\n321\n77\n"), "oom score and open files: {said}");
    assert!(!said.contains("CARGO"), "the environment is not inherited");
}

#[test]
fn the_guard_keeps_the_right_to_set_the_clock_through_exec_and_no_other() {
    let guard = Launch { keeps: vec![Capability::SysTime], ..launch("exec cat /proc/self/status") };
    let (said, _) = run(&guard);
    for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&said, set), "0000000002000000", "{set}");
    }
}

#[test]
fn root_without_its_rights_is_left_with_those_of_the_network() {
    let udhcpc = Launch {
        user: None,
        keeps: vec![Capability::NetAdmin, Capability::NetRaw],
        ..launch("exec cat /proc/self/status")
    };
    let (said, _) = run(&udhcpc);
    assert_eq!(field(&said, "Uid"), "0\t0\t0\t0");
    assert_eq!(field(&said, "CapEff"), "0000000000003000");
    assert_eq!(field(&said, "CapBnd"), "0000000000003000");
}

#[test]
fn an_end_is_told_as_it_was_and_asked_for_without_waiting() {
    assert_eq!(run(&launch("exit 7")).1, Exit::Code(7));
    let mut processes = LinuxProcesses::new(None);
    let spawned = processes.spawn(&launch("while :; do sleep 1000; done")).unwrap();
    assert!(processes.ended().is_empty(), "asking does not wait");
    processes.terminate(spawned.pid);
    assert_eq!(end_of(&mut processes, spawned.pid), Exit::Signal(libc::SIGTERM));
    let stubborn = processes.spawn(&launch("trap '' TERM; echo ready; while :; do read x; done")).unwrap();
    let mut ready = [0; 6];
    let mut log = File::from(stubborn.log);
    log.read_exact(&mut ready).unwrap();
    processes.kill(stubborn.pid);
    assert_eq!(end_of(&mut processes, stubborn.pid), Exit::Signal(libc::SIGKILL));
    // A number that is nobody's is signalled to nobody.
    processes.kill(stubborn.pid);
}

#[test]
fn a_missing_program_is_an_error_and_not_a_child() {
    let missing = Launch { program: "/nowhere/program".into(), ..launch("") };
    let mut processes = LinuxProcesses::new(None);
    assert!(processes.spawn(&missing).is_err());
    assert!(processes.ended().is_empty());
}

#[test]
fn without_a_group_hierarchy_there_are_no_limits_and_all_works() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!LinuxProcesses::new(Some(folder.path())).has_groups());
}

#[test]
fn a_set_user_id_program_gives_a_child_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("cat");
    fs::copy("/bin/cat", &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let (said, exit) = run(&launch(&format!("exec {} /proc/self/status", copy.display())));
    assert_eq!(exit, Exit::Code(0), "{said}");
    assert_eq!(field(&said, "Uid"), "65534\t65534\t65534\t65534");
}

#[test]
fn a_child_makes_no_more_tasks_than_it_may() {
    // A user of its own: others' processes count as well.
    let user = Some(Ids { uid: 64_799, gid: 64_799 });
    let many = "n=0; while [ $n -lt 40 ] && sleep 1000 & do n=$((n+1)); done; wait";
    let greedy = Launch { user, tasks_max: 8, ..launch(many) };
    let mut processes = LinuxProcesses::new(None);
    let spawned = processes.spawn(&greedy).unwrap();
    // The shell says, in more than one piece, that it cannot fork; without a limit it would say nothing.
    let mut said = String::new();
    BufReader::new(File::from(spawned.log)).read_line(&mut said).unwrap();
    let said = said.to_lowercase();
    assert!(said.contains("fork"), "{said}");
    let count = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        fs::metadata(entry.path())
            .is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 64_799)
    });
    assert!(count.count() <= 8);
    // Without a control group, what it started is ended as what it is: its session.
    let group = nix::unistd::Pid::from_raw(i32::try_from(spawned.pid.0).unwrap());
    nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
    // The shell gave up, or was killed.
    assert_ne!(end_of(&mut processes, spawned.pid), Exit::Code(0));
}
