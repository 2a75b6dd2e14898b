//! Each rule of the policy, with a driver that does nothing but answer.

use control::status::ChildState;
use platform::PowerRequest;
use platform::process::{Exit, ProcessId};

use super::policy::*;

fn plan(name: &str, stage: Stage) -> Plan {
    let name = name.to_owned();
    Plan { name, stage, needs_data: false, renewed_by_data: false, in_safe_mode: true, end_within_ms: 5_000 }
}

/// A box with its programs, whose starts always work unless told otherwise.
struct Box_ {
    supervisor: Supervisor,
    next_pid: u32,
    done: Vec<(u64, Action)>,
    starts_work: bool,
}

impl Box_ {
    fn new(plans: Vec<Plan>, safe_mode: Option<&str>) -> Self {
        let supervisor = Supervisor::new(plans, safe_mode.map(str::to_owned));
        Self { supervisor, next_pid: 100, done: Vec::new(), starts_work: true }
    }

    fn of_three() -> Self {
        let pds = Plan { needs_data: true, in_safe_mode: false, ..plan("pds", Stage::Service) };
        Self::new(vec![pds, plan("timeguard", Stage::Time), plan("udhcpc eth0", Stage::Network)], None)
    }

    fn feed(&mut self, input: Input, now_ms: u64) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for action in self.supervisor.handle(input, now_ms) {
                if let Action::Start(name) = &action {
                    self.next_pid += 1;
                    inputs.push(if self.starts_work {
                        Input::Started(name.clone(), ProcessId(self.next_pid))
                    } else {
                        Input::StartFailed(name.clone(), "no such program".to_owned())
                    });
                }
                self.done.push((now_ms, action));
            }
        }
    }

    fn pid(&self, name: &str) -> Option<ProcessId> {
        (100..=self.next_pid).map(ProcessId).find(|pid| self.supervisor.name_of(*pid) == Some(name))
    }

    fn state(&self, name: &str) -> ChildState {
        self.supervisor.report(0).into_iter().find(|child| child.name == name).unwrap().state
    }

    fn starts(&self, name: &str) -> Vec<u64> {
        let is_start = |action: &Action| *action == Action::Start(name.to_owned());
        self.done.iter().filter(|(_, action)| is_start(action)).map(|(at, _)| *at).collect()
    }

    fn kill(&mut self, name: &str, now_ms: u64) {
        let pid = self.pid(name).unwrap();
        self.feed(Input::Exited(pid, Exit::Signal(9), None), now_ms);
    }

    /// What was done since `from`, but for the feeding.
    fn since(&self, from: usize) -> Vec<Action> {
        self.done[from..].iter().map(|(_, action)| action.clone()).filter(|a| *a != Action::Feed).collect()
    }
}

#[test]
fn a_killed_child_is_back_at_once_and_the_others_are_left_alone() {
    let mut all = Box_::of_three();
    all.feed(Input::Data(true), 0);
    let guard = all.pid("timeguard");
    let died_ms = RAN_WELL_MS + 5;
    all.feed(Input::Tick, died_ms);
    all.kill("pds", died_ms);
    all.feed(Input::Tick, died_ms + RESTART_FIRST_MS - 1);
    assert_eq!(all.pid("pds"), None);
    all.feed(Input::Tick, died_ms + RESTART_FIRST_MS);
    assert!(all.pid("pds").is_some());
    assert_eq!(all.pid("timeguard"), guard);
    let report = all.supervisor.report(died_ms + RESTART_FIRST_MS);
    let pds = report.iter().find(|child| child.name == "pds").unwrap();
    assert_eq!((pds.restarts, pds.why.as_deref()), (1, Some("ended by signal 9")));
}

#[test]
fn waits_double_up_to_a_minute_and_start_over_after_a_good_run() {
    let mut all = Box_::new(vec![plan("panel", Stage::Service)], None);
    let mut now_ms = 0;
    all.feed(Input::Tick, now_ms);
    let mut waits = Vec::new();
    for _ in 0..12 {
        all.kill("panel", now_ms);
        let died_ms = now_ms;
        while all.pid("panel").is_none() {
            now_ms += 50;
            all.feed(Input::Tick, now_ms);
        }
        waits.push(now_ms - died_ms);
    }
    assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000]);
    assert_eq!(all.state("panel"), ChildState::Failing, "until it has run well it is not called well");
    now_ms += RAN_WELL_MS;
    all.feed(Input::Tick, now_ms);
    assert_eq!(all.state("panel"), ChildState::Running);
    all.kill("panel", now_ms);
    all.feed(Input::Tick, now_ms + RESTART_FIRST_MS);
    assert!(all.pid("panel").is_some());
}

#[test]
fn a_crash_loop_is_told_with_its_reason() {
    let mut all = Box_::new(vec![plan("panel", Stage::Service)], None);
    let mut now_ms = 0;
    all.feed(Input::Tick, now_ms);
    for end in 1..=LOOP_ENDS {
        assert_ne!(all.state("panel"), ChildState::Failing, "after {} ends", end - 1);
        let pid = all.pid("panel").unwrap();
        all.feed(Input::Exited(pid, Exit::Code(1), Some("port 8080 is taken".to_owned())), now_ms);
        if end < LOOP_ENDS {
            now_ms += 10_000;
            all.feed(Input::Tick, now_ms);
        }
    }
    let report = all.supervisor.report(now_ms);
    assert_eq!(report[0].state, ChildState::Failing);
    assert_eq!(report[0].why.as_deref(), Some("ended with code 1: port 8080 is taken"));
    assert_eq!(report[0].next_start_s, Some(4));
}

#[test]
fn refused_settings_are_tried_once_a_minute_only() {
    let mut all = Box_::new(vec![plan("panel", Stage::Service)], None);
    all.feed(Input::Tick, 0);
    let pid = all.pid("panel").unwrap();
    all.feed(Input::Exited(pid, Exit::Code(REFUSED), Some("hostname is missing".to_owned())), 0);
    all.feed(Input::Tick, RESTART_LONGEST_MS - 1);
    assert_eq!(all.starts("panel"), [0]);
    all.feed(Input::Tick, RESTART_LONGEST_MS);
    assert_eq!(all.starts("panel"), [0, RESTART_LONGEST_MS]);
}

#[test]
fn a_program_that_cannot_be_started_waits_like_one_that_ended() {
    let mut all = Box_::new(vec![plan("panel", Stage::Service), plan("timeguard", Stage::Time)], None);
    all.starts_work = false;
    for now_ms in (0..=1_750).step_by(50) {
        all.feed(Input::Tick, now_ms);
    }
    assert_eq!(all.starts("panel"), [0, 250, 750, 1_750]);
    assert_eq!(all.supervisor.report(0)[0].why.as_deref(), Some("no such program"));
}

#[test]
fn the_pds_runs_only_while_the_data_is_there() {
    let mut all = Box_::of_three();
    all.feed(Input::Tick, 0);
    assert_eq!((all.state("pds"), all.state("timeguard")), (ChildState::Resting, ChildState::Running));
    all.feed(Input::Data(true), 10);
    let pid = all.pid("pds").unwrap();
    all.feed(Input::Data(false), 20);
    assert!(all.done.contains(&(20, Action::Terminate(pid))));
    all.feed(Input::Exited(pid, Exit::Code(0), None), 30);
    assert_eq!(all.state("pds"), ChildState::Resting);
    all.feed(Input::Data(true), 40);
    assert_eq!(all.starts("pds"), [10, 40], "an end that was asked for costs no wait");
}

#[test]
fn the_guard_is_started_anew_when_the_data_comes_and_that_is_no_fault() {
    let guard = Plan { renewed_by_data: true, ..plan("timeguard", Stage::Time) };
    let mut all = Box_::new(vec![guard], None);
    all.feed(Input::Tick, 0);
    let pid = all.pid("timeguard").unwrap();
    all.feed(Input::Data(true), 10);
    assert!(all.done.contains(&(10, Action::Terminate(pid))));
    all.feed(Input::Exited(pid, Exit::Code(0), None), 20);
    assert_eq!(all.starts("timeguard"), [0, 20], "at once");
    let child = &all.supervisor.report(20)[0];
    assert_eq!((child.restarts, child.why.as_ref()), (0, None));
    // It goes on while the data goes, and while it stays.
    let from = all.done.len();
    all.feed(Input::Data(true), 30);
    all.feed(Input::Data(false), 40);
    assert_eq!(all.since(from), []);
    all.feed(Input::Data(true), 50);
    assert_eq!(all.since(from).len(), 1, "other data");
    // Not in the way of a way off.
    all.feed(Input::Power(PowerRequest::Off), 60);
    let pid = all.pid("timeguard").unwrap();
    all.feed(Input::Exited(pid, Exit::Code(0), None), 70);
    assert_eq!(all.starts("timeguard"), [0, 20]);
}

#[test]
fn a_pulled_disk_ends_the_pds_at_once_and_only_that() {
    let mut all = Box_::of_three();
    all.feed(Input::Data(true), 0);
    let pid = all.pid("pds").unwrap();
    assert!(all.supervisor.uses_data());
    let from = all.done.len();
    all.feed(Input::DataTorn, 10);
    assert_eq!(all.since(from), [Action::Kill(pid)]);
    assert!(all.supervisor.uses_data(), "it is not over before it has ended");
    all.feed(Input::Exited(pid, Exit::Signal(9), None), 20);
    assert!(!all.supervisor.uses_data());
    assert_eq!((all.state("pds"), all.state("timeguard")), (ChildState::Resting, ChildState::Running));
    all.feed(Input::Data(true), 30);
    assert_eq!(all.starts("pds"), [0, 30], "the disk is back");
}

#[test]
fn a_child_that_does_not_end_is_killed_after_its_time_and_nobody_waits_for_it() {
    let mut all = Box_::of_three();
    all.feed(Input::Data(true), 0);
    let (pds, guard) = (all.pid("pds").unwrap(), all.pid("timeguard").unwrap());
    all.feed(Input::Data(false), 10);
    // While it hangs, another one is started again as ever.
    all.feed(Input::Exited(guard, Exit::OutOfMemory, None), 20);
    all.feed(Input::Tick, 20 + RESTART_FIRST_MS);
    assert!(all.pid("timeguard").is_some());
    all.feed(Input::Tick, 5_009);
    assert!(!all.done.iter().any(|(_, action)| matches!(action, Action::Kill(_))));
    all.feed(Input::Tick, 5_010);
    all.feed(Input::Tick, 5_020);
    let kills = all.done.iter().filter(|(_, action)| *action == Action::Kill(pds)).count();
    assert_eq!(kills, 1);
}

#[test]
fn safe_mode_runs_only_what_is_needed_to_look_and_mend() {
    let pds = Plan { in_safe_mode: false, needs_data: true, ..plan("pds", Stage::Service) };
    let mut all = Box_::new(vec![pds, plan("panel", Stage::Service)], Some("the button was held"));
    all.feed(Input::Data(true), 0);
    assert_eq!((all.state("pds"), all.state("panel")), (ChildState::Resting, ChildState::Running));
    assert_eq!(all.supervisor.safe_mode(), Some("the button was held"));
}

#[test]
fn an_interface_that_comes_and_goes_takes_its_programs_along() {
    let mut all = Box_::new(Vec::new(), None);
    all.feed(Input::Add(plan("udhcpc eth1", Stage::Network)), 0);
    let pid = all.pid("udhcpc eth1").unwrap();
    all.feed(Input::Remove("udhcpc eth1".to_owned()), 10);
    all.feed(Input::Exited(pid, Exit::Signal(15), None), 20);
    assert!(all.supervisor.report(20).is_empty());
}

#[test]
fn the_way_off_ends_services_then_time_then_network_then_the_data_then_the_power() {
    let mut all = Box_::of_three();
    all.feed(Input::Data(true), 0);
    let pids = ["pds", "timeguard", "udhcpc eth0"].map(|name| all.pid(name).unwrap());
    let from = all.done.len();
    all.feed(Input::Power(PowerRequest::Off), 1_000);
    assert_eq!(all.since(from), [Action::Terminate(pids[0])]);
    all.feed(Input::Exited(pids[0], Exit::Code(0), None), 2_000);
    assert_eq!(all.since(from).last(), Some(&Action::Terminate(pids[1])));
    all.feed(Input::Exited(pids[1], Exit::Code(0), None), 2_100);
    all.feed(Input::Exited(pids[2], Exit::Signal(15), None), 2_200);
    assert_eq!(all.since(from).last(), Some(&Action::CloseData));
    all.feed(Input::DataClosed, 2_300);
    assert_eq!(all.since(from).last(), Some(&Action::Power(PowerRequest::Off)));
    let until = all.done.len();
    all.feed(Input::Tick, 60_000);
    assert!(all.since(until).is_empty(), "nothing is started on the way off");
    assert!(all.done[until..].is_empty(), "and after the power nobody feeds the watchdog");
}

#[test]
fn nothing_that_hangs_keeps_the_box_on() {
    let mut all = Box_::of_three();
    all.feed(Input::Data(true), 0);
    all.feed(Input::Power(PowerRequest::Restart), 0);
    all.feed(Input::Power(PowerRequest::Off), 1);
    let mut now_ms = 0;
    while !all.done.iter().any(|(_, action)| matches!(action, Action::Power(_))) {
        now_ms += 100;
        assert!(now_ms <= SHUTDOWN_MS + CLOSE_DATA_MS, "the box stays on");
        all.feed(Input::Tick, now_ms);
    }
    assert!(all.done.contains(&(now_ms, Action::Power(PowerRequest::Restart))), "the first wish counts");
    assert_eq!(all.done.iter().filter(|(_, action)| *action == Action::CloseData).count(), 1);
}

#[test]
fn the_watchdog_is_fed_whatever_becomes_of_the_children() {
    let mut all = Box_::of_three();
    all.starts_work = false;
    for now_ms in (0..100_000).step_by(100) {
        all.feed(Input::Tick, now_ms);
    }
    let fed: Vec<u64> =
        all.done.iter().filter(|(_, action)| *action == Action::Feed).map(|(at, _)| *at).collect();
    assert_eq!(fed.len(), 50);
    let life_ms = u64::from(WATCHDOG_LIFE_S) * 1_000;
    assert!(fed.windows(2).all(|pair| pair[1] - pair[0] <= life_ms / 10));
}
