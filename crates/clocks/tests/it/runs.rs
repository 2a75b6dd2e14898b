//! A few scenarios on the real programs: is the shim's time in use, is the world the scenario's, is this machine's clock
//! out of reach?

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use clocks::host::Host;
use clocks::message::{self, Start};
use clocks::outcome::Outcome;
use clocks::program::{PROGRAMS, Program};
use clocks::{guard, run};
use platform::sim::SimNtpFault;
use timeguard::trial::{HOUR_US, START_US, Scenario};

/// The signal of a system call that a filter forbids.
const SIGSYS: i32 = 31;

fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::prepare(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap())
}

/// Four servers 20 ms away, of which the first so many lie by an hour; the clock is two hours ahead.
fn scenario(liars: usize) -> Scenario {
    let server =
        |index| SimNtpFault { lie_us: if index < liars { HOUR_US } else { 0 }, ..SimNtpFault::default() };
    Scenario {
        servers: (0..4).map(server).collect(),
        liars,
        clock_off_us: 2 * HOUR_US,
        floor_behind_us: HOUR_US,
        ..Scenario::draw(0)
    }
}

fn error_ms(outcome: &Outcome) -> i64 {
    outcome.last.unwrap_or_else(|| panic!("it claims nothing: {outcome:?}")).error_us / 1_000
}

#[test]
fn all_programs_put_a_clock_right_that_is_two_hours_ahead() {
    for program in PROGRAMS {
        let outcome = run::run(host(), program, &scenario(0)).unwrap();
        assert!(error_ms(&outcome).abs() <= 20, "{program:?}: {outcome:?}");
        assert!(outcome.first_us.unwrap() < 60_000_000, "{program:?}: {outcome:?}");
    }
    assert!(error_ms(&guard::run(&scenario(0))).abs() <= 20);
}

#[test]
fn chrony_says_how_far_it_may_be_off_and_keeps_to_it() {
    let outcome = run::run(host(), Program::Chrony, &scenario(0)).unwrap();
    assert!(!outcome.beyond_bound && outcome.last.unwrap().bound_us < 500_000, "{outcome:?}");
}

#[test]
fn a_majority_of_liars_is_followed() {
    for program in PROGRAMS {
        let outcome = run::run(host(), program, &scenario(3)).unwrap();
        assert_eq!((error_ms(&outcome) + 100) / 3_600_000, 1, "{program:?}: {outcome:?}");
    }
}

#[test]
fn a_liar_that_is_asked_first_leads_timesyncd_astray_and_not_chrony() {
    let wrong = run::run(host(), Program::Timesyncd, &scenario(1)).unwrap();
    assert!(error_ms(&wrong) > 3_000_000, "{wrong:?}");
    let right = run::run(host(), Program::Chrony, &scenario(1)).unwrap();
    assert!(error_ms(&right).abs() <= 20, "{right:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = Scenario::draw(5);
    for program in PROGRAMS {
        let runs = [0, 1].map(|_| run::run(host(), program, &scenario).unwrap());
        assert_eq!(runs[0], runs[1], "{program:?}");
    }
}

#[test]
fn a_call_that_reaches_this_machines_clock_ends_the_program() {
    // The number of clock_settime. The pointer is none, so that nothing would be set without the filter either.
    let number = if cfg!(target_arch = "x86_64") { 227 } else { 112 };
    let die = |script: String| {
        let (mut near, far) = UnixStream::pair().unwrap();
        let start =
            Start { true_ns: START_US * 1_000, off_ns: 0, drift_ppb: 0, span_ns: 1_000_000_000, seed: 1 };
        message::start(&mut near, start).unwrap();
        let mut perl = Command::new("perl");
        perl.args(["-e", &script]).stdin(Stdio::from(OwnedFd::from(far))).stderr(Stdio::null());
        perl.env("LD_PRELOAD", &host().shim).status().unwrap()
    };
    assert_eq!(die(format!("syscall({number}, 0, 0)")).signal(), Some(SIGSYS));
    assert!(die("exit 0".to_owned()).success());
}
