//! What the programs may do to the machine, on the device's own processor and kernel: the sandbox, and the limits of
//! memory.

use std::time::Duration;

use testbed::{
    Machine,
    appliance::{Appliance, make_card, programs},
    free_port,
};

/// Wait for the box to serve: some 20 s of emulation on an idle computer.
const START_LIMIT: Duration = Duration::from_secs(300);

/// A panel that behaves until it is told not to, once: it then takes more memory than any panel may.
const GREEDY_PANEL: &str = "#!/bin/sh\n\
    while [ ! -e /tmp/eat ] || [ -e /tmp/eaten ]; do sleep 1; done\n\
    touch /tmp/eaten\n\
    exec dd if=/dev/zero of=/dev/null bs=200M count=1\n";

/// 128 and SIGSYS: how a shell tells that the kernel ended a program for a call.
const ENDED: i32 = 159;

fn intrude(machine: &Machine, words: &str) -> i32 {
    let done = machine.run(&format!("intruder {words}")).unwrap();
    println!("intruder {words}: {} {}{}", done.code, done.text(), done.error_text());
    done.code
}

#[test]
fn a_program_that_takes_too_much_memory_is_ended_alone_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let card = folder.path().join("card.img");
    make_card(&card).unwrap();
    let (pds_port, panel_port) = (free_port().unwrap(), free_port().unwrap());
    let appliance = Appliance::new(&programs(), &card, pds_port, panel_port).unwrap().with(|setup| {
        setup.file("/usr/bin/perch-panel", 0o755, GREEDY_PANEL.as_bytes()).host_file(
            "/bin/intruder",
            0o755,
            programs().join("examples/intruder"),
        )
    });
    let machine = appliance.boot().unwrap();
    let serves =
        "wget -q -O /dev/null http://127.0.0.1:2583/xrpc/_health && perchctl status | grep -q 'panel: runs'";
    machine.wait_for(serves, START_LIMIT).unwrap();

    // The programs are shut in, on this kernel as far as it goes, and say so.
    for program in ["pds", "timeguard"] {
        let said = machine.sh(&format!("cat /run/perch/{program}/sandbox.json")).unwrap();
        println!("{program}: {said}");
        assert!(
            said.contains("\"gaps\":[") && !said.contains("folders") && !said.contains("calls"),
            "{said}"
        );
        machine.sh(&format!("grep -q 'Seccomp:.*2' /proc/$(pidof perch-{program})/status")).unwrap();
    }
    let doctor = machine.sh("perchctl doctor").unwrap();
    assert!(doctor.contains("panel runs and has not said that it is shut in"), "{doctor}");
    assert!(!doctor.contains("without memory limits"), "{doctor}");

    // Nor does this processor know another way out, for root either.
    for program in ["pds", "timeguard", "panel"] {
        assert_eq!(intrude(&machine, &format!("{program} / thread")), 0);
        assert_eq!(intrude(&machine, &format!("{program} / exec")), ENDED);
        assert_eq!(intrude(&machine, &format!("{program} / fork")), ENDED);
        assert_eq!(intrude(&machine, &format!("{program} / read /boot/perch.toml")), 1);
        assert_eq!(intrude(&machine, &format!("{program} / write /tmp/intruder")), 1);
        assert_eq!(intrude(&machine, &format!("{program} / raw-socket")), 1);
        assert_eq!(intrude(&machine, &format!("{program} / run-written-memory")), 1);
    }
    assert_eq!(intrude(&machine, "pds / set-clock"), ENDED);
    assert_eq!(intrude(&machine, "timeguard / set-clock"), 0);
    assert_eq!(intrude(&machine, "nobody / exec"), 0, "the deed can be done");

    // What the guard needs is its own, and nobody's else.
    let lent = machine.sh("stat -c '%a %G %n' /dev/rtc0 /dev/i2c-0").unwrap();
    assert_eq!(lent, "660 perch-guard /dev/rtc0\n660 perch-guard /dev/i2c-0");

    // Limits are set, and who breaks its own is ended alone.
    for program in ["pds", "timeguard", "panel"] {
        let group = format!("/sys/fs/cgroup/perch/{program}");
        let limits =
            machine.sh(&format!("cd {group}; cat memory.high memory.max pids.max memory.oom.group")).unwrap();
        println!("{program}: {}", limits.replace('\n', " "));
        assert!(!limits.contains("max") && limits.ends_with('1'), "{limits}");
    }
    assert_eq!(machine.sh("cat /proc/$(pidof perch-appliance)/oom_score_adj").unwrap(), "-1000");
    let others = "pidof perch-pds perch-timeguard perch-appliance";
    let before = machine.sh(others).unwrap();
    machine.sh("touch /tmp/eat").unwrap();
    machine.wait_for("perchctl status | grep 'panel: .*took more memory than it may'", START_LIMIT).unwrap();
    machine.wait_for("perchctl status | grep 'panel: runs, started again 1 time'", START_LIMIT).unwrap();
    assert_eq!(machine.sh(others).unwrap(), before, "the others live on");
    machine.sh("perchctl doctor | grep 'panel was started again: it took more memory than it may'").unwrap();
}
