//! What a child is after its start, read from its own `/proc/self`; these run as root, as the supervisor does.

use std::fs::File;
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
