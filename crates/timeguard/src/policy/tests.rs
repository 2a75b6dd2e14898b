//! Each state against each evidence: the table of `docs/time-guard.md`, cell by cell.

use control::status::TimeState::{self, Holdover, Rtc, Suspect, Synced, Unknown};

use platform::sim::SimNtpFault;
use platform::time::BootClock;

use super::Input;
use crate::trial::{DAY_US, HOUR_US, SECOND_US, Setup, World};

const STATES: [TimeState; 5] = [Unknown, Rtc, Synced, Holdover, Suspect];

/// Makes a world of so many servers, each of its own operator, whose guard is in a state. The floor is a day behind, no
/// certificates can be had.
fn world_with(servers: usize, state: TimeState) -> World {
    let mut world = World::new(Setup { servers: vec![SimNtpFault::default(); servers], ..Setup::default() });
    match state {
        Unknown => {
            world.chip.set_dead(true);
            world.silence();
        }
        Rtc => world.silence(),
        Synced => {}
        Holdover => {
            world.pass(10 * SECOND_US);
            world.silence();
        }
        // The chip was set an hour behind by somebody, and the servers tell the truth.
        Suspect => world.chip.jump(-HOUR_US),
    }
    world.pass(30 * SECOND_US);
    assert_eq!(world.guard.state(), state);
    world
}

/// Lets the evidence work in each state, and compares state and trust with the table.
fn row(evidence: &str, expected: [(TimeState, bool); 5], give: impl Fn(&mut World)) {
    row_with(4, evidence, expected, give);
}

fn row_with(servers: usize, evidence: &str, expected: [(TimeState, bool); 5], give: impl Fn(&mut World)) {
    for (state, (after, trusted)) in STATES.into_iter().zip(expected) {
        let mut world = world_with(servers, state);
        give(&mut world);
        let got = (world.guard.state(), world.now().is_some());
        assert_eq!(got, (after, trusted), "{evidence} in {state:?}: {:?}", world.refusals.last());
    }
}

/// Lets time pass without looking at the error: servers lie here.
fn wait(world: &mut World, span_us: i64) {
    world.pass_unchecked(span_us, &mut |_| {});
}

fn read_chip(world: &mut World) {
    use platform::Rtc as _;
    let reading = world.chip.read().ok();
    world.feed(Input::Chip(reading));
}

#[test]
fn a_sane_chip() {
    let after = [(Rtc, true), (Rtc, true), (Synced, true), (Holdover, true), (Suspect, false)];
    row("a sane chip", after, |world| {
        world.chip.set_dead(false);
        read_chip(world);
    });
}

#[test]
fn a_stopped_chip() {
    let after = [(Unknown, false), (Rtc, true), (Synced, true), (Holdover, true), (Suspect, false)];
    row("a stopped chip", after, |world| {
        world.chip.set_dead(false);
        world.chip.stop();
        read_chip(world);
        // Even when what it shows happens to be possible.
        let (unix_us, boottime_ns) = (world.true_us(), world.clock.boottime_ns());
        let reading = platform::RtcReading {
            unix_us,
            boottime_ns,
            uncertainty_us: 0,
            stopped: true,
            driver_first: None,
            battery: platform::Battery::Unknown,
        };
        world.feed(Input::Chip(Some(reading)));
    });
}

#[test]
fn a_chip_below_the_floor_or_beyond_its_life() {
    let after = [(Unknown, false), (Rtc, true), (Synced, true), (Holdover, true), (Suspect, false)];
    for jump_us in [-2 * DAY_US, 21 * 366 * DAY_US] {
        row("an implausible chip", after, |world| {
            world.chip.set_dead(false);
            world.chip.jump(jump_us);
            read_chip(world);
        });
    }
}

#[test]
fn a_failing_chip() {
    let after = [(Unknown, false), (Rtc, true), (Synced, true), (Holdover, true), (Suspect, false)];
    row("a failing chip", after, |world| {
        world.chip.set_dead(true);
        read_chip(world);
    });
}

#[test]
fn a_chip_an_hour_ahead() {
    // Alone it is believed: that is the risk of a chip, and why reachable servers get 3 s to object at the start.
    let after = [(Rtc, true), (Rtc, true), (Synced, true), (Holdover, true), (Suspect, false)];
    row("a chip an hour ahead", after, |world| {
        let leant_on = world.now().is_some();
        world.chip.set_dead(false);
        world.chip.jump(HOUR_US);
        read_chip(world);
        if leant_on {
            wait(world, SECOND_US);
            assert!(world.error_us().unwrap().abs() < 5 * SECOND_US, "the jump is not followed");
        }
    });
}

#[test]
fn a_majority_near_what_is_believed() {
    let after = [(Synced, true); 5];
    row("a near majority", after, |world| {
        let chip_us = if world.guard.state() == Suspect { -HOUR_US } else { 0 };
        world.lie(4, chip_us);
        wait(world, 10 * SECOND_US);
    });
}

#[test]
fn three_of_four_an_hour_back() {
    let after = [(Synced, true), (Suspect, false), (Holdover, true), (Holdover, true), (Suspect, false)];
    row("three of four back", after, |world| {
        world.lie(3, -2 * HOUR_US);
        wait(world, 10 * SECOND_US);
    });
}

#[test]
fn three_of_four_back_for_a_minute() {
    let after = [(Synced, true), (Synced, true), (Holdover, true), (Holdover, true), (Synced, true)];
    row("three of four back for a minute", after, |world| {
        world.lie(3, -2 * HOUR_US);
        wait(world, 60 * SECOND_US);
    });
}

#[test]
fn three_of_four_a_day_forward() {
    let after = [(Synced, true), (Suspect, false), (Holdover, true), (Holdover, true), (Suspect, false)];
    row("three of four forward", after, |world| {
        world.lie(3, DAY_US);
        wait(world, 20 * 60 * SECOND_US);
    });
}

#[test]
fn four_of_four_a_day_forward_for_a_quarter_of_an_hour() {
    let early = [(Synced, true), (Suspect, false), (Holdover, true), (Holdover, true), (Suspect, false)];
    row("four of four forward for 14 min", early, |world| {
        world.lie(4, DAY_US);
        wait(world, 14 * 60 * SECOND_US);
    });
    let late = [(Synced, true); 5];
    row("four of four forward for 16 min", late, |world| {
        world.lie(4, DAY_US);
        wait(world, 16 * 60 * SECOND_US);
    });
}

#[test]
fn four_of_four_sixty_days_forward_without_other_evidence() {
    let after = [(Unknown, false), (Suspect, false), (Holdover, true), (Holdover, true), (Suspect, false)];
    row("far forward", after, |world| {
        world.lie(4, 60 * DAY_US);
        wait(world, 20 * 60 * SECOND_US);
    });
}

#[test]
fn three_of_four_sixty_days_forward_with_certificates_for_it() {
    let after = [(Synced, true); 5];
    row("far forward with certificates", after, |world| {
        world.certificates = Some((50 * DAY_US, 90 * DAY_US));
        world.lie(3, 60 * DAY_US);
        wait(world, 40 * SECOND_US);
    });
}

#[test]
fn three_of_four_a_day_forward_with_certificates_against_it() {
    // Within 30 days of the floor, and with nothing else to compare, nobody asks for certificates.
    let after = [(Synced, true), (Rtc, true), (Holdover, true), (Holdover, true), (Rtc, true)];
    row("forward against certificates", after, |world| {
        world.certificates = Some((-50 * DAY_US, DAY_US / 2));
        world.lie(3, DAY_US);
        wait(world, 40 * SECOND_US);
    });
}

#[test]
fn three_of_four_sixty_days_forward_with_certificates_against_it() {
    let after = [(Unknown, false), (Rtc, true), (Holdover, true), (Holdover, true), (Rtc, true)];
    row("far forward against certificates", after, |world| {
        world.certificates = Some((-50 * DAY_US, 50 * DAY_US));
        world.lie(3, 60 * DAY_US);
        wait(world, 40 * SECOND_US);
    });
}

#[test]
fn the_owner_confirms_the_time_on_the_screen() {
    let after = [(Synced, true); 5];
    row("the owner's button", after, |world| {
        world.lie(3, 60 * DAY_US);
        wait(world, 20 * SECOND_US);
        let asked_us = world.guard.status(super::Moment { boottime_ns: 0, realtime_us: 0 }).asks_owner_us;
        assert!(asked_us.is_some());
        let shown_us = u64::try_from(world.true_us() + 60 * DAY_US).unwrap();
        world.feed(Input::OwnerAccepts(shown_us));
        wait(world, SECOND_US);
    });
}

#[test]
fn the_owner_confirms_another_time() {
    let after = [(Unknown, false), (Suspect, false), (Holdover, true), (Holdover, true), (Suspect, false)];
    row("the owner's button for another time", after, |world| {
        world.lie(3, 60 * DAY_US);
        wait(world, 20 * SECOND_US);
        let shown_us = u64::try_from(world.true_us() + 30 * DAY_US).unwrap();
        world.feed(Input::OwnerAccepts(shown_us));
        wait(world, SECOND_US);
    });
}

#[test]
fn a_majority_below_the_floor() {
    let after = [(Unknown, false), (Rtc, true), (Holdover, true), (Holdover, true), (Rtc, true)];
    row("below the floor", after, |world| {
        world.lie(4, -3 * DAY_US);
        wait(world, 40 * SECOND_US);
    });
}

#[test]
fn two_against_two() {
    let after = [(Unknown, false), (Rtc, true), (Holdover, true), (Holdover, true), (Suspect, false)];
    row("two against two", after, |world| {
        world.lie(2, HOUR_US);
        wait(world, 40 * SECOND_US);
    });
}

#[test]
fn silence() {
    let after = [(Unknown, false), (Rtc, true), (Holdover, true), (Holdover, true), (Suspect, false)];
    row("silence", after, |world| {
        world.silence();
        wait(world, 60 * SECOND_US);
    });
}

#[test]
fn fourteen_hours_of_silence_with_and_without_the_chip() {
    let with = [(Unknown, false), (Rtc, true), (Holdover, true), (Holdover, true), (Suspect, false)];
    row("14 h of silence with the chip", with, |world| {
        world.silence();
        wait(world, 14 * HOUR_US);
    });
    let without = [(Unknown, false), (Rtc, false), (Holdover, false), (Holdover, false), (Suspect, false)];
    row("14 h of silence without the chip", without, |world| {
        world.silence();
        world.chip.set_dead(true);
        wait(world, 14 * HOUR_US);
    });
}

#[test]
fn a_foreign_hand_on_the_clock() {
    let alone = [(Unknown, false), (Suspect, false), (Suspect, false), (Suspect, false), (Suspect, false)];
    row("a foreign hand, nobody to ask", alone, |world| {
        world.silence();
        world.chip.set_dead(true);
        world.clock.jump(HOUR_US);
        wait(world, 60 * SECOND_US);
    });
    let chip = [(Unknown, false), (Rtc, true), (Holdover, true), (Holdover, true), (Suspect, false)];
    row("a foreign hand, a good chip", chip, |world| {
        world.silence();
        world.clock.jump(-HOUR_US);
        wait(world, 60 * SECOND_US);
    });
    let servers = [(Synced, true), (Synced, true), (Synced, true), (Synced, true), (Suspect, false)];
    row("a foreign hand, honest servers", servers, |world| {
        world.chip.set_dead(true);
        world.lie(0, 0);
        world.clock.jump(HOUR_US);
        wait(world, 5 * SECOND_US);
    });
}

#[test]
fn three_of_five_a_day_forward() {
    let after = [(Unknown, false), (Suspect, false), (Holdover, true), (Holdover, true), (Suspect, false)];
    row_with(5, "three of five forward", after, |world| {
        world.lie(3, DAY_US);
        wait(world, 20 * 60 * SECOND_US);
    });
}
